package transport

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// Acceptor knows the sessions of a server over TCP, so that further connections find theirs.
type Acceptor struct {
	tls     *tls.Config
	others  bool
	idle    time.Duration
	streams int

	mu       sync.Mutex
	sessions map[uint64]*Session
}

// NewAcceptor makes one. config is what connections shake hands with, and is not changed; idle after how long without a word a client is given up; streams how many
// connections a session may have. others is what clients shake hands with that do not offer the protocol, nil when there are to be none.
func NewAcceptor(config, others *tls.Config, idle time.Duration, streams int) *Acceptor {
	a := &Acceptor{tls: recordTLS(config), others: others != nil, idle: idle, streams: streams, sessions: make(map[uint64]*Session)}
	if !a.others {
		return a
	}
	next := a.tls.GetConfigForClient
	a.tls.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		switch {
		case !slices.Contains(hello.SupportedProtos, quicproto.ALPN):
			return others, nil
		case next != nil:
			return next(hello)
		}
		return nil, nil //nolint:nilnil // go on with the configuration that there is
	}
	return a
}

// Incoming is a connection that has shaken hands.
type Incoming struct {
	a   *Acceptor
	raw *gathered
	tls *tls.Conn
	w   *wire
}

// Other is a connection that does not speak the protocol.
type Other struct {
	Conn net.Conn
	Read []byte               // what was read of it already
	TLS  *tls.ConnectionState // what its handshake came to; nil: it began without one
}

// handshakeRecord is what a TLS handshake begins with.
const handshakeRecord = 22

// Handshake shakes hands until ctx ends. On an error the connection is closed. A connection that does not speak the protocol comes back as other, where there may be such.
func (a *Acceptor) Handshake(ctx context.Context, conn net.Conn) (in *Incoming, other *Other, err error) {
	defer func() {
		if err != nil {
			_ = conn.Close()
		}
	}()
	keepAlive(conn, a.idle)
	raw := &gathered{Conn: conn}
	if a.others {
		first, err := firstByte(ctx, conn)
		switch {
		case err != nil:
			return nil, nil, err
		case first[0] != handshakeRecord:
			return nil, &Other{Conn: conn, Read: first}, nil
		}
		raw.first = first
	}
	tc := tls.Server(raw, a.tls)
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, nil, err
	}
	switch state := tc.ConnectionState(); {
	case state.NegotiatedProtocol == quicproto.ALPN:
		return &Incoming{a: a, raw: raw, tls: tc}, nil, nil
	case a.others:
		return nil, &Other{Conn: tc, TLS: &state}, nil
	}
	return nil, nil, mq.Errorf(mq.UnsupportedVersion, "the client does not speak %s", quicproto.ALPN)
}

// firstByte reads one byte until ctx ends.
func firstByte(ctx context.Context, conn net.Conn) ([]byte, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	first := make([]byte, 1)
	_, err := io.ReadFull(conn, first)
	if !stop() {
		return nil, ctx.Err()
	}
	return first, err
}

// TLS is what the handshake came to.
func (in *Incoming) TLS() tls.ConnectionState { return in.tls.ConnectionState() }

// Enter reads until the deadline what the connection is to be. The first one of a session gives that; for one of a session that there is the result is nil,
// and Serve has to be called. On an error the connection is closed. principal is who connects: nothing is attached for an empty one.
func (in *Incoming) Enter(deadline time.Time, principal string) (*Session, error) {
	s, err := in.enter(deadline, principal)
	if err != nil {
		_ = in.raw.Close()
	}
	return s, err
}

func (in *Incoming) enter(deadline time.Time, principal string) (*Session, error) {
	if err := in.raw.SetReadDeadline(deadline); err != nil {
		return nil, err
	}
	first := input{r: in.tls}
	k, body, err := first.next()
	if err != nil {
		return nil, mq.Wrapf(err, "read what a connection is to be")
	}
	b, at, err := parseFirst(k, body)
	if err != nil {
		return nil, err
	}
	if err := in.raw.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	if at != nil {
		return nil, in.attach(at, principal)
	}
	return in.begin(b, principal), nil
}

