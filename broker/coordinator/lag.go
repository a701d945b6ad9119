package coordinator

import (
	"context"

	"github.com/rustmq/rustmq/group"
	"github.com/rustmq/rustmq/mq"
)

// EachCommitted tells of each group that is coordinated here how far it has come in each partition that it has committed for. Shards that cannot say before ctx ends are
// left out.
func (c *Coordinator) EachCommitted(ctx context.Context, visit func(name string, p mq.PartitionID, committed mq.Offset)) {
	for _, s := range c.table.Load().shards {
		response, err := s.do(ctx, "", &group.ListRequest{})
		list, ok := response.(*group.ListResponse)
		if err != nil || !ok {
			continue
		}
		for _, g := range list.Groups {
			response, err := s.do(ctx, g.Group, &group.FetchRequest{Group: g.Group, Generation: group.NoGeneration})
			if fetched, ok := response.(*group.FetchResponse); err == nil && ok {
				c.eachOf(g.Group, fetched, visit)
			}
		}
	}
}

func (c *Coordinator) eachOf(name string, committed *group.FetchResponse, visit func(string, mq.PartitionID, mq.Offset)) {
	for _, t := range committed.Topics {
		id := t.ID
		if known := c.cfg.Image().TopicByName(t.Topic); known != nil && id == (mq.TopicID{}) {
			id = known.ID
		}
		for _, o := range t.Offsets {
			visit(name, mq.PartitionID{Topic: id, Index: o.Partition}, o.Offset)
		}
	}
}
