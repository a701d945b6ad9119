// AlterUserSCRAMCredentials (51), version 0.
//
// SECURITY_DISABLED for each user, once: there are no credentials of users.
//
// Not supported: credentials of users.

package kafkaproto

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func alterUserSCRAMCredentialsAPI() api {
	return api{key: kmsg.AlterUserSCRAMCredentials, min: 0, max: 0, start: inTurn(alterUserSCRAMCredentials)}
}

func alterUserSCRAMCredentials(_ context.Context, c *call, q *kmsg.AlterUserSCRAMCredentialsRequest, r *kmsg.AlterUserSCRAMCredentialsResponse) error {
	refused := kmsg.NewAlterUserSCRAMCredentialsResponseResult()
	refused.ErrorCode, refused.ErrorMessage = failure(c.mayAsk(true, errNoCredentials()))
	told := make(map[string]bool)
	tell := func(user string) {
		if refused.User = user; !told[user] {
			told[user] = true
			r.Results = append(r.Results, refused)
		}
	}
	for i := range q.Deletions {
		tell(q.Deletions[i].Name)
	}
	for i := range q.Upsertions {
		tell(q.Upsertions[i].Name)
	}
	return nil
}
