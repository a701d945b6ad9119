package partition

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"

	"github.com/rustmq/rustmq/mq"
)

// replicate has f, which follows in epoch, copy everything from the leader l, and acknowledge it as incarnation 1. It truncates first
// if it must.
func replicate(t testing.TB, l, f *node, epoch mq.Epoch) {
	t.Helper()
	for again := true; again; {
		leaderEpoch, end := l.p.EndOffsetForEpoch(f.p.LastEpoch())
		if f.p.LastEpoch() == mq.NoEpoch {
			break
		}
		var err error
		if again, err = f.p.Truncate(epoch, leaderEpoch, end); err != nil {
			t.Fatalf("truncate: %v", err)
		}
	}
	for range 2 { // the second time brings the watermark that the acknowledgement made
		copyOnce(t, l, f, epoch)
	}
}

// newsFunc is a Watcher.
type newsFunc func(News)

func (f newsFunc) News(n News) { f(n) }

func copyOnce(t testing.TB, l, f *node, epoch mq.Epoch) {
	t.Helper()
	for {
		_, _, from, _ := f.p.Offsets()
		res, err := l.p.ReadReplica(context.Background(), epoch, from, 3000, &ReadBuffer{})
		if err != nil {
			t.Fatalf("read for the follower at %d: %v", from, err)
		}
		if err := f.p.Replicate(context.Background(), epoch, bytes.Join(res.Batches, nil), res.HighWatermark, res.LogStart); err != nil {
			t.Fatalf("replicate at %d: %v", from, err)
		}
		if res.Next == res.LogEnd {
			break
		}
	}
	for _, n := range []*node{l, f} {
		if err := n.log.Sync(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	e, end, ok := f.p.Durable()
	if !ok || e != epoch {
		t.Fatalf("nothing to acknowledge: epoch %d %v", e, ok)
	}
	if err := l.p.Acked(Replica{f.id, 1}, e, end); err != nil {
		t.Fatal(err)
	}
}

// both is the in-sync set of nodes 1 and 2.
func both() []Replica { return []Replica{{1, 1}, {2, 1}} }

func TestFollowerHasTheSameLogAndTakesOver(t *testing.T) {
	l, f := newNode(t, 1, nil), newNode(t, 2, nil)
	if err := l.p.Lead(1, 0, both()); err != nil {
		t.Fatal(err)
	}
	if err := f.p.Follow(1, 1); err != nil {
		t.Fatal(err)
	}
	var acks []future
	for i := range 20 {
		ack := make(future, 1)
		l.send(batch(producedBy{5, 0, int32(i)}, 1, byte(i), 100, int64(i)), mq.DurabilityAll, ack)
		acks = append(acks, ack)
	}
	replicate(t, l, f, 1)
	for i, ack := range acks {
		if r := <-ack; r.Err != nil || r.Base != mq.Offset(i) || r.Reached != mq.MarkReplicated {
			t.Fatalf("%+v", r)
		}
	}
	want := l.read(0)
	if _, high, end, _ := f.p.Offsets(); high != 20 || end != 20 {
		t.Fatalf("the follower has watermark %d, end %d", high, end)
	}
	_, err := f.p.Read(context.Background(), 0, 100, mq.IsolationCommitted, nil)
	codeWanted(t, err, mq.NotLeaderOrFollower)

	if err := f.p.Lead(2, 0, []Replica{{2, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := l.p.Follow(2, 2); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(f.read(0), want) {
		t.Fatal("the new leader has other bytes")
	}
	if r := f.must(batch(producedBy{5, 0, 19}, 1, 19, 100, 19)); !r.Duplicate || r.Base != 19 {
		t.Fatalf("dedup state was lost with the leader: %+v", r)
	}
	if r := f.must(batch(producedBy{5, 0, 20}, 1, 20, 100, 20)); r.Base != 20 || r.Duplicate {
		t.Fatalf("%+v", r)
	}
}

func TestFollowerTruncatesByEpochHistoryAndRollsProducersBack(t *testing.T) {
	l, f := newNode(t, 1, nil), newNode(t, 2, nil)
	if err := l.p.Lead(1, 0, both()); err != nil {
		t.Fatal(err)
	}
	if err := f.p.Follow(1, 1); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		l.send(batch(producedBy{5, 0, int32(i)}, 1, 'c', 10, 0), mq.DurabilityLeader, make(future, 1))
	}
	replicate(t, l, f, 1)
	// What now comes to l only is never committed.
	for i := range 4 {
		if r := l.produce(batch(producedBy{5, 0, int32(3 + i)}, 1, 'u', 10, 0), mq.DurabilityLeader); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	waits := make(future, 1)
	l.send(batch(producedBy{6, 0, 0}, 1, 'u', 10, 0), mq.DurabilityAll, waits)
	if err := f.p.Lead(2, 0, []Replica{{2, 1}}); err != nil {
		t.Fatal(err)
	}
	f.must(batch(producedBy{5, 0, 3}, 1, 'n', 10, 0))
	f.must(plain(1))
	if err := l.p.Follow(2, 2); err != nil {
		t.Fatal(err)
	}
	if r := <-waits; mq.CodeOf(r.Err) != mq.NotLeaderOrFollower {
		t.Fatalf("%+v", r)
	}
	replicate(t, f, l, 2)
	check := func(when string) {
		if err := l.p.Lead(l.p.Epoch()+1, 0, []Replica{{1, 1}}); err != nil {
			t.Fatal(err)
		}
		if got, want := l.read(0), f.read(0); !bytes.Equal(got, want) {
			t.Fatalf("%s: the logs differ", when)
		}
		if r := l.must(batch(producedBy{5, 0, 3}, 1, 'n', 10, 0)); !r.Duplicate || r.Base != 3 {
			t.Fatalf("%s: %+v", when, r)
		}
		if r := l.produce(batch(producedBy{5, 0, 5}, 1, 'u', 10, 0), mq.DurabilityLeader); mq.CodeOf(r.Err) != mq.OutOfOrderSequence {
			t.Fatalf("%s: sequence 4 was cut away, 5 may not follow 3: %+v", when, r)
		}
		if len(l.p.producers.byID) != 1 {
			t.Fatalf("%s: the producer of the cut batch is still known", when)
		}
	}
	check("after the truncation")
	l.restart(Checkpoint{})
	check("after a restart")
}

// KIP-279: the leader's epochs interleave with ours, so that one answer is not enough.
func TestTruncationAsksAgainWhenHistoriesInterleave(t *testing.T) {
	l, f := newNode(t, 1, nil), newNode(t, 2, nil)
	feed := func(n *node, first mq.Offset, epochs ...mq.Epoch) {
		if err := n.p.Follow(9, 3); err != nil {
			t.Fatal(err)
		}
		for i, e := range epochs {
			if err := n.p.Replicate(context.Background(), 9, stamped(plain(1), first+mq.Offset(i), e), 0, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	feed(l, 0, 1, 1, 2, 2, 5)
	feed(f, 0, 1, 1, 1, 3, 4, 4)
	if err := l.p.Lead(10, 0, both()); err != nil {
		t.Fatal(err)
	}
	if err := f.p.Follow(10, 1); err != nil {
		t.Fatal(err)
	}
	var asked []mq.Epoch
	for again := true; again; {
		asked = append(asked, f.p.LastEpoch())
		e, end := l.p.EndOffsetForEpoch(f.p.LastEpoch())
		var err error
		if again, err = f.p.Truncate(10, e, end); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, end, _ := f.p.Offsets(); end != 2 || len(asked) != 2 || asked[0] != 4 || asked[1] != 1 {
		t.Fatalf("cut to %d after asking for %v: want 2 after 4 and 1", end, asked)
	}
	replicate(t, l, f, 10)
	if !f.p.tailEqual(l.p) {
		t.Fatal("the logs differ")
	}
}

// A leader that wrote nothing in its epoch may have to take batches of an older epoch from its successor.
func TestEpochInWhichNothingWasWrittenLeavesNoTrace(t *testing.T) {
	n := newNode(t, 1, nil)
	if err := n.p.Follow(6, 2); err != nil {
		t.Fatal(err)
	}
	if err := n.p.Replicate(context.Background(), 6, stamped(plain(1), 0, 6), 0, 0); err != nil {
		t.Fatal(err)
	}
	if err := n.p.Lead(7, 0, both()); err != nil {
		t.Fatal(err)
	}
	if err := n.p.Follow(8, 2); err != nil {
		t.Fatal(err)
	}
	if e := n.p.LastEpoch(); e != 6 {
		t.Fatalf("the last batch is of epoch 6, not %d", e)
	}
	if _, err := n.p.Truncate(8, 6, 1); err != nil {
		t.Fatal(err)
	}
	if err := n.p.Replicate(context.Background(), 8, stamped(plain(1), 1, 6), 0, 0); err != nil {
		t.Fatal(err)
	}
}

// tailEqual compares two hot tails, watermarks aside.
func (p *Partition) tailEqual(q *Partition) bool {
	var ours, theirs ReadResult
	p.readTail(&ours, p.marks.logEnd(), 1<<30, &ReadBuffer{})
	q.readTail(&theirs, q.marks.logEnd(), 1<<30, &ReadBuffer{})
	return bytes.Equal(bytes.Join(ours.Batches, nil), bytes.Join(theirs.Batches, nil))
}

func TestTruncationNeverGoesBelowWhatIsCommitted(t *testing.T) {
	f := newNode(t, 2, nil)
	if err := f.p.Follow(3, 1); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if err := f.p.Replicate(context.Background(), 3, stamped(plain(1), mq.Offset(i), 3), 4, 0); err != nil {
			t.Fatal(err)
		}
	}
	_, err := f.p.Truncate(3, 3, 3)
	codeWanted(t, err, mq.OffsetOutOfRange)
	_, err = f.p.Truncate(3, mq.NoEpoch, -1)
	codeWanted(t, err, mq.OffsetOutOfRange)
	_, err = f.p.Truncate(3, 7, 3)
	codeWanted(t, err, mq.InvalidRequest)
	if _, err := f.p.Truncate(3, 3, 4); err != nil {
		t.Fatal(err)
	}
	if _, _, end, _ := f.p.Offsets(); end != 4 {
		t.Fatalf("the log ends at %d", end)
	}
}

func TestReplicateRefusesWhatDoesNotContinueTheLog(t *testing.T) {
	f := newNode(t, 2, nil)
	ctx := context.Background()
	codeWanted(t, f.p.Replicate(ctx, 0, nil, 0, 0), mq.UnknownLeaderEpoch)
	if err := f.p.Follow(3, 1); err != nil {
		t.Fatal(err)
	}
	if err := f.p.Replicate(ctx, 3, append(stamped(plain(2), 0, 1), stamped(plain(1), 2, 3)...), 0, 0); err != nil {
		t.Fatal(err)
	}
	rotten := stamped(plain(1), 3, 3)
	rotten[len(rotten)-1] ^= 1
	for name, c := range map[string]struct {
		epoch mq.Epoch
		b     mq.Batch
		code  mq.Code
	}{
		"zombie":              {2, stamped(plain(1), 3, 2), mq.FencedLeaderEpoch},
		"future":              {4, stamped(plain(1), 3, 3), mq.UnknownLeaderEpoch},
		"gap":                 {3, stamped(plain(1), 4, 3), mq.OffsetOutOfRange},
		"again":               {3, stamped(plain(1), 2, 3), mq.OffsetOutOfRange},
		"epoch goes back":     {3, stamped(plain(1), 3, 2), mq.OffsetOutOfRange},
		"epoch of the future": {3, stamped(plain(1), 3, 4), mq.OffsetOutOfRange},
		"bad CRC":             {3, rotten, mq.CorruptMessage},
		"torn":                {3, stamped(plain(1), 3, 3)[:70], mq.CorruptMessage},
	} {
		t.Run(name, func(t *testing.T) { codeWanted(t, f.p.Replicate(ctx, c.epoch, c.b, 0, 0), c.code) })
	}
	if _, _, end, _ := f.p.Offsets(); end != 3 {
		t.Fatalf("the log ends at %d", end)
	}
	if err := f.log.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	if queued := f.log.Stats().QueuedBytes; queued != 0 {
		t.Fatalf("%d bytes stay reserved", queued)
	}
}

func TestFollowerAcknowledgesOnlyWhatIsSyncedEpochIncluded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newNode(t, 2, nil)
		open := f.gate()
		persisted := 0
		f.p.Watch(newsFunc(func(n News) {
			if n == NewsDurable {
				persisted++
			}
		}))
		if err := f.p.Follow(3, 1); err != nil {
			t.Fatal(err)
		}
		if err := f.p.Replicate(context.Background(), 3, stamped(plain(2), 0, 3), 1, 0); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, _, ok := f.p.Durable(); ok || persisted != 0 {
			t.Fatal("nothing is synced yet, not even the epoch")
		}
		open()
		synctest.Wait()
		if e, end, ok := f.p.Durable(); e != 3 || end != 2 || !ok || persisted == 0 {
			t.Fatalf("epoch %d end %d %v, told %d times", e, end, ok, persisted)
		}
	})
}

// A sync that was under way when the log was cut says nothing about what was appended in the place of the cut records.
func TestSyncOfCutRecordsDoesNotCountForTheirSuccessors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newNode(t, 2, nil)
		ctx := context.Background()
		if err := f.p.Follow(1, 1); err != nil {
			t.Fatal(err)
		}
		if err := f.p.Replicate(ctx, 1, stamped(plain(2), 0, 1), 0, 0); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		open := f.gate()
		if err := f.p.Replicate(ctx, 1, stamped(plain(8), 2, 1), 0, 0); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // its sync hangs
		if err := f.p.Follow(2, 3); err != nil {
			t.Fatal(err)
		}
		if _, err := f.p.Truncate(2, 1, 2); err != nil {
			t.Fatal(err)
		}
		if err := f.p.Replicate(ctx, 2, stamped(plain(8), 2, 2), 0, 0); err != nil {
			t.Fatal(err)
		}
		// The writer syncs what was queued when it began: let that one go, and hold the next.
		held := f.holdNext(open)
		synctest.Wait()
		if _, end, ok := f.p.Durable(); ok && end > 2 {
			t.Fatalf("acknowledges %d, but only 2 records of this history are surely synced", end)
		}
		held()
		synctest.Wait()
		if e, end, ok := f.p.Durable(); !ok || e != 2 || end != 10 {
			t.Fatalf("epoch %d end %d %v", e, end, ok)
		}
	})
}

// Rule 13.
func TestReplicaBehindTheTieredEndResetsToIt(t *testing.T) {
	store, l, f := leaderAndFollower(t)
	for i := range 6 {
		l.must(batch(producedBy{5, 0, int32(i)}, 1, 'a', 10, 0))
		if i == 1 {
			copyOnce(t, l, f, 1)
		}
	}
	store.upload(t, l.p, 5)
	_, err := l.p.ReadReplica(context.Background(), 1, 2, 1000, &ReadBuffer{})
	codeWanted(t, err, mq.OffsetOutOfRange)
	f.p.TieredTo(5)
	if _, _, end, object := f.p.Offsets(); end != 2 || object != 0 {
		t.Fatalf("end %d, object mark %d: a replica does not jump by itself", end, object)
	}
	codeWanted(t, f.p.Reset(0, store.checkpoint), mq.FencedLeaderEpoch)
	if err := f.p.Reset(1, store.checkpoint); err != nil {
		t.Fatal(err)
	}
	if _, high, end, object := f.p.Offsets(); high != 5 || end != 5 || object != 5 {
		t.Fatalf("watermark %d, end %d, object mark %d", high, end, object)
	}
	replicate(t, l, f, 1)
	f.restart(store.checkpoint)
	if err := f.p.Lead(2, 0, []Replica{{2, 2}}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(f.read(0), l.read(0)) {
		t.Fatal("bucket and tail are not the leader's log")
	}
	if r := f.must(batch(producedBy{5, 0, 3}, 1, 'a', 10, 0)); !r.Duplicate || r.Base != 3 {
		t.Fatalf("%+v", r)
	}
}

// Records were deleted that are not in the object store yet: the replica that has to begin again fetches those, too, for the store has no holes, and takes over the log
// start when it has come so far.
func TestReplicaResetsToATieredEndBelowItsLogStart(t *testing.T) {
	store, l, f := leaderAndFollower(t)
	for range 6 {
		l.must(plain(1))
	}
	store.upload(t, l.p, 2)
	if err := l.p.SetLogStart(4); err != nil {
		t.Fatal(err)
	}
	if err := f.p.Reset(1, store.checkpoint); err != nil {
		t.Fatal(err)
	}
	replicate(t, l, f, 1)
	if start, _, end, _ := f.p.Offsets(); start != 4 || end != 6 {
		t.Fatalf("log [%d, %d)", start, end)
	}
	if err := f.p.Reset(1, store.checkpoint); err != nil {
		t.Fatal(err)
	}
	if start, high, end, object := f.p.Offsets(); start != 2 || high != 2 || end != 2 || object != 2 {
		t.Fatalf("start %d, watermark %d, end %d, object mark %d", start, high, end, object)
	}
	replicate(t, l, f, 1)
	f.restart(store.checkpoint)
	if err := f.p.Lead(2, 0, []Replica{{2, 2}}); err != nil {
		t.Fatal(err)
	}
	if start, _, _, _ := f.p.Offsets(); start != 4 || !bytes.Equal(f.read(4), l.read(4)) {
		t.Fatalf("the log begins at %d, or is not the leader's", start)
	}
}

func TestFollowerReleasesWhatTheLeaderConfirmed(t *testing.T) {
	store := &bucket{}
	l, f := newNode(t, 1, store), newNode(t, 2, store)
	if err := l.p.Lead(1, 0, both()); err != nil {
		t.Fatal(err)
	}
	if err := f.p.Follow(1, 1); err != nil {
		t.Fatal(err)
	}
	for range 6 {
		l.send(plain(1), mq.DurabilityLeader, make(future, 1))
	}
	replicate(t, l, f, 1)
	store.upload(t, l.p, 4)
	f.p.Tiered(4, nil) // not its business
	if _, _, _, object := f.p.Offsets(); object != 0 {
		t.Fatal("a follower took a verdict")
	}
	codeWanted(t, f.p.Confirmed(0, 4), mq.FencedLeaderEpoch)
	if err := f.p.Confirmed(1, 4); err != nil {
		t.Fatal(err)
	}
	if _, _, _, object := f.p.Offsets(); object != 4 {
		t.Fatalf("object mark %d", object)
	}
	// As the new leader it fetches the checkpoint before it uploads on.
	if err := f.p.Lead(2, 0, []Replica{{2, 1}}); err != nil {
		t.Fatal(err)
	}
	f.must(batch(producedBy{8, 0, 0}, 1, 'z', 10, 0))
	store.upload(t, f.p, 7)
	if got, err := decodeProducers(store.checkpoint.Producers, 0, 0); err != nil || got.byID[8] == nil {
		t.Fatal("the checkpoint lacks a producer", err)
	}
}

func TestLeaderDoesNotGoOnAfterAStaleFollow(t *testing.T) {
	n := newNode(t, 1, nil)
	if err := n.p.Lead(5, 0, []Replica{{1, 1}}); err != nil {
		t.Fatal(err)
	}
	codeWanted(t, n.p.Follow(5, 2), mq.FencedLeaderEpoch)
	codeWanted(t, n.p.Follow(4, 2), mq.FencedLeaderEpoch)
	codeWanted(t, n.p.Lead(4, 0, []Replica{{1, 1}}), mq.FencedLeaderEpoch)
	if n.p.LeaderEpoch() != 5 {
		t.Fatal(n.p.LeaderEpoch())
	}
	if err := n.p.Lead(5, 0, []Replica{{1, 1}}); err != nil {
		t.Fatal(err)
	}
	n.must(plain(1))
}
