// OffsetForLeaderEpoch (23), versions 2 to 4.
//
// The greatest epoch at or below the one that is asked for in which records were appended, and the offset behind the last of them; -1 and -1 for an epoch that is newer than
// all, or older than what is known. A consumer sees by that whether the records that it has are still those of the log. A client that names the present leader epoch gets
// FENCED_LEADER_EPOCH or UNKNOWN_LEADER_EPOCH if it is another one.
//
// franz-go goes by leader epochs only where this is offered, and without them does not take up again what a fenced broker led.
//
// Not supported: versions 0 and 1.

package kafkaproto

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

func offsetForLeaderEpochAPI() api {
	return api{key: kmsg.OffsetForLeaderEpoch, min: 2, from: 2, max: 4, start: inTurn(offsetForLeaderEpoch)}
}

func offsetForLeaderEpoch(ctx context.Context, c *call, q *kmsg.OffsetForLeaderEpochRequest, r *kmsg.OffsetForLeaderEpochResponse) error {
	r.Topics = make([]kmsg.OffsetForLeaderEpochResponseTopic, len(q.Topics))
	for i := range q.Topics {
		topic := kmsg.NewOffsetForLeaderEpochResponseTopic()
		topic.Topic = q.Topics[i].Topic
		for _, p := range q.Topics[i].Partitions {
			if err := ctx.Err(); err != nil {
				return err
			}
			topic.Partitions = append(topic.Partitions, c.epochEnd(ctx, topic.Topic, p))
		}
		r.Topics[i] = topic
	}
	return nil
}

func (c *call) epochEnd(ctx context.Context, topic string, q kmsg.OffsetForLeaderEpochRequestTopicPartition) kmsg.OffsetForLeaderEpochResponseTopicPartition {
	p := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
	p.Partition, p.LeaderEpoch, p.EndOffset = q.Partition, int32(mq.NoEpoch), -1
	reader, err := c.broker().OpenFetch(ctx, c.session, topic, q.Partition, mq.Epoch(q.CurrentLeaderEpoch), "")
	if err != nil {
		p.ErrorCode = codeOf(err)
		return p
	}
	defer reader.Close()
	asked := mq.Epoch(q.LeaderEpoch)
	if _, present := c.broker().Leader(topic, q.Partition); asked < 0 || asked > present {
		return p
	}
	last, end, err := reader.EpochEnd(asked)
	if err != nil {
		p.ErrorCode = codeOf(err)
		return p
	}
	p.LeaderEpoch, p.EndOffset = int32(last), int64(end)
	return p
}
