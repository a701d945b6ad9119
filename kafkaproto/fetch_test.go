package kafkaproto

import (
	"bytes"
	"context"
	"math"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

// filled makes a topic whose partitions have batches of these sizes.
func filled(r *rig, name string, partitions int, sizes ...int) *fakeTopic {
	topic := r.broker.make(name, partitions)
	for i := range topic.parts {
		for _, size := range sizes {
			fakeProducer{r.broker, name}.Append(r.t.Context(), int32(i), batchOf(r.t, 2, bytes.Repeat([]byte{byte(i)}, size)), mq.DurabilityAll, func(Appended) {})
		}
	}
	return topic
}

// joined is what a partition has from batch first on.
func joined(p *fakePart, first, last int) (all []byte) {
	for _, b := range p.appended()[first:last] {
		all = append(all, b...)
	}
	return all
}

func TestFetchInEveryVersion(t *testing.T) {
	r := newRig(t)
	topic := filled(r, "t", 3, 10, copyBelow, 20) // small ones are copied into the response, large ones not
	p := r.connect()
	for version := int16(4); version <= 18; version++ {
		q := fetchOf(version, "t", 1, 0, 2, 9) // in the middle of the first batch
		q.Topics[0].TopicID = topic.id
		q.IsolationLevel = int8(version % 2)
		got := ask[*kmsg.FetchResponse](p, q)
		if got.ErrorCode != 0 || got.SessionID != 0 || len(got.Topics) != 1 || len(got.Topics[0].Partitions) != 3 {
			t.Fatalf("version %d: %+v", version, got)
		}
		if name := got.Topics[0].Topic; version < 13 && name != "t" || version >= 13 && got.Topics[0].TopicID != topic.id {
			t.Fatalf("version %d: topic %q", version, name)
		}
		for i, index := range []int32{0, 2} {
			part := got.Topics[0].Partitions[i]
			if part.Partition != index || part.ErrorCode != 0 || part.HighWatermark != 6 || part.LastStableOffset != 6 || part.PreferredReadReplica != -1 ||
				part.AbortedTransactions == nil || !bytes.Equal(part.RecordBatches, joined(topic.parts[index], 0, 3)) {
				t.Fatalf("version %d: %+v", version, part)
			}
			if version >= 5 && part.LogStartOffset != 0 {
				t.Fatalf("version %d: %+v", version, part)
			}
		}
		if part := got.Topics[0].Partitions[2]; part.ErrorCode != int16(mq.UnknownTopicOrPartition) || part.HighWatermark != -1 || part.RecordBatches == nil || len(part.RecordBatches) != 0 {
			t.Fatalf("version %d: %+v", version, part)
		}
	}
}

func TestFetchTellsLeadersAndWhereLogsPart(t *testing.T) {
	r := newRig(t)
	topic := filled(r, "t", 2, 10)
	topic.parts[1].fail(mq.Errorf(mq.NotLeaderOrFollower, "elsewhere"))
	q := fetchOf(16, "", 0, 0, 1)
	q.Topics[0].TopicID, q.MinBytes, q.MaxWaitMillis = topic.id, 1000, 15_000
	q.Topics[0].Partitions[0].LastFetchedEpoch = 2
	got := ask[*kmsg.FetchResponse](r.connect(), q)
	parts := got.Topics[0].Partitions
	if d := parts[0].DivergingEpoch; d.Epoch != 1 || d.EndOffset != 7 || len(parts[0].RecordBatches) != 0 || parts[0].HighWatermark != 2 {
		t.Errorf("%+v", parts[0])
	}
	if l := parts[1].CurrentLeader; l.LeaderID != 1 || l.LeaderEpoch != 3 || len(got.Brokers) != 1 || got.Brokers[0].Host != "one" || *got.Brokers[0].Rack != "r" || got.Brokers[0].Port != 9092 {
		t.Errorf("%+v of %+v", parts[1], got.Brokers)
	}
}

func TestFetchErrors(t *testing.T) {
	r := newRig(t)
	filled(r, "t", 1, 10)
	p := r.connect()
	for _, c := range []struct {
		offset int64
		epoch  int32
		code   mq.Code
	}{{0, 3, 0}, {2, -1, 0}, {3, -1, mq.OffsetOutOfRange}, {-1, -1, mq.OffsetOutOfRange}, {0, 2, mq.FencedLeaderEpoch}, {0, 4, mq.UnknownLeaderEpoch}} {
		q := fetchOf(12, "t", c.offset, 0)
		q.Topics[0].Partitions[0].CurrentLeaderEpoch = c.epoch
		if got := ask[*kmsg.FetchResponse](p, q).Topics[0].Partitions[0]; got.ErrorCode != int16(c.code) {
			t.Errorf("offset %d, epoch %d: %+v", c.offset, c.epoch, got)
		}
	}
	q := fetchOf(12, "t", 0, 0)
	q.ReplicaID = 2
	if got := ask[*kmsg.FetchResponse](p, q); got.ErrorCode != int16(mq.ClusterAuthorizationFailed) {
		t.Errorf("a replica: %+v", got)
	}
}

// TestFetchErrorsAreThoseThatConsumersKnow has a partition fail with each code. Java's consumer throws an IllegalStateException at others than these.
func TestFetchErrorsAreThoseThatConsumersKnow(t *testing.T) {
	known := []mq.Code{
		mq.Unknown, mq.OffsetOutOfRange, mq.UnknownTopicOrPartition, mq.NotLeaderOrFollower, mq.TopicAuthorizationFailed, mq.KafkaStorageError,
		mq.FencedLeaderEpoch, mq.UnknownLeaderEpoch, mq.OffsetNotAvailable, mq.UnknownTopicID,
	}
	want := map[mq.Code]mq.Code{
		mq.LeaderNotAvailable: mq.NotLeaderOrFollower, mq.ShuttingDown: mq.NotLeaderOrFollower, mq.RequestTimedOut: mq.NotLeaderOrFollower, mq.Canceled: mq.NotLeaderOrFollower,
		mq.Corrupt: mq.KafkaStorageError, mq.CorruptMessage: mq.KafkaStorageError, mq.PartitionQuarantined: mq.KafkaStorageError, mq.ObjectStoreUnavailable: mq.KafkaStorageError,
		mq.InvalidTopic: mq.UnknownTopicOrPartition, mq.ClusterAuthorizationFailed: mq.TopicAuthorizationFailed, mq.Internal: mq.Unknown,
	}
	for _, code := range known {
		want[code] = code
	}
	r := newRig(t)
	topic := filled(r, "t", 1, 10)
	p := r.connect()
	for _, code := range mq.Codes() {
		if code == mq.None {
			continue
		}
		topic.parts[0].fail(mq.Errorf(code, "so it is"))
		got := mq.Code(ask[*kmsg.FetchResponse](p, fetchOf(12, "t", 0, 0)).Topics[0].Partitions[0].ErrorCode)
		if as, ok := want[code]; !slices.Contains(known, got) || ok && got != as {
			t.Errorf("%s is told as %s, want %s", code, got, as)
		}
	}
}

func TestFetchIsBounded(t *testing.T) {
	for _, memory := range []bool{true, false} {
		r := newRig(t, func(c *Config) { c.Limits.ReadBytes = 4 * 3000 })
		topic := filled(r, "t", 3, 500, 500)
		for _, p := range topic.parts {
			p.memory = memory
		}
		p := r.connect()
		one := len(topic.parts[0].appended()[0])
		sizes := func(most, each int32) (sizes [3]int) {
			q := fetchOf(11, "t", 0, 0, 1, 2)
			q.MaxBytes = most
			for i := range q.Topics[0].Partitions {
				q.Topics[0].Partitions[i].PartitionMaxBytes = each
			}
			for i, part := range ask[*kmsg.FetchResponse](p, q).Topics[0].Partitions {
				sizes[i] = len(part.RecordBatches)
			}
			return sizes
		}
		if got := sizes(1, 1); got != [3]int{one, 0, 0} {
			t.Errorf("one byte: %v, want one batch", got)
		}
		if got := sizes(int32(2*one+one/2), math.MaxInt32); got != [3]int{2 * one, 0, 0} {
			t.Errorf("two batches and a half: %v", got)
		}
		each, all := [3]int{one, one, one}, [3]int{2 * one, 2 * one, 2 * one}
		if !memory { // a connection's share of the room has less
			each[2], all[1], all[2] = 0, 0, 0
		}
		if got := sizes(math.MaxInt32, int32(one)); got != each {
			t.Errorf("one batch of each: %v, want %v", got, each)
		}
		if got := sizes(math.MaxInt32, math.MaxInt32); got != all {
			t.Errorf("all: %v, want %v", got, all)
		}
		until(t, func() bool { return r.server.reads.TryAcquire(4 * 3000) }) // all was given back
	}
}

func TestFetchWaitsForEnough(t *testing.T) {
	r := newRig(t)
	topic := filled(r, "t", 2, 100)
	p := r.connect()
	q := fetchOf(11, "t", 2, 0, 1)
	q.MaxWaitMillis, q.MinBytes = 15_000, 300
	id := p.send(q)
	until(t, func() bool { return topic.parts[1].awaited() == 1 })
	fakeProducer{r.broker, "t"}.Append(t.Context(), 1, batchOf(t, 1, make([]byte, 50)), mq.DurabilityAll, func(Appended) {})
	until(t, func() bool { return topic.parts[1].awaited() == 1 })
	fakeProducer{r.broker, "t"}.Append(t.Context(), 0, batchOf(t, 1, make([]byte, 300)), mq.DurabilityAll, func(Appended) {})
	got := response[*kmsg.FetchResponse](p, q, id).Topics[0].Partitions
	if len(got[0].RecordBatches) < 300 || len(got[1].RecordBatches) < 50 {
		t.Fatalf("%d and %d bytes", len(got[0].RecordBatches), len(got[1].RecordBatches))
	}
	q = fetchOf(11, "t", 3, 0, 1)
	q.MaxWaitMillis = 30
	begun := time.Now()
	if got := ask[*kmsg.FetchResponse](p, q).Topics[0].Partitions; len(got) != 2 || len(got[0].RecordBatches) != 0 || time.Since(begun) < 30*time.Millisecond {
		t.Fatalf("%+v after %s", got, time.Since(begun))
	}
	if topic.parts[0].awaited()+topic.parts[1].awaited() != 0 {
		t.Error("somebody still waits")
	}
}

// TestFetchDoesNotWaitForWhatItHasNoRoomFor wants an answer where there is less than min_bytes, and what lies behind it is beyond a limit, or nobody can wait for it.
func TestFetchDoesNotWaitForWhatItHasNoRoomFor(t *testing.T) {
	for name, change := range map[string]func(*fakeTopic, *kmsg.FetchRequest){
		"a partition's bytes": func(_ *fakeTopic, q *kmsg.FetchRequest) { q.Topics[0].Partitions[0].PartitionMaxBytes = 2000 },
		"the request's bytes": func(_ *fakeTopic, q *kmsg.FetchRequest) { q.MaxBytes = 2000 },
		"one batch":           func(_ *fakeTopic, q *kmsg.FetchRequest) { q.MaxBytes = 1 },
		"all there is": func(_ *fakeTopic, q *kmsg.FetchRequest) {
			q.MaxBytes, q.Topics[0].Partitions = 100, q.Topics[0].Partitions[:1]
			q.Topics[0].Partitions[0].FetchOffset = 4
		},
		"room": func(topic *fakeTopic, _ *kmsg.FetchRequest) {
			topic.parts[0].memory, topic.parts[1].memory = false, false
		},
		"quarantined": func(topic *fakeTopic, q *kmsg.FetchRequest) {
			topic.parts[0].deaf, q.Topics[0].Partitions = true, q.Topics[0].Partitions[:1]
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(c *Config) { c.Limits.ReadBytes = 1 << 20 })
			topic := filled(r, "t", 2, 500, 500, 500)
			q := fetchOf(11, "t", 0, 0, 1)
			q.MaxWaitMillis, q.MinBytes = 15_000, 1<<20
			change(topic, q)
			begun := time.Now()
			got := ask[*kmsg.FetchResponse](r.connect(), q).Topics[0].Partitions
			if len(got[0].RecordBatches) == 0 || time.Since(begun) > 5*time.Second {
				t.Errorf("%d bytes after %s", len(got[0].RecordBatches), time.Since(begun))
			}
		})
	}
}

