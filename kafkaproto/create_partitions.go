// CreatePartitions (37), versions 0 to 3.
//
// Each topic by itself, on any node: it grows to the count, which has to be larger than what it has (INVALID_PARTITIONS). Replicas that are given for each new partition are taken as they are
// (INVALID_REPLICA_ASSIGNMENT where that cannot be). With validate_only everything is checked and nothing made. A topic that comes twice in a request is INVALID_REQUEST, once. What there is no time left for within the
// request's timeout is REQUEST_TIMED_OUT; a timeout of 0 is none.
//
// Not supported: more than 1,000 topics in a request, or counts of more than 10,000 together (POLICY_VIOLATION for those beyond).

package kafkaproto

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

func createPartitionsAPI() api {
	return api{key: kmsg.CreatePartitions, min: 0, max: 3, start: inTurn(createPartitions)}
}

func createPartitions(ctx context.Context, c *call, q *kmsg.CreatePartitionsRequest, r *kmsg.CreatePartitionsResponse) error {
	ctx, cancel := within(ctx, q.TimeoutMillis)
	defer cancel()
	newest(ctx, c, q.Topics, func(t *kmsg.CreatePartitionsRequestTopic) (string, mq.TopicID) { return t.Topic, mq.TopicID{} })
	names, each := countOf(q.Topics, func(t *kmsg.CreatePartitionsRequestTopic) string { return t.Topic }), entries{ctx: ctx}
	for i := range q.Topics {
		t := &q.Topics[i]
		count, first := names.first(t.Topic)
		if !first {
			continue
		}
		out := kmsg.NewCreatePartitionsResponseTopic()
		out.Topic = t.Topic
		err := each.nextTopic(int(t.Count))
		switch {
		case err != nil:
		case count > 1:
			err = mq.Errorf(mq.InvalidRequest, "topic %q is in the request %d times", t.Topic, count)
		default:
			err = c.createPartitions(ctx, t, q.ValidateOnly)
		}
		if err != nil {
			out.ErrorCode, out.ErrorMessage = failure(err)
		}
		r.Topics = append(r.Topics, out)
	}
	return nil
}

// createPartitions has one topic grow.
func (c *call) createPartitions(ctx context.Context, q *kmsg.CreatePartitionsRequestTopic, dry bool) error {
	var assignments [][]mq.NodeID
	if q.Assignment != nil {
		var err error
		assignments, err = assignmentOf(len(q.Assignment), func(i int) (int32, []int32) { return int32(i), q.Assignment[i].Replicas })
		if err != nil {
			return err
		}
	}
	err := c.broker().CreatePartitions(ctx, c.session, q.Topic, q.Count, assignments, dry)
	if assignments != nil {
		err = recoded(err, mq.InvalidReplicationFactor, invalidReplicaAssignment)
	}
	return err
}
