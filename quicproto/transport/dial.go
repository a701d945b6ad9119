package transport

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// Dialer makes the connections of a client's session over TCP.
type Dialer struct {
	// Dial connects to an address. Nil stands for the machine's TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// TLS has what the server is verified by, its name included, and what the client shows. It is not changed.
	TLS *tls.Config
	// IdleTimeout is after how long without a word the peer is given up. The server may name a shorter one.
	IdleTimeout time.Duration

	addr string
}

// DialTCP connects to addr ("host:port") and shakes hands. Whether the server takes the session shows on the control stream, which is the first one to be opened.
// Further connections go to the address that answered.
func DialTCP(ctx context.Context, d Dialer, addr string) (*Session, error) {
	d.addr = addr
	d.TLS = recordTLS(d.TLS)
	d.TLS.ClientSessionCache = nil
	s := newSession(d.IdleTimeout)
	s.dialer = &d
	prefix := appendRecord(nil, kindBegin, begin{idle: d.IdleTimeout}.body()...)
	w, err := s.connect(ctx, prefix)
	if err != nil {
		return nil, err
	}
	if remote, ok := w.raw.RemoteAddr().(*net.TCPAddr); ok {
		d.addr = remote.String()
	}
	s.start(w)
	return s, nil
}

// recordTLS is c with what the protocol requires.
func recordTLS(c *tls.Config) *tls.Config {
	c = c.Clone()
	c.MinVersion = tls.VersionTLS13
	c.NextProtos = []string{quicproto.ALPN}
	c.SessionTicketsDisabled = true
	c.DynamicRecordSizingDisabled = true // what is small is written at once, and is small by itself
	if next := c.GetConfigForClient; next != nil {
		c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			got, err := next(hello)
			if got == nil || err != nil {
				return nil, err
			}
			return recordTLS(got), nil
		}
	}
	return c
}

// connect makes one connection, up to the end of its handshake.
func (s *Session) connect(ctx context.Context, prefix []byte) (*wire, error) {
	dial := s.dialer.Dial
	if dial == nil {
		dial = func(ctx context.Context, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}
	}
	conn, err := dial(ctx, s.dialer.addr)
	if err != nil {
		return nil, err
	}
	keepAlive(conn, s.idleTimeout())
	raw := &gathered{Conn: conn}
	tc := tls.Client(raw, s.dialer.TLS)
	if err := tc.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		switch refused := tlsError(err); {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case refused != nil:
			return nil, refused
		default:
			return nil, err
		}
	}
	if tc.ConnectionState().NegotiatedProtocol != quicproto.ALPN {
		_ = conn.Close()
		return nil, &quic.TransportError{ErrorCode: cryptoError + 120, ErrorMessage: "tls: the server does not speak " + quicproto.ALPN}
	}
	return newWire(s, raw, tc, prefix), nil
}

// OpenStream implements Conn.
func (s *Session) OpenStream(ctx context.Context) (Stream, error) {
	s.mu.Lock()
	if !s.first {
		s.first = true
		s.mu.Unlock()
		return newTCPStream(s.control), nil
	}
	for {
		switch {
		case s.ended:
			s.mu.Unlock()
			return nil, context.Cause(s.ctx)
		case s.begun == nil:
			s.mu.Unlock()
			return nil, mq.Errorf(mq.ProtocolViolation, "the server has not begun the session")
		case len(s.free) > 0:
			w := s.free[len(s.free)-1]
			s.free = s.free[:len(s.free)-1]
			s.mu.Unlock()
			return newTCPStream(w), nil
		case s.held+1 < int(s.begun.streams): // the control stream is one
			s.held++
			b := s.begun
			s.mu.Unlock()
			return s.another(ctx, b)
		}
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-s.ctx.Done():
			return nil, context.Cause(s.ctx)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		s.mu.Lock()
	}
}

// another makes a connection for a stream.
func (s *Session) another(ctx context.Context, b *begun) (Stream, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	w, err := s.connect(ctx, appendRecord(nil, kindAttach, attach{id: b.id, secret: b.secret}.body()...))
	if err == nil && s.adopt(w, int(b.streams)) {
		return newTCPStream(w), nil
	}
	s.mu.Lock()
	s.held--
	s.change()
	s.mu.Unlock()
	if err == nil {
		_ = w.raw.Close()
	}
	if s.ctx.Err() != nil {
		return nil, context.Cause(s.ctx)
	}
	return nil, err
}

// cryptoError is to what QUIC adds the number of an alert of TLS.
const cryptoError = 0x100

// tlsError is err as QUIC would tell it, if one side refused the other in the handshake, or who answers does not speak TLS; nil if it is something else.
func tlsError(err error) error {
	refusal := &quic.TransportError{}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		refusal.ErrorCode = cryptoError + 42
	} else if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		refusal.ErrorCode = cryptoError + 10
	} else if alert, ok := errors.AsType[*net.OpError](err); ok && (alert.Op == "remote error" || alert.Op == "local error") {
		refusal.ErrorCode, refusal.Remote = cryptoError+40, alert.Op == "remote error"
	} else {
		return nil
	}
	return fmt.Errorf("%w: %w", refusal, err)
}

// keepAlive has TCP notice a peer that has vanished.
func keepAlive(conn net.Conn, idle time.Duration) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	// What fails here has failed with the connection.
	_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: max(idle/keepAlives, time.Second), Interval: max(idle/keepAlives, time.Second), Count: keepAlives})
	limitSilence(tcp, idle)
}

func fields64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
