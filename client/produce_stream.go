package client

import (
	"errors"
	"io"
	"sync"

	"github.com/quic-go/quic-go"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/transport"
)

const (
	// gatherBytes is how much a writer collects before it writes: enough for QUIC to fill many packets at once.
	gatherBytes = 64 << 10
	// inlineBytes is what a caller of Produce writes itself, if the stream takes it without waiting. More goes to the writer
	// goroutine: a hand-off costs little beside that many bytes, and Produce does not wait for the network.
	inlineBytes = 16 << 10
	// keepWriteBuffer is the largest write buffer in bytes that is kept between writes.
	keepWriteBuffer = 512 << 10
)

// produceStream is one produce stream. Whoever has something to send while nobody writes becomes the writer: the caller of Produce, the
// reader of acknowledgements, or, for what is large or would block, the stream's writer goroutine. So a lone record costs no hand-off,
// and under load frames gather while one writer is busy.
//
// Two goroutines belong to it: the reader (run) and the writer (write). Both end with the stream.
type produceStream struct {
	c      *Client
	link   *link
	sess   *session
	stream transport.Stream
	limit  int // batches in flight that the server allows

	mu       sync.Mutex
	ready    queue[*partition]
	writing  bool // somebody is the writer
	dead     bool
	flight   map[uint64]flying // by request
	looks    int               // of the watchdog
	handles  map[*topic]uint32 // bound, or about to be
	bound    []*topic          // by handle
	probe    bool              // send something that has to be answered
	idle     chan struct{}     // closed when dead and nobody writes any more
	handover chan struct{}     // gives the writer's part to the writer goroutine

	// The writer's own.
	buf     []byte
	request uint64

	// The reader's own.
	proven   bool // something was acknowledged
	acks     quicproto.ProduceAcks
	verdicts []verdict
	touched  []*partition

	// The watchdog's own.
	packets uint64 // received when last looked
	silent  int    // how many looks ago that number last grew
	stalled int    // for how many looks something has been overdue
}

// flying is a batch whose acknowledgement is awaited.
type flying struct {
	*batch
	look  int   // of the watchdog when it was sent
	bytes int64 // on the wire
}

func newProduceStream(c *Client, l *link, sess *session, stream transport.Stream) *produceStream {
	limit := int(sess.welcome.Limits.WindowCount)
	if limit == 0 {
		limit = 1
	}
	return &produceStream{
		c: c, link: l, sess: sess, stream: stream, limit: limit,
		flight: make(map[uint64]flying), handles: make(map[*topic]uint32),
		idle: make(chan struct{}), handover: make(chan struct{}, 1),
	}
}

// enqueue puts p, which is not there yet, into the ready list, and sends if nobody does.
func (st *produceStream) enqueue(p *partition) {
	st.mu.Lock()
	if st.dead {
		st.mu.Unlock()
		return // lost will come to p
	}
	st.ready.push(p)
	if !st.claim() {
		st.mu.Unlock()
		return
	}
	st.mu.Unlock()
	st.drain(true)
}

// claim makes the caller the writer if there is something to write and nobody else is. The mutex is held.
func (st *produceStream) claim() bool {
	if st.writing || st.dead || !st.work() {
		return false
	}
	st.writing = true
	return true
}

// work reports whether something may be written. The mutex is held.
func (st *produceStream) work() bool {
	return st.probe || st.ready.len() > 0 && len(st.flight) < st.limit
}

// drain writes what there is to write. It is for the writer, whose part it gives up or hands over before it returns. With inline it never
// waits.
func (st *produceStream) drain(inline bool) {
	for {
		st.gather()
		if len(st.buf) == 0 {
			if st.yield() {
				return
			}
			continue
		}
		if !inline {
			_, err := st.stream.Write(st.buf)
			st.written(err)
			continue
		}
		if len(st.buf) > inlineBytes {
			st.handover <- struct{}{}
			return
		}
		err := st.tryWrite()
		if errors.Is(err, quic.ErrWouldBlock) {
			st.handover <- struct{}{}
			return
		}
		st.written(err)
	}
}

