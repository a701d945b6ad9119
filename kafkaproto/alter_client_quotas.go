// AlterClientQuotas (49), versions 0 to 1.
//
// INVALID_REQUEST for each entry that sets a quota: there are none that would be kept to. Removing quotas changes nothing, and is no error.
//
// Not supported: quotas.

package kafkaproto

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

func alterClientQuotasAPI() api {
	return api{key: kmsg.AlterClientQuotas, min: 0, max: 1, start: inTurn(alterClientQuotas)}
}

func alterClientQuotas(_ context.Context, c *call, q *kmsg.AlterClientQuotasRequest, r *kmsg.AlterClientQuotasResponse) error {
	denied := c.mayAsk(true, nil)
	for i := range q.Entries {
		out := kmsg.NewAlterClientQuotasResponseEntry()
		for _, e := range q.Entries[i].Entity {
			entity := kmsg.NewAlterClientQuotasResponseEntryEntity()
			entity.Type, entity.Name = e.Type, e.Name
			out.Entity = append(out.Entity, entity)
		}
		err := denied
		if at := slices.IndexFunc(q.Entries[i].Ops, func(op kmsg.AlterClientQuotasRequestEntryOp) bool { return !op.Remove }); at >= 0 && err == nil {
			err = mq.Errorf(mq.InvalidRequest, "quota %.60q: this cluster keeps to no quotas", q.Entries[i].Ops[at].Key)
		}
		if err != nil {
			out.ErrorCode, out.ErrorMessage = failure(err)
		}
		r.Entries = append(r.Entries, out)
	}
	return nil
}
