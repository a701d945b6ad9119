// ListGroups (16), versions 0 to 5.
//
// The groups that this node coordinates and that the client may describe, by name: clients ask every node. From version 4 on only those in certain states if the request names some, from
// version 5 on only those of certain types (classic, consumer); upper and lower case are the same. While there are more that are being loaded the answer has those that there are, and COORDINATOR_LOAD_IN_PROGRESS.
//
// Not supported: more groups than a response has room for (POLICY_VIOLATION).

package kafkaproto

import (
	"context"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

func listGroupsAPI() api {
	return api{key: kmsg.ListGroups, min: 0, max: 5, start: inTurn(listGroups)}
}

// groupBytes is what one group takes in a response in memory, beside its name.
const groupBytes = 192

func listGroups(ctx context.Context, c *call, q *kmsg.ListGroupsRequest, r *kmsg.ListGroupsResponse) error {
	r.Groups = []kmsg.ListGroupsResponseGroup{}
	groups, loading, err := c.broker().ListGroups(ctx, c.session)
	switch {
	case err != nil:
		r.ErrorCode = coordinatorCodeOf(err)
	case loading:
		r.ErrorCode = int16(mq.CoordinatorLoadInProgress)
	}
	left := c.allowance()
	for i := range groups {
		g := &groups[i]
		if !isOneOf(g.State, q.StatesFilter) || !isOneOf(g.kind(), q.TypesFilter) {
			continue
		}
		if err := left.take(groupBytes + len(g.Name)); err != nil { // half of them would be a lie
			r.Groups, r.ErrorCode = []kmsg.ListGroupsResponseGroup{}, coordinatorCodeOf(err)
			return nil
		}
		out := kmsg.NewListGroupsResponseGroup()
		out.Group, out.ProtocolType, out.GroupState, out.GroupType = g.Name, g.ProtocolType, g.State, g.kind()
		r.Groups = append(r.Groups, out)
	}
	return nil
}

// isOneOf says whether s is in list, or list does not say.
func isOneOf(s string, list []string) bool {
	return len(list) == 0 || slices.ContainsFunc(list, func(one string) bool { return strings.EqualFold(s, one) })
}

// kind is the group's type by Kafka's name.
func (g *Group) kind() string {
	if g.Consumer {
		return "consumer"
	}
	return "classic"
}