// TestFetchEndsWhereNobodyCanWait has a partition that has nothing, and where nobody can wait for more.
func TestFetchEndsWhereNobodyCanWait(t *testing.T) {
	r := newRig(t)
	filled(r, "t", 1, 100).parts[0].deaf = true
	q := fetchOf(11, "t", 2, 0)
	q.MaxWaitMillis = 30
	begun := time.Now()
	if got := ask[*kmsg.FetchResponse](r.connect(), q).Topics[0].Partitions; len(got) != 1 || time.Since(begun) < 30*time.Millisecond || time.Since(begun) > 5*time.Second {
		t.Errorf("%+v after %s", got, time.Since(begun))
	}
	q.MaxWaitMillis = 15_000
	p := r.connect()
	id := p.send(q)
	until(t, func() bool { return r.server.Stats().Requests == 2 })
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := r.server.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	response[*kmsg.FetchResponse](p, q, id)
}

// TestFetchDoesNotWaitLongForRoom has other connections hold all room for what is read from disks: a fetch comes back with what there is without it, and its connection stays.
func TestFetchDoesNotWaitLongForRoom(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.ReadBytes, c.Limits.RequestTimeout = 1<<20, 3*time.Second })
	topic := filled(r, "t", 2, 500)
	topic.parts[0].memory = false
	if !r.server.reads.TryAcquire(1 << 20) {
		t.Fatal("somebody has room already")
	}
	p := r.connect()
	for _, c := range []struct {
		wait    int32
		indices []int32
		least   time.Duration
	}{{0, []int32{0}, leastRoomWait}, {30, []int32{0}, leastRoomWait}, {300, []int32{0}, 300 * time.Millisecond}, {300, []int32{1, 0}, 0}} {
		q := fetchOf(11, "t", 0, c.indices...)
		q.MaxWaitMillis = c.wait
		begun := time.Now()
		got := ask[*kmsg.FetchResponse](p, q).Topics[0].Partitions
		took := time.Since(begun)
		for _, part := range got {
			if part.ErrorCode != 0 || part.HighWatermark != 2 || (len(part.RecordBatches) != 0) != (part.Partition == 1) {
				t.Errorf("%+v: %+v", c, part)
			}
		}
		if len(got) != len(c.indices) || took < c.least || took > c.least+2*time.Second {
			t.Errorf("%+v: %d partitions after %s", c, len(got), took)
		}
	}
	r.server.reads.Release(1 << 20)
	end, far := net.Pipe()
	defer end.Close()
	defer far.Close()
	late := &fetching{call: &call{conn: newConn(r.server, end, nil, "")}, patience: time.Now().Add(-time.Second)}
	if n := late.room(t.Context(), &fetched{fetchPartition: &fetchPartition{}, reader: &fakeReader{p: topic.parts[0]}}, 100); n != 100 {
		t.Errorf("a fetch that waited for records first gets %d of the room that there is", n)
	}
	late.release()
	if got := ask[*kmsg.FetchResponse](p, fetchOf(11, "t", 0, 0)).Topics[0].Partitions[0]; len(got.RecordBatches) == 0 {
		t.Errorf("with room: %+v", got)
	}
}

