package partition

import (
	"context"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
)

// These are the clauses of the design's rules of producers and of the store that no other test here falls over when they are broken.

// Rule 9: a batch repeats one of its own epoch only. Sequences go round, so that one of the epoch before may lie at the same distance.
func TestBatchOfAnEarlierEpochIsNotRepeatedByALaterOne(t *testing.T) {
	const first = math.MaxInt32 - 7 // 8 sequences up to the last there is
	ps := newProducers(0, 0)
	ps.apply(sequence{7, 0, first, 8}, 0, 0, 0)
	ps.apply(sequence{7, 1, 0, 1}, 8, 0, 0)
	_, duplicate, err := ps.check(sequence{7, 1, first, 8})
	if duplicate {
		t.Error("a batch of epoch 1 was taken for one of epoch 0")
	}
	codeWanted(t, err, mq.DuplicateSequence)
}

// Rule 10: a commit carries the epochs of its range and of what lies before it, and none that began behind it.
func TestCheckpointHasNoEpochThatBeganBehindItsRange(t *testing.T) {
	store := &bucket{}
	n := newNode(t, 1, store)
	n.lead()
	n.must(plain(3))
	n.lead() // another epoch, from offset 3 on
	n.must(plain(2))
	store.upload(t, n.p, 3)
	if want := (mq.EpochHistory{{Epoch: 0, Start: 0}}); !slices.Equal(store.checkpoint.Epochs, want) {
		t.Errorf("epochs at 3: %v, want %v", store.checkpoint.Epochs, want)
	}
	store.upload(t, n.p, 5)
	if want := (mq.EpochHistory{{Epoch: 0, Start: 0}, {Epoch: 1, Start: 3}}); !slices.Equal(store.checkpoint.Epochs, want) {
		t.Errorf("epochs at 5: %v, want %v", store.checkpoint.Epochs, want)
	}
}

// Rule 10: where the log has freed all of a partition, the checkpoint is all that there is.
func TestCheckpointIsEnoughWhenTheLogHasFreedEverything(t *testing.T) {
	store := &bucket{}
	n := newNode(t, 1, store)
	n.lead()
	n.must(batch(producedBy{1, 0, 0}, 3, 'a', 10, 0))
	n.lead() // another epoch, from offset 3 on
	n.must(batch(producedBy{1, 0, 3}, 2, 'b', 10, 0))
	store.upload(t, n.p, 5)
	n.writeOn(func() bool {
		return !slices.ContainsFunc(n.disk.Files("wal"), func(path string) bool { return filepath.Base(path) == "0000000000000001.wal" })
	})

	n.restart(store.checkpoint)
	if first, end, ok := n.log.Bounds(wal.StreamID(testID().Key())); !ok || first != 5 || end != 5 {
		t.Fatalf("the log has [%d, %d): the test shows nothing", first, end)
	}
	n.lead()
	if e, end := n.p.EndOffsetForEpoch(0); e != 0 || end != 3 {
		t.Errorf("epoch %d ends at %d, want 0 at 3", e, end)
	}
	if r := n.must(batch(producedBy{1, 0, 0}, 3, 'a', 10, 0)); !r.Duplicate || r.Base != 0 {
		t.Errorf("the first batch again: %+v", r)
	}
	if r := n.must(batch(producedBy{1, 0, 5}, 1, 'c', 10, 0)); r.Duplicate || r.Base != 5 {
		t.Errorf("the next batch: %+v", r)
	}
}

// writeOn writes to another stream of the log, and releases it, until the log did what it then does.
func (n *node) writeOn(until func() bool) {
	n.t.Helper()
	payload := make([]byte, 2000)
	for at := uint64(0); !until(); at++ {
		if err := n.log.Reserve(context.Background(), int64(len(payload))); err != nil {
			n.t.Fatal(err)
		}
		n.log.Append(wal.Entry{Stream: wal.StreamID{0xff}, Type: wal.EntryData, First: at, End: at + 1, Payload: payload}, nil)
		if err := n.log.Sync(context.Background()); err != nil {
			n.t.Fatal(err)
		}
		n.log.Release(wal.StreamID{0xff}, at+1)
	}
}

// Rules 10 and 13: a replica that resets to the tiered end has the epochs of that place, not those of the log that it threw away.
func TestResetTakesTheEpochsOfTheCheckpoint(t *testing.T) {
	n := newNode(t, 2, &bucket{})
	if err := n.p.Follow(3, 1); err != nil {
		t.Fatal(err)
	}
	if err := n.p.Replicate(context.Background(), 3, stamped(plain(2), 0, 3), 0, 0); err != nil {
		t.Fatal(err)
	}
	tiered := Checkpoint{End: 9, Epochs: mq.EpochHistory{{Epoch: 0, Start: 0}, {Epoch: 2, Start: 4}}}
	if err := n.p.Reset(3, tiered); err != nil {
		t.Fatal(err)
	}
	if got := n.p.Epochs(); !slices.Equal(got, tiered.Epochs) {
		t.Errorf("epochs are %v, want %v", got, tiered.Epochs)
	}
	if got := n.p.LastEpoch(); got != 2 {
		t.Errorf("it asks the leader for epoch %d, its last batch is of epoch 2", got)
	}
}

// What lies below the log start is no part of the history that followers are told.
func TestEpochsBelowTheLogStartAreForgotten(t *testing.T) {
	n := newNode(t, 1, nil)
	for range 3 {
		n.lead()
		n.must(plain(2))
	}
	if err := n.p.SetLogStart(3); err != nil {
		t.Fatal(err)
	}
	if want := (mq.EpochHistory{{Epoch: 1, Start: 3}, {Epoch: 2, Start: 4}}); !slices.Equal(n.p.Epochs(), want) {
		t.Errorf("epochs are %v, want %v", n.p.Epochs(), want)
	}
	if e, end := n.p.EndOffsetForEpoch(0); e != mq.NoEpoch || end != -1 {
		t.Errorf("epoch 0 is gone, and said to be %d up to %d", e, end)
	}
}

// The log start may lie inside a batch: what is below it is no answer.
func TestOffsetByTimeIsNotBelowTheLogStart(t *testing.T) {
	n := newNode(t, 1, nil)
	n.lead()
	n.must(batch(nobody(), 4, 'a', 10, 1000)) // times 1000 to 1003
	if err := n.p.SetLogStart(2); err != nil {
		t.Fatal(err)
	}
	if offset, at, err := n.p.OffsetByTime(context.Background(), 1000); offset != 2 || at != 1002 || err != nil {
		t.Errorf("offset %d of time %d, %v; want 2 of 1002", offset, at, err)
	}
}
