// LeaveGroup (13), versions 0 to 5.
//
// A member leaves its group, or (from version 3 on) several do, by their member ids, or by the names of their instances as tools do it for static members. Each has its own
// error then.
//
// Not supported: nothing. The reason (version 5) is not kept.

package kafkaproto

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func leaveGroupAPI() api {
	return api{key: kmsg.LeaveGroup, min: 0, max: 5, start: inTurn(leaveGroup)}
}

func leaveGroup(ctx context.Context, c *call, q *kmsg.LeaveGroupRequest, r *kmsg.LeaveGroupResponse) error {
	members := []Membership{{Group: q.Group, Member: q.MemberID}}
	if q.Version >= 3 {
		members = members[:0]
		for _, m := range q.Members {
			members = append(members, Membership{Group: q.Group, Member: m.MemberID, Instance: text(m.InstanceID)})
		}
	}
	errs, err := c.broker().LeaveGroup(ctx, c.session, q.Group, members)
	switch {
	case err != nil:
		r.ErrorCode = coordinatorCodeOf(err)
		return nil
	case q.Version < 3:
		if errs[0] != nil {
			r.ErrorCode = coordinatorCodeOf(errs[0])
		}
		return nil
	}
	r.Members = make([]kmsg.LeaveGroupResponseMember, len(members))
	for i, m := range members {
		out := kmsg.NewLeaveGroupResponseMember()
		out.MemberID, out.InstanceID = m.Member, q.Members[i].InstanceID
		if errs[i] != nil {
			out.ErrorCode = coordinatorCodeOf(errs[i])
		}
		r.Members[i] = out
	}
	return nil
}
