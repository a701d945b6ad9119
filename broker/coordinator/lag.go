package coordinator

import (
	"context"

	"github.com/rustmq/rustmq/group"
	"github.com/rustmq/rustmq/mq"
)

// Lags are how many offsets lie between what each group that is coordinated here has committed and the ends of these partitions, as far as end knows them. Shards that cannot say
// before ctx ends are left out.
func (c *Coordinator) Lags(ctx context.Context, end func(mq.PartitionID) (mq.Offset, bool)) map[string]int64 {
	lags := make(map[string]int64)
	for _, s := range c.table.Load().shards {
		response, err := s.do(ctx, "", &group.ListRequest{})
		list, ok := response.(*group.ListResponse)
		if err != nil || !ok {
			continue
		}
		for _, g := range list.Groups {
			response, err := s.do(ctx, g.Group, &group.FetchRequest{Group: g.Group, Generation: group.NoGeneration})
			if fetched, ok := response.(*group.FetchResponse); err == nil && ok {
				lags[g.Group] = c.lag(fetched, end)
			}
		}
	}
	return lags
}

func (c *Coordinator) lag(committed *group.FetchResponse, end func(mq.PartitionID) (mq.Offset, bool)) (lag int64) {
	for _, t := range committed.Topics {
		id := t.ID
		if known := c.cfg.Image().TopicByName(t.Topic); known != nil && id == (mq.TopicID{}) {
			id = known.ID
		}
		for _, o := range t.Offsets {
			if to, ok := end(mq.PartitionID{Topic: id, Index: o.Partition}); ok && to > o.Offset {
				lag += int64(to - o.Offset)
			}
		}
	}
	return lag
}
