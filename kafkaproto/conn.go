package kafkaproto

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/semaphore"

	"github.com/rustmq/rustmq/mq"
)

// decodeFactor is how many times the size of its frame a decoded request may take, about: the smallest elements of Kafka's arrays have two bytes or so, and become some 100.
const decodeFactor = 48

// smallWeight is what a request takes of the limits of bytes, below which it has a reserve of its own: see Limits.SmallBytes.
const smallWeight = 64 << 10

// firstPiece is what is taken for a request of which only the head is there, of the limits of bytes; growth is how many times as much as has come is taken then.
const (
	firstPiece = 64 << 10
	growth     = 4
)

// readBuffer is what is read from a connection at once, in bytes: heads and small requests. The bulk of a large one is read into its own memory.
const readBuffer = 4 << 10

// errDrained ends the reading of a connection when the server drains.
var errDrained = errors.New("the server is shutting down")

// conn is one connection.
type conn struct {
	srv     *Server
	nc      net.Conn
	in      *bufio.Reader
	address netip.Addr
	from    *address
	ctx     context.Context // ends with the connection
	cancel  context.CancelFunc
	memory  *semaphore.Weighted // bytes of its unanswered requests
	queue   chan *call          // requests in order, for whoever writes
	waiting atomic.Int64        // of them, those that are not answered
	last    chan struct{}       // of the goroutine that reads: the last one's done

	session atomic.Pointer[Session] // who asks now; the goroutine that reads sets it
	fetches *fetchSession
	away    map[fetchKey]sentAway // partitions that the client was sent to another node for; the goroutine that writes has it, like fetches
	out     output

	faultOnce sync.Once
}

