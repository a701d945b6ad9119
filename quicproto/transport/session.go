package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

const (
	// keepAlives is how many pings fit into an idle timeout: two may be late.
	keepAlives = 3
	// idleWires is how many connections without a stream a client keeps for the next ones.
	idleWires = 4
	// leastIdle is the shortest idle timeout that a peer may name.
	leastIdle = 100 * time.Millisecond
)

// Session is a Conn over TCP.
type Session struct {
	ctx     context.Context
	cancel  context.CancelCauseFunc
	control *wire
	dialer  *Dialer // nil at the server
	wg      sync.WaitGroup
	closed  chan struct{} // closed when all wires have been ended
	// controlOver is closed when the first connection's last record has come through, or will not.
	controlOver chan struct{}
	accept      chan Stream // the server's: streams that begin
	base        time.Time

	received atomic.Uint64
	heardAt  atomic.Int64 // since base, ns
	idle     atomic.Int64 // ns
	rtt      atomic.Int64 // ns

	mu        sync.Mutex
	ended     bool
	principal string // the server's
	begun     *begun
	first     bool           // the client's: the control stream has been opened
	wires     map[*wire]bool // all but the control stream's
	held      int            // the client's: connections that count for the peer's limit
	free      []*wire        // the client's: those without a stream
	changed   chan struct{}  // the client's: closed when held or free changes
	timer     *time.Timer
	onEnd     func()
}

func newSession(idle time.Duration) *Session {
	s := &Session{
		closed: make(chan struct{}), controlOver: make(chan struct{}), accept: make(chan Stream, 1), base: time.Now(),
		wires: make(map[*wire]bool), changed: make(chan struct{}),
	}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	s.idle.Store(int64(idle))
	return s
}

// start begins to watch the peer.
func (s *Session) start(control *wire) {
	control.control = true
	s.control = control
	s.mu.Lock()
	s.timer = time.AfterFunc(s.idleTimeout()/keepAlives, s.tick)
	s.mu.Unlock()
}

func (s *Session) idleTimeout() time.Duration { return time.Duration(s.idle.Load()) }

// tick is called a few times in an idle timeout: the client pings, and both give up a peer of which nothing was heard.
func (s *Session) tick() {
	idle := s.idleTimeout()
	if time.Since(s.base)-time.Duration(s.heardAt.Load()) >= idle {
		s.end(&quic.IdleTimeoutError{}, nil)
		return
	}
	s.mu.Lock()
	if !s.ended {
		s.timer.Reset(idle / keepAlives)
	}
	s.mu.Unlock()
	if s.dialer != nil {
		s.Probe()
	}
}

// hear notes that something came.
func (s *Session) hear(w *wire) {
	s.received.Add(1)
	if w.control {
		s.heardAt.Store(int64(time.Since(s.base)))
	}
}

// Probe implements Conn.
func (s *Session) Probe() {
	select {
	case s.control.writeTurn <- struct{}{}:
	default:
		return // somebody writes, which the peer hears
	}
	s.mu.Lock()
	ended := s.ended
	if !ended {
		s.wg.Go(func() { // a write may take its time
			defer func() { <-s.control.writeTurn }()
			s.control.limitWrite()
			now := uint64(time.Since(s.base))
			if err := s.control.emit(appendRecord(nil, kindPing, fields64(now)...)); err != nil {
				s.control.lost(err)
			}
		})
	}
	s.mu.Unlock()
	if ended {
		<-s.control.writeTurn
	}
}

// pong takes the answer to a ping that was sent then.
func (s *Session) pong(sent uint64) {
	rtt := int64(time.Since(s.base)) - int64(sent)
	if s.dialer == nil || rtt < 0 || rtt > int64(s.idleTimeout()) {
		return
	}
	if old := s.rtt.Load(); old > 0 {
		rtt = (7*old + rtt) / 8
	}
	s.rtt.Store(max(rtt, 1))
}

