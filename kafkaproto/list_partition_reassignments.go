// ListPartitionReassignments (46), version 0.
//
// The partitions whose replicas are being changed, all or those of them that the request names: the replicas that there are meanwhile, and which of them come and go.
//
// Not supported: the request's timeout, since nothing is waited for.

package kafkaproto

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func listPartitionReassignmentsAPI() api {
	return api{key: kmsg.ListPartitionReassignments, min: 0, max: 0, start: inTurn(listPartitionReassignments)}
}

func listPartitionReassignments(_ context.Context, c *call, q *kmsg.ListPartitionReassignmentsRequest, r *kmsg.ListPartitionReassignmentsResponse) error {
	list, err := c.broker().Reassignments(c.session)
	if err != nil {
		r.ErrorCode, r.ErrorMessage = failure(err)
		return nil
	}
	named := make(map[TopicPartition]bool)
	for _, t := range q.Topics {
		for _, p := range t.Partitions {
			named[TopicPartition{t.Topic, p}] = true
		}
	}
	for _, m := range list {
		if q.Topics != nil && !named[m.TopicPartition] {
			continue
		}
		if n := len(r.Topics); n == 0 || r.Topics[n-1].Topic != m.Topic {
			topic := kmsg.NewListPartitionReassignmentsResponseTopic()
			topic.Topic = m.Topic
			r.Topics = append(r.Topics, topic)
		}
		p := kmsg.NewListPartitionReassignmentsResponseTopicPartition()
		p.Partition, p.Replicas, p.AddingReplicas, p.RemovingReplicas = m.Partition, numbers(m.Replicas), numbers(m.Adding), numbers(m.Removing)
		topic := &r.Topics[len(r.Topics)-1]
		topic.Partitions = append(topic.Partitions, p)
	}
	return nil
}
