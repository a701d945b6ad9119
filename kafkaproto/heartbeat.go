// Heartbeat (12), versions 0 to 4.
//
// A member of a classic group lives. REBALANCE_IN_PROGRESS has it join again, ILLEGAL_GENERATION and UNKNOWN_MEMBER_ID as another one.
//
// Not supported: nothing.

package kafkaproto

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func heartbeatAPI() api {
	return api{key: kmsg.Heartbeat, min: 0, max: 4, start: inTurn(heartbeat)}
}

func heartbeat(ctx context.Context, c *call, q *kmsg.HeartbeatRequest, r *kmsg.HeartbeatResponse) error {
	m := Membership{Group: q.Group, Member: q.MemberID, Instance: text(q.InstanceID), Epoch: q.Generation}
	if err := c.broker().Heartbeat(ctx, c.session, m); err != nil {
		r.ErrorCode = coordinatorCodeOf(err)
	}
	return nil
}
