// AlterPartitionAssignments (45), versions 0 to 1.
//
// Kafka calls it AlterPartitionReassignments. Begins to give partitions other replicas, preferred leader first, or cancels what is under way (null): NO_REASSIGNMENT_IN_PROGRESS where there is nothing. It ends by itself
// when all new replicas are in sync; ListPartitionReassignments says what is under way. Replicas that cannot be (no brokers, one of them twice, none) are INVALID_REPLICA_ASSIGNMENT. From version 1 on a request can
// want the number of replicas to stay (INVALID_REPLICATION_FACTOR). A partition that comes twice gets both, one after the other.
//
// Not supported: more than 10,000 partitions in a request (POLICY_VIOLATION for the topics beyond).

package kafkaproto

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

func alterPartitionAssignmentsAPI() api {
	return api{key: kmsg.AlterPartitionAssignments, min: 0, max: 1, start: inTurn(alterPartitionAssignments)}
}

func alterPartitionAssignments(ctx context.Context, c *call, q *kmsg.AlterPartitionAssignmentsRequest, r *kmsg.AlterPartitionAssignmentsResponse) error {
	ctx, cancel := within(ctx, q.TimeoutMillis)
	defer cancel()
	r.AllowReplicationFactorChange = q.AllowReplicationFactorChange
	if err := c.broker().AuthoriseCluster(c.session, true); err != nil {
		r.ErrorCode, r.ErrorMessage = failure(err)
		return nil
	}
	newest(ctx, c, q.Topics, func(t *kmsg.AlterPartitionAssignmentsRequestTopic) (string, mq.TopicID) { return t.Topic, mq.TopicID{} })
	each := entries{ctx: ctx}
	for i := range q.Topics {
		topic := kmsg.NewAlterPartitionAssignmentsResponseTopic()
		topic.Topic = q.Topics[i].Topic
		var err error
		for range q.Topics[i].Partitions {
			if refused := each.next(); refused != nil {
				err = refused
			}
		}
		topic.Partitions = c.reassign(ctx, &q.Topics[i], q.Version >= 1 && !q.AllowReplicationFactorChange, err)
		r.Topics = append(r.Topics, topic)
	}
	return nil
}

// reassign begins or cancels reassignments of a topic's partitions, unless there is an error already.
func (c *call) reassign(ctx context.Context, q *kmsg.AlterPartitionAssignmentsRequestTopic, same bool, err error) (out []kmsg.AlterPartitionAssignmentsResponseTopicPartition) {
	var moves []Reassignment
	var at []int // of each move
	for i, p := range q.Partitions {
		answer := kmsg.NewAlterPartitionAssignmentsResponseTopicPartition()
		answer.Partition = p.Partition
		result := err
		move := Reassignment{Partition: p.Partition, SameCount: same}
		if p.Replicas != nil {
			move.Replicas = nodeIDs(p.Replicas)
		}
		switch {
		case err != nil:
		case move.Replicas != nil && len(move.Replicas) == 0:
			result = kafkaErrorf(invalidReplicaAssignment, "partition %d would have no replicas", p.Partition)
		default:
			moves, at = append(moves, move), append(at, i)
		}
		if result != nil {
			answer.ErrorCode, answer.ErrorMessage = failure(result)
		}
		out = append(out, answer)
	}
	if len(moves) == 0 {
		return out
	}
	for i, err := range c.broker().Reassign(ctx, c.session, q.Topic, moves) {
		if err != nil {
			out[at[i]].ErrorCode, out[at[i]].ErrorMessage = failure(recoded(err, mq.InvalidReplicationFactor, invalidReplicaAssignment))
		}
	}
	return out
}