// begin makes a session.
func (in *Incoming) begin(b *begin, principal string) *Session {
	idle := in.a.idle
	if b.idle > 0 {
		idle = max(leastIdle, min(idle, b.idle))
	}
	s := newSession(idle)
	s.principal = principal
	s.begun = &begun{idle: idle, streams: uint32(in.a.streams)}
	var id [8]byte
	_, _ = rand.Read(id[:]) // it never fails
	_, _ = rand.Read(s.begun.secret[:])
	number := fields{rest: id[:]}
	s.begun.id = number.uint64()
	s.onEnd = func() { in.a.forget(s) }
	in.a.mu.Lock()
	in.a.sessions[s.begun.id] = s // of 2^64
	in.a.mu.Unlock()
	in.w = newWire(s, in.raw, in.tls, appendRecord(nil, kindBegun, s.begun.body()...))
	s.start(in.w)
	s.accept <- newTCPStream(in.w) // has room for one
	return s
}

func (a *Acceptor) forget(s *Session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.sessions[s.begun.id] == s {
		delete(a.sessions, s.begun.id)
	}
}

// attach makes the connection one of a session's, if it may be. Who knows no secret of the same principal is not told what was wrong.
func (in *Incoming) attach(at *attach, principal string) error {
	in.a.mu.Lock()
	s := in.a.sessions[at.id]
	in.a.mu.Unlock()
	var secret [secretSize]byte
	if s != nil {
		secret = s.begun.secret
	}
	known := subtle.ConstantTimeCompare(secret[:], at.secret[:]) == 1
	if s == nil || !known || principal == "" || s.principal != principal {
		return mq.Errorf(mq.ClusterAuthorizationFailed, "a connection is to be attached to a session that is not its own")
	}
	in.w = newWire(s, in.raw, in.tls, nil)
	if s.adopt(in.w, in.a.streams-1) {
		return nil
	}
	if s.ctx.Err() != nil {
		return mq.Errorf(mq.NetworkException, "the session has ended")
	}
	return mq.Errorf(mq.TooManyRequests, "a session has %d connections already", in.a.streams)
}

// Serve hands the streams of an attached connection to its session, one after the other, and returns when the connection is over.
func (in *Incoming) Serve() {
	w := in.w
	for {
		st, err := w.await()
		if err != nil {
			if w.failure() == nil { // the peer's doing
				code, text := quicproto.CodeAndText(err)
				w.sess.Close(code, text)
			}
			break
		}
		select {
		case w.sess.accept <- st:
		case <-w.gone:
		}
		select {
		case <-st.done:
			continue
		case <-w.gone:
		}
		break
	}
	<-w.gone
}

// await waits for the beginning of the next stream. What still comes of the one before has to end soon.
func (w *wire) await() (*tcpStream, error) {
	if err := w.take(w.readTurn); err != nil {
		return nil, err
	}
	defer func() { <-w.readTurn }()
	if w.owed > 0 {
		if err := w.skip(); err != nil {
			return nil, err
		}
	}
	k, err := w.next()
	if err != nil {
		return nil, err
	}
	st := newTCPStream(w)
	st.readEnded = k == kindEnd
	return st, nil
}

// skipTime is for how long a client may go on with a stream of which the server wants no more, until it is reset.
const skipTime = 5 * time.Second

// skip reads up to the end of the stream that the server has done with.
func (w *wire) skip() error {
	if err := w.setReadDeadline(time.Now().Add(skipTime)); err != nil {
		return err
	}
	for w.owed > 0 {
		if _, err := w.step(); err != nil {
			if w.failure() == nil {
				w.finish(&quic.StreamError{}, resetRecord(mq.None))
			}
			return err
		}
	}
	return w.setReadDeadline(time.Time{})
}
