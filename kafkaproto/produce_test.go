package kafkaproto

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

func TestProduceInEveryVersion(t *testing.T) {
	r := newRig(t)
	topic := r.broker.make("t", 2)
	p := r.connect()
	for version := int16(3); version <= 13; version++ {
		batch := batchOf(t, 3, []byte("value"))
		q := produceOf(version, -1, "t", 1, batch)
		q.Topics[0].TopicID = topic.id
		got := ask[*kmsg.ProduceResponse](p, q).Topics[0]
		part := got.Partitions[0]
		if part.ErrorCode != 0 || part.Partition != 1 || part.BaseOffset != int64(3*(version-3)) || part.LogAppendTime != -1 {
			t.Fatalf("version %d: %+v", version, part)
		}
		if version < 13 && got.Topic != "t" || version == 13 && got.TopicID != topic.id {
			t.Fatalf("version %d: %+v", version, got)
		}
		// The bytes behind offset and epoch are those that were sent.
		if kept := topic.parts[1].appended()[version-3]; !bytes.Equal(kept[16:], batch[16:]) {
			t.Fatalf("version %d: % x was kept of % x", version, kept, batch)
		}
	}
}

func TestProduceErrorsAreOfTheirPartitions(t *testing.T) {
	r := newRig(t)
	topic := r.broker.make("t", 3)
	topic.parts[1].fail(mq.Errorf(mq.NotLeaderOrFollower, "elsewhere"))
	good := batchOf(t, 1, []byte("x"))
	damaged := bytes.Clone(good)
	damaged[len(damaged)-1]++
	old := bytes.Clone(good)
	old[16] = 1
	transactional := transactionalBatch(t)
	p := r.connect()
	for _, c := range []struct {
		name  string
		acks  int16
		topic string
		index int32
		batch []byte
		code  mq.Code
	}{
		{"good", 1, "t", 0, good, mq.None},
		{"acks", 2, "t", 0, good, mq.InvalidRequiredAcks},
		{"topic", -1, "u", 0, good, mq.UnknownTopicOrPartition},
		{"partition", -1, "t", 9, good, mq.UnknownTopicOrPartition},
		{"leader", -1, "t", 1, good, mq.NotLeaderOrFollower},
		{"damage", -1, "t", 0, damaged, mq.CorruptMessage},
		{"nothing", -1, "t", 0, nil, mq.CorruptMessage},
		{"format 1", -1, "t", 0, old, mq.UnsupportedForMessageFormat},
		{"two batches", -1, "t", 0, append(bytes.Clone(good), good...), mq.InvalidRecord},
		{"large", -1, "t", 0, batchOf(t, 1, make([]byte, 1<<20)), mq.MessageTooLarge},
		{"transaction", -1, "t", 0, transactional, invalidTxnState},
	} {
		got := ask[*kmsg.ProduceResponse](p, produceOf(12, c.acks, c.topic, c.index, c.batch))
		part := got.Topics[0].Partitions[0]
		if part.ErrorCode != int16(c.code) || (part.ErrorMessage == nil) != (c.code == 0) || (part.BaseOffset == -1) != (c.code != 0) {
			t.Errorf("%s: %+v, want code %d", c.name, part, c.code)
		}
		if hint := part.CurrentLeader.LeaderID == 1 && part.CurrentLeader.LeaderEpoch == 3 && len(got.Brokers) == 1 && got.Brokers[0].Host == "one"; hint != (c.code == mq.NotLeaderOrFollower) {
			t.Errorf("%s: %+v of %+v", c.name, part.CurrentLeader, got.Brokers)
		}
	}
	q := produceOf(13, -1, "", 0, good)
	q.Topics[0].TopicID = [16]byte{9}
	if got := ask[*kmsg.ProduceResponse](p, q).Topics[0]; got.Partitions[0].ErrorCode != int16(mq.UnknownTopicID) || got.TopicID != [16]byte{9} {
		t.Errorf("unknown id: %+v", got)
	}
}

