// AlterClientQuotas (49), versions 0 to 1.
//
// Sets and removes producer_byte_rate and consumer_byte_rate of users, of client ids, and of both together: whole numbers of bytes per second from 1 to 2^53. The changes of an entry are made all or none, durably. Which quota holds for a client, and how it is
// kept to, is at DescribeClientQuotas. It needs the cluster's feature level 6 (rustmq ctl cluster upgrade).
//
// Not supported: request_percentage, controller_mutation_rate and connection_creation_rate, and quotas of addresses: setting them is INVALID_REQUEST, removing them is none, for they are not there; more than 10,000 quotas, or entries in a request (POLICY_VIOLATION).

package kafkaproto

import (
	"context"
	"maps"
	"math"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

func alterClientQuotasAPI() api {
	return api{key: kmsg.AlterClientQuotas, min: 0, max: 1, start: inTurn(alterClientQuotas)}
}

func alterClientQuotas(ctx context.Context, c *call, q *kmsg.AlterClientQuotasRequest, r *kmsg.AlterClientQuotasResponse) error {
	denied := c.mayAsk(true, nil)
	each := entries{ctx: ctx}
	for i := range q.Entries {
		asked := &q.Entries[i]
		out := kmsg.NewAlterClientQuotasResponseEntry()
		for _, e := range asked.Entity {
			entity := kmsg.NewAlterClientQuotasResponseEntryEntity()
			entity.Type, entity.Name = e.Type, e.Name
			out.Entity = append(out.Entity, entity)
		}
		err := denied
		if err == nil {
			err = each.next()
		}
		if err == nil {
			err = c.alterQuota(ctx, asked, q.ValidateOnly)
		}
		if err != nil {
			out.ErrorCode, out.ErrorMessage = failure(recoded(err, mq.InvalidConfig, int16(mq.InvalidRequest)))
		}
		r.Entries = append(r.Entries, out)
	}
	return nil
}

// quotasHere says of each of Kafka's quotas whether it is one here.
var quotasHere = map[string]bool{
	"producer_byte_rate": true, "consumer_byte_rate": true, "request_percentage": false, "controller_mutation_rate": false, "connection_creation_rate": false,
}

// maxQuotaRate is the highest rate: up to it every integer is a floating-point number.
const maxQuotaRate = 1 << 53

// alterQuota makes the changes of one entry.
func (c *call) alterQuota(ctx context.Context, asked *kmsg.AlterClientQuotasRequestEntry, dry bool) error {
	entity, err := quotaEntityOf(asked.Entity)
	if err != nil {
		return err
	}
	ofAddress := entity == QuotaEntity{}
	var changes []QuotaChange
	seen := make(map[string]bool, len(asked.Ops))
	for _, op := range asked.Ops {
		here, known := quotasHere[op.Key]
		switch {
		case !known:
			return mq.Errorf(mq.InvalidRequest, "unknown quota %.60q: did you mean %q?", op.Key, mq.Nearest(op.Key, slices.Sorted(maps.Keys(quotasHere))))
		case seen[op.Key]:
			return mq.Errorf(mq.InvalidRequest, "quota %s is changed twice", op.Key)
		case (!here || ofAddress) && !op.Remove:
			return mq.Errorf(mq.InvalidRequest, "quota %s: there are producer_byte_rate and consumer_byte_rate, of users and client ids", op.Key)
		case !op.Remove && (op.Value < 1 || op.Value > maxQuotaRate || op.Value != math.Trunc(op.Value)): // NaN is not itself
			return mq.Errorf(mq.InvalidRequest, "quota %s: %v is not a whole number of bytes per second from 1 to %d", op.Key, op.Value, int64(maxQuotaRate))
		case here && !ofAddress:
			changes = append(changes, QuotaChange{QuotaLimit{op.Key, int64(op.Value)}, op.Remove})
		}
		seen[op.Key] = true
	}
	if len(changes) == 0 {
		return nil
	}
	return c.broker().AlterQuota(ctx, c.session, entity, changes, dry)
}

// quotaEntityOf is whom an entry is for: nobody, for an address.
func quotaEntityOf(parts []kmsg.AlterClientQuotasRequestEntryEntity) (e QuotaEntity, err error) {
	seen := make(map[string]bool, len(parts))
	for _, part := range parts {
		name := ""
		if part.Name != nil {
			name = *part.Name
		}
		switch {
		case seen[part.Type]:
			return e, mq.Errorf(mq.InvalidRequest, "entity type %.60q is given twice", part.Type)
		case part.Name != nil && name == "":
			return e, mq.Errorf(mq.InvalidRequest, "entity type %.60q with an empty name: the default is null", part.Type)
		}
		switch seen[part.Type] = true; part.Type {
		case userEntity:
			e.OfUser, e.User = true, name
		case clientEntity:
			e.OfClient, e.ClientID = true, name
		case ipEntity:
		default:
			return e, mq.Errorf(mq.InvalidRequest, "entity type %.60q: there are %s and %s", part.Type, userEntity, clientEntity)
		}
	}
	switch {
	case len(parts) == 0:
		return e, mq.Errorf(mq.InvalidRequest, "a quota of nobody: name a %s, a %s, or both", userEntity, clientEntity)
	case seen[ipEntity] && len(parts) > 1:
		return e, mq.Errorf(mq.InvalidRequest, "entity type %s goes with no other", ipEntity)
	}
	return e, nil
}
