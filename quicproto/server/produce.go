package server

import (
	"context"
	"errors"
	"io"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// produceStream is one produce stream. Its reading goroutine submits batches to the broker; completions gather in an
// ackQueue, from which a second goroutine writes them.
type produceStream struct {
	ss     *session
	st     stream
	in     *quicproto.FrameReader
	acks   *ackQueue
	topics map[uint32]*boundTopic
	last   uint64 // request of the Produce before
	any    bool   // whether there was one
}

// boundTopic is what a handle means.
type boundTopic struct {
	producer Producer
	maxBatch int
	err      error // instead of a producer
}

func (ss *session) serveProduce(st stream, in *quicproto.FrameReader) error {
	ctx, cancel := context.WithCancel(ss.ctx)
	defer cancel()
	p := &produceStream{
		ss: ss, st: st, in: in,
		acks:   newAckQueue(ss, st, ss.srv.limits.WindowCount),
		topics: make(map[uint32]*boundTopic),
	}
	written := make(chan error, 1)
	go func() { // joined below
		err := p.acks.write(ctx, quicproto.NewFrameWriter(st))
		if err != nil {
			cancel()
			st.Abort(mq.Canceled) // a client that takes no acks is not read
		}
		written <- err
	}()
	err := p.read(ctx)
	if errors.Is(err, io.EOF) { // the client is done: it still gets its acks
		p.acks.finish()
	} else {
		cancel()
		st.Abort(mq.CodeOf(faultOf(err))) // else the writer may wait for the client for ever
	}
	return worst(<-written, err)
}

// read handles frames until the stream ends, which is io.EOF.
func (p *produceStream) read(ctx context.Context) error {
	for {
		t, n, err := p.in.Next()
		if err != nil {
			return err
		}
		switch t {
		case quicproto.TypeProduce:
			err = p.produce(ctx, n)
		case quicproto.TypeBind:
			err = p.bind(ctx)
		default:
			err = mq.Errorf(mq.ProtocolViolation, "%v on a produce stream", t)
		}
		if err != nil {
			return err
		}
	}
}

func (p *produceStream) bind(ctx context.Context) error {
	payload, err := p.in.Payload()
	if err != nil {
		return err
	}
	var f quicproto.Bind
	if err := f.Decode(payload); err != nil {
		return err
	}
	if int(f.Handle) >= p.ss.srv.limits.Handles {
		return mq.Errorf(mq.ProtocolViolation, "handle %d, at most %d", f.Handle, p.ss.srv.limits.Handles-1)
	}
	if err := p.acks.room(ctx); err != nil {
		return err
	}
	b := &boundTopic{}
	answer := quicproto.Bound{Handle: f.Handle}
	if b.producer, b.err = p.ss.srv.cfg.Broker.OpenProduce(ctx, &p.ss.Session, f.Topic); b.err != nil {
		answer.Code, answer.Msg = quicproto.CodeAndText(b.err)
	} else {
		answer.TopicID, answer.Partitions, b.maxBatch = b.producer.Topic()
		answer.BatchBytes = uint32(b.maxBatch)
	}
	p.topics[f.Handle] = b
	p.acks.bound(answer)
	return nil
}

// produce handles one Produce frame with a payload of n bytes. What is wrong with the batch is acked; an error is one of
// the stream or the client's protocol.
func (p *produceStream) produce(ctx context.Context, n int) error {
	prefix, err := p.in.Prefix(quicproto.ProducePrefixSize)
	if err != nil {
		return err
	}
	var f quicproto.Produce
	if err := f.DecodePrefix(prefix); err != nil {
		return err
	}
	if p.any && f.Request <= p.last {
		return mq.Errorf(mq.ProtocolViolation, "request %d after %d on one produce stream", f.Request, p.last)
	}
	p.last, p.any = f.Request, true
	if err := p.acks.room(ctx); err != nil {
		return err
	}
	size := n - quicproto.ProducePrefixSize
	producer, maxBatch, err := p.target(f.Handle, size)
	if err != nil {
		p.acks.refused(f.Request, err) // the next Next skips the batch
		return nil
	}
	done := &pending{acks: p.acks, request: f.Request}
	if err := done.take(ctx, size); err != nil {
		return err
	}
	buf, err := p.readBatch(size)
	if err != nil {
		done.release()
		return err
	}
	b, err := mq.CheckBatch(buf, maxBatch)
	if err != nil {
		done.release()
		p.acks.refused(f.Request, err)
		return nil
	}
	p.ss.srv.counters.produceBatches.Add(1)
	p.ss.srv.counters.produceBytes.Add(uint64(size))
	p.acks.submitted()
	producer.Append(ctx, f.Partition, b, f.Durability, done)
	return nil
}

// target finds what a handle means, for a batch of size bytes.
func (p *produceStream) target(handle uint32, size int) (Producer, int, error) {
	b := p.topics[handle]
	if b == nil {
		return nil, 0, mq.Errorf(mq.InvalidRequest, "handle %d is not bound", handle)
	}
	if b.err != nil {
		return nil, 0, b.err
	}
	if size > b.maxBatch { // it may have been raised
		if _, _, b.maxBatch = b.producer.Topic(); size > b.maxBatch {
			return nil, 0, mq.Errorf(mq.MessageTooLarge, "batch of %d bytes, the topic takes at most %d", size, b.maxBatch)
		}
	}
	return b.producer, b.maxBatch, nil
}

// smallBatch is the size in bytes up to which a batch may take any time to arrive: it holds nothing worth a timer.
const smallBatch = 4 << 10

// readBatch copies size bytes from the stream into memory of their own, which the broker will keep.
func (p *produceStream) readBatch(size int) ([]byte, error) {
	buf := make([]byte, size)
	if size <= smallBatch {
		return buf, p.in.ReadFull(buf)
	}
	if err := p.st.SetReadDeadline(time.Now().Add(p.ss.srv.limits.FrameTimeout)); err != nil {
		return nil, err
	}
	if err := p.in.ReadFull(buf); err != nil {
		return nil, err
	}
	return buf, p.st.SetReadDeadline(time.Time{})
}

// pending is one batch between the stream and its completion.
type pending struct {
	acks    *ackQueue
	request uint64
	size    int64
}

// take waits until size more bytes may be in flight, in this session and in all. A batch larger than a budget takes all of it.
func (d *pending) take(ctx context.Context, size int) error {
	ss := d.acks.ss
	if err := acquire(ctx, ss.inFlight, size, ss.srv.limits.WindowBytes); err != nil {
		return err
	}
	if err := acquire(ctx, ss.srv.inFlight, size, ss.srv.limits.TotalBytes); err != nil {
		ss.inFlight.Release(int64(min(size, ss.srv.limits.WindowBytes)))
		return err
	}
	d.size = int64(size)
	ss.srv.counters.inFlightBytes.Add(d.size)
	return nil
}

func acquire(ctx context.Context, s *semaphore.Weighted, size, limit int) error {
	return s.Acquire(ctx, int64(min(size, limit)))
}

// release gives back what take took.
func (d *pending) release() {
	ss := d.acks.ss
	ss.srv.counters.inFlightBytes.Add(-d.size)
	ss.srv.inFlight.Release(min(d.size, int64(ss.srv.limits.TotalBytes)))
	ss.inFlight.Release(min(d.size, int64(ss.srv.limits.WindowBytes)))
}

// Complete implements Completion.
func (d *pending) Complete(r Appended) {
	d.release()
	ack := quicproto.Ack{Request: d.request, Mark: r.Mark, Duplicate: r.Duplicate, Base: r.Base, Timestamp: r.Timestamp, LogStart: r.LogStart}
	if r.Err != nil {
		ack = failedAck(d.request, r.Err)
		ack.LogStart = r.LogStart
		d.acks.ss.srv.counters.produceErrors.Add(1)
	}
	d.acks.completed(ack)
}

func failedAck(request uint64, err error) quicproto.Ack {
	ack := quicproto.Ack{Request: request, Base: -1, Timestamp: -1, LogStart: -1}
	ack.Code, ack.Msg = quicproto.CodeAndText(err)
	return ack
}