func TestFetchSessions(t *testing.T) {
	r := newRig(t)
	filled(r, "t", 3, 10)
	p := r.connect()
	q := fetchOf(12, "t", 0, 0, 1)
	q.SessionEpoch = 0
	full := ask[*kmsg.FetchResponse](p, q)
	if full.SessionID <= 0 || len(full.Topics[0].Partitions) != 2 {
		t.Fatalf("%+v", full)
	}
	step := func(epoch int32, change func(*kmsg.FetchRequest)) *kmsg.FetchResponse {
		q := fetchOf(12, "t", 0)
		q.Topics, q.SessionID, q.SessionEpoch = nil, full.SessionID, epoch
		if change != nil {
			change(q)
		}
		return ask[*kmsg.FetchResponse](p, q)
	}
	// Partition 0 has been read, 1 not.
	got := step(1, func(q *kmsg.FetchRequest) { q.Topics = fetchOf(12, "t", 2, 0).Topics })
	if got.ErrorCode != 0 || len(got.Topics) != 1 || len(got.Topics[0].Partitions) != 1 || got.Topics[0].Partitions[0].Partition != 1 {
		t.Fatalf("%+v", got)
	}
	if got := step(1, nil); got.ErrorCode != invalidFetchSessionEpoch {
		t.Fatalf("an epoch twice: %+v", got)
	}
	// Nothing new of 0; 1 is forgotten; 2 is new.
	got = step(2, func(q *kmsg.FetchRequest) {
		q.Topics = fetchOf(12, "t", 0, 2).Topics
		q.ForgottenTopics = []kmsg.FetchRequestForgottenTopic{{Topic: "t", Partitions: []int32{1}}}
	})
	if len(got.Topics) != 1 || len(got.Topics[0].Partitions) != 1 || got.Topics[0].Partitions[0].Partition != 2 {
		t.Fatalf("%+v", got)
	}
	// A watermark that moved is told though it comes with records that are too few.
	fakeProducer{r.broker, "t"}.Append(t.Context(), 0, batchOf(t, 1, nil), mq.DurabilityAll, func(Appended) {})
	got = step(3, func(q *kmsg.FetchRequest) { q.Topics = fetchOf(12, "t", 2, 2).Topics })
	if len(got.Topics) != 1 || got.Topics[0].Partitions[0].Partition != 0 || got.Topics[0].Partitions[0].HighWatermark != 3 {
		t.Fatalf("%+v", got)
	}
	if got := step(4, func(q *kmsg.FetchRequest) { q.SessionID++ }); got.ErrorCode != fetchSessionIDNotFound {
		t.Fatalf("another's session: %+v", got)
	}
	if got := step(-1, func(q *kmsg.FetchRequest) { q.Topics = fetchOf(12, "t", 0, 1).Topics }); got.SessionID != 0 || len(got.Topics[0].Partitions) != 1 {
		t.Fatalf("the last one: %+v", got)
	}
	if got := step(4, nil); got.ErrorCode != fetchSessionIDNotFound {
		t.Fatalf("after the last one: %+v", got)
	}
	if n := r.server.cached.Load(); n != 0 {
		t.Errorf("%d partitions are still cached", n)
	}
}

