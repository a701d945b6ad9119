package partition

import (
	"bytes"
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
)

// What a log says above the place where the histories part is not the leader's: neither may it be acknowledged, nor be continued.
func TestFollowerDoesNothingBeforeItsLogIsComparedWithTheLeaders(t *testing.T) {
	f := newNode(t, 2, &bucket{})
	ctx := context.Background()
	if err := f.p.Follow(1, 1); err != nil {
		t.Fatal(err)
	}
	if err := f.p.Replicate(ctx, 1, stamped(plain(4), 0, 1), 0, 0); err != nil {
		t.Fatalf("an empty log is the beginning of any: %v", err)
	}
	if err := f.p.Follow(2, 3); err != nil {
		t.Fatal(err)
	}
	if err := f.log.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	if _, end, ok := f.p.Durable(); ok {
		t.Fatalf("acknowledges %d in epoch 2, of which it was not compared with the leader's", end)
	}
	codeWanted(t, f.p.Replicate(ctx, 2, stamped(plain(1), 4, 2), 4, 0), mq.OffsetOutOfRange)
	codeWanted(t, f.p.Replicate(ctx, 2, nil, 4, 0), mq.OffsetOutOfRange)
	codeWanted(t, f.p.Confirmed(2, 4), mq.OffsetOutOfRange)
	if _, high, _, object := f.p.Offsets(); high != 0 || object != 0 {
		t.Fatalf("watermark %d, tiered end %d", high, object)
	}
	if _, err := f.p.Truncate(2, 1, 4); err != nil {
		t.Fatal(err)
	}
	if e, end, ok := f.p.Durable(); !ok || e != 2 || end != 4 {
		t.Fatalf("epoch %d end %d %v", e, end, ok)
	}
	if e, leader, aligned, ok, err := f.p.Following(); e != 2 || leader != 3 || !aligned || !ok || err != nil {
		t.Fatal(e, leader, aligned, ok, err)
	}
	f.restart(Checkpoint{})
	if err := f.p.Follow(2, 3); err != nil { // the same epoch, and what was promised in it
		t.Fatal(err)
	}
	if _, _, aligned, _, _ := f.p.Following(); aligned {
		t.Fatal("what was found after a restart may be more than was compared")
	}
}

// Rule 13.
func TestFollowerReleasesNothingThatItHasNotItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newNode(t, 2, &bucket{})
		if err := f.p.Follow(3, 1); err != nil {
			t.Fatal(err)
		}
		object := func() mq.Offset { synctest.Wait(); _, _, _, o := f.p.Offsets(); return o }
		synctest.Wait()
		open := f.gate()
		for i := range 3 {
			if err := f.p.Replicate(context.Background(), 3, stamped(plain(2), mq.Offset(2*i), 3), 6, 0); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.p.Confirmed(3, 4); err != nil {
			t.Fatal(err)
		}
		if o := object(); o != 0 {
			t.Fatalf("released up to %d, and nothing is synced", o)
		}
		if _, end, ok := f.p.Durable(); !ok || end != 0 {
			t.Fatalf("acknowledges %d (%v), and nothing is synced", end, ok)
		}
		open()
		if o := object(); o != 4 {
			t.Fatalf("tiered end %d once it is synced", o)
		}
		if err := f.p.Confirmed(3, 8); err != nil {
			t.Fatal(err)
		}
		if o := object(); o != 4 {
			t.Fatalf("tiered end %d, the log ends at 6", o)
		}
		if err := f.p.Follow(4, 1); err != nil {
			t.Fatal(err)
		}
		if _, err := f.p.Truncate(4, 3, 6); err != nil {
			t.Fatal(err)
		}
		if err := f.p.Replicate(context.Background(), 4, stamped(plain(2), 6, 4), 0, 0); err != nil {
			t.Fatal(err)
		}
		if o := object(); o != 4 {
			t.Fatalf("tiered end %d: what another epoch's leader confirmed counts no more", o)
		}
	})
}

