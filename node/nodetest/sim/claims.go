package sim

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rustmq/rustmq/control"
	"github.com/rustmq/rustmq/history"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
	"github.com/rustmq/rustmq/tier"
	"github.com/rustmq/rustmq/tier/faultstore"
)

// claims are what brokers said of records when they acknowledged them, as the brokers know it: the clients are not told who leads, and in which epoch. The zero
// value is empty.
type claims struct {
	mu     sync.Mutex
	leads  map[epochOf]mq.NodeID
	local  []claim                      // acknowledged by the leader's disk alone
	object map[mq.PartitionID]mq.Offset // one past what is claimed to be in the object store
	lost   map[mq.NodeID]bool           // whose disks were lost
	reigns map[mq.PartitionID]reign     // the newest of each
	wrong  []history.Anomaly
}

// reign is the newest epoch in which something was acknowledged.
type reign struct {
	epoch mq.Epoch
	since time.Time
}

// zombieAtMost is for how long a leader may acknowledge that was replaced: it has a lease, which was not to be given once another was elected, and news of
// that election may be under way for a moment.
const zombieAtMost = control.DefaultLease

type epochOf struct {
	partition mq.PartitionID
	epoch     mq.Epoch
}

type claim struct {
	partition.Acknowledgement
	node mq.NodeID
}

func nameOf(id mq.PartitionID) history.Partition {
	return history.Partition{Topic: fmt.Sprintf("topic %x", id.Topic[:4]), Index: id.Index}
}

// note keeps what a node says of records. Two nodes that acknowledge in one epoch are both its leaders.
func (c *claims) note(node mq.NodeID, a partition.Acknowledgement) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leads == nil {
		c.leads, c.object, c.lost = make(map[epochOf]mq.NodeID), make(map[mq.PartitionID]mq.Offset), make(map[mq.NodeID]bool)
		c.reigns = make(map[mq.PartitionID]reign)
	}
	key := epochOf{a.Partition, a.Epoch}
	if other, ok := c.leads[key]; ok && other != node {
		c.wrong = append(c.wrong, history.Anomaly{
			Kind: "two leaders", Partition: nameOf(a.Partition), Text: fmt.Sprintf("nodes %d and %d both acknowledged in epoch %d", other, node, a.Epoch),
		})
	}
	c.leads[key] = node
	c.reigned(node, a)
	switch a.Reached {
	case mq.MarkLocal:
		c.local = append(c.local, claim{a, node})
	case mq.MarkObject:
		c.object[a.Partition] = max(c.object[a.Partition], a.Last+1)
	}
}

// reigned finds a leader that goes on to acknowledge long after another has begun. The mutex is held.
func (c *claims) reigned(node mq.NodeID, a partition.Acknowledgement) {
	r, any := c.reigns[a.Partition]
	switch late := time.Since(r.since); {
	case !any || a.Epoch > r.epoch:
		c.reigns[a.Partition] = reign{a.Epoch, time.Now()}
	case a.Epoch < r.epoch && late > zombieAtMost:
		c.wrong = append(c.wrong, history.Anomaly{Kind: "zombie", Partition: nameOf(a.Partition), Text: fmt.Sprintf(
			"node %d acknowledged offset %d in epoch %d, %v after epoch %d had begun", node, a.Last, a.Epoch, late, r.epoch)})
	}
}

// epoch is the newest in which something was acknowledged, mq.NoEpoch if nothing was.
func (c *claims) epoch(id mq.PartitionID) mq.Epoch {
	c.mu.Lock()
	defer c.mu.Unlock()
	newest := mq.NoEpoch
	for at := range c.leads {
		if at.partition == id {
			newest = max(newest, at.epoch)
		}
	}
	return newest
}

// forget says that a node's disk was lost, and with it whatever it alone had.
func (c *claims) forget(node mq.NodeID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost == nil {
		c.lost = make(map[mq.NodeID]bool)
	}
	c.lost[node] = true
}

// checkLocal finds what a leader alone acknowledged and what is gone, though it has its disk and nobody else led between: at its place are records of
// the next epoch, which it led itself, or none, and the last epoch is that one or its own. Who led an epoch in which nothing was acknowledged is not known, and
// so nothing is held against it. log is what all replicas have in common, and last the present epoch.
func (c *claims) checkLocal(id mq.PartitionID, log history.Replica, last mq.Epoch) (out []history.Anomaly) {
	for _, a := range c.local {
		if a.Partition != id || c.lost[a.node] || a.Last < log.First {
			continue
		}
		epoch := last
		i := slices.IndexFunc(log.Batches, func(b mq.Batch) bool { return b.NextOffset() > a.Last })
		if i >= 0 {
			if epoch = log.Batches[i].LeaderEpoch(); epoch <= a.Epoch {
				continue
			}
		}
		next, known := c.leads[epochOf{id, a.Epoch + 1}]
		if epoch <= a.Epoch || epoch == a.Epoch+1 && known && next == a.node {
			out = append(out, history.Anomaly{Kind: "lost", Partition: nameOf(id), Text: fmt.Sprintf(
				"node %d acknowledged offset %d in epoch %d as on its disk; it is gone, and nobody else led up to epoch %d", a.node, a.Last, a.Epoch, epoch)})
		}
	}
	return out
}

// checkObjects finds what was acknowledged as in the object store and is not there, and objects that are damaged.
func (c *claims) checkObjects(ctx context.Context, store *faultstore.Store) (out []history.Anomaly, err error) {
	store.SetHook(nil)
	there := make(map[mq.PartitionID][]tier.RangeInfo)
	for _, key := range store.Keys() {
		o, err := tier.OpenObject(ctx, tier.NewStore(store.Bucket(), tier.Limits{}), key)
		if err != nil {
			return nil, err
		}
		footer, err := tier.ReadFooter(o, o.Size())
		if err != nil {
			continue // half of an object, which nobody was told of, or not an object
		}
		report, err := tier.Check(o)
		if err != nil {
			return nil, err
		}
		for _, r := range footer.Ranges {
			there[r.Partition] = append(there[r.Partition], r)
			for _, d := range report.Damage {
				out = append(out, history.Anomaly{Kind: "corrupt", Partition: nameOf(r.Partition), Text: fmt.Sprintf("%s %s", key, d)})
			}
		}
	}
	for id, end := range c.object {
		if at := covered(there[id]); at < end {
			out = append(out, history.Anomaly{
				Kind: "lost", Partition: nameOf(id), Text: fmt.Sprintf("acknowledged as in the object store up to offset %d, which has it up to %d", end, at),
			})
		}
	}
	return out, nil
}

// covered is how far ranges reach from offset 0 on, without a hole.
func covered(ranges []tier.RangeInfo) (end mq.Offset) {
	slices.SortFunc(ranges, func(a, b tier.RangeInfo) int { return int(a.First - b.First) })
	for _, r := range ranges {
		if r.First > end {
			break
		}
		end = max(end, r.End)
	}
	return end
}
