// DeleteRecords (21), versions 0 to 2.
//
// Moves the log start of partitions that this node leads to an offset, -1 for the high watermark; others are NOT_LEADER_OR_FOLLOWER. An offset beyond the high watermark is OFFSET_OUT_OF_RANGE; one below the log start
// changes nothing. The low watermark of the answer is the log start that holds from now on, for all replicas and the object store: what lies below is not read any more, and its space is freed later.
//
// A topic that is only compacted is POLICY_VIOLATION, as by Kafka. What there is no time left for within the request's timeout is REQUEST_TIMED_OUT; a timeout of 0 is none.
//
// Not supported: more than 10,000 partitions in a request (POLICY_VIOLATION for the topics beyond).

package kafkaproto

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

func deleteRecordsAPI() api {
	return api{key: kmsg.DeleteRecords, min: 0, max: 2, start: inTurn(deleteRecords)}
}

func deleteRecords(ctx context.Context, c *call, q *kmsg.DeleteRecordsRequest, r *kmsg.DeleteRecordsResponse) error {
	ctx, cancel := within(ctx, q.TimeoutMillis)
	defer cancel()
	each := entries{ctx: ctx}
	for i := range q.Topics {
		topic := kmsg.NewDeleteRecordsResponseTopic()
		topic.Topic = q.Topics[i].Topic
		var err error
		trims := make([]Trim, len(q.Topics[i].Partitions))
		for j, p := range q.Topics[i].Partitions {
			trims[j] = Trim{Partition: p.Partition, Before: mq.Offset(p.Offset)}
			if refused := each.next(); refused != nil {
				err = refused
			}
		}
		var trimmed []Trimmed
		if err == nil && len(trims) > 0 {
			trimmed = c.broker().DeleteRecords(ctx, c.session, topic.Topic, trims)
		}
		for j, t := range trims {
			p := kmsg.NewDeleteRecordsResponseTopicPartition()
			p.Partition, p.LowWatermark, p.ErrorCode = t.Partition, -1, adminCodeOf(err)
			if err == nil {
				if p.ErrorCode = adminCodeOf(trimmed[j].Err); p.ErrorCode == 0 {
					p.LowWatermark = int64(trimmed[j].LogStart)
				}
			}
			topic.Partitions = append(topic.Partitions, p)
		}
		r.Topics = append(r.Topics, topic)
	}
	return nil
}
