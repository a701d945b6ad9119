// ConsumerGroupDescribe (69), versions 0 to 1.
//
// Groups with the consumer protocol (KIP-848) that this node coordinates: their epochs and assignor, and for each member what it subscribes to, what it may consume and what it is to have.
// From version 1 on it is told which members speak the classic protocol. A group that is not there, or is a classic one, is GROUP_ID_NOT_FOUND.
//
// Not supported: authorized operations, which are told as unknown; more than a response has room for (POLICY_VIOLATION for those beyond).

package kafkaproto

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func consumerGroupDescribeAPI() api {
	return api{key: kmsg.ConsumerGroupDescribe, min: 0, max: 1, start: inTurn(consumerGroupDescribe)}
}

func consumerGroupDescribe(ctx context.Context, c *call, q *kmsg.ConsumerGroupDescribeRequest, r *kmsg.ConsumerGroupDescribeResponse) error {
	left := c.allowance()
	r.Groups = make([]kmsg.ConsumerGroupDescribeResponseGroup, len(q.Groups))
	for i, name := range q.Groups {
		out := kmsg.NewConsumerGroupDescribeResponseGroup()
		out.Group, out.Members = name, []kmsg.ConsumerGroupDescribeResponseGroupMember{}
		g, err := c.described(ctx, left, name, true)
		if err != nil {
			out.State, out.ErrorCode, out.ErrorMessage = deadGroup, coordinatorCodeOf(err), textOf(err)
			r.Groups[i] = out
			continue
		}
		out.State, out.Epoch, out.AssignmentEpoch, out.AssignorName = g.State, g.Epoch, g.AssignmentEpoch, g.Protocol
		for j := range g.Members {
			out.Members = append(out.Members, consumerMember(&g.Members[j]))
		}
		r.Groups[i] = out
	}
	return nil
}

func consumerMember(m *GroupMember) kmsg.ConsumerGroupDescribeResponseGroupMember {
	out := kmsg.NewConsumerGroupDescribeResponseGroupMember()
	out.MemberID, out.InstanceID, out.RackID, out.MemberEpoch = m.Member, orNull(m.Instance), orNull(m.Rack), m.Epoch
	out.ClientID, out.ClientHost, out.SubscribedTopicRegex = m.ClientID, m.ClientHost, orNull(m.Pattern)
	out.SubscribedTopics = append([]string{}, m.Topics...)
	out.Assignment.TopicPartitions, out.TargetAssignment.TopicPartitions = partitionsOf(m.Assigned), partitionsOf(m.Target)
	out.MemberType = 1
	if m.Classic {
		out.MemberType = 0
	}
	return out
}

func partitionsOf(topics []OwnedTopic) []kmsg.AssignmentTopicPartition {
	out := make([]kmsg.AssignmentTopicPartition, len(topics))
	for i, t := range topics {
		out[i].TopicID, out[i].Topic, out[i].Partitions = t.ID, t.Name, notNullNumbers(t.Partitions)
	}
	return out
}
