// Produce (0), versions 0 to 13.
//
// Each partition gets one record batch of format 2, which is stored as it comes: records are not looked at, but for a topic that is compacted by key. acks 0, 1 and -1 are the durabilities none, leader and all; others are INVALID_REQUIRED_ACKS.
// Where the topic's durability is the object store, acks -1 waits for that. With acks -1, what is not acknowledged within the request's timeout gets
// REQUEST_TIMED_OUT, and may be appended all the same. A request with acks 0 has no response: when something of it failed the connection is closed, as by Kafka.
//
// Sequences of idempotent producers are checked, in windows that are larger than Kafka's; a batch that is there already is acknowledged with the offset that it has. From version 10 on, errors name the leader there is by now (KIP-951);
// version 13 names topics by id. Appends begin in the order of the requests of a connection, and their outcomes are waited for beside each other.
//
// Not supported: versions 0 to 2, which get UNSUPPORTED_VERSION for each partition; message formats 0 and 1 (UNSUPPORTED_FOR_MESSAGE_FORMAT); transactions (INVALID_TXN_STATE).

package kafkaproto

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

func produceAPI(l Limits) api {
	return api{key: kmsg.Produce, min: 0, from: 3, max: 13, bytes: l.ProduceBytes, aliases: true, start: produce}
}

// maxProduceParts is the most topics and partitions, together, of one request: some 200 bytes are kept for each until the last outcome is there, which are not counted as the frame is.
const maxProduceParts = 5_000

// invalidTxnState is Kafka's INVALID_TXN_STATE, which only this API needs.
const invalidTxnState = 48

// produceRequest is the request without what is in its batches. It is not decoded by kmsg so that nothing is allocated for what it merely claims.
type produceRequest struct {
	transactional bool
	acks          int16
	timeout       time.Duration
	topics        []produceTopic
}

type produceTopic struct {
	name       string
	id         mq.TopicID // from version 13 on
	partitions []produceRecords
}

type produceRecords struct {
	index   int32
	records []byte // in the frame
}

func parseProduce(version int16, b []byte) (q produceRequest, err error) {
	f, compact := fields{rest: b}, version >= 9
	if version >= 3 {
		q.transactional = f.nullableText(compact) != ""
	}
	q.acks = f.int16()
	q.timeout = time.Duration(f.int32()) * time.Millisecond
	left := maxProduceParts
	for n := f.count(compact, 2); n > 0 && !f.bad; n-- {
		var t produceTopic
		if version >= 13 {
			copy(t.id[:], f.span(len(t.id)))
		} else {
			t.name = f.text(compact)
		}
		partitions := f.count(compact, 5)
		if left -= 1 + partitions; left < 0 {
			return q, mq.Errorf(mq.ProtocolViolation, "a Produce request for more than %d topics and partitions", maxProduceParts)
		}
		for ; partitions > 0 && !f.bad; partitions-- {
			t.partitions = append(t.partitions, produceRecords{f.int32(), f.bytes(compact)})
			if compact {
				f.tags()
			}
		}
		if compact {
			f.tags()
		}
		q.topics = append(q.topics, t)
	}
	if compact {
		f.tags()
	}
	if f.bad || len(f.rest) > 0 {
		return q, mq.Errorf(mq.ProtocolViolation, "Produce request of version %d does not decode", version)
	}
	return q, nil
}

// durabilities are what acks mean.
var durabilities = map[int16]mq.Durability{0: mq.DurabilityNone, 1: mq.DurabilityLeader, -1: mq.DurabilityAll}

// producing is a request whose appends are under way.
type producing struct {
	call *call // nil when it is answered, as topics are
	acks int16

	mu     sync.Mutex
	left   int // outcomes that are not there, and 1 while appends are still being begun
	done   chan struct{}
	topics []producedTopic
}

type producedTopic struct {
	produceTopic
	outcomes []produced
}

// wrong is the last thing that was found wrong with a batch of a topic: partitions after each other with the same share one error.
type wrong struct {
	err  error
	text string
}

