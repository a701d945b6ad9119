// DescribeClientQuotas (48), versions 0 to 1.
//
// Quotas are of users, of client ids, or of both together; producer_byte_rate and consumer_byte_rate in bytes per second. Each node keeps to them by itself, as in Kafka, for clients of this protocol; which one holds
// for a client is decided in Kafka's order, from the user with the client id to any client id. A second's worth may come at once. Who uses more is told in responses to Produce and Fetch for how long he is to wait (KIP-219), and
// until then no Produce and no Fetch is read of anybody who shares the quota, by whichever connection; other requests are. A request counts for a minute of its quota at most. A Fetch gets no more at once than
// the quota gives in a second, or one batch, and nothing if it was sent before the one before it was paid.
//
// Not supported: quotas of addresses, none of which are found.

package kafkaproto

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

// The types of entities that quotas are for.
const (
	userEntity   = "user"
	clientEntity = "client-id"
	ipEntity     = "ip"
)

func describeClientQuotasAPI() api {
	return api{key: kmsg.DescribeClientQuotas, min: 0, max: 1, start: inTurn(describeClientQuotas)}
}

func describeClientQuotas(_ context.Context, c *call, q *kmsg.DescribeClientQuotasRequest, r *kmsg.DescribeClientQuotasResponse) error {
	entries, err := c.quotasFor(q)
	if err = c.mayAsk(false, err); err != nil {
		r.ErrorCode, r.ErrorMessage = failure(err)
		return nil
	}
	r.Entries = entries
	return nil
}

// quotaEntryBytes is what one quota takes in a response beside its names, about.
const quotaEntryBytes = 300

// quotasFor are the quotas that a request looks for: never nil.
func (c *call) quotasFor(q *kmsg.DescribeClientQuotasRequest) ([]kmsg.DescribeClientQuotasResponseEntry, error) {
	wanted, err := quotaFilterOf(q)
	if err != nil {
		return nil, err
	}
	all, err := c.broker().ClientQuotas(c.session)
	if err != nil {
		return nil, err
	}
	left, entries := c.allowance(), []kmsg.DescribeClientQuotasResponseEntry{}
	for _, quota := range all {
		if !wanted.matches(quota.Entity) {
			continue
		}
		if err := left.take(quotaEntryBytes + len(quota.Entity.User) + len(quota.Entity.ClientID)); err != nil {
			return nil, err
		}
		e := kmsg.NewDescribeClientQuotasResponseEntry()
		for _, part := range quota.Entity.parts() {
			entity := kmsg.NewDescribeClientQuotasResponseEntryEntity()
			entity.Type, entity.Name = part.kind, part.name
			e.Entity = append(e.Entity, entity)
		}
		for _, limit := range quota.Limits {
			value := kmsg.NewDescribeClientQuotasResponseEntryValue()
			value.Key, value.Value = limit.Name, float64(limit.Rate)
			e.Values = append(e.Values, value)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// quotaPart is one part of whom a quota is for; a null name is the default one.
type quotaPart struct {
	kind string
	name *string
}

func (e QuotaEntity) parts() (parts []quotaPart) {
	add := func(of bool, kind, name string) {
		switch {
		case of && name == "":
			parts = append(parts, quotaPart{kind, nil})
		case of:
			parts = append(parts, quotaPart{kind, &name})
		}
	}
	add(e.OfClient, clientEntity, e.ClientID)
	add(e.OfUser, userEntity, e.User)
	return parts
}

// quotaFilter is which quotas are looked for, by the type of a part.
type quotaFilter struct {
	parts  map[string]kmsg.DescribeClientQuotasRequestComponent
	strict bool // quotas with other parts are not
}

func quotaFilterOf(q *kmsg.DescribeClientQuotasRequest) (quotaFilter, error) {
	f := quotaFilter{parts: make(map[string]kmsg.DescribeClientQuotasRequestComponent), strict: q.Strict}
	for _, part := range q.Components {
		_, twice := f.parts[part.EntityType]
		switch {
		case part.EntityType == "":
			return f, mq.Errorf(mq.InvalidRequest, "an empty entity type: there are %s and %s", userEntity, clientEntity)
		case part.EntityType != userEntity && part.EntityType != clientEntity && part.EntityType != ipEntity:
			return f, mq.Errorf(mq.UnsupportedVersion, "quotas of entity type %.60q: there are those of %s and %s", part.EntityType, userEntity, clientEntity)
		case twice:
			return f, mq.Errorf(mq.InvalidRequest, "entity type %s is given twice", part.EntityType)
		case part.MatchType < kmsg.QuotasMatchTypeExact || part.MatchType > kmsg.QuotasMatchTypeAny:
			return f, mq.Errorf(mq.InvalidRequest, "match type %d of entity type %s: want 0, 1 or 2", part.MatchType, part.EntityType)
		case (part.MatchType == kmsg.QuotasMatchTypeExact) != (part.Match != nil):
			return f, mq.Errorf(mq.InvalidRequest, "entity type %s: a name goes with match type 0, and with no other", part.EntityType)
		}
		f.parts[part.EntityType] = part
	}
	if _, ofAddress := f.parts[ipEntity]; ofAddress && len(f.parts) > 1 {
		return f, mq.Errorf(mq.InvalidRequest, "entity type %s goes with no other", ipEntity)
	}
	return f, nil
}

func (f quotaFilter) matches(e QuotaEntity) bool {
	found := 0
	for _, part := range e.parts() {
		want, asked := f.parts[part.kind]
		if !asked {
			if f.strict {
				return false
			}
			continue
		}
		switch found++; want.MatchType {
		case kmsg.QuotasMatchTypeExact:
			if part.name == nil || *part.name != *want.Match {
				return false
			}
		case kmsg.QuotasMatchTypeDefault:
			if part.name != nil {
				return false
			}
		}
	}
	return found == len(f.parts)
}
