// DescribeClientQuotas (48), versions 0 to 1.
//
// There are no quotas, so none are found.
//
// Not supported: quotas.

package kafkaproto

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func describeClientQuotasAPI() api {
	return api{key: kmsg.DescribeClientQuotas, min: 0, max: 1, start: inTurn(describeClientQuotas)}
}

func describeClientQuotas(_ context.Context, c *call, _ *kmsg.DescribeClientQuotasRequest, r *kmsg.DescribeClientQuotasResponse) error {
	if err := c.mayAsk(false, nil); err != nil {
		r.ErrorCode, r.ErrorMessage = failure(err)
		return nil
	}
	r.Entries = []kmsg.DescribeClientQuotasResponseEntry{} // null is for errors
	return nil
}