// tryWrite writes the buffer if the stream takes it without waiting.
func (st *produceStream) tryWrite() error {
	if s, ok := st.stream.(interface{ TryWriteAll([]byte) error }); ok {
		return s.TryWriteAll(st.buf)
	}
	return quic.ErrWouldBlock
}

// yield gives up the writer's part unless there is more to write.
func (st *produceStream) yield() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.work() && !st.dead {
		return false
	}
	st.writing = false
	if st.dead {
		close(st.idle)
	}
	return true
}

// written empties the buffer after a write.
func (st *produceStream) written(err error) {
	if cap(st.buf) > keepWriteBuffer {
		st.buf = nil
	}
	st.buf = st.buf[:0]
	if err != nil {
		st.abandon()
	}
}

func (st *produceStream) isDead() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.dead
}

// abandon makes the reader end, which then cleans up. Later writes fail.
func (st *produceStream) abandon() { st.stream.Abort(mq.Canceled) }

// write is the writer goroutine.
func (st *produceStream) write() {
	for range st.handover {
		st.drain(false)
	}
}

// gather moves batches of ready partitions into the buffer.
func (st *produceStream) gather() {
	for len(st.buf) < gatherBytes {
		st.mu.Lock()
		if st.dead {
			st.buf = st.buf[:0]
			st.mu.Unlock()
			return
		}
		if st.probe {
			st.probe = false
			if len(st.bound) > 0 {
				st.bind(st.bound[0], 0)
			}
		}
		if st.ready.len() == 0 || len(st.flight) >= st.limit {
			st.mu.Unlock()
			return
		}
		p := st.ready.pop()
		st.mu.Unlock()
		b, more := p.take(st)
		if b != nil {
			st.frame(p, b)
		}
		if more {
			st.mu.Lock()
			st.ready.push(p)
			st.mu.Unlock()
		}
	}
}

// frame builds the batch if it is new, and appends its frame.
func (st *produceStream) frame(p *partition, b *batch) {
	if b.data == nil {
		if err := st.c.supplies.build(b); err != nil {
			st.refuse(p, b, err)
			return
		}
	}
	if most := int(st.sess.welcome.Limits.BatchBytes); len(b.data) > most {
		st.refuse(p, b, mq.Errorf(mq.MessageTooLarge, "batch of %d bytes, the server takes %d", len(b.data), most))
		return
	}
	st.mu.Lock()
	handle, err := st.handle(p.topic)
	if err != nil {
		st.mu.Unlock()
		st.refuse(p, b, err)
		return
	}
	st.request++
	n := len(b.data)
	st.flight[st.request] = flying{b, st.looks, int64(n)}
	st.mu.Unlock()
	st.c.holding.bytes.Add(int64(n))
	f := quicproto.Produce{Request: st.request, Handle: handle, Partition: p.index, Durability: b.want, Batch: b.data}
	st.buf = append(f.AppendPrefix(st.buf), b.data...)
	st.c.count.batchesSent.Add(1)
	st.c.count.wireBytesSent.Add(int64(n))
	if b.attempts > 1 {
		st.c.count.batchesRetried.Add(1)
	}
}

// refuse answers a batch in the server's place.
func (st *produceStream) refuse(p *partition, b *batch, err error) {
	ack := quicproto.Ack{Code: mq.CodeOf(err), Msg: err.Error()}
	st.c.tell(p.answered(st, b, &ack, nil))
	p.wake()
}

// handle is that of t on this stream, bound on first use. The mutex is held.
func (st *produceStream) handle(t *topic) (uint32, error) {
	if h, ok := st.handles[t]; ok {
		return h, nil
	}
	h := uint32(len(st.bound))
	for i, old := range st.bound {
		if old == t { // bound before, and forgotten after a refusal
			h = uint32(i)
		}
	}
	if h == uint32(len(st.bound)) {
		if h >= st.sess.welcome.Limits.Handles {
			return 0, mq.Errorf(mq.TooManyRequests, "the server allows %d topics on one stream", h)
		}
		st.bound = append(st.bound, t)
	}
	st.bind(t, h)
	return h, nil
}