// A leader that was cut off acknowledges nothing once its lease is over, also what was appended before and is synced after.
func TestLeaseIsAskedAgainJustBeforeAnAcknowledgement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 1, nil)
		var over atomic.Bool
		n.p.cfg.Lease = func() error {
			if over.Load() {
				return mq.Errorf(mq.RequestTimedOut, "the controllers do not answer")
			}
			return nil
		}
		n.lead()
		open := n.gate()
		by := func(seq int32) mq.Batch { return batch(producedBy{1, 0, seq}, 1, 'a', 10, 0) }
		var waits, none results
		n.send(by(0), mq.DurabilityLeader, &waits)
		n.send(by(1), mq.DurabilityAll, &waits)
		over.Store(true)
		open()
		synctest.Wait()
		got := waits.get()
		if len(got) != 2 || mq.CodeOf(got[0].Err) != mq.NotLeaderOrFollower || mq.CodeOf(got[1].Err) != mq.NotLeaderOrFollower {
			t.Fatalf("acknowledged after the lease: %+v", got)
		}
		for _, want := range []mq.Durability{mq.DurabilityLeader, mq.DurabilityAll} {
			if r := n.produce(by(2), want); mq.CodeOf(r.Err) != mq.NotLeaderOrFollower {
				t.Fatalf("%+v", r)
			}
		}
		if _, _, end, _ := n.p.Offsets(); end != 2 {
			t.Fatalf("the log ends at %d: nothing is taken that could not be acknowledged", end)
		}
		if end, err := n.p.VisibleEnd(mq.IsolationCommitted); mq.CodeOf(err) != mq.NotLeaderOrFollower {
			t.Fatalf("told that the partition ends at %d, %v: another leader may have acknowledged more", end, err)
		}
		n.send(by(2), mq.DurabilityNone, &none)
		if got := none.get(); len(got) != 1 || got[0].Err != nil {
			t.Fatalf("nothing is promised, so nothing is refused: %+v", got)
		}
		over.Store(false)
		if r := n.produce(by(1), mq.DurabilityAll); r.Err != nil || !r.Duplicate || r.Base != 1 {
			t.Fatalf("sent again when the lease was renewed: %+v", r)
		}
	})
}

// Who waits for a leader whose disk hangs is told when its lease is over, not when the disk answers.
func TestWhatWaitsFailsWhenTheLeaseIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 1, nil)
		var over atomic.Bool
		n.p.cfg.Lease = func() error {
			if over.Load() {
				return mq.Errorf(mq.RequestTimedOut, "the controllers do not answer")
			}
			return nil
		}
		n.lead()
		open := n.gate()
		var waits results
		n.send(batch(producedBy{1, 0, 0}, 1, 'a', 10, 0), mq.DurabilityAll, &waits)
		n.p.Lapse()
		if got := waits.get(); len(got) != 0 {
			t.Fatalf("with a lease: %+v", got)
		}
		over.Store(true)
		n.p.Lapse()
		if got := waits.get(); len(got) != 1 || mq.CodeOf(got[0].Err) != mq.NotLeaderOrFollower {
			t.Fatalf("without: %+v", got)
		}
		over.Store(false)
		open()
		if r := n.produce(batch(producedBy{1, 0, 0}, 1, 'a', 10, 0), mq.DurabilityAll); r.Err != nil || !r.Duplicate {
			t.Fatalf("sent again: %+v", r)
		}
	})
}

func TestWatchersAreToldOfWhatTheyWaitFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 1, nil)
		w := &collector{}
		n.p.Watch(w)
		want := func(news ...News) {
			t.Helper()
			synctest.Wait()
			n.p.mu.Lock()
			defer n.p.mu.Unlock()
			if !slices.Equal(w.got, news) {
				t.Fatalf("told %v, want %v", w.got, news)
			}
			w.got = nil
		}
		if err := n.p.Lead(1, 0, both()); err != nil {
			t.Fatal(err)
		}
		want(NewsRole)
		n.send(plain(1), mq.DurabilityAll, &results{})
		want(NewsAppended)
		if err := n.p.Acked(Replica{2, 1}, 1, 1); err != nil {
			t.Fatal(err)
		}
		want(NewsMarks)
		if err := n.p.SetLogStart(1); err != nil {
			t.Fatal(err)
		}
		want(NewsMarks)
		if err := n.p.Follow(2, 2); err != nil {
			t.Fatal(err)
		}
		want(NewsRole, NewsDurable)
		if err := n.p.Replicate(context.Background(), 2, stamped(plain(1), 1, 2), 0, 0); err != nil {
			t.Fatal(err)
		}
		want(NewsDurable)
		n.p.Unwatch(w)
		n.p.Unwatch(w)
		if err := n.p.Follow(3, 3); err != nil {
			t.Fatal(err)
		}
		want()
	})
}

type collector struct{ got []News }

func (c *collector) News(n News) { c.got = append(c.got, n) }

