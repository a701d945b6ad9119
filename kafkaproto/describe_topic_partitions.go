// DescribeTopicPartitions (75), version 0.
//
// The topics that are named, or all, by name and page by page: at most the request's limit of partitions, and 2,000, in one response, and then the cursor to go on with. Eligible leader replicas are those that were in
// sync last, when the in-sync set is smaller than min.insync.replicas (KIP-966).
//
// Not supported: last known leaders, of which none are told; authorized operations, which are told as unknown.

package kafkaproto

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

func describeTopicPartitionsAPI() api {
	return api{key: kmsg.DescribeTopicPartitions, min: 0, max: 0, start: inTurn(describeTopicPartitions)}
}

// partitionsPerPage is the most partitions of one response, and maxTopicsPerPage the most topics: some may have an error and no partition.
const (
	partitionsPerPage = 2000
	maxTopicsPerPage  = 2000
)

func describeTopicPartitions(_ context.Context, c *call, q *kmsg.DescribeTopicPartitionsRequest, r *kmsg.DescribeTopicPartitionsResponse) error {
	var names []string
	for _, t := range q.Topics {
		names = append(names, t.Topic)
	}
	all := len(names) == 0
	if all {
		names = c.broker().TopicNames(c.session)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	from := int32(0)
	if q.Cursor != nil {
		at, _ := slices.BinarySearch(names, q.Cursor.Topic)
		if names = names[at:]; len(names) > 0 && names[0] == q.Cursor.Topic {
			from = max(0, q.Cursor.Partition)
		}
	}
	left := partitionsPerPage
	if n := int(q.ResponsePartitionLimit); n > 0 {
		left = min(left, n)
	}
	for _, name := range names {
		if left == 0 || len(r.Topics) == maxTopicsPerPage {
			r.NextCursor = &kmsg.DescribeTopicPartitionsResponseNextCursor{Topic: name, Partition: from}
			return nil
		}
		out, next := c.topicPartitions(name, from, left)
		if all && out.ErrorCode == int16(mq.UnknownTopicOrPartition) {
			continue // deleted meanwhile
		}
		r.Topics = append(r.Topics, out)
		left -= len(out.Partitions)
		if next >= 0 {
			r.NextCursor = &kmsg.DescribeTopicPartitionsResponseNextCursor{Topic: name, Partition: next}
			return nil
		}
		from = 0
	}
	return nil
}

// topicPartitions are at most so many partitions of a topic, and which comes next; -1: none.
func (c *call) topicPartitions(name string, from int32, most int) (out kmsg.DescribeTopicPartitionsResponseTopic, next int32) {
	out = kmsg.NewDescribeTopicPartitionsResponseTopic()
	out.Topic = &name
	t, err := c.broker().Topic(c.session, name)
	if err != nil {
		out.ErrorCode = codeOf(err)
		return out, -1
	}
	out.TopicID, out.IsInternal = t.ID, t.Internal
	for i := int(from); i < len(t.Partitions); i++ {
		if len(out.Partitions) == most {
			return out, int32(i)
		}
		p := &t.Partitions[i]
		part := kmsg.NewDescribeTopicPartitionsResponseTopicPartition()
		part.Partition, part.LeaderID, part.LeaderEpoch = int32(i), int32(p.Leader), int32(p.LeaderEpoch)
		part.Replicas, part.ISR, part.OfflineReplicas = numbers(p.Replicas), numbers(p.InSync), numbers(p.Offline)
		part.EligibleLeaderReplicas, part.LastKnownELR = numbers(p.Eligible), []int32{}
		if p.Leader == mq.NoNode {
			part.ErrorCode = int16(mq.LeaderNotAvailable)
		}
		out.Partitions = append(out.Partitions, part)
	}
	return out, -1
}
