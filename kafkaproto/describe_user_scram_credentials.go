// DescribeUserSCRAMCredentials (50), version 0.
//
// SECURITY_DISABLED: there are no credentials of users.
//
// Not supported: credentials of users.

package kafkaproto

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func describeUserSCRAMCredentialsAPI() api {
	return api{key: kmsg.DescribeUserSCRAMCredentials, min: 0, max: 0, start: inTurn(describeUserSCRAMCredentials)}
}

func describeUserSCRAMCredentials(_ context.Context, c *call, _ *kmsg.DescribeUserSCRAMCredentialsRequest, r *kmsg.DescribeUserSCRAMCredentialsResponse) error {
	r.ErrorCode, r.ErrorMessage = failure(c.mayAsk(false, errNoCredentials()))
	return nil
}
