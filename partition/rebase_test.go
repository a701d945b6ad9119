package partition

import (
	"bytes"
	"testing"

	"github.com/rustmq/rustmq/mq"
)

// Rule 13: a leader's log end is never below the tiered end. The follower has less than was tiered when it is elected all the same.
func TestLeaderElectedBelowTheTieredEndGoesOnThere(t *testing.T) {
	store, l, f := leaderAndFollower(t)
	for i := range 6 {
		l.must(batch(producedBy{5, 0, int32(i)}, 1, 'a', 10, 0))
		if i == 1 {
			copyOnce(t, l, f, 1)
		}
	}
	store.upload(t, l.p, 5)
	from, rebased, err := f.p.Rebase(store.checkpoint)
	if err != nil || !rebased || from != 2 {
		t.Fatalf("parted at %d, %v, %v", from, rebased, err)
	}
	if err := f.p.Lead(2, 0, []Replica{{2, 2}}); err != nil {
		t.Fatal(err)
	}
	if _, high, end, object := f.p.Offsets(); high != 5 || end != 5 || object != 5 {
		t.Fatalf("watermark %d, end %d, object mark %d", high, end, object)
	}
	if r := f.must(batch(producedBy{5, 0, 4}, 1, 'a', 10, 0)); !r.Duplicate || r.Base != 4 {
		t.Fatalf("what was tiered, sent again: %+v", r)
	}
	if r := f.must(batch(producedBy{5, 0, 5}, 1, 'b', 10, 0)); r.Duplicate || r.Base != 5 {
		t.Fatalf("what was lost, sent again: %+v", r)
	}
	if from, rebased, err := f.p.Rebase(store.checkpoint); rebased || err != nil {
		t.Fatalf("a leader was rebased at %d, %v", from, err)
	}
	f.restart(store.checkpoint)
	if err := f.p.Lead(3, 0, []Replica{{2, 3}}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(f.read(0)[:len(l.read(0))/2], l.read(0)[:len(l.read(0))/2]) {
		t.Fatal("bucket and tail are not the old leader's")
	}
}

// One that has other records than were tiered, of an epoch that was cut off, has them no more when it leads.
func TestLeaderWithOtherRecordsThanWereTieredGoesOnAtTheTieredEnd(t *testing.T) {
	store := &bucket{}
	l, f := newNode(t, 1, store), newNode(t, 2, store)
	if err := f.p.Lead(1, 0, []Replica{{2, 1}}); err != nil {
		t.Fatal(err)
	}
	for range 8 {
		f.must(plain(1)) // with nobody else
	}
	if err := l.p.Lead(2, 0, []Replica{{1, 1}}); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		l.must(plain(1))
	}
	store.upload(t, l.p, 5)
	if err := f.p.Follow(2, 1); err != nil {
		t.Fatal(err)
	}
	from, rebased, err := f.p.Rebase(store.checkpoint)
	if err != nil || !rebased || from != 0 {
		t.Fatalf("parted at %d, %v, %v", from, rebased, err)
	}
	if err := f.p.Lead(3, 0, []Replica{{2, 2}}); err != nil {
		t.Fatal(err)
	}
	if _, _, end, object := f.p.Offsets(); end != 5 || object != 5 {
		t.Fatalf("end %d, object mark %d", end, object)
	}
	if !bytes.Equal(f.read(0), l.read(0)) {
		t.Fatalf("it serves other records than were tiered: %x, not %x", f.read(0), l.read(0))
	}
}

// Who has all that was tiered keeps what it has beyond.
func TestReplicaWithAllThatWasTieredKeepsItsLog(t *testing.T) {
	store, l, f := leaderAndFollower(t)
	for range 6 {
		l.must(plain(1))
	}
	copyOnce(t, l, f, 1)
	store.upload(t, l.p, 5)
	if from, rebased, err := f.p.Rebase(store.checkpoint); rebased || err != nil || from != 6 {
		t.Fatalf("%d, %v, %v", from, rebased, err)
	}
	_, _, err := f.p.Rebase(Checkpoint{End: 9, Epochs: mq.EpochHistory{{Epoch: 3, Start: 2}, {Epoch: 1, Start: 4}}})
	if err == nil {
		t.Fatal("a history that goes back was taken")
	}
}

// Nor does it lose what it has beyond when all that was tiered has been deleted since.
func TestReplicaKeepsItsLogWhereAllThatWasTieredIsDeleted(t *testing.T) {
	store, l, f := leaderAndFollower(t)
	for range 10 {
		l.must(plain(1))
	}
	copyOnce(t, l, f, 1)
	store.upload(t, l.p, 10) // of which f has not heard
	for range 5 {
		l.must(plain(1))
	}
	copyOnce(t, l, f, 1)
	copyOnce(t, l, f, 1) // with the watermark
	if err := f.p.SetLogStart(10); err != nil {
		t.Fatal(err)
	}
	if from, rebased, err := f.p.Rebase(store.checkpoint); rebased || err != nil || from != 15 {
		t.Fatalf("%d, %v, %v", from, rebased, err)
	}
}
