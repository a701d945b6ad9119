package partition

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// Rule 11.
func TestUploadReadsOnlyBelowTheWatermark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 1, &bucket{})
		n.set(Settings{MinISR: 2})
		if err := n.p.Lead(1, 0, both()); err != nil {
			t.Fatal(err)
		}
		for range 4 {
			n.send(plain(2), mq.DurabilityLeader, &results{})
		}
		synctest.Wait()
		if p := n.p.Pending(); p.First != p.End {
			t.Fatalf("pending %+v although nothing is committed", p)
		}
		_, _, err := n.p.ReadUpload(context.Background(), 0, 8, 1<<20, nil)
		codeWanted(t, err, mq.OffsetOutOfRange)
		if err := n.p.Acked(Replica{2, 1}, 1, 4); err != nil {
			t.Fatal(err)
		}
		if p := n.p.Pending(); p.First != 0 || p.End != 4 || p.Bytes == 0 || p.Awaited || time.Since(p.Since) > time.Minute {
			t.Fatalf("pending %+v", p)
		}
		for _, from := range []string{"tail", "log"} {
			data, next, err := n.p.ReadUpload(context.Background(), 0, 4, 1<<20, nil)
			if err != nil || next != 4 || len(split(t, data)) != 2 {
				t.Fatalf("%s: read up to %d, %v", from, next, err)
			}
			n.evict()
		}
		_, _, err = n.p.Checkpoint(6)
		codeWanted(t, err, mq.OffsetOutOfRange)
		n.p.Tiered(6, nil) // who says so is wrong
		if _, _, _, object := n.p.Offsets(); object != 0 {
			t.Fatalf("object mark %d above the watermark", object)
		}
	})
}

func TestPendingIsUrgentWhenAProducerWaitsForTheObjectMark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 1, &bucket{})
		n.lead()
		n.send(plain(2), mq.DurabilityObject, make(future, 1))
		synctest.Wait()
		if p := n.p.Pending(); !p.Awaited {
			t.Fatalf("%+v", p)
		}
	})
}

// On a topic with durability=object, all means the object store; a duplicate waits for it, too, and less than all does not.
func TestTopicsDurabilityIsWhatAllWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 1, &bucket{})
		n.lead()
		n.set(Settings{MinISR: 1, ObjectAcks: true})
		first, repeated, leader := make(future, 1), make(future, 1), make(future, 1)
		n.send(batch(producedBy{7, 0, 0}, 1, 'd', 10, 0), mq.DurabilityAll, first)
		n.send(plain(2), mq.DurabilityLeader, leader)
		synctest.Wait()
		n.send(batch(producedBy{7, 0, 0}, 1, 'd', 10, 0), mq.DurabilityAll, repeated)
		synctest.Wait()
		if got := <-leader; got.Err != nil || got.Reached == mq.MarkObject {
			t.Errorf("leader: %+v", got)
		}
		if len(first) != 0 || len(repeated) != 0 || !n.p.Pending().Awaited {
			t.Fatalf("acknowledged before the object store has it: %d and %d; awaited: %v", len(first), len(repeated), n.p.Pending().Awaited)
		}
		n.p.TieredTo(1)
		synctest.Wait()
		for _, f := range []future{first, repeated} {
			if got := <-f; got.Err != nil || got.Reached != mq.MarkObject {
				t.Errorf("all: %+v", got)
			}
		}
	})
}

func TestOnlyALeaderHoldsWhatUploadsNeed(t *testing.T) {
	n := newNode(t, 1, &bucket{})
	n.lead()
	n.must(plain(1))
	if _, _, err := n.p.Checkpoint(1); err != nil {
		t.Fatal(err)
	}
	if err := n.p.Follow(5, 2); err != nil {
		t.Fatal(err)
	}
	if u := &n.p.uploads; u.work != nil || u.made != nil {
		t.Fatal("a follower holds a second state of the producers")
	}
	_, _, err := n.p.Checkpoint(1)
	codeWanted(t, err, mq.NotLeaderOrFollower)
	_, _, err = n.p.ReadUpload(context.Background(), 0, 1, 100, nil)
	codeWanted(t, err, mq.NotLeaderOrFollower)
}

