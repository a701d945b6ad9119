package broker_test

import (
	"testing"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/server"
)

// opened is a reader of partition 0.
func (f *fixture) opened(topic string, iso mq.Isolation) server.Reader {
	f.t.Helper()
	r, err := f.OpenFetch(f.t.Context(), alice, topic, 0, mq.NoEpoch, iso)
	f.must(err)
	f.t.Cleanup(r.Close)
	return r
}

func TestOpenFetchNamesWhyItIsRefused(t *testing.T) {
	f := newFixture(t, 1)
	f.create("orders", 2)
	f.must(f.partition("orders", 0).Lead(5, 0, []partition.Replica{{Node: self, Incarnation: 1}}))
	f.hide("orders", 1)
	for _, c := range []struct {
		name      string
		topic     string
		partition int32
		epoch     mq.Epoch
		code      mq.Code
		about     string
	}{
		{"no such topic", "nowhere", 0, mq.NoEpoch, mq.UnknownTopicOrPartition, `"nowhere"`},
		{"no topic's name", "..", 0, mq.NoEpoch, mq.InvalidTopic, ""},
		{"below the first partition", "orders", -1, mq.NoEpoch, mq.UnknownTopicOrPartition, "no partition -1"},
		{"beyond the last partition", "orders", 2, mq.NoEpoch, mq.UnknownTopicOrPartition, "no partition 2"},
		{"not open here", "orders", 1, mq.NoEpoch, mq.NotLeaderOrFollower, "node 1"},
		{"an epoch that is over", "orders", 0, 4, mq.FencedLeaderEpoch, "epoch 5, not 4"},
		{"an epoch that has not begun", "orders", 0, 6, mq.UnknownLeaderEpoch, "epoch 5 here, 6"},
		{"the epoch", "orders", 0, 5, mq.None, ""},
		{"no epoch", "orders", 0, mq.NoEpoch, mq.None, ""},
	} {
		r, err := f.OpenFetch(t.Context(), alice, c.topic, c.partition, c.epoch, mq.IsolationCommitted)
		wantCode(t, c.name, err, c.code)
		if err != nil {
			wantCode(t, c.name, err, c.code, c.about)
			continue
		}
		r.Close()
	}
}

// TestReadersSeeWhatTheirIsolationLets has 5 records: 1 in the object store, 3 replicated, 5 in the leader's log.
func TestReadersSeeWhatTheirIsolationLets(t *testing.T) {
	f := newFixture(t, 2)
	f.replicated("orders", 1, 2)
	for range 5 {
		f.must(f.produce("orders", 0, batch(t, 1, 1), mq.DurabilityLeader).Err)
	}
	part := f.partition("orders", 0)
	f.must(part.Acked(partition.Replica{Node: other, Incarnation: 1}, 0, 3))
	part.TieredTo(1)
	for iso, end := range map[mq.Isolation]mq.Offset{mq.IsolationCommitted: 3, mq.IsolationObject: 1} {
		r := f.opened("orders", iso)
		id, start, high, seen := r.Offsets()
		if id != part.ID().Topic || start != 0 || high != 3 || seen != end {
			t.Errorf("%s: offsets %s, %d, %d, %d", iso, id, start, high, seen)
		}
		got, err := r.Read(t.Context(), 0, 1<<20, nil)
		if err != nil || got.Next != end || got.End != end || got.HighWatermark != 3 || got.LogStart != 0 || got.LogEnd != 5 {
			t.Errorf("%s: read %+v, %v", iso, got, err)
		}
		for from := end; from <= 5; from++ { // it waits there, and is no error
			got, err := r.Read(t.Context(), from, 1<<20, nil)
			if err != nil || len(got.Batches) != 0 || got.Next != from {
				t.Errorf("%s: read at %d: %+v, %v", iso, from, got, err)
			}
		}
		_, err = r.Read(t.Context(), 6, 1<<20, nil)
		wantCode(t, "beyond the log end", err, mq.OffsetOutOfRange, "[0, 5)")
	}
	f.must(part.SetLogStart(2))
	_, err := f.opened("orders", mq.IsolationCommitted).Read(t.Context(), 1, 1<<20, nil)
	wantCode(t, "below the log start", err, mq.OffsetOutOfRange, "[2, 5)")
}

