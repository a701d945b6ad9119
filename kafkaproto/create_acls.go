// CreateACLs (30), versions 1 to 3.
//
// SECURITY_DISABLED for each rule: there are no access rules.
//
// Not supported: access rules.

package kafkaproto

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func createACLsAPI() api {
	return api{key: kmsg.CreateACLs, min: 1, from: 1, max: 3, start: inTurn(createACLs)}
}

func createACLs(_ context.Context, c *call, q *kmsg.CreateACLsRequest, r *kmsg.CreateACLsResponse) error {
	refused := kmsg.NewCreateACLsResponseResult()
	refused.ErrorCode, refused.ErrorMessage = failure(c.mayAsk(true, errNoRules()))
	for range q.Creations {
		r.Results = append(r.Results, refused)
	}
	return nil
}
