package kafkaproto

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

// Whatever the sizes of what is used, and whenever: who waits for as long as he is told uses no more than his rate and one burst, and what he used last; and he gets all of his rate.
func TestQuotaIsItsRateOnAverage(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		var q quotas
		rate := int64(1 + random.IntN(1<<random.IntN(30)))
		use := quotaUse{QuotaEntity{OfUser: true, User: "u"}, ProduceQuota}
		begun := time.Unix(1_700_000_000, 0)
		now, used, last, waited := begun, 0.0, 0, time.Duration(0)
		for range 200 {
			last = 1 + random.IntN(int(3*rate))
			used += float64(last)
			wait := q.take(use, rate, last, now)
			if again := q.left(use, rate, now); again != wait {
				t.Fatalf("seed %d: told %s, and then %s", seed, wait, again)
			}
			now, waited = now.Add(wait), waited+wait
			may := float64(rate) * (now.Sub(begun) + quotaBurst + time.Microsecond).Seconds()
			if used > may+1 {
				t.Fatalf("seed %d: %.0f bytes in %s at %d a second", seed, used, now.Sub(begun), rate)
			}
		}
		if may := float64(rate) * waited.Seconds(); used < may-1-float64(rate)*1e-3 {
			t.Fatalf("seed %d: %.0f bytes in %s at %d a second: it was held back for too long", seed, used, waited, rate)
		}
	}
}

func TestQuotaThatIsRaisedIsOwedForLess(t *testing.T) {
	var q quotas
	use, now := quotaUse{kind: ConsumeQuota}, time.Unix(1_700_000_000, 0)
	if wait := q.take(use, 10, 110, now); wait != 10*time.Second {
		t.Fatalf("told %s", wait)
	}
	now = now.Add(4 * time.Second)
	if wait := q.left(use, 60, now); wait != time.Second {
		t.Errorf("at six times the rate: %s", wait)
	}
	if wait := q.left(use, 0, now); wait != 0 {
		t.Errorf("without a quota: %s", wait)
	}
	if wait := q.take(use, 1, math.MaxInt, now); throttleMillis(wait) != math.MaxInt32 {
		t.Errorf("told %s", wait)
	}
}

// Client ids are whatever clients say: those that owe nothing are forgotten.
func TestQuotasForgetWhoOwesNothing(t *testing.T) {
	var q quotas
	now := time.Unix(1_700_000_000, 0)
	debtor := quotaUse{who: QuotaEntity{OfClient: true, ClientID: "debtor"}}
	q.take(debtor, 10, 1_000_000, now)
	for i := range 20 * leastSweep {
		now = now.Add(time.Millisecond)
		q.take(quotaUse{who: QuotaEntity{OfClient: true, ClientID: fmt.Sprint(i)}}, 1000, 10, now)
	}
	if n := len(q.used); n > 2*leastSweep {
		t.Errorf("%d are remembered", n)
	}
	if q.left(debtor, 10, now) == 0 {
		t.Error("who owes is forgotten")
	}
}