func TestReadersGetAtLeastOneBatchAndAboutWhatTheyAskFor(t *testing.T) {
	f := newFixture(t, 1)
	f.create("orders", 1)
	size := len(batch(t, 10, 1))
	for range 5 {
		f.must(f.produce("orders", 0, batch(t, 10, 1), mq.DurabilityAll).Err)
	}
	r := f.opened("orders", mq.IsolationCommitted)
	for most, next := range map[int]mq.Offset{1: 10, size: 10, 2*size - 1: 10, 2 * size: 20, 100 * size: 50} {
		if got, err := r.Read(t.Context(), 0, most, nil); err != nil || got.Next != next {
			t.Errorf("%d bytes: up to %d, %v; want %d", most, got.Next, err, next)
		}
	}
	if got, err := r.Read(t.Context(), 17, 1, nil); err != nil || got.Next != 20 || len(got.Batches) != 1 {
		t.Errorf("from the middle of a batch: %+v, %v", got, err)
	}
}

// bell counts what rings it.
type bell chan struct{}

func (b bell) Wake() { b <- struct{}{} }

func TestWaitingReaderIsWokenOnceAndNotAfterClose(t *testing.T) {
	f := newFixture(t, 1)
	f.create("orders", 1)
	r := f.opened("orders", mq.IsolationCommitted)
	first, second := make(bell, 9), make(bell, 9)
	if !r.Await(0, first) || !r.Await(0, second) {
		t.Fatal("there is nothing to read, and Await says there is")
	}
	f.must(f.produce("orders", 0, batch(t, 1, 1), mq.DurabilityAll).Err)
	<-second
	if r.Await(0, first) {
		t.Fatal("there is something to read, and Await waits")
	}
	if !r.Await(1, first) {
		t.Fatal("all is read, and Await says there is more")
	}
	r.Close()
	f.must(f.produce("orders", 0, batch(t, 1, 1), mq.DurabilityAll).Err)
	// The wakes of an append come before its answer.
	if len(first) != 0 || len(second) != 0 {
		t.Errorf("woken %d and %d times more", len(first), len(second))
	}
}

func TestWaitingReaderIsWokenWhenItsTopicGoes(t *testing.T) {
	f := newFixture(t, 1)
	f.create("orders", 1)
	r := f.opened("orders", mq.IsolationCommitted)
	woken := make(bell, 1)
	if !r.Await(0, woken) {
		t.Fatal("there is nothing to read, and Await says there is")
	}
	f.must(f.DeleteTopic(t.Context(), alice, "orders"))
	<-woken
	_, err := r.Read(t.Context(), 0, 1000, nil)
	wantCode(t, "deleted", err, mq.UnknownTopicOrPartition)
}

func TestQuarantinedPartitionServesWhatTheObjectStoreHas(t *testing.T) {
	f := newFixture(t, 1)
	f.create("orders", 1)
	for range 2 {
		f.must(f.produce("orders", 0, batch(t, 1, 1), mq.DurabilityAll).Err)
	}
	part := f.partition("orders", 0)
	part.TieredTo(1)
	part.Quarantine(mq.Errorf(mq.Corrupt, "rot at 7"))
	r := f.opened("orders", mq.IsolationCommitted)
	_, err := r.Read(t.Context(), 0, 1000, nil) // the bucket of these tests is away
	wantCode(t, "below the tiered end", err, mq.ObjectStoreUnavailable)
	_, err = r.Read(t.Context(), 1, 1000, nil)
	wantCode(t, "above it", err, mq.PartitionQuarantined, "rot at 7")
	// After a restart the metadata names an epoch that the partition never began.
	next, err := f.OpenFetch(t.Context(), alice, "orders", 0, part.LeaderEpoch()+1, mq.IsolationCommitted)
	f.must(err)
	defer next.Close()
	_, err = next.Read(t.Context(), 0, 1000, nil)
	wantCode(t, "in the next epoch", err, mq.ObjectStoreUnavailable)
	d, err := f.DescribeTopic(t.Context(), alice, "orders")
	if err != nil || d.Partitions[0].Code != mq.PartitionQuarantined {
		t.Errorf("described as %+v, %v", d, err)
	}
}