// transactionalBatch is one of a producer with a transaction.
func transactionalBatch(t *testing.T) []byte {
	w, err := mq.NewBatchBuilder(mq.CompressionNone, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Append(mq.Record{Value: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	b, err := w.Build(nil, 5, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	b[22] |= 1 << 4
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

func TestNoAcknowledgementIsNoResponse(t *testing.T) {
	r := newRig(t)
	topic := r.broker.make("t", 1)
	p := r.connect()
	p.send(produceOf(9, 0, "t", 0, batchOf(t, 1, nil)))
	// The next response is that of the next request.
	ask[*kmsg.MetadataResponse](p, kmsg.NewPtrMetadataRequest())
	if len(topic.parts[0].appended()) != 1 {
		t.Fatal("nothing was appended")
	}
	p.send(produceOf(9, 0, "u", 0, batchOf(t, 1, nil)))
	r.closed(p, "produce with acks=0 to partition 0 of topic")
}

func TestProduceTimesOut(t *testing.T) {
	r := newRig(t)
	r.broker.make("t", 1)
	r.broker.hold = true
	p := r.connect()
	q := produceOf(9, -1, "t", 0, batchOf(t, 1, nil))
	q.TimeoutMillis = 30
	begun := time.Now()
	got := ask[*kmsg.ProduceResponse](p, q).Topics[0].Partitions[0]
	if got.ErrorCode != int16(mq.RequestTimedOut) || got.BaseOffset != -1 || time.Since(begun) < 30*time.Millisecond {
		t.Fatalf("%+v after %s", got, time.Since(begun))
	}
	r.broker.release() // and nobody minds
	ask[*kmsg.MetadataResponse](p, kmsg.NewPtrMetadataRequest())
}

func TestSmallBatchKeepsNoLargeFrame(t *testing.T) {
	r := newRig(t)
	topic := r.broker.make("t", 1)
	q := produceOf(9, -1, "t", 0, batchOf(t, 1, make([]byte, 100<<10)))
	small := kmsg.NewProduceRequestTopicPartition()
	small.Records = batchOf(t, 1, []byte("small"))
	q.Topics[0].Partitions = append(q.Topics[0].Partitions, small)
	ask[*kmsg.ProduceResponse](r.connect(), q)
	batches := topic.parts[0].appended()
	if len(batches) != 2 || cap(batches[1]) > 2*len(batches[1])+64 {
		t.Fatalf("a batch of %d bytes has %d", len(batches[1]), cap(batches[1]))
	}
}

// What was appended is the broker's: the memory that its frame was read into is used again.
func TestLaterRequestsLeaveWhatWasAppended(t *testing.T) {
	r := newRig(t)
	topic := r.broker.make("t", 1)
	p := r.connect()
	for i := range byte(12) {
		size := []int{10 << 10, 100 << 10, 700 << 10}[i%3] // below, in and around the memory that is used again
		ask[*kmsg.ProduceResponse](p, produceOf(9, -1, "t", 0, batchOf(t, 1, bytes.Repeat([]byte{i}, size))))
		batches := topic.parts[0].appended()
		if len(batches) != int(i)+1 {
			t.Fatalf("%d batches after %d requests", len(batches), i+1)
		}
		for k, b := range batches {
			if !bytes.Contains(b, bytes.Repeat([]byte{byte(k)}, 10<<10)) {
				t.Fatalf("batch %d is not as it was sent, after %d requests", k, i+1)
			}
		}
	}
}

// An append whose outcome comes late, long after the request was answered, holds what it says there and nothing of the frame, which is not counted any more.
func TestLateOutcomeKeepsNoFrame(t *testing.T) {
	r := newRig(t)
	r.broker.make("t", 1)
	r.broker.hold = true
	q := produceOf(9, -1, "t", 0, batchOf(t, 1, []byte("small")))
	large := kmsg.NewProduceRequestTopicPartition()
	large.Records = make([]byte, 512<<10) // no batch, so the broker does not get it
	q.Topics[0].Partitions = append(q.Topics[0].Partitions, large)
	s := r.server
	c := &call{
		head: head{version: 9}, api: s.find(0), received: time.Now(), body: q.AppendTo(nil), session: &Session{},
		conn: newConn(s, &recording{Reader: bytes.NewReader(nil)}, nil, Anonymous),
	}
	defer c.conn.cancel()
	frame := weak.Make(&c.body[0])
	if _, err := c.begin(); err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	if len(r.broker.held) != 1 || frame.Value() != nil {
		t.Error("the frame is still held")
	}
	r.broker.release()
}

// produceOfMany is the body of a request of version 9 for so many topics with so many partitions each, with nothing in them.
func produceOfMany(topics, partitions int) []byte {
	q := kmsg.NewPtrProduceRequest()
	q.Version, q.Acks = 9, 1
	t := kmsg.NewProduceRequestTopic()
	t.Topic = "t"
	for range partitions {
		t.Partitions = append(t.Partitions, kmsg.NewProduceRequestTopicPartition())
	}
	for range topics {
		q.Topics = append(q.Topics, t)
	}
	return q.AppendTo(nil)
}

func TestTopicsAndPartitionsOfARequestAreBounded(t *testing.T) {
	for _, c := range []struct {
		topics, partitions int
		ok                 bool
	}{{5000, 0, true}, {2500, 1, true}, {1, 4999, true}, {5001, 0, false}, {2501, 1, false}, {1, 5000, false}, {100_000, 0, false}} {
		body := produceOfMany(c.topics, c.partitions)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := parseProduce(9, body)
		runtime.ReadMemStats(&after)
		if (err == nil) != c.ok || err != nil && mq.CodeOf(err) != mq.ProtocolViolation {
			t.Errorf("%d topics of %d partitions: %v", c.topics, c.partitions, err)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > 4<<20 {
			t.Errorf("%d topics of %d partitions: %d bytes were allocated", c.topics, c.partitions, took)
		}
	}
}

// What is wrong with many partitions of a topic is kept once.
func TestErrorsThatAreTheSameAreKeptOnce(t *testing.T) {
	r := newRig(t)
	r.broker.make("t", 1)
	c := &call{
		head: head{version: 9}, api: r.server.find(0), received: time.Now(), body: produceOfMany(1, 1000), session: &Session{},
		conn: newConn(r.server, &recording{Reader: bytes.NewReader(nil)}, nil, Anonymous),
	}
	defer c.conn.cancel()
	q, err := parseProduce(9, c.body)
	if err != nil {
		t.Fatal(err)
	}
	p := &producing{call: c, acks: 1, left: 2000, done: make(chan struct{}), topics: []producedTopic{{q.topics[0], make([]produced, 1000)}}}
	p.topic(t.Context(), &q, &p.topics[0])
	for i, o := range p.topics[0].outcomes {
		if o.code != int16(mq.CorruptMessage) || o.Err != p.topics[0].outcomes[0].Err { //nolint:errorlint // the same one
			t.Fatalf("partition %d: %+v", i, o)
		}
	}
	p.topics[0].outcomes = make([]produced, 1000) // none is known
	for i, part := range p.response().Topics[0].Partitions {
		if part.ErrorCode != int16(mq.RequestTimedOut) || part.ErrorMessage == nil {
			t.Fatalf("partition %d: %+v", i, part)
		}
	}
}

// The timeout is that of replication. What the leader alone acknowledges is not told to have failed when it is in the log: the client would produce it again.
func TestTimeoutIsForAllReplicasOnly(t *testing.T) {
	r := newRig(t)
	r.broker.make("t", 1)
	r.broker.hold = true
	p := r.connect()
	q := produceOf(9, 1, "t", 0, batchOf(t, 1, nil))
	q.TimeoutMillis = 0
	id := p.send(q)
	until(t, func() bool {
		r.broker.mu.Lock()
		defer r.broker.mu.Unlock()
		return len(r.broker.held) == 1
	})
	time.Sleep(20 * time.Millisecond)
	r.broker.release()
	if got := response[*kmsg.ProduceResponse](p, q, id).Topics[0].Partitions[0]; got.ErrorCode != 0 || got.BaseOffset != 0 {
		t.Fatalf("%+v", got)
	}
}

// Names of topics are copied out of the frame, and may be as many bytes. An outcome that comes after the answer keeps none of them, nor the connection.
func TestLateOutcomeKeepsNoRequest(t *testing.T) {
	r := newRig(t)
	c := &call{head: head{version: 9}, api: r.server.find(0), conn: newConn(r.server, &recording{Reader: bytes.NewReader(nil)}, nil, Anonymous)}
	defer c.conn.cancel()
	p := &producing{call: c, acks: -1, left: 2, done: make(chan struct{}), topics: []producedTopic{{
		produceTopic{name: "t", partitions: make([]produceRecords, 2)}, make([]produced, 2),
	}}}
	late := &p.topics[0].outcomes[1]
	p.outcome(&p.topics[0].outcomes[0], Appended{Base: 5}, 0)
	b, err := p.answer(t.Context(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	got := b.(message).Response.(*kmsg.ProduceResponse).Topics[0]
	if got.Topic != "t" || got.Partitions[0].BaseOffset != 5 || got.Partitions[1].ErrorCode != int16(mq.RequestTimedOut) {
		t.Fatalf("%+v", got)
	}
	if p.topics != nil || p.call != nil {
		t.Error("the request is still held")
	}
	p.outcome(late, Appended{Base: 6}, 0) // and nobody minds
	select {
	case <-p.done:
	default:
		t.Error("outcomes are missing")
	}
}
