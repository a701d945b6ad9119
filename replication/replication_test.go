package replication

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/rustmq/rustmq/mq"
)

func TestRecordsReachEveryReplicaBeforeTheyAreAcknowledged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, 2, 2, 1).start()
		defer c.close()
		time.Sleep(100 * time.Millisecond)
		for i := range 2 {
			l := c.leader(i)
			for seq := range 50 {
				r := l.produce(i, batch(t, 5, 0, int32(seq), 100), mq.DurabilityAll)
				if r.Err != nil || r.Base != mq.Offset(seq) || r.Reached < mq.MarkReplicated {
					t.Fatalf("%+v", r)
				}
				for _, b := range c.brokers {
					if _, _, end, _ := b.partition(id(i)).Offsets(); end <= r.Last {
						t.Fatalf("record %d is acknowledged, and broker %d ends at %d", r.Last, b.id, end)
					}
				}
			}
		}
		c.agree(0)
		c.agree(1)
		synctest.Wait()
	})
}
