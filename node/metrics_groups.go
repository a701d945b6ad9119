package node

import (
	"context"
	"time"

	consumers "github.com/rustmq/rustmq/group"
	"github.com/rustmq/rustmq/mq"
)

// groupSample is what metrics of consumer groups are read from.
type groupSample struct {
	figures consumers.Figures
	lags    map[string]int64
}

// lagWithin is how long a scrape waits for coordinators that wait for a disk.
const lagWithin = time.Second

func (n *Node) groupSample() (s groupSample) {
	if n.groups == nil {
		return s
	}
	ctx, cancel := context.WithTimeout(context.Background(), lagWithin)
	defer cancel()
	s.figures = n.groups.Figures()
	s.lags = n.groups.Lags(ctx, func(id mq.PartitionID) (mq.Offset, bool) {
		part := n.partitions.Table().Get(id)
		if part == nil {
			return -1, false
		}
		_, high, _, _ := part.Offsets()
		return high, true
	})
	return s
}

func groupMetrics() []metric {
	return []metric{
		{name: "rustmq_groups", help: "Consumer groups that this node coordinates.", kind: gauge, value: func(s *sample) float64 { return float64(s.groups.figures.Groups) }},
		{name: "rustmq_group_members", help: "Members of the consumer groups that this node coordinates.", kind: gauge, value: func(s *sample) float64 { return float64(s.groups.figures.Members) }},
		{name: "rustmq_group_offsets", help: "Committed offsets of the consumer groups that this node coordinates.", kind: gauge, value: func(s *sample) float64 { return float64(s.groups.figures.Offsets) }},
		{name: "rustmq_group_lag_records", help: "Offsets between what a consumer group that this node coordinates has committed and the ends of the partitions, of those partitions that have a replica on this node.", kind: gauge, label: "group", each: func(s *sample) map[string]float64 {
			lags := make(map[string]float64, len(s.groups.lags))
			for name, lag := range s.groups.lags {
				lags[name] = float64(lag)
			}
			return lags
		}},
	}
}