// Of a log whose first entry is damaged nothing is left: the next leader must not take it for one that is empty, for it takes nothing before a reset.
func TestDamagedReplicaIsResetAlsoByTheNextLeader(t *testing.T) {
	l, f := newNode(t, 1, nil), newNode(t, 2, nil)
	if err := l.p.Lead(1, 0, both()); err != nil {
		t.Fatal(err)
	}
	if err := f.p.Follow(1, 1); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		l.send(plain(2), mq.DurabilityLeader, make(future, 1))
	}
	replicate(t, l, f, 1)
	f.stop()
	path := f.disk.Files("wal")[0]
	data, err := f.disk.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	first := bytes.Index(data, stamped(plain(2), 0, 1)) // where its payload is: the frame can be read, and says what is lost
	if err := f.disk.Flip(path, int64(8*(first+30))); err != nil {
		t.Fatal(err)
	}
	f.start(Checkpoint{})
	if err := f.p.Refetch(1, 1); err != nil {
		t.Fatal(err)
	}
	if _, _, end, _ := f.p.Offsets(); end != 0 {
		t.Fatalf("%d offsets are believed", end)
	}
	if err := f.p.Follow(2, 3); err != nil { // before the first leader said anything
		t.Fatal(err)
	}
	if err := f.log.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, end, ok := f.p.Durable(); ok {
		t.Fatalf("acknowledges %d", end)
	}
	codeWanted(t, f.p.Replicate(context.Background(), 2, stamped(plain(2), 0, 1), 0, 0), mq.OffsetOutOfRange)
	_, err = f.p.Truncate(2, mq.NoEpoch, -1)
	codeWanted(t, err, mq.OffsetOutOfRange)
	if err := f.p.Reset(2, Checkpoint{}); err != nil {
		t.Fatal(err)
	}
	if err := f.p.Replicate(context.Background(), 2, stamped(plain(2), 0, 1), 0, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.log.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	if epoch, end, ok := f.p.Durable(); epoch != 2 || end != 2 || !ok {
		t.Fatalf("acknowledges %d in epoch %d (%v)", end, epoch, ok)
	}
}

// A replica whose log is damaged copies everything above the tiered end again. Until then nothing of it is believed.
func TestDamagedReplicaFetchesEverythingAgain(t *testing.T) {
	store := &bucket{}
	l, f := newNode(t, 1, store), newNode(t, 2, store)
	if err := l.p.Lead(1, 0, both()); err != nil {
		t.Fatal(err)
	}
	if err := f.p.Follow(1, 1); err != nil {
		t.Fatal(err)
	}
	for i := range 8 {
		l.send(batch(producedBy{5, 0, int32(i)}, 1, 'a', 10, 0), mq.DurabilityLeader, make(future, 1))
	}
	replicate(t, l, f, 1)
	store.upload(t, l.p, 3)
	f.p.Quarantine(mq.Errorf(mq.Corrupt, "rot"))
	codeWanted(t, f.p.Refetch(1, 1), mq.InvalidRequest) // this run has acknowledged what it would throw away

	f.stop()
	r := NewRecovery(f.cfg.Now())
	log, found, err := wal.Open(wal.Options{FS: f.disk, Dir: "wal", SegmentBytes: 64 << 10, QueueBytes: 8 << 20}, r.Visit)
	if err != nil {
		t.Fatal(err)
	}
	r.Finish(found)
	f.log, f.cfg.Log = log, log
	rotten := r.Take(testID())
	rotten.err = mq.Errorf(mq.Corrupt, "rot")
	if f.p, err = Open(f.cfg, rotten, store.checkpoint); err != nil {
		t.Fatal(err)
	}
	codeWanted(t, f.p.Follow(1, 1), mq.PartitionQuarantined)
	if err := f.p.Refetch(1, 1); err != nil {
		t.Fatal(err)
	}
	if err := f.log.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, end, ok := f.p.Durable(); ok {
		t.Fatalf("acknowledges %d", end)
	}
	_, err = f.p.Truncate(1, 1, 8)
	codeWanted(t, err, mq.OffsetOutOfRange)
	if err := f.p.Reset(1, store.checkpoint); err != nil {
		t.Fatal(err)
	}
	replicate(t, l, f, 1)
	want := l.read(0)
	f.restart(store.checkpoint)
	f.lead()
	if !bytes.Equal(f.read(0), want) {
		t.Fatal("the logs differ")
	}
	if r := f.must(batch(producedBy{5, 0, 2}, 1, 'a', 10, 0)); !r.Duplicate || r.Base != 2 {
		t.Fatalf("%+v", r)
	}
}
