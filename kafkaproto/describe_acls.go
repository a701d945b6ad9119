// DescribeACLs (29), versions 1 to 3.
//
// SECURITY_DISABLED: there are no access rules.
//
// Not supported: access rules.

package kafkaproto

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func describeACLsAPI() api {
	return api{key: kmsg.DescribeACLs, min: 1, from: 1, max: 3, start: inTurn(describeACLs)}
}

func describeACLs(_ context.Context, c *call, _ *kmsg.DescribeACLsRequest, r *kmsg.DescribeACLsResponse) error {
	r.ErrorCode, r.ErrorMessage = failure(c.mayAsk(false, errNoRules()))
	return nil
}
