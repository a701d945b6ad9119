// DeleteGroups (42), versions 0 to 2.
//
// Forgets groups that have no members, of either protocol, and all that they have committed. NON_EMPTY_GROUP and GROUP_ID_NOT_FOUND for the others.
//
// Not supported: nothing.

package kafkaproto

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func deleteGroupsAPI() api {
	return api{key: kmsg.DeleteGroups, min: 0, max: 2, start: inTurn(deleteGroups)}
}

func deleteGroups(ctx context.Context, c *call, q *kmsg.DeleteGroupsRequest, r *kmsg.DeleteGroupsResponse) error {
	r.Groups = make([]kmsg.DeleteGroupsResponseGroup, len(q.Groups))
	for i, name := range q.Groups {
		r.Groups[i] = kmsg.NewDeleteGroupsResponseGroup()
		r.Groups[i].Group = name
		err := timeLeft(ctx)
		if err == nil {
			err = c.broker().DeleteGroup(ctx, c.session, name)
		}
		if err != nil {
			r.Groups[i].ErrorCode, r.Groups[i].ErrorMessage = coordinatorCodeOf(err), textOf(err)
		}
	}
	return nil
}
