package metadata

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

const produceRate, consumeRate = "producer_byte_rate", "consumer_byte_rate"

func ofUser(name string) QuotaEntity         { return QuotaEntity{OfUser: true, User: name} }
func ofClient(id string) QuotaEntity         { return QuotaEntity{OfClient: true, ClientID: id} }
func ofBoth(user, client string) QuotaEntity { return QuotaEntity{true, true, user, client} }

// quotaCommand sets limits, or takes away those of 0.
func quotaCommand(e QuotaEntity, limits map[string]int64) *metadatapb.Command {
	c := &metadatapb.AlterQuota{Entity: EntityRecord(e)}
	for key, v := range limits {
		c.Changes = append(c.Changes, &metadatapb.QuotaChange{Key: key, Value: v, Delete: v == 0})
	}
	return &metadatapb.Command{Kind: &metadatapb.Command_AlterQuota{AlterQuota: c}}
}

func produceOnly(rate int64) map[string]int64 { return map[string]int64{produceRate: rate} }

func TestQuotasAreKept(t *testing.T) {
	b := newCluster(t, 1)
	b.must(quotaCommand(ofUser("alice"), map[string]int64{produceRate: 1000, consumeRate: 2000}))
	b.must(quotaCommand(ofBoth("", ""), produceOnly(MaxQuotaRate)))
	b.must(quotaCommand(ofClient("loader"), produceOnly(5)))
	b.must(quotaCommand(ofUser("alice"), map[string]int64{consumeRate: 0}))
	b.must(quotaCommand(ofClient("nobody"), map[string]int64{consumeRate: 0})) // nothing to it
	checkReload(t, b.store)
	img := b.store.Image()
	if n := img.quotas.len(); n != 3 {
		t.Errorf("%d quotas", n)
	}
	reader := NewImageReader(nil)
	got, _ := transfer(t, reader, nil, img)
	checkSame(t, got, img)
	b.must(quotaCommand(ofClient("loader"), produceOnly(0)))
	b.must(quotaCommand(ofUser("alice"), produceOnly(7)))
	got, _ = transfer(t, reader, img, b.store.Image())
	checkSame(t, got, b.store.Image())
	checkReload(t, b.store)
	if n := got.quotas.len(); n != 2 {
		t.Errorf("%d quotas", n)
	}
}

func TestQuotasThatCannotBeAreRefused(t *testing.T) {
	b := newCluster(t, 1)
	for name, c := range map[string]*metadatapb.Command{
		"of nobody":        quotaCommand(QuotaEntity{}, produceOnly(1)),
		"a long name":      quotaCommand(ofUser(strings.Repeat("u", MaxQuotaName+1)), produceOnly(1)),
		"an unknown limit": quotaCommand(ofUser("u"), map[string]int64{"producer_rate": 1}),
		"below 1":          quotaCommand(ofUser("u"), produceOnly(-1)),
		"too much":         quotaCommand(ofUser("u"), produceOnly(MaxQuotaRate+1)),
		"twice": {Kind: &metadatapb.Command_AlterQuota{AlterQuota: &metadatapb.AlterQuota{
			Entity: EntityRecord(ofUser("u")), Changes: []*metadatapb.QuotaChange{{Key: produceRate, Value: 1}, {Key: produceRate, Delete: true}},
		}}},
	} {
		t.Run(name, func(t *testing.T) { b.refuse(mq.InvalidConfig, c) })
	}
	if n := b.store.Image().quotas.len(); n != 0 {
		t.Errorf("%d quotas", n)
	}
	if err := ofUser("\xff").check(); mq.CodeOf(err) != mq.InvalidConfig {
		t.Errorf("a name that is not UTF-8: %v", err)
	}
}

