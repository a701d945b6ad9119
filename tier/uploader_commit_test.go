package tier

import (
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