func TestProducerIsHeldBackByItsQuota(t *testing.T) {
	r := newRig(t)
	r.broker.make("t", 1)
	other, p := r.connect(), r.connect()
	batch := batchOf(t, 1, make([]byte, 1000))
	for version := int16(3); version <= 13; version++ { // of a small burst, the rest is owed
		q := produceOf(version, -1, "t", 0, batch)
		q.Topics[0].TopicID = r.broker.topics["t"].id
		r.broker.limit("tester", "producer_byte_rate", 0)
		ask[*kmsg.ProduceResponse](p, q)
		r.broker.limit("tester", "producer_byte_rate", 10_000_000)
		if got := ask[*kmsg.ProduceResponse](p, q); got.ThrottleMillis != 0 {
			t.Fatalf("version %d: %d ms within the quota", version, got.ThrottleMillis)
		}
	}
	r.broker.limit("tester", "producer_byte_rate", 500)
	q := produceOf(9, -1, "t", 0, batch)
	first := ask[*kmsg.ProduceResponse](p, q)
	if first.Topics[0].Partitions[0].ErrorCode != 0 || first.ThrottleMillis < 1000 || first.ThrottleMillis > 3000 {
		t.Fatalf("held back for %d ms, %+v", first.ThrottleMillis, first.Topics[0])
	}
	begun := time.Now()
	second := ask[*kmsg.ProduceResponse](p, q) // at once: it is not read before
	if took := time.Since(begun); took < time.Duration(first.ThrottleMillis)*time.Millisecond-time.Since(begun)/10 {
		t.Errorf("read after %s", took)
	}
	if second.ThrottleMillis < first.ThrottleMillis-1000 {
		t.Errorf("held back for %d ms, and then for %d", first.ThrottleMillis, second.ThrottleMillis)
	}
	// Whoever shares the quota is held back as well, for what both have used.
	if got := ask[*kmsg.ProduceResponse](other, q); got.ThrottleMillis < second.ThrottleMillis {
		t.Errorf("the other one is held back for %d ms", got.ThrottleMillis)
	}
	if n := r.server.Stats().Throttled; n != 3 {
		t.Errorf("%d requests were held back", n)
	}
	// A quota that is gone holds nobody back any more.
	r.broker.limit("tester", "producer_byte_rate", 0)
	begun = time.Now()
	if got := ask[*kmsg.ProduceResponse](p, q); got.ThrottleMillis != 0 || time.Since(begun) > quotaLook+time.Second {
		t.Errorf("held back for %d ms and %s without a quota", got.ThrottleMillis, time.Since(begun))
	}
}

func TestProducerWithoutResponsesIsHeldBackByItsQuota(t *testing.T) {
	r := newRig(t)
	topic := r.broker.make("t", 1)
	r.broker.limit("tester", "producer_byte_rate", 1000)
	p := r.connect()
	q := produceOf(9, 0, "t", 0, batchOf(t, 1, make([]byte, 1500)))
	begun := time.Now()
	p.send(q)
	p.send(q)
	for len(topic.parts[0].appended()) < 2 {
		time.Sleep(time.Millisecond)
	}
	if took := time.Since(begun); took < 500*time.Millisecond {
		t.Errorf("both were read within %s", took)
	}
}

func TestConsumerIsHeldBackByItsQuota(t *testing.T) {
	r := newRig(t)
	topic := filled(r, "t", 1, 1000, 1000, 1000, 1000)
	size := len(joined(topic.parts[0], 0, 1))
	r.broker.limit("tester", "consumer_byte_rate", int64(2*size))
	for version := int16(4); version <= 18; version++ {
		r.server.quotas.mu.Lock()
		r.server.quotas.used = nil // the burst is there again
		r.server.quotas.mu.Unlock()
		p := r.connect()
		q := fetchOf(version, "t", 1, 0, 0)
		q.Topics[0].TopicID = topic.id
		for i, least := range []int32{0, 1} { // the burst, and what is owed
			got := ask[*kmsg.FetchResponse](p, q)
			if data := got.Topics[0].Partitions[0].RecordBatches; len(data) != 2*size { // of a second, and no more at once
				t.Fatalf("version %d: %d bytes at a quota of %d", version, len(data), 2*size)
			}
			if got.ThrottleMillis < least || got.ThrottleMillis > 1000*least {
				t.Fatalf("version %d: held back for %d ms by request %d", version, got.ThrottleMillis, i)
			}
		}
	}
}

func TestServerThatDrainsDoesNotWaitForQuotas(t *testing.T) {
	r := newRig(t)
	r.broker.make("t", 1)
	r.broker.limit("tester", "producer_byte_rate", 1)
	p := r.connect()
	q := produceOf(9, -1, "t", 0, batchOf(t, 1, make([]byte, 1000)))
	if got := ask[*kmsg.ProduceResponse](p, q); got.ThrottleMillis < 60_000 {
		t.Fatalf("held back for %d ms", got.ThrottleMillis)
	}
	p.send(q)
	for r.server.Stats().Throttled == 0 {
		time.Sleep(time.Millisecond)
	}
	begun := time.Now()
	if err := r.server.Shutdown(t.Context()); err != nil || time.Since(begun) > 10*time.Second {
		t.Errorf("%v after %s", err, time.Since(begun))
	}
}