func TestFetchSessionsAreBounded(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.SessionPartitions, c.Limits.CachedPartitions = 2, 3 })
	filled(r, "t", 3, 10)
	open := func(p *peer, indices ...int32) *kmsg.FetchResponse {
		q := fetchOf(12, "t", 0, indices...)
		q.SessionEpoch = 0
		return ask[*kmsg.FetchResponse](p, q)
	}
	one, two := r.connect(), r.connect()
	if got := open(one, 0, 1, 2); got.SessionID != 0 || len(got.Topics[0].Partitions) != 3 {
		t.Fatalf("%+v", got)
	}
	first := open(one, 0, 1)
	if first.SessionID == 0 || open(two, 0, 1).SessionID != 0 || open(two, 1).SessionID == 0 {
		t.Fatal("the bound on cached partitions is another one")
	}
	q := fetchOf(12, "t", 0, 2)
	q.SessionID, q.SessionEpoch = first.SessionID, 1
	if got := ask[*kmsg.FetchResponse](one, q); got.ErrorCode != fetchSessionIDNotFound {
		t.Fatalf("one more: %+v", got)
	}
	_ = two.conn.Close()
	until(t, func() bool { return r.server.cached.Load() == 0 })
}

func TestPartitionsOfASessionTakeTurns(t *testing.T) {
	r := newRig(t)
	filled(r, "t", 3, 100, 100, 100)
	p := r.connect()
	q := fetchOf(12, "t", 0, 0, 1, 2)
	q.SessionEpoch, q.MaxBytes = 0, 1
	got := ask[*kmsg.FetchResponse](p, q)
	for epoch := int32(1); epoch <= 3; epoch++ {
		q := fetchOf(12, "t", 0)
		q.Topics, q.SessionID, q.SessionEpoch, q.MaxBytes = nil, got.SessionID, epoch, 1
		parts := ask[*kmsg.FetchResponse](p, q).Topics[0].Partitions
		if len(parts) != 1 || parts[0].Partition != epoch%3 {
			t.Fatalf("epoch %d: %+v", epoch, parts)
		}
	}
}

