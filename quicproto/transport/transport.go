package transport

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// Conn is the connection of one session. Its methods may be called by any goroutine.
type Conn interface {
	// OpenStream opens a stream, on the client's side. The first one is the control stream. It waits while the peer allows no more of them.
	OpenStream(ctx context.Context) (Stream, error)
	// AcceptStream waits for the peer's next stream, on the server's side. The first one is the control stream.
	AcceptStream(ctx context.Context) (Stream, error)
	// Close ends the session and all its streams, and tells the peer why. It does not wait; a second call does nothing.
	Close(code mq.Code, reason string)
	// Context ends with the connection; its cause says why.
	Context() context.Context
	// RemoteAddr is the peer's address.
	RemoteAddr() net.Addr
	// TLS is what the handshake came to.
	TLS() tls.ConnectionState
	// Received counts what has come from the peer, in pieces of any kind: it grows while the peer is there.
	Received() uint64
	// RTT is the round trip time, smoothed; 0 if not known.
	RTT() time.Duration
	// Probe has the peer send a sign of life, if the transport does not do so by itself. It does not wait.
	Probe()
	// Wait waits until a connection that has ended has no goroutine of its own left.
	Wait()
}

// Stream is one stream of a session. One goroutine may read it and another write it. Close is the writer's. The other methods may be called by any.
type Stream interface {
	io.ReadWriter
	// SetReadDeadline is that of net.Conn.
	SetReadDeadline(t time.Time) error
	// Close ends the writing side in order. What was written still arrives.
	Close() error
	// Abort gives up both sides. It does not wait, and does nothing to a stream that has ended.
	Abort(code mq.Code)
	// StopReading says that nothing more is wanted of what comes. It is called by who reads, after Close, and ends the stream in order.
	StopReading(code mq.Code)
}

// QUIC makes a Conn of a QUIC connection. Its streams have TryWriteAll, too.
func QUIC(conn *quic.Conn) Conn { return quicConn{conn} }

type quicConn struct{ *quic.Conn }

// OpenStream implements Conn.
func (c quicConn) OpenStream(ctx context.Context) (Stream, error) {
	return wrap(c.OpenStreamSync(ctx))
}

// AcceptStream implements Conn.
func (c quicConn) AcceptStream(ctx context.Context) (Stream, error) {
	return wrap(c.Conn.AcceptStream(ctx))
}

func wrap(st *quic.Stream, err error) (Stream, error) {
	if err != nil {
		return nil, err
	}
	return quicStream{st}, nil
}

// Close implements Conn.
func (c quicConn) Close(code mq.Code, reason string) {
	// The error says that it was closed already.
	_ = c.CloseWithError(quic.ApplicationErrorCode(quicproto.ErrorCode(code)), reason)
}

// TLS implements Conn.
func (c quicConn) TLS() tls.ConnectionState { return c.ConnectionState().TLS }

// Received implements Conn.
func (c quicConn) Received() uint64 { return c.ConnectionStats().PacketsReceived }

// RTT implements Conn.
func (c quicConn) RTT() time.Duration { return c.ConnectionStats().SmoothedRTT }

// Probe implements Conn: QUIC acknowledges packets.
func (quicConn) Probe() {}

// Wait implements Conn: what QUIC has left belongs to the socket.
func (quicConn) Wait() {}

type quicStream struct{ *quic.Stream }

// Abort implements Stream.
func (s quicStream) Abort(code mq.Code) {
	n := quic.StreamErrorCode(quicproto.ErrorCode(code))
	s.CancelRead(n)
	s.CancelWrite(n)
}

// StopReading implements Stream.
func (s quicStream) StopReading(code mq.Code) {
	s.CancelRead(quic.StreamErrorCode(quicproto.ErrorCode(code)))
}