// bind appends a Bind frame. The mutex is held, by the writer.
func (st *produceStream) bind(t *topic, h uint32) {
	st.handles[t] = h
	st.buf = quicproto.AppendFrame(st.buf, &quicproto.Bind{Handle: h, Topic: t.name})
}

// run is the reader goroutine: it takes answers until the stream ends, then cleans up.
func (st *produceStream) run() {
	frames := quicproto.NewFrameReader(st.stream, 0)
	var err error
	for err == nil {
		err = st.read(frames)
	}
	if errors.Is(err, io.EOF) {
		err = mq.Errorf(mq.NetworkException, "the server closed the produce stream")
	}
	st.end(transportError(st.c.ctx, err))
}

// read takes one frame.
func (st *produceStream) read(frames *quicproto.FrameReader) error {
	t, _, err := frames.Next()
	if err != nil {
		return err
	}
	payload, err := frames.Payload()
	if err != nil {
		return err
	}
	switch t {
	case quicproto.TypeProduceAcks:
		if err := st.acks.Decode(payload); err != nil {
			return err
		}
		return st.acked()
	case quicproto.TypeBound:
		var f quicproto.Bound
		if err := f.Decode(payload); err != nil {
			return err
		}
		return st.onBound(&f)
	case quicproto.TypeClose:
		var f quicproto.Close
		if err := f.Decode(payload); err != nil {
			return err
		}
		if err := f.Err(); err != nil {
			return err
		}
		return io.EOF
	default:
		return violation("%v on a produce stream", t)
	}
}

// onBound takes the answer to a Bind.
func (st *produceStream) onBound(f *quicproto.Bound) error {
	st.mu.Lock()
	if int(f.Handle) >= len(st.bound) {
		st.mu.Unlock()
		return violation("Bound for handle %d, which was never bound", f.Handle)
	}
	t := st.bound[f.Handle]
	if f.Code != mq.None {
		delete(st.handles, t) // the next batch binds anew
	}
	st.mu.Unlock()
	if f.Code == mq.None {
		t.bound(f)
	}
	return nil
}

// acked takes answers: outcomes are told first, then what was gathered meanwhile is sent.
func (st *produceStream) acked() error {
	st.mu.Lock()
	for i := range st.acks.Acks {
		ack := &st.acks.Acks[i]
		flown := st.flight[ack.Request]
		b := flown.batch
		if b == nil {
			st.mu.Unlock()
			return violation("acknowledgement of request %d, which is not in flight", ack.Request)
		}
		delete(st.flight, ack.Request)
		st.c.holding.bytes.Add(-flown.bytes)
		st.touched = append(st.touched, b.part)
		st.mu.Unlock()
		st.verdicts = b.part.answered(st, b, ack, st.verdicts)
		st.mu.Lock()
	}
	st.mu.Unlock()
	if !st.proven {
		st.proven = true
		st.link.healthy()
	}
	st.c.tell(st.verdicts)
	clear(st.verdicts)
	st.verdicts = st.verdicts[:0]
	var last *partition
	for _, p := range st.touched {
		if p != last {
			p.wake()
		}
		last = p
	}
	clear(st.touched)
	st.touched = st.touched[:0]
	st.c.holding.release()
	st.resume()
	return nil
}

// resume sends what had to wait for room in the window.
func (st *produceStream) resume() {
	st.mu.Lock()
	claimed := st.claim()
	st.mu.Unlock()
	if claimed {
		st.drain(true)
	}
}

// end cleans up after the stream's end: nothing more is written, and all that is in flight goes back to its partitions.
func (st *produceStream) end(err error) {
	st.mu.Lock()
	st.dead = true
	writing := st.writing
	if !writing {
		close(st.idle)
	}
	st.mu.Unlock()
	st.stream.Abort(mq.Canceled)
	<-st.idle
	close(st.handover)
	for _, flown := range st.flight { // nobody writes or reads any more
		st.c.holding.bytes.Add(-flown.bytes)
	}
	st.c.holding.release()
	st.link.lost(st, err)
}
