// DescribeProducers (61), version 0.
//
// The idempotent producers that the leader of a partition remembers, with their epochs, the last sequence of each and when it last appended. Other nodes answer NOT_LEADER_OR_FOLLOWER.
//
// Not supported: transactions, of which none is ever open; more than 10,000 partitions, or more than a response has room for (POLICY_VIOLATION for those beyond).

package kafkaproto

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func describeProducersAPI() api {
	return api{key: kmsg.DescribeProducers, min: 0, max: 0, start: inTurn(describeProducers)}
}

// producerBytes is what one producer takes in a response in memory.
const producerBytes = 96

func describeProducers(ctx context.Context, c *call, q *kmsg.DescribeProducersRequest, r *kmsg.DescribeProducersResponse) error {
	each, left := entries{ctx: ctx}, c.allowance()
	for _, t := range q.Topics {
		topic := kmsg.NewDescribeProducersResponseTopic()
		topic.Topic = t.Topic
		for _, index := range t.Partitions {
			p := kmsg.NewDescribeProducersResponseTopicPartition()
			p.Partition = index
			err := each.next()
			if err == nil {
				p.ActiveProducers, err = c.producersOf(t.Topic, index, left)
			}
			if err != nil {
				p.ErrorCode, p.ErrorMessage = failure(err)
			}
			topic.Partitions = append(topic.Partitions, p)
		}
		r.Topics = append(r.Topics, topic)
	}
	return nil
}

func (c *call) producersOf(topic string, index int32, left *allowance) (out []kmsg.DescribeProducersResponseTopicPartitionActiveProducer, err error) {
	if left.err != nil {
		return nil, left.err
	}
	states, err := c.broker().Producers(c.session, topic, index)
	if err != nil {
		return nil, err
	}
	if err := left.take(producerBytes * len(states)); err != nil {
		return nil, err
	}
	for _, s := range states {
		p := kmsg.NewDescribeProducersResponseTopicPartitionActiveProducer()
		p.ProducerID, p.ProducerEpoch, p.LastSequence, p.LastTimestamp = int64(s.ID), int32(s.Epoch), s.LastSequence, s.LastTime
		p.CoordinatorEpoch, p.CurrentTxnStartOffset = -1, -1
		out = append(out, p)
	}
	return out, nil
}
