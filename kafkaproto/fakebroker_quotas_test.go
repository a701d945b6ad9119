package kafkaproto

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/rustmq/rustmq/mq"
)

// fakeQuotas is what fakeBroker keeps of quotas. The broker's mutex guards it.
type fakeQuotas map[QuotaEntity]map[string]int64

func (b *fakeBroker) Quota(s *Session, k QuotaKind) (int64, QuotaEntity) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := QuotaEntity{OfClient: true, ClientID: s.ClientID}
	name := "producer_byte_rate"
	if k == ConsumeQuota {
		name = "consumer_byte_rate"
	}
	return b.quotas[e][name], e
}

func (b *fakeBroker) ClientQuotas(*Session) (list []ClientQuota, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for e, limits := range b.quotas {
		q := ClientQuota{Entity: e}
		for _, name := range slices.Sorted(maps.Keys(limits)) {
			q.Limits = append(q.Limits, QuotaLimit{name, limits[name]})
		}
		list = append(list, q)
	}
	slices.SortFunc(list, func(a, b ClientQuota) int {
		return cmp.Or(cmp.Compare(a.Entity.User, b.Entity.User), cmp.Compare(a.Entity.ClientID, b.Entity.ClientID))
	})
	return list, nil
}

func (b *fakeBroker) AlterQuota(_ context.Context, _ *Session, e QuotaEntity, changes []QuotaChange, dry bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e.User == "refused" {
		return mq.Errorf(mq.InvalidConfig, "a quota that is refused")
	}
	if dry {
		return nil
	}
	if b.quotas == nil {
		b.quotas = make(fakeQuotas)
	}
	limits := maps.Clone(b.quotas[e])
	if limits == nil {
		limits = make(map[string]int64)
	}
	for _, c := range changes {
		if limits[c.Name] = c.Rate; c.Remove {
			delete(limits, c.Name)
		}
	}
	if b.quotas[e] = limits; len(limits) == 0 {
		delete(b.quotas, e)
	}
	return nil
}

// limit gives clients that call themselves so a quota, or takes it away.
func (b *fakeBroker) limit(clientID, name string, rate int64) {
	_ = b.AlterQuota(context.Background(), nil, QuotaEntity{OfClient: true, ClientID: clientID}, []QuotaChange{{QuotaLimit{name, rate}, rate == 0}}, false)
}
