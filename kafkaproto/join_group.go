// JoinGroup (11), versions 0 to 9.
//
// A member of a classic group takes part in the next generation. It is answered when the generation is formed: when all members have joined, or the longest of their rebalance timeouts
// is over; on this connection nothing else is answered until then. From version 4 on a dynamic member without an id gets one with MEMBER_ID_REQUIRED, and joins with that. A static
// member (from version 5 on) that comes back within its session gets its place and its assignment again, without another generation unless it brings other protocols. Before version 1
// the session timeout is the rebalance timeout, too.
//
// A group that members with the consumer protocol are in takes classic ones as well, and the other way round, as KIP-848 says.
//
// The number of a generation never comes again, not even where the coordinator is lost in the middle of it.
//
// Not supported: nothing. The reason (from version 8 on) is not kept.

package kafkaproto

import (
	"bytes"
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

func joinGroupAPI() api {
	return api{key: kmsg.JoinGroup, min: 0, max: 9, waits: true, start: inTurn(joinGroup)}
}

func joinGroup(_ context.Context, c *call, q *kmsg.JoinGroupRequest, r *kmsg.JoinGroupResponse) error {
	j := &JoinGroup{
		Group: q.Group, Member: q.MemberID, Instance: text(q.InstanceID), RequireMember: q.Version >= 4, SkipAssignment: q.Version >= 9,
		SessionTimeout: millis(q.SessionTimeoutMillis), RebalanceTimeout: millis(q.RebalanceTimeoutMillis), ProtocolType: q.ProtocolType,
	}
	if q.Version < 1 {
		j.RebalanceTimeout = j.SessionTimeout
	}
	for _, p := range q.Protocols {
		j.Protocols = append(j.Protocols, GroupProtocol{Name: p.Name, Metadata: bytes.Clone(p.Metadata)}) // of the frame, which is not kept for it
	}
	*q = kmsg.JoinGroupRequest{}
	ctx, done := c.patiently()
	defer done()
	joined, err := c.broker().JoinGroup(ctx, c.session, j)
	if err == nil {
		size := 0
		for i := range joined.Members {
			size += joined.Members[i].bytes()
		}
		err = c.memberAllowance().take(size) // a member that is refused for that joins again, and is told of the same generation
	}
	if err != nil {
		r.ErrorCode, r.Generation, r.MemberID = coordinatorCodeOf(err), -1, j.Member
		if mq.CodeOf(err) == mq.MemberIDRequired {
			r.MemberID = joined.Member
		}
		return nil
	}
	r.Generation, r.LeaderID, r.MemberID, r.SkipAssignment = joined.Generation, joined.Leader, joined.Member, joined.SkipAssignment
	r.ProtocolType, r.Protocol = &joined.ProtocolType, &joined.Protocol
	r.Members = make([]kmsg.JoinGroupResponseMember, len(joined.Members))
	for i, m := range joined.Members {
		out := kmsg.NewJoinGroupResponseMember()
		out.MemberID, out.InstanceID, out.ProtocolMetadata = m.Member, orNull(m.Instance), notNull(m.Metadata)
		r.Members[i] = out
	}
	return nil
}

// patiently is for what waits for members of a group: their own timeouts bound that, and not the server's, which does not wait for them when it shuts down. The request has been forgotten:
// it holds no room that others need, be it they for whom it waits.
func (c *call) patiently() (context.Context, context.CancelFunc) {
	c.handOver()
	ctx, cancel := context.WithCancelCause(c.conn.ctx)
	stop := context.AfterFunc(c.conn.srv.open, func() { cancel(errDrained) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// text is "" for null.
func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// orNull is null for "".
func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// notNull is b, which a message must not have as null.
func notNull(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func millis(n int32) time.Duration { return time.Duration(n) * time.Millisecond }
