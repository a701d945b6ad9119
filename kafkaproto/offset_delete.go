// OffsetDelete (47), version 0.
//
// Forgets committed offsets of topics that no member of the group subscribes to; those of others are GROUP_SUBSCRIBED_TO_TOPIC. Where it is not known what the members subscribe to (a classic group
// of another kind than consumers) the group has to be empty: NON_EMPTY_GROUP.
//
// Not supported: nothing.

package kafkaproto

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func offsetDeleteAPI() api {
	return api{key: kmsg.OffsetDelete, min: 0, max: 0, start: inTurn(offsetDelete)}
}

func offsetDelete(ctx context.Context, c *call, q *kmsg.OffsetDeleteRequest, r *kmsg.OffsetDeleteResponse) error {
	topics := make([]TopicOffsets, len(q.Topics))
	for i, t := range q.Topics {
		topics[i] = TopicOffsets{Name: t.Topic, Offsets: make([]CommittedOffset, len(t.Partitions))}
		for j, p := range t.Partitions {
			topics[i].Offsets[j].Partition = p.Partition
		}
	}
	r.Topics = []kmsg.OffsetDeleteResponseTopic{}
	if err := c.broker().DeleteOffsets(ctx, c.session, q.Group, topics); err != nil {
		r.ErrorCode = coordinatorCodeOf(err)
		return nil
	}
	for _, t := range topics {
		out := kmsg.NewOffsetDeleteResponseTopic()
		out.Topic, out.Partitions = t.Name, make([]kmsg.OffsetDeleteResponseTopicPartition, len(t.Offsets))
		for j, o := range t.Offsets {
			out.Partitions[j].Partition = o.Partition
			if o.Err != nil {
				out.Partitions[j].ErrorCode = coordinatorCodeOf(o.Err)
			}
		}
		r.Topics = append(r.Topics, out)
	}
	return nil
}
