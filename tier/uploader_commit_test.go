package tier

import (
	"bytes"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/rustmq/rustmq/mq"
)

// TestCommitStaysBelowWhatTheCatalogueTakes has many partitions with little data and much state: one object of all of them could
// never be committed, and would be tried for ever.
func TestCommitStaysBelowWhatTheCatalogueTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const partitions, limit = 40, 1000
		r := newRig(t, partitions)
		size := func(o ObjectCommit) (bytes int64) {
			for i := range o.Ranges {
				bytes += o.Ranges[i].Size()
			}
			return bytes
		}
		one := (&RangeCommit{State: testState(testPartition(0), 1), Epochs: []mq.EpochStart{{}}}).Size()
		r.catalog.refuse = func(o ObjectCommit) error {
			if size(o) >= limit+one {
				return mq.Errorf(mq.MessageTooLarge, "a command of %d bytes", size(o))
			}
			return nil
		}
		up := r.start(func(cfg *UploaderConfig) { cfg.CommitBytes = limit })
		defer up.Close()
		for i := range partitions {
			r.append(i, []byte("x"))
		}
		if err := up.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.checkAll()
		if got, most := len(r.catalog.order), partitions/int(limit/one); got > most {
			t.Errorf("%d objects for %d partitions, %d are enough", got, partitions, most)
		}
	})
}

// TestCommitCarriesWhatBelongsToTheEndOfEachRange is rule 10 of the design: what a new replica begins with comes with the commit.
func TestCommitCarriesWhatBelongsToTheEndOfEachRange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 3)
		up := r.start(nil)
		defer up.Close()
		for range 3 {
			for i := range r.sources {
				for range i + 1 {
					r.append(i, []byte("value"))
				}
			}
			if err := up.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if got := len(r.catalog.order); got != 3 {
			t.Errorf("%d commands for 3 objects", got)
		}
		if got := r.catalog.nextID - 1; got != leaseObjectIDs {
			t.Errorf("%d ids were leased for 3 objects: want one block of %d", got, leaseObjectIDs)
		}
		for _, o := range r.catalog.order {
			if len(o.Ranges) != len(r.sources) {
				t.Errorf("object %d: %d ranges in one command, want %d", o.ID, len(o.Ranges), len(r.sources))
			}
			for _, g := range o.Ranges {
				if !bytes.Equal(g.State, testState(g.Partition, g.End)) {
					t.Errorf("%s [%d,%d): producer state %x is not that at its end", g.Partition, g.First, g.End, g.State)
				}
				if want := []mq.EpochStart{{Epoch: 1, Start: 0}}; !slices.Equal(g.Epochs, want) {
					t.Errorf("%s [%d,%d): epochs %v, want %v", g.Partition, g.First, g.End, g.Epochs, want)
				}
			}
		}
	})
}
