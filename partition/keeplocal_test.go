package partition

import (
	"bytes"
	"context"
	"testing"

	"github.com/rustmq/rustmq/mq"
)

// keepers are a leader and a follower that keep everything above the log start in their logs.
func keepers(t testing.TB) (store *bucket, l, f *node) {
	store = &bucket{}
	l, f = newNode(t, 1, store), newNode(t, 2, store)
	for _, n := range []*node{l, f} {
		n.cfg.KeepLocal = true
		n.restart(Checkpoint{})
	}
	if err := l.p.Lead(1, 0, []Replica{{1, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := f.p.Follow(1, 1); err != nil {
		t.Fatal(err)
	}
	return store, l, f
}

// first is where what the log has of the partition begins.
func (n *node) first() mq.Offset {
	first, _, _ := n.log.Bounds(n.p.stream)
	return mq.Offset(first)
}

// catchUp does what a follower and its leader say to each other, a reset included.
func catchUp(t testing.TB, l, f *node, epoch mq.Epoch) {
	t.Helper()
	_, _, from, _ := f.p.Offsets()
	_, err := l.p.ReadReplica(context.Background(), epoch, from, 3000, &ReadBuffer{})
	if mq.CodeOf(err) == mq.OffsetOutOfRange {
		_, _, _, tiered := l.p.Offsets()
		err = f.p.ResetToTiered(context.Background(), epoch, tiered, l.p.ResetStart())
	}
	if err != nil {
		t.Fatal(err)
	}
	replicate(t, l, f, epoch)
	if _, _, _, tiered := l.p.Offsets(); tiered > 0 {
		if err := f.p.Confirmed(epoch, tiered); err != nil {
			t.Fatal(err)
		}
	}
}

// away has the object store not be there.
func (c *bucket) away() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = mq.Errorf(mq.ObjectStoreUnavailable, "it is away")
}

// Rule 20: what is kept in the log is read from there, by the leader and after it has died by the next one, though the object store has it all and is away.
func TestKeptPartitionNeedsNoObjectStore(t *testing.T) {
	store, l, f := keepers(t)
	for range 6 {
		l.must(plain(2))
	}
	catchUp(t, l, f, 1)
	store.upload(t, l.p, 12)
	if err := l.p.SetLogStart(4); err != nil {
		t.Fatal(err)
	}
	catchUp(t, l, f, 1)
	want := l.read(4)
	store.away()
	for _, n := range []*node{l, f} {
		if _, _, _, object := n.p.Offsets(); object != 12 || n.first() != 4 {
			t.Errorf("node %d: tiered up to %d, its log begins at %d", n.id, object, n.first())
		}
		n.restart(store.checkpoint)
		if err := n.p.Lead(5, 0, []Replica{{n.id, 1}}); err != nil {
			t.Fatal(err)
		}
		if n.first() != 4 || !bytes.Equal(n.read(4), want) {
			t.Errorf("node %d: its log begins at %d after a restart", n.id, n.first())
		}
	}
}

// A replica that was away for long, or is new, has everything above the log start in its own log again, though most of that is tiered.
func TestReplicaOfAKeptPartitionGoesOnAtTheLogStart(t *testing.T) {
	for name, prepare := range map[string]func(store *bucket, l, f *node){
		"new": func(*bucket, *node, *node) {},
		"behind the tiered end": func(store *bucket, l, f *node) {
			l.must(plain(1))
			catchUp(t, l, f, 1)
		},
		"behind the log start": func(store *bucket, l, f *node) {
			l.must(plain(1))
			catchUp(t, l, f, 1)
			l.must(plain(2))
			store.upload(t, l.p, 3)
			if err := l.p.SetLogStart(3); err != nil {
				t.Fatal(err)
			}
		},
	} {
		store, l, f := keepers(t)
		prepare(store, l, f)
		for range 6 {
			l.must(plain(2))
		}
		_, _, end, _ := l.p.Offsets()
		store.upload(t, l.p, end)
		start, _, _, _ := l.p.Offsets()
		f.restart(store.checkpoint)
		if err := f.p.Follow(1, 1); err != nil {
			t.Fatal(err)
		}
		catchUp(t, l, f, 1)
		l.must(plain(1))
		catchUp(t, l, f, 1)
		want := l.read(start)
		store.away()
		if f.first() > start {
			t.Errorf("%s: the log begins at %d, the log start is %d", name, f.first(), start)
		}
		f.restart(store.checkpoint)
		if err := f.p.Lead(5, 0, []Replica{{2, 1}}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(f.read(start), want) {
			t.Errorf("%s: it is another log", name)
		}
	}
}

// A log that is another one than was tiered is of no use to a replica that keeps all of it either: it begins anew.
func TestKeptLogThatPartedBeginsAnew(t *testing.T) {
	store, l, f := keepers(t)
	l.must(plain(2))
	catchUp(t, l, f, 1)
	if err := f.p.Lead(2, 0, []Replica{{2, 1}}); err != nil {
		t.Fatal(err)
	}
	f.must(plain(3)) // of which nobody hears
	if err := l.p.Lead(3, 0, []Replica{{1, 1}}); err != nil {
		t.Fatal(err)
	}
	l.must(plain(4))
	_, _, end, _ := l.p.Offsets()
	store.upload(t, l.p, end)
	f.restart(store.checkpoint)
	if _, _, end, _ := f.p.Offsets(); end != 0 {
		t.Errorf("it goes on at %d", end)
	}
	if err := f.p.Follow(3, 1); err != nil {
		t.Fatal(err)
	}
	catchUp(t, l, f, 3)
	store.away()
	f.restart(store.checkpoint)
	if err := f.p.Lead(5, 0, []Replica{{2, 1}}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(f.read(0), l.read(0)) {
		t.Error("it is another log")
	}
}

// A leader that has lost its disk has nothing in its log of what was tiered: a replica that follows it begins where that log does, and not at the log start again and again.
func TestReplicaOfAKeptPartitionThatHasLostItsLogBeginsWhereThatDoes(t *testing.T) {
	store, l, f := keepers(t)
	for range 6 {
		l.must(plain(2))
	}
	store.upload(t, l.p, 12)
	lost := newNode(t, 3, store)
	lost.cfg.KeepLocal = true
	lost.restart(store.checkpoint)
	if from, rebased, err := lost.p.Rebase(store.checkpoint); err != nil || !rebased {
		t.Fatalf("it goes on at %d, %v", from, err)
	}
	if err := lost.p.Lead(2, 0, []Replica{{3, 1}}); err != nil {
		t.Fatal(err)
	}
	lost.must(plain(2))
	lost.evict()
	if err := f.p.Follow(2, 3); err != nil {
		t.Fatal(err)
	}
	catchUp(t, lost, f, 2)
	if _, _, end, _ := f.p.Offsets(); end != 14 || f.first() != 12 {
		t.Errorf("the log of the replica is [%d, %d)", f.first(), end)
	}
	if err := f.p.Lead(3, 0, []Replica{{2, 1}}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(f.read(0), lost.read(0)) {
		t.Error("it is another log")
	}
}
