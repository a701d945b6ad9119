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

// Whatever the sizes of what is used, and whenever: who waits for as long as he is told uses no more than his rate and one burst; and he gets all of his rate.
func TestQuotaIsItsRateOnAverage(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		var q quotas
		rate := int64(1 + random.IntN(1<<random.IntN(30)))
		use := quotaUse{QuotaEntity{OfUser: true, User: "u"}, ProduceQuota}
		begun := time.Unix(1_700_000_000, 0)
		now, used, waited := begun, 0.0, time.Duration(0)
		for range 200 {
			last := 1 + random.IntN(int(3*rate))
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
	if wait := q.take(use, 1, math.MaxInt, now); wait != quotaDebt {
		t.Errorf("told %s for very much", wait)
	}
}

// Nobody uses more while something is owed, so what is owed is of one use.
func TestQuotaIsUsedByOneAtATime(t *testing.T) {
	var q quotas
	use, now := quotaUse{kind: ProduceQuota}, time.Unix(1_700_000_000, 0)
	if left, wait := q.admit(use, 100, 1100, now); left != 10*time.Second || wait != 0 {
		t.Fatalf("told %s, after %s", left, wait)
	}
	for range 100 {
		if left, wait := q.admit(use, 100, 1100, now); left != 0 || wait != 10*time.Second {
			t.Fatalf("told %s, after %s", left, wait)
		}
	}
	if left, wait := q.admit(use, 100, 500, now.Add(10*time.Second)); left != 5*time.Second || wait != 0 {
		t.Fatalf("told %s, after %s", left, wait)
	}
}

// Client ids are whatever clients say: those that owe nothing are forgotten, and there are not more than so many.
func TestQuotasForgetWhoOwesNothing(t *testing.T) {
	var q quotas
	now := time.Unix(1_700_000_000, 0)
	ofClient := func(id string) quotaUse { return quotaUse{who: QuotaEntity{OfClient: true, ClientID: id}} }
	debtor := ofClient("debtor")
	for i := range 2 * quotaUsers {
		q.take(ofClient(fmt.Sprint(i)), 1000, 10, now)
	}
	if n := len(q.used); n > quotaUsers+1 {
		t.Errorf("%d are remembered", n)
	}
	now = now.Add(quotaSweep)
	q.take(debtor, 10, 1000, now)
	if n := len(q.used); n != 2 { // and the place that many had to share
		t.Errorf("%d are remembered of whom two owe", n)
	}
	now = now.Add(quotaSweep)
	if q.left(debtor, 10, now) == 0 {
		t.Error("who owes is forgotten")
	}
}

func TestProducerIsHeldBackByItsQuota(t *testing.T) {
	r := newRig(t)
	r.broker.make("t", 1)
	other, p := r.connect(), r.connect()
	batch := batchOf(t, 1, make([]byte, 1000))
	r.broker.limit("tester", "producer_byte_rate", 10_000_000)
	for version := int16(3); version <= 13; version++ { // of the burst
		q := produceOf(version, -1, "t", 0, batch)
		q.Topics[0].TopicID = r.broker.topics["t"].id
		if got := ask[*kmsg.ProduceResponse](p, q); got.ThrottleMillis != 0 {
			t.Fatalf("version %d: %d ms within the quota", version, got.ThrottleMillis)
		}
	}
	r.broker.limit("tester", "producer_byte_rate", 500)
	q := produceOf(9, -1, "t", 0, batch)
	told := int64(0)
	for _, x := range []*peer{p, p, other} { // at once, and by another connection
		begun := time.Now()
		got := ask[*kmsg.ProduceResponse](x, q)
		if got.Topics[0].Partitions[0].ErrorCode != 0 || got.ThrottleMillis < 1000 || got.ThrottleMillis > 3000 {
			t.Fatalf("held back for %d ms, %+v", got.ThrottleMillis, got.Topics[0])
		}
		if took := time.Since(begun).Milliseconds(); took < told-100 {
			t.Errorf("read after %d ms, held back for %d", took, told)
		}
		told = int64(got.ThrottleMillis)
	}
	if n := r.server.Stats().Throttled; n != 3 {
		t.Errorf("%d requests were held back", n)
	}
	// Other requests are not, and without the quota nobody is.
	if took := timeOf(func() { ask[*kmsg.MetadataResponse](p, kmsg.NewPtrMetadataRequest()) }); took > time.Second {
		t.Errorf("metadata came after %s", took)
	}
	r.broker.limit("tester", "producer_byte_rate", 1)
	time.AfterFunc(100*time.Millisecond, func() { r.broker.limit("tester", "producer_byte_rate", 0) })
	if took := timeOf(func() { ask[*kmsg.ProduceResponse](p, q) }); took > 10*time.Second {
		t.Errorf("held back for %s without a quota", took)
	}
}

func timeOf(f func()) time.Duration {
	begun := time.Now()
	f()
	return time.Since(begun)
}

// Neither connections of their own nor requests behind each other get more.
func TestQuotaHoldsForWhoDoesNotWait(t *testing.T) {
	r := newRig(t)
	topic := filled(r, "t", 1, slices.Repeat([]int{10_000}, 50)...)
	r.broker.limit("tester", "consumer_byte_rate", 1000)
	r.broker.limit("tester", "producer_byte_rate", 1000)
	before := len(topic.parts[0].appended())
	for range 20 {
		p := r.connect()
		for range 20 {
			p.send(fetchOf(9, "t", 0, 0))
		}
		r.connect().send(produceOf(9, -1, "t", 0, batchOf(t, 1, make([]byte, 5000))))
	}
	until(t, func() bool { return r.server.Stats().Fetched > 0 && len(topic.parts[0].appended()) > before })
	time.Sleep(500 * time.Millisecond) // in which all of it would be there, if nobody were held back
	if s := r.server.Stats(); s.Fetched > 2*10_100 {
		t.Errorf("%d bytes were fetched at 1000 a second", s.Fetched)
	}
	if n := len(topic.parts[0].appended()) - before; n != 1 {
		t.Errorf("%d batches of 5,000 bytes were produced at 1000 a second", n)
	}
}

// The client's id is the one of the request itself.
func TestQuotaIsOfWhoTheRequestSays(t *testing.T) {
	r := newRig(t)
	r.broker.make("t", 1)
	r.broker.limit("tester", "producer_byte_rate", 10)
	if got := ask[*kmsg.ProduceResponse](r.connect(), produceOf(9, -1, "t", 0, batchOf(t, 1, make([]byte, 100)))); got.ThrottleMillis < 1000 {
		t.Errorf("the first request of a connection: held back for %d ms", got.ThrottleMillis)
	}
	if n := r.server.Stats().Throttled; n != 1 {
		t.Errorf("%d were held back", n)
	}
}

// Who has gone while he was held back is not there for ever.
func TestQuotaHoldsNobodyLongerThanTheIdleTimeout(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.IdleTimeout = 100 * time.Millisecond })
	r.broker.make("t", 1)
	r.broker.limit("tester", "producer_byte_rate", 1)
	q := produceOf(9, -1, "t", 0, batchOf(t, 1, make([]byte, 100)))
	p := r.connect()
	ask[*kmsg.ProduceResponse](p, q)
	p.send(q)
	_ = p.conn.Close()
	for begun := time.Now(); r.server.Stats().Connections > 0; time.Sleep(time.Millisecond) {
		if time.Since(begun) > 10*time.Second {
			t.Fatal("the connection is still there")
		}
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
		q := fetchOf(version, "t", 0, 0)
		q.Topics[0].TopicID = topic.id
		got := ask[*kmsg.FetchResponse](p, q)
		if data := got.Topics[0].Partitions[0].RecordBatches; len(data) != 2*size || got.ThrottleMillis != 0 { // of a second, and no more at once
			t.Fatalf("version %d: %d bytes at a quota of %d, held back for %d ms", version, len(data), 2*size, got.ThrottleMillis)
		}
		if got = ask[*kmsg.FetchResponse](p, q); len(got.Topics) != 1 || got.ThrottleMillis < 500 || got.ThrottleMillis > 1000 {
			t.Fatalf("version %d: %+v", version, got)
		}
	}
}

