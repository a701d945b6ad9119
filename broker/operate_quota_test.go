package broker_test

import (
	"fmt"
	"testing"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	"github.com/rustmq/rustmq/kafkaproto"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
)

func (f *fixture) setQuota(clientID string, set map[string]int64, unset ...string) error {
	f.t.Helper()
	_, err := f.operate(f.t.Context(), alice, &adminpb.Request{Kind: &adminpb.Request_AlterQuota{AlterQuota: &adminpb.AlterQuotaRequest{
		ClientId: &adminpb.QuotaName{Name: clientID}, Set: set, Unset: unset,
	}}})
	return err
}

func (f *fixture) quotas(page string) *adminpb.ListQuotasResponse {
	f.t.Helper()
	return f.ask(&adminpb.Request{Kind: &adminpb.Request_ListQuotas{ListQuotas: &adminpb.ListQuotasRequest{Page: page}}}).GetListQuotas()
}

// Quotas are listed page by page, each once, also when that with which a page begins is gone.
func TestQuotasAreListedByPages(t *testing.T) {
	f := newFixtureAt(t, metadata.QuotaLevel, 1)
	const count = 2500
	for i := range count {
		f.must(f.setQuota(fmt.Sprintf("c%04d", i), map[string]int64{"producer_byte_rate": int64(i + 1)}))
	}
	first := f.quotas("")
	if len(first.GetQuotas()) != 1000 || first.GetNextPage() == "" {
		t.Fatalf("%d quotas, and next %q", len(first.GetQuotas()), first.GetNextPage())
	}
	f.must(f.setQuota("c1000", nil, "producer_byte_rate"))
	all := first.GetQuotas()
	for page := first.GetNextPage(); page != ""; {
		next := f.quotas(page)
		all, page = append(all, next.GetQuotas()...), next.GetNextPage()
	}
	if len(all) != count-1 {
		t.Fatalf("%d quotas", len(all))
	}
	for i, q := range all {
		if i >= 1000 {
			i++
		}
		if q.GetUser() != nil || q.GetClientId().GetName() != fmt.Sprintf("c%04d", i) || len(q.GetLimits()) != 1 || q.GetLimits()["producer_byte_rate"] != int64(i+1) {
			t.Fatalf("%d: %v", i, q)
		}
	}
	_, err := f.operate(t.Context(), alice, &adminpb.Request{Kind: &adminpb.Request_ListQuotas{ListQuotas: &adminpb.ListQuotasRequest{Page: "?"}}})
	wantCode(t, "a page that nobody named", err, mq.InvalidRequest, "next_page")
}

// What is only looked at is refused for what the change would be refused for.
func TestQuotaThatIsOnlyLookedAtSaysWhatWouldCome(t *testing.T) {
	limit := func(name string, rate int64) []kafkaproto.QuotaChange {
		return []kafkaproto.QuotaChange{{QuotaLimit: kafkaproto.QuotaLimit{Name: name, Rate: rate}}}
	}
	of := kafkaproto.QuotaEntity{OfClient: true, ClientID: "loader"}
	old := newFixtureAt(t, metadata.QuotaLevel-1, 1)
	newest := newFixtureAt(t, metadata.QuotaLevel, 1)
	for _, dry := range []bool{true, false} {
		k := old.kafka()
		wantCode(t, fmt.Sprintf("below its level, dry %t", dry), k.AlterQuota(t.Context(), asker, of, limit("producer_byte_rate", 1), dry), mq.UnsupportedVersion, "feature level 6")
		k = newest.kafka()
		wantCode(t, fmt.Sprintf("a rate of 0, dry %t", dry), k.AlterQuota(t.Context(), asker, of, limit("producer_byte_rate", 0), dry), mq.InvalidConfig, "from 1")
		if rate, _ := k.Quota(&kafkaproto.Session{ClientID: "loader"}, kafkaproto.ProduceQuota); rate != 0 {
			t.Errorf("a rate of %d", rate)
		}
	}
	k := newest.kafka()
	newest.must(k.AlterQuota(t.Context(), asker, of, limit("producer_byte_rate", 9), true))
	if list, err := k.ClientQuotas(asker); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	newest.must(k.AlterQuota(t.Context(), asker, of, limit("producer_byte_rate", 9), false))
	rate, shared := k.Quota(&kafkaproto.Session{Principal: "somebody", ClientID: "loader"}, kafkaproto.ProduceQuota)
	if other, _ := k.Quota(&kafkaproto.Session{ClientID: "loader"}, kafkaproto.ConsumeQuota); rate != 9 || shared != of || other != 0 {
		t.Errorf("a rate of %d, shared by %+v; %d for consuming", rate, shared, other)
	}
	wantCode(t, "nothing to change", newest.setQuota("loader", nil), mq.InvalidRequest, "nothing to change")
}
