package node

import (
	"sync/atomic"

	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
)

// changes counts what the controllers decided about partitions that this node leads. Each is counted on one node, so that the sum over all nodes is right.
type changes struct {
	shrinks, expands   atomic.Int64 // of in-sync sets
	elections, unclean atomic.Int64 // that made this node the leader
}

// see takes the change of a partition.
func (c *changes) see(node mq.NodeID, before, now *metadata.Partition) {
	if before == nil || now.Leader != node {
		return
	}
	switch {
	case len(now.ISR) < len(before.ISR):
		c.shrinks.Add(1)
	case len(now.ISR) > len(before.ISR):
		c.expands.Add(1)
	}
	if before.Leader == node || before.LeaderEpoch == now.LeaderEpoch {
		return
	}
	c.elections.Add(1)
	if now.Unclean() {
		c.unclean.Add(1) // what is lost is said where the partition is made ready to be led
	}
}
