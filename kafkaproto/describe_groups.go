// DescribeGroups (15), versions 0 to 6.
//
// Classic groups that this node coordinates, with their members and, as the members brought them, their metadata and assignments. A group that is not there, or has the consumer protocol, is in the
// state Dead, and from version 6 on GROUP_ID_NOT_FOUND.
//
// Not supported: authorized operations, which are told as unknown; more than a response has room for (POLICY_VIOLATION for those beyond).

package kafkaproto

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

func describeGroupsAPI() api {
	return api{key: kmsg.DescribeGroups, min: 0, max: 6, start: inTurn(describeGroups)}
}

// deadGroup is the state of a group that is not there.
const deadGroup = "Dead"

func describeGroups(ctx context.Context, c *call, q *kmsg.DescribeGroupsRequest, r *kmsg.DescribeGroupsResponse) error {
	left := c.allowance()
	r.Groups = make([]kmsg.DescribeGroupsResponseGroup, len(q.Groups))
	for i, name := range q.Groups {
		out := kmsg.NewDescribeGroupsResponseGroup()
		out.Group, out.Members = name, []kmsg.DescribeGroupsResponseGroupMember{}
		g, err := c.described(ctx, left, name, false)
		switch {
		case err == nil:
			out.State, out.ProtocolType, out.Protocol = g.State, g.ProtocolType, g.Protocol
			for j := range g.Members {
				out.Members = append(out.Members, describedMember(&g.Members[j]))
			}
		case mq.CodeOf(err) != mq.GroupIDNotFound:
			out.ErrorCode, out.ErrorMessage = coordinatorCodeOf(err), textOf(err)
		default:
			out.State = deadGroup
			if q.Version >= 6 {
				out.ErrorCode, out.ErrorMessage = int16(mq.GroupIDNotFound), textOf(err)
			}
		}
		r.Groups[i] = out
	}
	return nil
}

// described describes a group if it has the protocol that is asked for, and the response has room for it.
func (c *call) described(ctx context.Context, left *allowance, name string, consumer bool) (*GroupDescription, error) {
	if left.err != nil {
		return nil, left.err
	}
	if err := timeLeft(ctx); err != nil {
		return nil, err
	}
	g, err := c.broker().DescribeGroup(ctx, c.session, name)
	if err != nil {
		return nil, err
	}
	if g.Consumer != consumer {
		return nil, mq.Errorf(mq.GroupIDNotFound, "group %q has the %s protocol", name, g.kind())
	}
	return g, left.take(g.bytes())
}

// groupMemberBytes is what one member takes in a response in memory, beside what it brought and got; namedBytes is a topic of a subscription or an assignment.
const (
	groupMemberBytes = 512
	namedBytes       = 64
)

// bytes is what the group takes in a response in memory, about.
func (g *GroupDescription) bytes() (n int) {
	for i := range g.Members {
		n += g.Members[i].bytes()
	}
	return n
}

func (m *GroupMember) bytes() (n int) {
	n = groupMemberBytes + len(m.Member) + len(m.ClientID) + len(m.ClientHost) + len(m.Pattern) + len(m.Metadata) + len(m.Assignment)
	for _, name := range m.Topics {
		n += namedBytes + len(name)
	}
	for _, list := range [][]OwnedTopic{m.Assigned, m.Target} {
		for _, t := range list {
			n += namedBytes + len(t.Name) + 4*len(t.Partitions)
		}
	}
	return n
}

func describedMember(m *GroupMember) kmsg.DescribeGroupsResponseGroupMember {
	out := kmsg.NewDescribeGroupsResponseGroupMember()
	out.MemberID, out.InstanceID, out.ClientID, out.ClientHost = m.Member, orNull(m.Instance), m.ClientID, m.ClientHost
	out.ProtocolMetadata, out.MemberAssignment = notNull(m.Metadata), notNull(m.Assignment)
	return out
}
