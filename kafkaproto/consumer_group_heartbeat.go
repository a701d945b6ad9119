// ConsumerGroupHeartbeat (68), versions 0 to 1.
//
// All that a member with the consumer protocol (KIP-848) says: it joins, lives, owns partitions, leaves; what it may consume comes back. The broker assigns, by the assignors uniform and range. Topics
// are subscribed to by name or, in version 1, by a regular expression (RE2), which finds internal topics only where their whole name is part of it. In version 0 the broker gives a member its id, from version 1 on it has made one itself.
//
// A member is told at its next heartbeat of partitions that others have given up. It is fenced with FENCED_MEMBER_EPOCH when it speaks of an epoch that it is not in.
//
// Not supported: nothing.

package kafkaproto

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

func consumerGroupHeartbeatAPI() api {
	return api{key: kmsg.ConsumerGroupHeartbeat, min: 0, max: 1, start: inTurn(consumerGroupHeartbeat)}
}

func consumerGroupHeartbeat(ctx context.Context, c *call, q *kmsg.ConsumerGroupHeartbeatRequest, r *kmsg.ConsumerGroupHeartbeatResponse) error {
	h := &ConsumerHeartbeat{
		Membership: Membership{Group: q.Group, Member: q.MemberID, Instance: text(q.InstanceID), Epoch: q.MemberEpoch},
		Rack:       text(q.RackID), Topics: q.SubscribedTopicNames, Pattern: q.SubscribedTopicRegex, Assignor: q.ServerAssignor,
	}
	if q.RebalanceTimeoutMillis >= 0 { // -1: as before
		h.RebalanceTimeout = millis(q.RebalanceTimeoutMillis)
	}
	if q.Topics != nil {
		h.Owned = make([]OwnedTopic, len(q.Topics))
		for i, t := range q.Topics {
			h.Owned[i] = OwnedTopic{ID: t.TopicID, Partitions: t.Partitions}
		}
	}
	if q.Version >= 1 && q.MemberID == "" {
		err := mq.Errorf(mq.InvalidRequest, "a member of group %q without an id: from version 1 on it makes its own", q.Group)
		r.ErrorCode, r.ErrorMessage = codeOf(err), textOf(err)
		return nil
	}
	a, err := c.broker().ConsumerHeartbeat(ctx, c.session, h)
	if err != nil {
		r.ErrorCode, r.ErrorMessage = coordinatorCodeOf(err), textOf(err)
		return nil
	}
	r.MemberID, r.MemberEpoch, r.HeartbeatIntervalMillis = &a.Member, a.Epoch, int32(a.HeartbeatInterval.Milliseconds())
	if a.Changed {
		assignment := kmsg.NewConsumerGroupHeartbeatResponseAssignment()
		assignment.Topics = make([]kmsg.ConsumerGroupHeartbeatResponseAssignmentTopic, len(a.Assigned))
		for i, t := range a.Assigned {
			topic := kmsg.NewConsumerGroupHeartbeatResponseAssignmentTopic()
			topic.TopicID, topic.Partitions = t.ID, notNullNumbers(t.Partitions)
			assignment.Topics[i] = topic
		}
		r.Assignment = &assignment
	}
	return nil
}

// notNullNumbers is list, which a message must not have as null.
func notNullNumbers(list []int32) []int32 {
	if list == nil {
		return []int32{}
	}
	return list
}