func (w *wrong) share(err error) error {
	if text := err.Error(); w.err == nil || text != w.text {
		w.err, w.text = err, text
	}
	return w.err
}

// produced is the outcome for one partition.
type produced struct {
	known bool
	Appended
	code int16
}

// produce begins the appends.
func produce(c *call) (answer, error) {
	q, err := parseProduce(c.version, c.body)
	if err != nil {
		return nil, err
	}
	p := &producing{call: c, acks: q.acks, left: 1, done: make(chan struct{}), topics: make([]producedTopic, len(q.topics))}
	for i, t := range q.topics {
		p.topics[i] = producedTopic{t, make([]produced, len(t.partitions))}
		p.left += len(t.partitions)
	}
	wait := c.conn.srv.limits.RequestTimeout
	room := wait
	if q.acks != 0 {
		room = min(wait, max(0, q.timeout))
	}
	if q.acks == -1 { // as in Kafka, the timeout is that of replication
		wait = room
	}
	deadline := c.received.Add(wait)
	// Room is not worth waiting for longer than the client waits, but a client that does not wait at all is to be held back, too.
	ctx, cancel := context.WithDeadline(c.conn.ctx, c.received.Add(max(room, time.Second)))
	defer cancel()
	for i := range p.topics {
		p.topic(ctx, &q, &p.topics[i])
	}
	p.leaveFrame()
	p.outcome(nil, Appended{}, 0)
	return func(ctx context.Context) (body, error) { return p.answer(ctx, deadline) }, nil
}

// leaveFrame has nothing of the request refer to the frame any more, and gives its memory back. What is appended belongs to the broker: it was copied, or is most of a large frame. An outcome may come long after the answer.
func (p *producing) leaveFrame() {
	for _, t := range p.topics {
		for i := range t.partitions {
			t.partitions[i].records = nil
		}
	}
	c := p.call
	c.conn.srv.frames.give(c.memory)
	c.body, c.memory = nil, nil
}

// topic begins the appends to the partitions of one topic.
func (p *producing) topic(ctx context.Context, q *produceRequest, t *producedTopic) {
	fail := func(err error, code int16) {
		for i := range t.outcomes {
			p.outcome(&t.outcomes[i], failed(err), code)
		}
	}
	d, ok := durabilities[q.acks]
	if !ok {
		fail(mq.Errorf(mq.InvalidRequiredAcks, "acks %d: want 0, 1 or -1", q.acks), int16(mq.InvalidRequiredAcks))
		return
	}
	if q.transactional {
		fail(errNoTransactions, invalidTxnState)
		return
	}
	if p.call.version >= 13 {
		if t.name, ok = p.call.broker().TopicName(t.id); !ok {
			err := mq.Errorf(mq.UnknownTopicID, "there is no topic with id %s", t.id)
			fail(err, codeOf(err))
			return
		}
	}
	producer, err := p.call.broker().OpenProduce(ctx, p.call.session, t.name)
	if err != nil {
		fail(err, codeOf(err))
		return
	}
	var w wrong
	for i, r := range t.partitions {
		p.partition(ctx, producer, r, d, &t.outcomes[i], &w)
	}
}

var (
	errNoTransactions = mq.Errorf(mq.InvalidRequest, "transactions are not supported")
	errLate           = mq.Errorf(mq.RequestTimedOut, "not acknowledged within the request's timeout; it may be appended all the same")
)

func failed(err error) Appended { return Appended{Base: -1, LogStart: -1, Timestamp: -1, Err: err} }

// partition begins one append.
func (p *producing) partition(ctx context.Context, producer Producer, r produceRecords, d mq.Durability, o *produced, w *wrong) {
	b, err := mq.CheckBatch(r.records, producer.MaxBatch())
	switch {
	case err != nil:
		p.outcome(o, failed(w.share(err)), codeOf(err))
		return
	case b.IsTransactional():
		p.outcome(o, failed(errNoTransactions), invalidTxnState)
		return
	case p.call.memory.again() || 2*len(b) < len(p.call.body): // its memory is used again, or a small batch would keep a large frame
		b = slices.Clone(b)
	}
	p.call.conn.srv.produced.Add(uint64(len(b)))
	producer.Append(ctx, r.index, b, d, func(a Appended) { p.outcome(o, a, codeOf(a.Err)) })
}