// Who sends more than one Fetch at once is told so, with nothing, and a session that it would have begun is none.
func TestFetchOfWhoOwesIsEmpty(t *testing.T) {
	r := newRig(t)
	topic := filled(r, "t", 1, 1000)
	r.broker.limit("tester", "consumer_byte_rate", 100)
	p := r.connect()
	waits, begins := fetchOf(12, "t", int64(topic.parts[0].end), 0), fetchOf(12, "t", 0, 0)
	waits.MaxWaitMillis = 60_000
	begins.SessionEpoch = 0
	first, second := p.send(waits), p.send(begins) // both are read before the first is answered
	until(t, func() bool { return topic.parts[0].awaited() == 1 && r.server.Stats().Requests == 2 })
	fakeProducer{r.broker, "t"}.Append(t.Context(), 0, batchOf(t, 1, make([]byte, 1000)), mq.DurabilityAll, func(Appended) {})
	got := []*kmsg.FetchResponse{response[*kmsg.FetchResponse](p, waits, first), response[*kmsg.FetchResponse](p, begins, second)}
	if len(got[0].Topics) != 1 || got[0].ThrottleMillis < 5000 {
		t.Errorf("the first: %+v", got[0])
	}
	if len(got[1].Topics) != 0 || got[1].SessionID != 0 || got[1].ThrottleMillis < 5000 || got[1].ErrorCode != 0 {
		t.Errorf("the second: %+v", got[1])
	}
	if n := r.server.cached.Load(); n != 0 {
		t.Errorf("%d partitions are in sessions", n)
	}
}

func TestServerThatDrainsDoesNotWaitForQuotas(t *testing.T) {
	r := newRig(t)
	r.broker.make("t", 1)
	r.broker.limit("tester", "producer_byte_rate", 1)
	p := r.connect()
	q := produceOf(9, -1, "t", 0, batchOf(t, 1, make([]byte, 1000)))
	if got := ask[*kmsg.ProduceResponse](p, q); got.ThrottleMillis < 59_000 {
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