// A client that should read from another node is told so at once, in the versions that have a place for that, and in a session for as long as it does not say otherwise.
func TestFetchNamesWhereToRead(t *testing.T) {
	r := newRig(t)
	r.broker.make("t", 1)
	p := r.connect()
	ask[*kmsg.ProduceResponse](p, produceOf(9, -1, "t", 0, batchOf(t, 2, []byte("v"))))
	for _, version := range []int16{10, 11, 12} {
		q := fetchOf(version, "t", 0, 0)
		q.Rack, q.MaxWaitMillis, q.MinBytes = "far", 20_000, 1<<20
		if version < 11 {
			q.MinBytes = 1
		}
		got := ask[*kmsg.FetchResponse](r.connect(), q).Topics[0].Partitions[0]
		if here := version < 11; got.ErrorCode != 0 || (got.PreferredReadReplica == 2) == here || (len(got.RecordBatches) > 0) != here || got.HighWatermark != 2 {
			t.Errorf("version %d: %+v", version, got)
		}
	}
	q := fetchOf(12, "t", 0, 0)
	q.Rack, q.SessionEpoch = "far", 0
	opened := ask[*kmsg.FetchResponse](p, q)
	for epoch := range int32(3) {
		q := kmsg.NewPtrFetchRequest()
		q.Version, q.SessionID, q.SessionEpoch, q.Rack, q.MaxBytes = 12, opened.SessionID, epoch+1, "far", 1<<20
		if got := ask[*kmsg.FetchResponse](p, q); len(got.Topics) != 1 || got.Topics[0].Partitions[0].PreferredReadReplica != 2 {
			t.Errorf("in a session: %+v", got)
		}
	}
}