func newConn(s *Server, nc net.Conn, read []byte, principal string) *conn {
	c := &conn{
		srv: s, nc: nc, in: bufio.NewReaderSize(io.MultiReader(bytes.NewReader(read), nc), readBuffer),
		memory: semaphore.NewWeighted(int64(s.limits.ConnectionBytes)), queue: make(chan *call, s.limits.Pipeline),
	}
	c.session.Store(&Session{ID: s.nextID.Add(1), Principal: principal, Remote: nc.RemoteAddr()})
	c.address, _ = addressOf(nc.RemoteAddr())
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// run serves the connection until it ends, and returns when its goroutines have.
func (c *conn) run() {
	var writer sync.WaitGroup
	writer.Go(c.write)
	err := c.read()
	close(c.queue)
	if !errors.Is(err, errDrained) {
		c.fault(err)
		c.stop()
	}
	writer.Wait()
	c.stop()
	c.dropFetches()
	c.forgetAway()
}

// stop closes the connection at once. Any goroutine may call it.
func (c *conn) stop() {
	c.cancel()
	_ = c.nc.Close()
}

// stopReading has the reader end, soon.
func (c *conn) stopReading() { _ = c.nc.SetReadDeadline(time.Unix(1, 0)) }

// fault says once why the connection is closed, if that is the client's fault or ours. That it was closed by the client, or lost, is none.
func (c *conn) fault(err error) {
	if code := mq.CodeOf(err); err == nil || code == mq.Unknown || c.ctx.Err() != nil {
		return
	}
	c.faultOnce.Do(func() {
		c.srv.faults.Add(1)
		c.srv.log.Warn("Kafka connection closed", "remote", c.nc.RemoteAddr(), "client", c.session.Load().ClientID, "error", err)
	})
}

// read reads requests and begins to handle them, until the connection ends or something is wrong.
func (c *conn) read() error {
	for {
		h, err := c.next()
		if err != nil {
			return err
		}
		r, err := c.receive(h)
		if err != nil {
			return err
		}
		c.srv.calls[r.api.key].Add(1)
		if r.answer, err = r.begin(); err != nil {
			c.release(r)
			return err
		}
		if c.waiting.Add(1); r.api.waits {
			r.done = make(chan struct{})
		}
		c.last = r.done
		// Whoever writes takes all that is queued until the queue is closed, whatever happens, and gives its room back. It does not stay with one request: when the connection ends, so do
		// the wait for the answer and the write.
		c.queue <- r
		if err := c.ctx.Err(); err != nil {
			return err
		}
	}
}

// next waits for a request, and reads its head.
func (c *conn) next() (head, error) {
	for {
		if err := c.readUntil(c.srv.limits.IdleTimeout); err != nil {
			return head{}, err
		}
		_, err := c.in.Peek(1)
		switch {
		case err == nil:
			if err := c.afterLast(); err != nil {
				return head{}, err
			}
			if err := c.readUntil(c.srv.limits.FrameTimeout); err != nil {
				return head{}, err
			}
			var b [headBytes]byte
			if _, err := io.ReadFull(c.in, b[:]); err != nil {
				return head{}, c.cut(err)
			}
			return parseHead(b[:])
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return head{}, err
		}
		select {
		case <-c.srv.open.Done():
			return head{}, errDrained
		default:
		}
		if c.waiting.Load() == 0 {
			return head{}, errIdle
		}
	}
}

// afterLast waits for the last request, if that waits for other clients: as long as they take nothing behind it is answered, and would hold room.
func (c *conn) afterLast() error {
	if c.last == nil {
		return nil
	}
	select {
	case <-c.last:
		return nil
	case <-c.srv.open.Done():
		return errDrained
	case <-c.ctx.Done():
		return c.ctx.Err()
	}
}

// readUntil gives the reading so much time from now on, unless the server drains: stopReading comes after that has begun, so it is either seen here or not undone.
func (c *conn) readUntil(d time.Duration) error {
	_ = c.nc.SetReadDeadline(time.Now().Add(d))
	select {
	case <-c.srv.open.Done():
		return errDrained
	default:
		return nil
	}
}

// errIdle closes a connection that nothing was heard of. It is no fault: clients know that brokers do so.
var errIdle = errors.New("nothing came for the idle timeout")

// cut is why a request did not come whole.
func (c *conn) cut(err error) error {
	select {
	case <-c.srv.open.Done():
		return errDrained
	default:
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return mq.Errorf(mq.ProtocolViolation, "a request did not come to its end within %s", c.srv.limits.FrameTimeout)
	}
	return err
}

// receive reads what follows a head, if that is offered and not too long, when there is room for it.
func (c *conn) receive(h head) (*call, error) {
	a := c.srv.find(h.key)
	if a == nil {
		name := kmsg.NameForKey(h.key)
		return nil, mq.Errorf(mq.UnsupportedVersion, "API %d (%s) is not offered", h.key, name)
	}
	limit := a.bytes
	if limit == 0 {
		limit = c.srv.limits.RequestBytes
	}
	if h.length > limit {
		return nil, mq.Errorf(mq.MessageTooLarge, "a %s request of %d bytes: at most %d are allowed", a.key.Name(), h.length, limit)
	}
	t, err := c.admit(h)
	if err != nil {
		return nil, err
	}
	r := &call{head: h, api: a, conn: c, throttled: t, holding: holding{weight: a.weight(h.length)}}
	if err := c.enter(r); err != nil {
		return nil, err
	}
	frame, err := c.frame(r)
	if err != nil {
		c.release(r)
		return nil, err
	}
	r.received = time.Now()
	if h.version < a.min || h.version > a.max {
		r.session, r.body = c.session.Load(), frame // the header need not be one that is known
		return r, nil
	}
	clientID, err := r.parseRest(frame)
	if err != nil {
		c.release(r)
		return nil, err
	}
	c.identify(clientID, c.session.Load().Software)
	r.session = c.session.Load()
	return r, nil
}

// frame reads what follows a head, in pieces: memory is taken in proportion to what has come, not to what the head claims. Its time does not run while it waits for room.
func (c *conn) frame(r *call) ([]byte, error) {
	size, left := firstPiece, c.srv.limits.FrameTimeout
	if !r.api.aliases {
		size /= decodeFactor
	}
	var frame []byte
	for ; ; size *= growth {
		have := len(frame)
		size = min(size, r.length)
		if err := c.reserve(r, r.api.weight(size)); err != nil {
			return nil, err
		}
		if err := c.readUntil(left); err != nil {
			return nil, err
		}
		frame = c.grow(r, frame, size)
		begun := time.Now()
		if _, err := io.ReadFull(c.in, frame[have:]); err != nil {
			return nil, c.cut(err)
		}
		if size == r.length {
			return frame, nil
		}
		left -= time.Since(begun)
	}
}

// grow is memory for so many bytes of a request, which begins with what there is of it.
func (c *conn) grow(r *call, frame []byte, size int) []byte {
	if !r.api.aliases {
		grown := make([]byte, size)
		copy(grown, frame)
		return grown
	}
	before := r.memory
	r.memory = c.srv.frames.take(size)
	grown := r.memory.bytes[:size:size]
	copy(grown, frame)
	c.srv.frames.give(before)
	return grown
}

// identify notes what the client calls itself. It is called by the goroutine that reads.
func (c *conn) identify(clientID, software string) {
	s := *c.session.Load()
	if clientID == s.ClientID && software == s.Software {
		return
	}
	s.ClientID, s.Software = clientID, software
	c.session.Store(&s)
}

// enter waits for room for a request among those of its connection.
func (c *conn) enter(r *call) error { return c.memory.Acquire(c.ctx, c.own(r)) }

// own is what a request takes of the connection's room: what is larger than all of it takes all.
func (c *conn) own(r *call) int64 { return int64(min(r.weight, c.srv.limits.ConnectionBytes)) }

// reserve waits until a request has taken so much of its address's room and then of the server's, or all of it.
func (c *conn) reserve(r *call, weight int) error {
	if r.weight < smallWeight { // in one piece
		return c.reserveSmall(r)
	}
	if r.server.beyond { // it is the one that must come to its end
		return nil
	}
	if err := r.address.take(c.ctx, &c.from.memory, min(weight, c.srv.limits.AddressBytes)); err != nil {
		return err
	}
	return r.server.take(c.ctx, &c.srv.memory, min(weight, c.srv.limits.TotalBytes))
}

func (c *conn) reserveSmall(r *call) error {
	n := int64(min(r.weight, c.srv.limits.AddressBytes, c.srv.limits.TotalBytes))
	if c.from.memory.try(n) {
		r.address.taken = n
		if c.srv.memory.try(n) {
			r.server.taken = n
			return nil
		}
	}
	if n = int64(min(r.weight, c.srv.limits.SmallBytes/2)); c.from.small.Acquire(c.ctx, n) != nil {
		return c.ctx.Err()
	}
	r.smallOfAddress = n
	if c.srv.small.Acquire(c.ctx, n) != nil {
		return c.ctx.Err()
	}
	r.small = n
	return nil
}

// release gives the room of a request back.
func (c *conn) release(r *call) {
	c.memory.Release(c.own(r))
	if r.small > 0 {
		c.srv.small.Release(r.small)
	}
	if r.answered > 0 {
		c.srv.answers.Release(r.answered)
	}
	if r.smallOfAddress > 0 {
		c.from.small.Release(r.smallOfAddress)
	}
	r.server.give(&c.srv.memory)
	r.address.give(&c.from.memory)
}

// handOver gives back the room of a request that is not in memory any more, and is not answered yet.
func (c *call) handOver() {
	c.conn.release(c)
	c.body, c.holding = nil, holding{}
}

// begin begins to handle the request.
func (c *call) begin() (answer, error) {
	if c.version < c.api.from || c.version > c.api.max {
		return c.refuse()
	}
	return c.api.start(c)
}

// write answers requests in order and writes the responses, until there are none any more or one cannot be written.
func (c *conn) write() {
	failed := false
	for r := range c.queue {
		if !failed {
			if err := c.respond(r); err != nil {
				failed = true
				c.fault(err)
				c.stop()
			}
		}
		c.release(r)
		c.waiting.Add(-1)
		if r.done != nil {
			close(r.done)
		}
	}
}

// respond answers one request.
func (c *conn) respond(r *call) error {
	ctx, cancel := context.WithTimeout(c.ctx, c.srv.limits.RequestTimeout)
	defer cancel()
	b, err := r.answer(ctx)
	if r.throttled.held || r.throttled.told > 0 {
		c.srv.throttled.Add(1)
	}
	if b == nil || err != nil {
		return err
	}
	defer release(b)
	c.out.frame(r.correlation, b.IsFlexible() && r.api.key != kmsg.ApiVersions, b)
	if err := c.nc.SetWriteDeadline(time.Now().Add(c.srv.limits.WriteTimeout)); err != nil {
		return err
	}
	buffers := c.out.buffers()
	_, err = buffers.WriteTo(c.nc)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return mq.Errorf(mq.NetworkException, "the client did not read a response within %s", c.srv.limits.WriteTimeout)
	}
	return err
}

// release gives back what a body holds beside memory.
func release(b body) {
	if r, ok := b.(interface{ release() }); ok {
		r.release()
	}
}