func TestOffsetsAreAnsweredOneByOne(t *testing.T) {
	f := newFixture(t, 2)
	f.replicated("orders", 3, 2)
	led, followed := int32(-1), int32(-1)
	for i, p := range f.Image().TopicByName("orders").All() {
		if p.Leader == self {
			led = i
		} else {
			followed = i
		}
	}
	part := f.partition("orders", led)
	for i := range int64(5) {
		f.must(f.produce("orders", led, batch(t, 2, 1000*(i+1)), mq.DurabilityLeader).Err) // times 1000, 1001, 2000, ...
	}
	f.must(part.Acked(partition.Replica{Node: other, Incarnation: 1}, 0, 8))
	part.TieredTo(0)
	hidden := int32(-1)
	for i := range int32(3) {
		if i != led && i != followed {
			hidden = i
			f.hide("orders", i)
		}
	}
	queries := []struct {
		partition int32
		timestamp int64
		code      mq.Code
		offset    mq.Offset
		at        int64
	}{
		{led, quicproto.TimestampEarliest, mq.None, 0, -1},
		{led, quicproto.TimestampLatest, mq.None, 8, -1},
		{led, 0, mq.None, 0, 1000},
		{led, 1001, mq.None, 1, 1001},
		{led, 1002, mq.None, 2, 2000},
		{led, 4001, mq.None, 7, 4001},
		{led, 5000, mq.None, -1, -1}, // it is there, and not committed
		{led, 9000, mq.None, -1, -1},
		{led, -3, mq.InvalidRequest, -1, -1},
		{followed, quicproto.TimestampLatest, mq.NotLeaderOrFollower, -1, -1},
		{hidden, quicproto.TimestampEarliest, mq.NotLeaderOrFollower, -1, -1},
		{3, quicproto.TimestampLatest, mq.UnknownTopicOrPartition, -1, -1},
		{-1, quicproto.TimestampLatest, mq.UnknownTopicOrPartition, -1, -1},
	}
	req := &quicproto.ListOffsetsRequest{Topic: "orders", Isolation: mq.IsolationCommitted}
	for _, q := range queries {
		req.Queries = append(req.Queries, quicproto.OffsetQuery{Partition: q.partition, Timestamp: q.timestamp})
	}
	resp, err := f.ListOffsets(t.Context(), alice, req)
	if err != nil || len(resp.Answers) != len(queries) {
		t.Fatalf("%+v, %v", resp, err)
	}
	for i, q := range queries {
		a := resp.Answers[i]
		if a.Partition != q.partition || a.Code != q.code || a.Offset != q.offset || a.Timestamp != q.at {
			t.Errorf("%+v: got %+v", q, a)
		}
		if epoch := mq.Epoch(0); (a.LeaderEpoch == epoch) != (q.code == mq.None) {
			t.Errorf("%+v: leader epoch %d", q, a.LeaderEpoch)
		}
	}

	req.Isolation, req.Queries = mq.IsolationObject, req.Queries[1:4]
	resp, err = f.ListOffsets(t.Context(), alice, req)
	f.must(err)
	if a := resp.Answers; a[0].Offset != 0 || a[1].Offset != -1 || a[2].Offset != -1 {
		t.Errorf("nothing is in the object store: got %+v", a)
	}
	_, err = f.ListOffsets(t.Context(), alice, &quicproto.ListOffsetsRequest{Topic: "nowhere"})
	wantCode(t, "no such topic", err, mq.UnknownTopicOrPartition)
}

// TestEndIsNotToldBeforeANewLeaderKnowsIt is for a leader whose watermark may be behind that of the last one.
func TestEndIsNotToldBeforeANewLeaderKnowsIt(t *testing.T) {
	f := newFixture(t, 2)
	f.replicated("orders", 1, 2)
	f.must(f.produce("orders", 0, batch(t, 1, 1), mq.DurabilityLeader).Err)
	part := f.partition("orders", 0)
	both := []partition.Replica{{Node: self, Incarnation: 1}, {Node: other, Incarnation: 1}}
	f.must(part.Lead(1, 0, both))
	latest := &quicproto.ListOffsetsRequest{Topic: "orders", Queries: []quicproto.OffsetQuery{{Timestamp: quicproto.TimestampLatest}}}
	resp, err := f.ListOffsets(t.Context(), alice, latest)
	if err != nil || resp.Answers[0].Code != mq.OffsetNotAvailable || !mq.OffsetNotAvailable.Retriable() {
		t.Errorf("got %+v, %v", resp, err)
	}
	f.must(part.Acked(both[1], 1, 1))
	resp, err = f.ListOffsets(t.Context(), alice, latest)
	if err != nil || resp.Answers[0].Code != mq.None || resp.Answers[0].Offset != 1 {
		t.Errorf("got %+v, %v", resp, err)
	}
}