// begins takes the server's first record.
func (s *Session) begins(body []byte) error {
	b, err := parseBegun(body)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dialer == nil || s.begun != nil {
		return mq.Errorf(mq.ProtocolViolation, "a session that has begun begins")
	}
	s.begun = &b
	s.idle.Store(int64(max(leastIdle, min(s.idleTimeout(), b.idle))))
	if !s.ended {
		s.timer.Reset(s.idleTimeout() / keepAlives)
	}
	return nil
}

// end ends the session once: err is its cause. With a last record the peer is told, and its streams are reset.
func (s *Session) end(err error, last []byte) {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return
	}
	s.ended = true
	s.timer.Stop()
	wires := make([]*wire, 0, len(s.wires))
	for w := range s.wires {
		wires = append(wires, w)
	}
	s.mu.Unlock()
	s.cancel(err)
	var reset []byte
	if app, ok := errors.AsType[*quic.ApplicationError](err); ok && last != nil {
		reset = resetRecord(quicproto.CodeOfError(uint64(app.ErrorCode)))
	}
	for _, w := range wires {
		w.finish(err, reset)
	}
	s.control.finish(err, last) // behind them: a peer that is told of the end resets its streams once it finds this connection closed, and they have ended as the session did
	if s.onEnd != nil {
		s.onEnd()
	}
	close(s.closed)
}

// Close implements Conn.
func (s *Session) Close(code mq.Code, reason string) {
	s.end(&quic.ApplicationError{ErrorCode: quic.ApplicationErrorCode(quicproto.ErrorCode(code)), ErrorMessage: reason},
		appendRecord(nil, kindClose, codeBody(code, reason)...))
}

// Wait waits until a session that has ended has no goroutine or connection left.
func (s *Session) Wait() {
	<-s.closed
	s.wg.Wait()
}

// Context implements Conn.
func (s *Session) Context() context.Context { return s.ctx }

// RemoteAddr implements Conn.
func (s *Session) RemoteAddr() net.Addr { return s.control.raw.RemoteAddr() }

// TLS implements Conn.
func (s *Session) TLS() tls.ConnectionState { return s.control.tls.ConnectionState() }

// Received implements Conn.
func (s *Session) Received() uint64 { return s.received.Load() }

// RTT implements Conn.
func (s *Session) RTT() time.Duration { return time.Duration(s.rtt.Load()) }

// AcceptStream implements Conn.
func (s *Session) AcceptStream(ctx context.Context) (Stream, error) {
	select {
	case st := <-s.accept:
		return st, nil
	case <-s.ctx.Done():
		return nil, context.Cause(s.ctx)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// adopt makes w one of the session's wires; false if the session has ended or has limit of them.
func (s *Session) adopt(w *wire, limit int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || len(s.wires) >= limit {
		return false
	}
	s.wires[w] = true
	return true
}

// forget is called when w has ended, and released when it is closed, too.
func (s *Session) forget(w *wire, closed bool) {
	s.mu.Lock()
	delete(s.wires, w)
	if i := slices.Index(s.free, w); i >= 0 {
		s.free = slices.Delete(s.free, i, i+1)
	}
	s.mu.Unlock()
	if closed {
		s.released(w)
	}
}

func (s *Session) released(w *wire) {
	if w.control || s.dialer == nil {
		return
	}
	s.mu.Lock()
	s.held--
	s.change()
	s.mu.Unlock()
}

// change wakes who waits for a connection. The mutex is held.
func (s *Session) change() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// recycle takes back a wire whose stream has ended in order.
func (s *Session) recycle(w *wire) {
	if s.dialer == nil || w.control {
		return // the server waits for the next one on it
	}
	s.mu.Lock()
	keep := s.wires[w] && len(s.free) < idleWires
	if keep {
		s.free = append(s.free, w)
		s.change()
	}
	s.mu.Unlock()
	if !keep {
		w.finish(errEnded, nil)
	}
}

// lostError is the cause of a session whose first connection failed.
func lostError(err error) error {
	if refused := tlsError(err); refused != nil {
		return refused
	}
	return fmt.Errorf("the connection is lost: %w", err)
}