// The order is that of Kafka's documentation, and holds for each limit by itself.
func TestFirstQuotaOfTheOrderHolds(t *testing.T) {
	b := newCluster(t, 1)
	key := ProducerByteRate()
	if rate, _ := b.store.Image().QuotaOf(key, "alice", "loader"); rate != 0 {
		t.Errorf("rate %d where nothing is limited", rate)
	}
	// From the last that would hold to the first, each with whom it is shared with.
	for i, q := range []struct{ of, shared QuotaEntity }{
		{ofClient(""), ofClient("loader")},
		{ofClient("loader"), ofClient("loader")},
		{ofUser(""), ofUser("alice")},
		{ofBoth("", ""), ofBoth("alice", "loader")},
		{ofBoth("", "loader"), ofBoth("alice", "loader")},
		{ofUser("alice"), ofUser("alice")},
		{ofBoth("alice", ""), ofBoth("alice", "loader")},
		{ofBoth("alice", "loader"), ofBoth("alice", "loader")},
	} {
		b.must(quotaCommand(q.of, produceOnly(int64(i+1))))
		img := b.store.Image()
		if rate, shared := img.QuotaOf(key, "alice", "loader"); rate != int64(i+1) || shared != q.shared {
			t.Errorf("with one of %s: rate %d, shared by %s", q.of, rate, shared)
		}
	}
	b.must(quotaCommand(ofBoth("alice", "loader"), map[string]int64{produceRate: 0, consumeRate: 9})) // a limit of another thing is none of this
	if rate, _ := b.store.Image().QuotaOf(key, "alice", "loader"); rate != 7 {
		t.Errorf("rate %d", rate)
	}
	if rate, shared := b.store.Image().QuotaOf(key, "bob", "other"); rate != 4 || shared != ofBoth("bob", "other") {
		t.Errorf("another one: rate %d, shared by %s", rate, shared)
	}
}

func TestQuotasAreBounded(t *testing.T) {
	b := newCluster(t, 1)
	var commands [][]byte
	for i := range MaxQuotas {
		commands = append(commands, encode(t, quotaCommand(ofClient(fmt.Sprint("c", i)), produceOnly(1))))
	}
	b.apply(commands...)
	b.refuse(mq.PolicyViolation, quotaCommand(ofUser("one more"), produceOnly(1)))
	b.must(quotaCommand(ofClient("c7"), produceOnly(2)))
	reader, before := NewImageReader(nil), b.store.Image()
	got, _ := transfer(t, reader, nil, before) // more than a page
	checkSame(t, got, before)
	b.must(quotaCommand(ofClient("c9"), produceOnly(0)))
	b.must(quotaCommand(ofClient("a"), produceOnly(1))) // before that by its name, and to be taken after it
	got, _ = transfer(t, reader, before, b.store.Image())
	checkSame(t, got, b.store.Image())
}

func TestImageWithQuotasThatCannotBeIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		quota *metadatapb.Quota
		code  mq.Code
	}{
		"an unknown limit": {&metadatapb.Quota{Entity: EntityRecord(ofUser("u")), Limits: []*metadatapb.QuotaLimit{{Key: "colour", Value: 1}}}, mq.UnsupportedVersion},
		"removed twice":    {&metadatapb.Quota{Entity: EntityRecord(ofUser("u"))}, mq.ProtocolViolation},
		"of nobody":        {&metadatapb.Quota{}, mq.UnsupportedVersion},
	} {
		r := NewImageReader(nil)
		r.draft = newDraft(nil, &Image{})
		if err := r.quotas(&metadatapb.ImagePage{Quotas: []*metadatapb.Quota{c.quota}}); mq.CodeOf(err) != c.code {
			t.Errorf("%s: %v", name, errors.Unwrap(err))
		}
	}
}

func TestKeysOfQuotaEntitiesDiffer(t *testing.T) {
	seen := map[string]QuotaEntity{}
	for _, e := range []QuotaEntity{ofUser(""), ofClient(""), ofBoth("", ""), ofUser("ab"), ofClient("ab"), ofBoth("a", "b"), ofBoth("ab", ""), ofBoth("", "ab"), ofBoth("2", ":b"), ofBoth("2:", "b")} {
		if other, taken := seen[e.key()]; taken {
			t.Errorf("%s and %s have the key %q", e, other, e.key())
		}
		seen[e.key()] = e
	}
}
