// DescribeGroups (15), versions 0 to 6.
//
// Classic groups that this node coordinates, with their members and, as the members brought them, their metadata and assignments. A group that is not there, or has the consumer protocol, is in the
// state Dead, and from version 6 on GROUP_ID_NOT_FOUND.
//
// Not supported: authorized operations, which are told as unknown.

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
	r.Groups = make([]kmsg.DescribeGroupsResponseGroup, len(q.Groups))
	for i, name := range q.Groups {
		out := kmsg.NewDescribeGroupsResponseGroup()
		out.Group, out.Members = name, []kmsg.DescribeGroupsResponseGroupMember{}
		g, err := c.described(ctx, name, false)
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

// described describes a group if it has the protocol that is asked for.
func (c *call) described(ctx context.Context, name string, consumer bool) (*GroupDescription, error) {
	g, err := c.broker().DescribeGroup(ctx, c.session, name)
	if err == nil && g.Consumer != consumer {
		err = mq.Errorf(mq.GroupIDNotFound, "group %q has the %s protocol", name, g.kind())
	}
	return g, err
}

func describedMember(m *GroupMember) kmsg.DescribeGroupsResponseGroupMember {
	out := kmsg.NewDescribeGroupsResponseGroupMember()
	out.MemberID, out.InstanceID, out.ClientID, out.ClientHost = m.Member, orNull(m.Instance), m.ClientID, m.ClientHost
	out.ProtocolMetadata, out.MemberAssignment = notNull(m.Metadata), notNull(m.Assignment)
	return out
}
