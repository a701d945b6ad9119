package server

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/transport"
)

// session is one client connection.
type session struct {
	Session
	srv      *Server
	conn     transport.Conn
	ctx      context.Context     // ends with the connection
	inFlight *semaphore.Weighted // bytes of batches
	wg       sync.WaitGroup      // its streams

	busy  atomic.Int64 // batches and requests that have no answer yet
	quiet atomic.Int64 // while draining: when it was last busy, Unix ns

	controlMu sync.Mutex // held while writing to the control stream, which is at most a GoAway
	control   stream     // nil before Welcome is written
}

func newSession(s *Server, conn transport.Conn, principal string) *session {
	return &session{
		Session:  Session{ID: s.nextID.Add(1), Principal: principal, Remote: conn.RemoteAddr()},
		srv:      s,
		conn:     conn,
		ctx:      conn.Context(),
		inFlight: semaphore.NewWeighted(int64(s.limits.WindowBytes)),
	}
}

// run serves the session until its connection ends, and returns when all its goroutines have.
func (ss *session) run() {
	defer ss.wg.Wait()
	defer ss.conn.Close(mq.None, "")
	control, err := ss.hello()
	if err != nil {
		ss.fail(err)
		return
	}
	ss.wg.Go(func() { ss.watchControl(control) })
	for {
		st, err := ss.conn.AcceptStream(ss.ctx)
		if err != nil {
			return
		}
		ss.wg.Go(func() { ss.serveStream(st) })
	}
}

// hello does what comes first: the control stream, Hello, Welcome.
func (ss *session) hello() (*controlStream, error) {
	deadline := time.Now().Add(ss.srv.limits.HelloTimeout)
	ctx, cancel := context.WithDeadline(ss.ctx, deadline)
	defer cancel()
	st, err := ss.conn.AcceptStream(ctx)
	if err != nil {
		return nil, mq.Wrapf(err, "wait for the control stream")
	}
	if err := st.SetReadDeadline(deadline); err != nil {
		return nil, mq.Wrapf(err, "limit the wait for Hello")
	}
	c := &controlStream{stream: st}
	c.in = quicproto.NewFrameReader(c.stream, 0)
	f, err := c.in.Read()
	if err != nil {
		return nil, mq.Wrapf(faultOf(err), "read Hello")
	}
	hello, ok := f.(*quicproto.Hello)
	if !ok {
		return nil, mq.Errorf(mq.ProtocolViolation, "the first frame is %v and not Hello", f.Type())
	}
	if ss.Version, ss.Features, err = quicproto.Negotiate(hello, quicproto.AllFeatures); err != nil {
		return nil, err
	}
	ss.ClientID, ss.Software = hello.ClientID, hello.Software
	if err := st.SetReadDeadline(time.Time{}); err != nil {
		return nil, mq.Wrapf(err, "lift the limit on the control stream")
	}
	return c, ss.welcome(c)
}

func (ss *session) welcome(c *controlStream) error {
	cluster, node := ss.srv.cfg.Broker.Identity()
	w := &quicproto.Welcome{
		Version:     ss.Version,
		Features:    ss.Features,
		ClusterID:   cluster,
		NodeID:      node,
		IdleTimeout: uint32(ss.srv.limits.IdleTimeout.Milliseconds()),
		Limits:      ss.srv.limits.wire(),
	}
	ss.controlMu.Lock()
	defer ss.controlMu.Unlock()
	if _, err := c.stream.Write(quicproto.AppendFrame(nil, w)); err != nil {
		return mq.Wrapf(err, "write Welcome")
	}
	ss.control = c.stream
	return nil
}

// controlStream is the session's first stream.
type controlStream struct {
	stream stream
	in     *quicproto.FrameReader
}

// watchControl waits for the client to end the control stream, which ends the session. In version 1 a client has nothing more
// to say on it.
func (ss *session) watchControl(c *controlStream) {
	t, _, err := c.in.Next()
	switch {
	case errors.Is(err, io.EOF):
		ss.fail(nil)
	case err != nil:
		ss.fail(faultOf(err))
	default:
		ss.fail(mq.Errorf(mq.ProtocolViolation, "%v on the control stream", t))
	}
}

// goAway tells the client to go. Over QUIC it never waits: the frame fits into what is buffered. Over TCP a client that reads nothing makes it wait.
func (ss *session) goAway(g *quicproto.GoAway) {
	ss.touch()
	ss.controlMu.Lock()
	defer ss.controlMu.Unlock()
	if ss.control != nil {
		// A failed write means that the connection is gone, which is what this is about.
		_, _ = ss.control.Write(quicproto.AppendFrame(nil, g))
	}
}

// touch notes that the session was busy just now, of which only draining wants to know.
func (ss *session) touch() {
	if ss.srv.draining.Load() {
		ss.quiet.Store(time.Now().UnixNano())
	}
}

// quietFor tells, while draining, whether nothing was going on for d.
func (ss *session) quietFor(d time.Duration) bool {
	if ss.busy.Load() != 0 {
		return false
	}
	since := ss.quiet.Load()
	if since == 0 {
		ss.touch()
		return false
	}
	return time.Now().UnixNano()-since >= int64(d)
}

// fail closes the session. A *mq.Error that was made here is told to the client with its code and text; what the
// connection itself reported is only noted. nil is a client that has left.
func (ss *session) fail(err error) {
	if ss.ctx.Err() != nil { // over already
		return
	}
	switch mq.CodeOf(err) {
	case mq.ProtocolViolation, mq.UnsupportedVersion, mq.MessageTooLarge:
		ss.srv.counters.violations.Add(1)
		ss.srv.log.Warn("session closed: the client broke the protocol",
			"remote", ss.Remote, "principal", ss.Principal, "client", ss.ClientID, "error", err)
	case mq.None, mq.ShuttingDown:
	default:
		ss.srv.log.Debug("session closed", "remote", ss.Remote, "principal", ss.Principal, "client", ss.ClientID, "error", err)
	}
	closeConn(ss.conn, err)
}

// maxReason keeps a close's reason within one packet, in bytes.
const maxReason = 512

func closeConn(conn transport.Conn, err error) {
	code, msg := quicproto.CodeAndText(err)
	if len(msg) > maxReason {
		msg = msg[:maxReason]
	}
	conn.Close(code, msg)
}
