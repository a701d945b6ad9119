// SyncGroup (14), versions 0 to 5.
//
// A member asks for its assignment in a generation; the leader brings the assignments of all. Answered when they are there, so on this connection nothing else is answered until then. A
// member that does not ask within the rebalance timeout is taken out, and another generation is formed. From version 5 on the protocol that the member takes for the group's is
// looked at. While the coordinator reads what it knows of the group REBALANCE_IN_PROGRESS has the member join again.
//
// Not supported: assignments of more than 4 MiB together: the connection is closed.

package kafkaproto

import (
	"bytes"
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

// syncBytes is the longest request: the assignments of a group of thousands.
const syncBytes = 4 << 20

func syncGroupAPI() api {
	return api{key: kmsg.SyncGroup, min: 0, max: 5, bytes: syncBytes, waits: true, start: inTurn(syncGroup)}
}

func syncGroup(_ context.Context, c *call, q *kmsg.SyncGroupRequest, r *kmsg.SyncGroupResponse) error {
	y := &SyncGroup{
		Membership:   Membership{Group: q.Group, Member: q.MemberID, Instance: text(q.InstanceID), Epoch: q.Generation},
		ProtocolType: text(q.ProtocolType), Protocol: text(q.Protocol),
	}
	for _, a := range q.GroupAssignment {
		y.Assignments = append(y.Assignments, GroupMember{Member: a.MemberID, Assignment: bytes.Clone(a.MemberAssignment)})
	}
	*q = kmsg.SyncGroupRequest{}
	ctx, done := c.patiently()
	defer done()
	synced, err := c.broker().SyncGroup(ctx, c.session, y)
	if err == nil {
		err = c.memberAllowance().take(len(synced.Assignment))
	}
	r.MemberAssignment = []byte{}
	if err != nil {
		if r.ErrorCode = coordinatorCodeOf(err); r.ErrorCode == int16(mq.CoordinatorLoadInProgress) { // by which Java's consumer ends
			r.ErrorCode = int16(mq.RebalanceInProgress)
		}
		return nil
	}
	r.MemberAssignment = notNull(synced.Assignment)
	r.ProtocolType, r.Protocol = &synced.ProtocolType, &synced.Protocol
	return nil
}