// A producer that goes on while uploads lag writes many windows beyond the end of a range. The checkpoint must still have what was
// its window there.
func TestCheckpointIsExactAtTheEndOfItsRange(t *testing.T) {
	store := &bucket{}
	n := newNode(t, 1, store)
	n.lead()
	const total, upTo = 5000, 1500
	for i := range total {
		n.send(batch(producedBy{7, 0, int32(i)}, 1, 'a', 1, 0), mq.DurabilityNone, &results{})
	}
	n.must(plain(1))
	store.upload(t, n.p, upTo)
	ps, err := decodeProducers(store.checkpoint.Producers, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, dup, err := ps.check(sequence{7, 0, upTo, 1}); dup || err != nil {
		t.Fatalf("sequence %d is the next one at the end of the range: %v %v", upTo, dup, err)
	}
	if e, dup, err := ps.check(sequence{7, 0, upTo - mq.MaxProducerWindow, 1}); !dup || e.base != upTo-mq.MaxProducerWindow {
		t.Fatal("the whole window must be there", err)
	}
}

func TestCheckpointsOfUploadsOnTheirWay(t *testing.T) {
	store := &bucket{}
	n := newNode(t, 1, store)
	n.lead()
	for i := range 30 {
		n.must(batch(producedBy{7, 0, int32(i)}, 1, 'a', 1, 0))
	}
	ctx := context.Background()
	next := func(c []byte) int32 {
		ps, err := decodeProducers(c, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		if ps.byID[7] == nil {
			return 0
		}
		w := ps.byID[7].window
		return w.newest().next()
	}
	read := func(first, end mq.Offset) {
		t.Helper()
		if _, got, err := n.p.ReadUpload(ctx, first, end, 1<<20, nil); err != nil || got != end {
			t.Fatal(got, err)
		}
	}
	check := func(end mq.Offset) {
		t.Helper()
		state, epochs, err := n.p.Checkpoint(end)
		if err != nil || next(state) != int32(end) || len(epochs) != 1 {
			t.Fatalf("checkpoint at %d goes on with %d, %v %v", end, next(state), epochs, err)
		}
	}
	// Three uploads are read before any is committed; the second fails and is tried again, longer.
	read(0, 10)
	read(10, 20)
	check(10)
	read(20, 25)
	check(25)
	check(20)
	n.p.Tiered(10, nil)
	n.p.Tiered(20, mq.Errorf(mq.ObjectStoreUnavailable, "away"))
	n.p.Tiered(25, mq.Errorf(mq.ObjectStoreUnavailable, "away"))
	_, _, err := n.p.ReadUpload(ctx, 5, 10, 1<<20, nil)
	codeWanted(t, err, mq.OffsetOutOfRange)
	read(10, 28)
	check(28)
	n.p.Tiered(28, nil)
	read(28, 30)
	check(30)
	n.p.Tiered(30, nil)
	if n.p.uploads.work != nil || len(n.p.uploads.made) != 0 {
		t.Fatal("with nothing to upload only the last checkpoint is held")
	}
	n.must(batch(producedBy{7, 0, 30}, 1, 'a', 1, 0))
	check(31) // without ReadUpload: it reads for itself
	n.p.Tiered(31, nil)
	if _, _, _, object := n.p.Offsets(); object != 31 {
		t.Fatal(object)
	}
}

// The commit went through, but its answer was lost: the next one is refused, and the metadata knows why.
func TestLostAnswerOfACommitHeals(t *testing.T) {
	store := &bucket{}
	n := newNode(t, 1, store)
	n.lead()
	for i := range 10 {
		n.must(batch(producedBy{7, 0, int32(i)}, 1, 'a', 1, 0))
	}
	store.commit(t, n.p, 4)
	n.p.Tiered(4, mq.Errorf(mq.OffsetOutOfRange, "does not continue the tiered end"))
	_, _, err := n.p.ReadUpload(context.Background(), 0, 10, 1<<20, nil)
	if err != nil {
		codeWanted(t, err, mq.OffsetOutOfRange)
	}
	if p := n.p.Pending(); p.First != 4 {
		t.Fatalf("%+v", p)
	}
	store.upload(t, n.p, 10)
	n.evict()
	if b := split(t, n.read(0)); len(b) != 10 {
		t.Fatalf("%d batches", len(b))
	}
}

// The metadata's news of a commit may come before the uploader's own verdict: nothing has to be fetched for that.
func TestVerdictMayComeAfterTheNews(t *testing.T) {
	n := newNode(t, 1, &bucket{})
	n.p.cfg.Checkpoint = func(context.Context, mq.PartitionID) (Checkpoint, error) {
		t.Error("fetched a checkpoint that was made here")
		return Checkpoint{}, nil
	}
	n.lead()
	for i := range 10 {
		n.must(batch(producedBy{7, 0, int32(i)}, 1, 'a', 1, 0))
	}
	for end := mq.Offset(5); end <= 10; end += 5 {
		if _, _, err := n.p.Checkpoint(end); err != nil {
			t.Fatal(err)
		}
		n.p.TieredTo(end)
		n.p.Tiered(end, nil)
	}
	n.must(plain(1))
	if _, _, err := n.p.ReadUpload(context.Background(), 10, 11, 100, nil); err != nil {
		t.Fatal(err)
	}
}

func TestLogIsReleasedByTheObjectMark(t *testing.T) {
	store := &bucket{}
	n := newNode(t, 1, store)
	n.lead()
	var want []byte
	for i := range 40 {
		for range 50 {
			n.send(batch(nobody(), 1, byte(i), 500, 0), mq.DurabilityNone, &results{})
		}
		r := n.must(plain(1))
		n.evict()
		if i%4 == 0 {
			store.upload(t, n.p, r.Base+1)
		}
	}
	want = n.read(0)
	if len(want) < 1<<20 {
		t.Fatalf("%d bytes", len(want))
	}
	if s := n.log.Stats(); s.LiveBytes > 300<<10 {
		t.Fatalf("%d bytes are live in the log, almost all is in the bucket", s.LiveBytes)
	}
	if got := size([][]byte{want}); n.cfg.Counters.ColdBytes.Load() < got/2 {
		t.Fatal("the bucket was hardly read")
	}
}

// A leader that was replaced and does not know it yet learns of the next leader's commit: that is not of its log.
func TestLeaderTakesNoOtherLeadersCommitForItsOwn(t *testing.T) {
	store := &bucket{}
	l, f := newNode(t, 1, store), newNode(t, 2, store)
	if err := f.p.Lead(1, 0, []Replica{{2, 1}}); err != nil {
		t.Fatal(err)
	}
	for range 8 {
		f.must(plain(1))
	}
	if err := l.p.Lead(3, 0, []Replica{{1, 1}}); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		l.must(plain(1))
	}
	store.upload(t, l.p, 5)
	f.p.Tiered(8, mq.Errorf(mq.OffsetOutOfRange, "the tiered end is 5")) // so it asks where that comes from
	if _, _, err := f.p.ReadUpload(t.Context(), 0, 8, 100, nil); mq.CodeOf(err) != mq.NotLeaderOrFollower {
		t.Fatal(err)
	}
	if err := f.p.Follow(3, 1); err != nil {
		t.Fatal(err)
	}
	if _, _, aligned, _, err := f.p.Following(); aligned || err != nil {
		t.Fatalf("another log passes for the beginning of the leader's: %v", err)
	}
}

// Everything is tiered, and then deleted, as retention does. Who takes over has a history that begins where the log does, and goes on with the commits.
func TestNextLeaderUploadsWhereAllWasDeleted(t *testing.T) {
	store, l, f := leaderAndFollower(t)
	for range 10 {
		l.must(plain(1))
	}
	copyOnce(t, l, f, 1)
	store.upload(t, l.p, 10)
	copyOnce(t, l, f, 1)
	if err := f.p.Confirmed(1, 10); err != nil {
		t.Fatal(err)
	}
	for _, n := range []*node{l, f} {
		if err := n.p.SetLogStart(10); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.p.Lead(2, 0, []Replica{{2, 1}}); err != nil {
		t.Fatal(err)
	}
	f.must(plain(1))
	store.upload(t, f.p, 11)
	if want := (mq.EpochHistory{{Epoch: 1, Start: 9}, {Epoch: 2, Start: 10}}); !slices.Equal(store.checkpoint.Epochs, want) {
		t.Errorf("the checkpoint has epochs %v, want %v", store.checkpoint.Epochs, want)
	}
}

// A commit's answer is lost, and before it is asked for records beyond its range are deleted.
func TestLeaderWhoseAnswerWasLostUploadsWhereAllWasDeleted(t *testing.T) {
	store := &bucket{}
	n := newNode(t, 1, store)
	n.lead()
	for range 10 {
		n.must(plain(1))
	}
	store.commit(t, n.p, 4)
	if err := n.p.SetLogStart(6); err != nil {
		t.Fatal(err)
	}
	n.p.Tiered(4, mq.Errorf(mq.OffsetOutOfRange, "it does not continue the tiered end"))
	if _, _, err := n.p.ReadUpload(t.Context(), 0, 10, 1<<20, nil); err != nil || n.p.Pending().First != 4 {
		t.Fatalf("it goes on at %d: %v", n.p.Pending().First, err)
	}
	store.upload(t, n.p, 10)
}

// What the object store has the log need not hold; what is not committed it does.
func TestHeldIsWhatTheObjectStoreHasNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bucket{}
		n := newNode(t, 1, b)
		n.set(Settings{MinISR: 2})
		if err := n.p.Lead(1, 0, both()); err != nil {
			t.Fatal(err)
		}
		var size int64
		for range 4 {
			batch := plain(2)
			size = int64(len(batch))
			n.send(batch, mq.DurabilityLeader, &results{})
		}
		synctest.Wait()
		held := func() int64 {
			bytes, behind := n.p.Held()
			if behind != 0 {
				t.Errorf("a leader is %d behind", behind)
			}
			return bytes
		}
		if got := held(); got != 4*size {
			t.Fatalf("%d bytes, of 4 batches of %d", got, size)
		}
		if err := n.p.Acked(Replica{2, 1}, 1, 8); err != nil {
			t.Fatal(err)
		}
		b.upload(t, n.p, 8)
		if got := held(); got != 0 {
			t.Fatalf("%d bytes, and all is in the object store", got)
		}
	})
}
