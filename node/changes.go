package node

import (
	"log/slog"
	"slices"
	"sync/atomic"

	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
)

// changes counts what the controllers decided about partitions that this node leads. Each is counted on one node, so that the sum over all nodes is right.
type changes struct {
	shrinks, expands   atomic.Int64 // of in-sync sets
	elections, unclean atomic.Int64 // that made this node the leader
}

// see takes the change of a partition, after part has its role in it; part is nil when it does not run here.
func (c *changes) see(node mq.NodeID, t *metadata.Topic, index int32, before, now *metadata.Partition, part *partition.Partition, logger *slog.Logger) {
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
	if now.UncleanEpoch == 0 || now.UncleanEpoch != now.LeaderEpoch {
		return
	}
	c.unclean.Add(1)
	end := mq.Offset(-1)
	if part != nil {
		_, _, end, _ = part.Offsets()
	}
	logger.Error("an unclean election: records that others had and acknowledged from this log end on are lost",
		"topic", t.Name, "partition", index, "leader_epoch", int32(now.LeaderEpoch), "log_end", int64(end), "tiered_end", int64(now.TieredEnd),
		"in_sync_before", before.ISR, "eligible_before", before.Eligible, "was_in_sync", slices.Contains(before.ISR, node))
}