// alterQuotas makes a request of entries.
func alterQuotas(entries ...kmsg.AlterClientQuotasRequestEntry) *kmsg.AlterClientQuotasRequest {
	q := kmsg.NewPtrAlterClientQuotasRequest()
	q.Version, q.Entries = 1, entries
	return q
}

// quotaEntry is one whose entity is written "type=name", or "type" for the default one, and whose changes "key=value", or "key" to remove it.
func quotaEntry(entity []string, changes ...string) (e kmsg.AlterClientQuotasRequestEntry) {
	for _, part := range entity {
		kind, name, named := strings.Cut(part, "=")
		x := kmsg.AlterClientQuotasRequestEntryEntity{Type: kind}
		if named {
			x.Name = &name
		}
		e.Entity = append(e.Entity, x)
	}
	for _, c := range changes {
		key, value, set := strings.Cut(c, "=")
		op := kmsg.AlterClientQuotasRequestEntryOp{Key: key, Remove: !set}
		if set {
			if _, err := fmt.Sscan(value, &op.Value); err != nil {
				panic(err)
			}
		}
		e.Ops = append(e.Ops, op)
	}
	return e
}

func TestQuotasAreAlteredAndDescribed(t *testing.T) {
	r := newRig(t)
	p := r.connect()
	user := []string{"user=alice"}
	for _, c := range []struct {
		entry kmsg.AlterClientQuotasRequestEntry
		want  string
	}{
		{quotaEntry(user, "producer_byte_rate=1000", "consumer_byte_rate=2e6"), "NONE"},
		{quotaEntry([]string{"user", "client-id"}, "producer_byte_rate=5"), "NONE"},
		{quotaEntry([]string{"client-id=c", "user=alice"}, "consumer_byte_rate=6"), "NONE"},
		{quotaEntry([]string{"client-id=c"}, "consumer_byte_rate=7"), "NONE"},
		{quotaEntry(user, "request_percentage", "controller_mutation_rate"), "NONE"},
		{quotaEntry([]string{"ip=10.0.0.1"}, "connection_creation_rate"), "NONE"},
		{quotaEntry(user), "NONE"},
		{quotaEntry(user, "producer_byte_rate=0.5"), "INVALID_REQUEST"},
		{quotaEntry(user, "producer_byte_rate=-1"), "INVALID_REQUEST"},
		{quotaEntry(user, "producer_byte_rate=1e300"), "INVALID_REQUEST"},
		{quotaEntry(user, "producer_byte_rate=NaN"), "INVALID_REQUEST"},
		{quotaEntry(user, "producer_byte_rate=1", "producer_byte_rate"), "INVALID_REQUEST"},
		{quotaEntry(user, "request_percentage=50"), "INVALID_REQUEST"},
		{quotaEntry(user, "colour=1"), "INVALID_REQUEST"},
		{quotaEntry(user, "colour"), "INVALID_REQUEST"},
		{quotaEntry([]string{"ip=10.0.0.1"}, "connection_creation_rate=1"), "INVALID_REQUEST"},
		{quotaEntry([]string{"ip=10.0.0.1"}, "producer_byte_rate=1"), "INVALID_REQUEST"},
		{quotaEntry([]string{"ip", "user=alice"}, "producer_byte_rate"), "INVALID_REQUEST"},
		{quotaEntry([]string{"user="}, "producer_byte_rate=1"), "INVALID_REQUEST"},
		{quotaEntry([]string{"user=alice", "user=bob"}, "producer_byte_rate=1"), "INVALID_REQUEST"},
		{quotaEntry([]string{"group=g"}, "producer_byte_rate=1"), "INVALID_REQUEST"},
		{quotaEntry(nil, "producer_byte_rate=1"), "INVALID_REQUEST"},
		{quotaEntry([]string{"user=refused"}, "producer_byte_rate=1"), "INVALID_REQUEST"},
	} {
		got := ask[*kmsg.AlterClientQuotasResponse](p, alterQuotas(c.entry)).Entries[0]
		if code := mq.Code(got.ErrorCode).String(); code != c.want || (code == "NONE") != (got.ErrorMessage == nil) || len(got.Entity) != len(c.entry.Entity) {
			t.Errorf("%+v: %s, want %s", c.entry, code, c.want)
		}
	}
	dry := alterQuotas(quotaEntry([]string{"user=dry"}, "producer_byte_rate=1"))
	dry.ValidateOnly = true
	if got := ask[*kmsg.AlterClientQuotasResponse](p, dry).Entries[0]; got.ErrorCode != 0 {
		t.Errorf("only looked at: %s", mq.Code(got.ErrorCode))
	}

	const exact, def, named = 0, 1, 2
	type part = kmsg.DescribeClientQuotasRequestComponent
	alice, c := "alice", "c"
	for _, x := range []struct {
		strict bool
		parts  []part
		want   []string
	}{
		{false, nil, []string{"client-id,user producer_byte_rate=5", "client-id=c consumer_byte_rate=7", "client-id=c,user=alice consumer_byte_rate=6", "user=alice consumer_byte_rate=2e+06 producer_byte_rate=1000"}},
		{true, nil, nil},
		{false, []part{{EntityType: "user", MatchType: exact, Match: &alice}}, []string{"client-id=c,user=alice consumer_byte_rate=6", "user=alice consumer_byte_rate=2e+06 producer_byte_rate=1000"}},
		{true, []part{{EntityType: "user", MatchType: exact, Match: &alice}}, []string{"user=alice consumer_byte_rate=2e+06 producer_byte_rate=1000"}},
		{false, []part{{EntityType: "user", MatchType: def}}, []string{"client-id,user producer_byte_rate=5"}},
		{true, []part{{EntityType: "client-id", MatchType: named}}, []string{"client-id=c consumer_byte_rate=7"}},
		{true, []part{{EntityType: "client-id", MatchType: exact, Match: &c}, {EntityType: "user", MatchType: named}}, []string{"client-id=c,user=alice consumer_byte_rate=6"}},
		{false, []part{{EntityType: "ip", MatchType: named}}, nil},
	} {
		q := kmsg.NewPtrDescribeClientQuotasRequest()
		q.Version, q.Strict, q.Components = 1, x.strict, x.parts
		got := ask[*kmsg.DescribeClientQuotasResponse](p, q)
		var lines []string
		for _, e := range got.Entries {
			lines = append(lines, quotaLine(e))
		}
		if slices.Sort(lines); got.ErrorCode != 0 || got.Entries == nil || !slices.Equal(lines, x.want) {
			t.Errorf("strict %t, %+v: %s %q, want %q", x.strict, x.parts, mq.Code(got.ErrorCode), lines, x.want)
		}
	}
	for name, parts := range map[string][]part{
		"an unknown type":      {{EntityType: "group", MatchType: named}},
		"twice":                {{EntityType: "user", MatchType: named}, {EntityType: "user", MatchType: def}},
		"an unknown match":     {{EntityType: "user", MatchType: 3}},
		"exactly nothing":      {{EntityType: "user", MatchType: exact}},
		"the default, by name": {{EntityType: "user", MatchType: def, Match: &alice}},
	} {
		q := kmsg.NewPtrDescribeClientQuotasRequest()
		q.Version, q.Components = 1, parts
		if got := ask[*kmsg.DescribeClientQuotasResponse](p, q); got.ErrorCode == 0 || got.ErrorMessage == nil || len(got.Entries) > 0 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func quotaLine(e kmsg.DescribeClientQuotasResponseEntry) string {
	var parts, limits []string
	for _, x := range e.Entity {
		part := x.Type
		if x.Name != nil {
			part += "=" + *x.Name
		}
		parts = append(parts, part)
	}
	for _, v := range e.Values {
		limits = append(limits, fmt.Sprintf("%s=%v", v.Key, v.Value))
	}
	return strings.Join(parts, ",") + " " + strings.Join(limits, " ")
}