// Who was sent to another node and comes back with the same offset has got nothing there: it reads here, for a while.
func TestWhoComesBackWithNothingReadsHere(t *testing.T) {
	r := newRig(t)
	r.broker.make("t", 1)
	ask[*kmsg.ProduceResponse](r.connect(), produceOf(9, -1, "t", 0, batchOf(t, 2, []byte("v"))))
	ask[*kmsg.ProduceResponse](r.connect(), produceOf(9, -1, "t", 0, batchOf(t, 2, []byte("v"))))
	p := r.connect()
	at := func(q *kmsg.FetchRequest, here bool) *kmsg.FetchResponse {
		t.Helper()
		q.Rack = "far"
		got := ask[*kmsg.FetchResponse](p, q)
		if part := got.Topics[0].Partitions[0]; (len(part.RecordBatches) > 0) != here || (part.PreferredReadReplica == 2) == here {
			t.Errorf("want it here %t: %+v", here, part)
		}
		return got
	}
	at(fetchOf(12, "t", 0, 0), false)
	at(fetchOf(12, "t", 2, 0), false) // it got something there
	at(fetchOf(12, "t", 2, 0), true)
	time.Sleep(stayLeast + 50*time.Millisecond)
	at(fetchOf(12, "t", 0, 0), false)
	at(fetchOf(12, "t", 0, 0), true)
	p = r.connect()
	q := fetchOf(12, "t", 0, 0)
	q.SessionEpoch = 0
	id := at(q, false).SessionID
	q = kmsg.NewPtrFetchRequest()
	q.Version, q.SessionID, q.SessionEpoch, q.MaxBytes = 12, id, 1, 1<<20
	at(q, false)
	q = fetchOf(12, "t", 0, 0)
	q.SessionID, q.SessionEpoch = id, 2
	at(q, true)
	r.server.Close()
	if n := r.server.cached.Load(); n != 0 {
		t.Errorf("%d partitions are not forgotten", n)
	}
}

// Who comes back with nothing again and again reads here longer each time; who got something there begins anew.
func TestWhoComesBackAgainStaysLonger(t *testing.T) {
	c := &conn{srv: newRig(t).server}
	p := &fetchPartition{topic: "t"}
	stays := func(came bool) time.Duration {
		t.Helper()
		p.offset++
		if c.staysHere(p) || !c.sendAway(p) {
			t.Fatal("it is not sent away")
		}
		if p.asked = came; c.staysHere(p) != came {
			t.Fatalf("came back %t", came)
		}
		now := c.away[p.key()]
		long := time.Until(now.stays)
		now.stays = time.Time{} // over
		c.away[p.key()] = now
		return long
	}
	for range 2 {
		for i, most := range []time.Duration{stayLeast, 4 * stayLeast, 16 * stayLeast, 64 * stayLeast, 256 * stayLeast, stayMost, stayMost} {
			if got := stays(true); got > most || got <= most/4 {
				t.Errorf("time %d: %s", i, got)
			}
		}
		stays(false)
	}
	if n := c.srv.cached.Load(); n != 1 {
		t.Errorf("%d are counted", n)
	}
	if c.forgetAway(); c.srv.cached.Load() != 0 {
		t.Error("it is still counted")
	}
}

// Where a read fails and another node may do it, the client is sent there, when its wait is over: both may fail.
func TestFetchThatFailsNamesAnotherNode(t *testing.T) {
	r := newRig(t)
	topic := r.broker.make("t", 1)
	topic.parts[0].refers = true
	p := r.connect()
	q := fetchOf(12, "t", 5, 0) // behind the end: a read fails
	q.MaxWaitMillis = 50
	began := time.Now()
	if got := ask[*kmsg.FetchResponse](p, q).Topics[0].Partitions[0]; got.ErrorCode != 0 || got.PreferredReadReplica != 2 {
		t.Errorf("%+v", got)
	}
	if time.Since(began) < 50*time.Millisecond {
		t.Error("it did not wait")
	}
}
