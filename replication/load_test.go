package replication

import (
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// A follower hears of each record later than the leader has synced it. It comes into sync all the same while records never stop, though at no moment it has all that
// the leader has alone.
func TestFollowerComesIntoSyncUnderLoad(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2, 1, 1, 8)
		c.net.delay = func() time.Duration { return time.Millisecond }
		c.start()
		defer c.close()
		c.acked(0, 5, 0, 10)
		leader, follower := c.leader(0), c.brokers[2]
		follower.crash(true)
		c.ctl.fence(follower.id)
		settle()
		if a := c.ctl.partition(id(0)); len(a.ISR) != 1 || c.leader(0) != leader {
			t.Fatalf("%+v", a)
		}
		follower.start()
		var last future
		for seq := int32(10); len(c.ctl.partition(id(0)).ISR) == 1; seq++ {
			if seq == 10_000 {
				t.Fatalf("after %d records in 5 s: %+v", seq, c.ctl.partition(id(0)))
			}
			last = make(future, 1)
			leader.send(0, batch(t, 5, 0, seq, 100), mq.DurabilityAll, last)
			time.Sleep(500 * time.Microsecond)
		}
		if r := <-last; r.Err != nil {
			t.Error(r.Err)
		}
		c.agree(0)
	})
}