// outcome notes what became of one append; nil stands for the beginning of all of them.
func (p *producing) outcome(o *produced, a Appended, code int16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if o != nil {
		o.known, o.Appended, o.code = true, a, code
	}
	if p.left--; p.left == 0 {
		close(p.done)
	}
}

// answer waits for all outcomes, or until the deadline for those that are there.
func (p *producing) answer(ctx context.Context, deadline time.Time) (body, error) {
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
	case <-ctx.Done():
		if p.call.conn.ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	// Outcomes that come from here on find their place, and hold nothing else of the request.
	defer func() { p.topics, p.call = nil, nil }()
	if p.acks == 0 {
		return nil, p.firstError()
	}
	return message{p.response()}, nil
}

// firstError is why the connection of a client that wants no response is closed.
func (p *producing) firstError() error {
	for _, t := range p.topics {
		for i, o := range t.outcomes {
			if o.code != 0 {
				return mq.Wrapf(o.Err, "produce with acks=0 to partition %d of topic %q", t.partitions[i].index, t.name)
			}
		}
	}
	return nil
}

// response is what is known. The caller holds mu.
func (p *producing) response() *kmsg.ProduceResponse {
	r := kmsg.NewPtrProduceResponse()
	r.Version, r.ThrottleMillis = p.call.version, throttleMillis(p.call.throttled.told)
	leaders := leaders{broker: p.call.broker()}
	for _, t := range p.topics {
		topic := kmsg.NewProduceResponseTopic()
		topic.Topic, topic.TopicID = t.name, t.id
		for i, o := range t.outcomes {
			part := kmsg.NewProduceResponseTopicPartition()
			part.Partition = t.partitions[i].index
			if !o.known {
				o.Appended = failed(errLate)
				o.code = int16(mq.RequestTimedOut)
			}
			part.ErrorCode, part.ErrorMessage = o.code, textOf(o.Err)
			part.BaseOffset, part.LogStartOffset, part.LogAppendTime = int64(o.Base), int64(o.LogStart), o.Timestamp
			if o.code != 0 {
				part.BaseOffset = -1
			}
			if id, epoch, ok := leaders.hint(o.code, t.name, part.Partition); ok {
				part.CurrentLeader.LeaderID, part.CurrentLeader.LeaderEpoch = int32(id), int32(epoch)
			}
			topic.Partitions = append(topic.Partitions, part)
		}
		r.Topics = append(r.Topics, topic)
	}
	for _, n := range leaders.nodes() {
		b := kmsg.NewProduceResponseBroker()
		b.NodeID, b.Host, b.Port, b.Rack = int32(n.ID), n.Host, int32(n.Port), rack(n.Rack)
		r.Brokers = append(r.Brokers, b)
	}
	return r
}

// refuseProduce answers versions that are told and not served.
func (c *call) refuseProduce() (answer, error) {
	q, err := parseProduce(c.version, c.body)
	if err != nil {
		return nil, err
	}
	r := kmsg.NewPtrProduceResponse()
	r.Version = c.version
	for _, t := range q.topics {
		topic := kmsg.NewProduceResponseTopic()
		topic.Topic = t.name
		for _, records := range t.partitions {
			part := kmsg.NewProduceResponseTopicPartition()
			part.Partition, part.ErrorCode, part.BaseOffset = records.index, unsupportedVersion, -1
			topic.Partitions = append(topic.Partitions, part)
		}
		r.Topics = append(r.Topics, topic)
	}
	if q.acks == 0 {
		return nil, mq.Errorf(mq.UnsupportedVersion, "version %d of Produce: %d to %d are served", c.version, c.api.from, c.api.max)
	}
	return always(message{r}), nil
}
