// Heartbeat (12), versions 0 to 4.
//
// A member of a classic group lives. REBALANCE_IN_PROGRESS has it join again, ILLEGAL_GENERATION and UNKNOWN_MEMBER_ID as another one.
// While the coordinator reads what it knows of the group all is well, as with Kafka.
//
// Not supported: nothing.

package kafkaproto

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

func heartbeatAPI() api {
	return api{key: kmsg.Heartbeat, min: 0, max: 4, start: inTurn(heartbeat)}
}

func heartbeat(ctx context.Context, c *call, q *kmsg.HeartbeatRequest, r *kmsg.HeartbeatResponse) error {
	m := Membership{Group: q.Group, Member: q.MemberID, Instance: text(q.InstanceID), Epoch: q.Generation}
	err := c.broker().Heartbeat(ctx, c.session, m)
	if code := coordinatorCodeOf(err); code != int16(mq.CoordinatorLoadInProgress) { // which clients do not expect here: they would leave, and members have their whole session again once it is loaded
		r.ErrorCode = code
	}
	return nil
}
