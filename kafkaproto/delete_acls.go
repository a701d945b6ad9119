// DeleteACLs (31), versions 1 to 3.
//
// SECURITY_DISABLED for each filter: there are no access rules.
//
// Not supported: access rules.

package kafkaproto

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func deleteACLsAPI() api {
	return api{key: kmsg.DeleteACLs, min: 1, from: 1, max: 3, start: inTurn(deleteACLs)}
}

func deleteACLs(_ context.Context, c *call, q *kmsg.DeleteACLsRequest, r *kmsg.DeleteACLsResponse) error {
	refused := kmsg.NewDeleteACLsResponseResult()
	refused.ErrorCode, refused.ErrorMessage = failure(c.mayAsk(true, errNoRules()))
	for range q.Filters {
		r.Results = append(r.Results, refused)
	}
	return nil
}
