package client

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/transport"
	"github.com/rustmq/rustmq/quicproto/udp"
)

const (
	// software is what servers are told that speaks.
	software = "rustmq-go/1"
	// controlWindow is the receive window in bytes of connections that carry answers and acknowledgements only.
	controlWindow = 1 << 20
	// keepAlives is how many keep-alives fit into an idle timeout: two may get lost.
	keepAlives = 3
)

// session is one connection, after Hello and Welcome: over QUIC on a socket of its own, or over TCP. Its one goroutine reads the control
// stream; it ends, and everything is released, when the connection does.
type session struct {
	addr     string
	over     TransportKind // QUIC or TCP
	fallback bool          // over TCP because QUIC does not get through
	made     time.Time
	conn     transport.Conn
	release  func() // frees what the ended connection held
	control  transport.Stream
	welcome  quicproto.Welcome
	gone     chan struct{} // closed when draining or dead: make a new one
	goneOnce sync.Once
	done     chan struct{} // closed when all is released
	silent   atomic.Uint64 // packets that had come when it was found silent, plus one; 0 for never
}

// dial connects over QUIC or TCP and shakes hands. window is the receive window in bytes of each stream and of the connection, over QUIC.
func dial(parent context.Context, cfg *config, over TransportKind, addr string, window int) (_ *session, err error) {
	ctx, cancel := context.WithTimeout(parent, cfg.dialTimeout)
	defer cancel()
	defer func() {
		if err != nil {
			if ctx.Err() != nil && parent.Err() == nil {
				err = mq.Errorf(mq.NetworkException, "no answer within %v", cfg.dialTimeout)
			}
			err = mq.Wrapf(transportError(parent, err), "connect to %s", addr)
		}
	}()
	s := &session{addr: addr, over: over, made: time.Now(), gone: make(chan struct{}), done: make(chan struct{})}
	if over == TCP {
		s.conn, err = transport.DialTCP(ctx, transport.Dialer{Dial: cfg.dialTCP, TLS: cfg.tlsFor(addr), IdleTimeout: cfg.idleTimeout}, addr)
		s.release = func() { s.conn.Wait() }
	} else {
		err = s.dialQUIC(ctx, cfg, window)
	}
	if err != nil {
		return nil, err
	}
	if err := s.hello(ctx, cfg); err != nil {
		s.close(mq.Canceled, "no welcome")
		s.release()
		return nil, err
	}
	return s, nil
}

// dialQUIC makes a QUIC connection on a socket of its own.
func (s *session) dialQUIC(ctx context.Context, cfg *config, window int) error {
	pc, remote, err := cfg.listen(s.addr)
	if err != nil {
		return err
	}
	tr := &quic.Transport{Conn: pc}
	s.release = func() {
		_ = tr.Close()
		_ = pc.Close()
	}
	conn, err := tr.Dial(ctx, remote, cfg.tlsFor(s.addr), &quic.Config{
		HandshakeIdleTimeout:           cfg.dialTimeout,
		MaxIdleTimeout:                 cfg.idleTimeout,
		KeepAlivePeriod:                cfg.idleTimeout / keepAlives,
		InitialStreamReceiveWindow:     uint64(window),
		MaxStreamReceiveWindow:         uint64(window),
		InitialConnectionReceiveWindow: uint64(window + window/2),
		MaxConnectionReceiveWindow:     uint64(window + window/2),
		MaxIncomingStreams:             -1,
		MaxIncomingUniStreams:          -1,
	})
	if err != nil {
		s.release()
		return err
	}
	s.conn = transport.QUIC(conn)
	return nil
}

// hello opens the control stream and waits for the server's Welcome.
func (s *session) hello(ctx context.Context, cfg *config) error {
	control, err := s.conn.OpenStream(ctx)
	if err != nil {
		return err
	}
	s.control = control
	stop := context.AfterFunc(ctx, func() { control.Abort(mq.Canceled) })
	defer stop()
	hello := quicproto.Hello{
		MinVersion: quicproto.MinVersion, MaxVersion: quicproto.MaxVersion, Features: quicproto.AllFeatures,
		ClientID: cfg.clientID, Software: software,
	}
	if _, err := control.Write(quicproto.AppendFrame(nil, &hello)); err != nil {
		return err
	}
	f, err := quicproto.NewFrameReader(control, 0).Read()
	if err != nil {
		return err
	}
	switch f := f.(type) {
	case *quicproto.Welcome:
		s.welcome = *f
	case *quicproto.Close:
		if err := f.Err(); err != nil {
			return err
		}
		return violation("the server closed the control stream")
	default:
		return violation("%v for an answer to Hello", f.Type())
	}
	if s.welcome.Version < quicproto.MinVersion || s.welcome.Version > quicproto.MaxVersion {
		return mq.Errorf(mq.UnsupportedVersion, "server chose protocol version %d", s.welcome.Version)
	}
	if unasked := s.welcome.Features &^ hello.Features; unasked != 0 {
		return mq.Errorf(mq.UnsupportedVersion, "server turned on features %#x, which were not asked for", uint64(unasked))
	}
	if !stop() {
		return ctx.Err()
	}
	return nil
}

// run reads the control stream until the connection ends, then releases everything.
func (s *session) run(log *slog.Logger, leaving func(*session)) {
	defer close(s.done)
	defer s.release()
	defer s.leave()
	frames := quicproto.NewFrameReader(s.control, 0)
	for {
		f, err := frames.Read()
		if err != nil {
			if code := mq.CodeOf(err); code != mq.Unknown {
				s.close(code, err.Error())
			} else if errors.Is(err, io.EOF) {
				s.close(mq.ProtocolViolation, "control stream ended")
			}
			<-s.conn.Context().Done()
			return
		}
		if away, ok := f.(*quicproto.GoAway); ok {
			log.Info("server asks to leave", "addr", s.addr, "node", s.welcome.NodeID, "code", away.Code.String(), "reason", away.Msg)
			s.leave()
			leaving(s)
		}
	}
}

// leave tells that this session takes no new streams.
func (s *session) leave() { s.goneOnce.Do(func() { close(s.gone) }) }

// usable reports whether new streams may be opened.
func (s *session) usable() bool {
	select {
	case <-s.gone:
		return false
	default:
		return s.conn.Context().Err() == nil
	}
}

// close ends the connection; run then releases the rest. It is safe to call many times.
func (s *session) close(code mq.Code, why string) {
	s.conn.Close(code, why)
}

// closedHere says whether the connection ended because it was not needed any more.
func (s *session) closedHere() bool {
	app, ok := errors.AsType[*quic.ApplicationError](context.Cause(s.conn.Context()))
	return ok && !app.Remote && quicproto.CodeOfError(uint64(app.ErrorCode)) == mq.None
}

// cause is why the connection ended.
func (s *session) cause() error {
	return transportError(context.Background(), context.Cause(s.conn.Context()))
}

// packets is how many packets have come, over TCP what stands for them: it grows while the server is there.
func (s *session) packets() uint64 { return s.conn.Received() }

// doubt makes the session suspect if no packet has come since there were that many, and reports whether that is so. Others are used
// rather than a suspect one, until a packet comes.
func (s *session) doubt(packets uint64) bool {
	if s.packets() != packets {
		return false
	}
	s.silent.Store(packets + 1)
	return true
}

// suspect reports whether something was awaited in vain, and nothing has come since.
func (s *session) suspect() bool {
	at := s.silent.Load()
	return at != 0 && s.packets() == at-1
}

// request asks one question on a stream of its own and decodes the answer into resp.
func (s *session) request(ctx context.Context, body quicproto.RequestBody, resp quicproto.Body) error {
	answer, _, err := s.exchange(ctx, body)
	if err != nil {
		return err
	}
	return resp.Decode(answer)
}

// exchange asks one question on a stream of its own and returns the body of the answer. Whether a request
// that failed with NETWORK_EXCEPTION or the context's error was carried out is not known, unless its stream could not be opened (then sent is false).
func (s *session) exchange(ctx context.Context, body quicproto.RequestBody) (answer []byte, sent bool, err error) {
	stream, err := s.conn.OpenStream(ctx)
	if err != nil {
		return nil, false, transportError(ctx, err)
	}
	stop := context.AfterFunc(ctx, func() { stream.Abort(mq.Canceled) })
	defer stop()
	var timeout time.Duration
	if deadline, ok := ctx.Deadline(); ok {
		timeout = max(time.Until(deadline), time.Millisecond)
	}
	if _, err := stream.Write(quicproto.AppendFrame(nil, quicproto.NewRequest(body, timeout))); err != nil {
		stream.Abort(mq.Canceled)
		return nil, true, transportError(ctx, err)
	}
	if err := stream.Close(); err != nil {
		stream.Abort(mq.Canceled)
		return nil, true, transportError(ctx, err)
	}
	s.conn.Probe() // an answer may take its time, and who is there be known before
	f, err := quicproto.NewFrameReader(stream, 0).Read()
	stream.StopReading(mq.None)
	if err != nil {
		return nil, true, transportError(ctx, err)
	}
	switch f := f.(type) {
	case *quicproto.Response:
		if err := f.Err(); err != nil {
			return nil, true, err
		}
		return f.Body, true, nil
	case *quicproto.Close:
		if err := f.Err(); err != nil {
			return nil, true, err
		}
		return nil, true, mq.Errorf(mq.NetworkException, "the server closed the stream")
	default:
		return nil, true, violation("%v for an answer to a request", f.Type())
	}
}

func violation(format string, args ...any) error {
	return mq.Errorf(mq.ProtocolViolation, format, args...)
}

// transportError gives an error of the transport a code: the context's if it has ended, the peer's if it gave one, else
// NETWORK_EXCEPTION. A *mq.Error stays what it is.
func transportError(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return mq.Errorf(mq.CodeOf(ctx.Err()), "%w", context.Cause(ctx))
	}
	if _, ok := errors.AsType[*mq.Error](err); ok {
		return err
	}
	if app, ok := errors.AsType[*quic.ApplicationError](err); ok && app.Remote {
		if code := quicproto.CodeOfError(uint64(app.ErrorCode)); code.Valid() && code != mq.None {
			return mq.Errorf(code, "connection closed by the server: %s", app.ErrorMessage)
		}
	}
	if reset, ok := errors.AsType[*quic.StreamError](err); ok && reset.Remote {
		if code := quicproto.CodeOfError(uint64(reset.ErrorCode)); code.Valid() && code != mq.None {
			return mq.Errorf(code, "stream reset by the server")
		}
	}
	return mq.Errorf(mq.NetworkException, "%w", err)
}

// hopeless reports whether an attempt to connect failed in a way that trying again does not mend: the certificates do not fit,
// or the server refuses this client or its protocol.
func hopeless(err error) bool {
	if te, ok := errors.AsType[*quic.TransportError](err); ok && te.ErrorCode.IsCryptoError() {
		return true
	}
	switch mq.CodeOf(err) {
	case mq.UnsupportedVersion, mq.ClusterAuthorizationFailed, mq.InconsistentClusterID, mq.ProtocolViolation:
		return true
	default:
		return false
	}
}

// listenUDP opens an unconnected UDP socket of the family of the first address that host has.
func listenUDP(addr string) (net.PacketConn, net.Addr, error) {
	remote, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return nil, nil, err
	}
	network, local := "udp4", &net.UDPAddr{IP: net.IPv4zero}
	if remote.IP.To4() == nil {
		network, local = "udp6", &net.UDPAddr{IP: net.IPv6unspecified}
	}
	pc, err := udp.Listen(network, local)
	if err != nil {
		return nil, nil, err
	}
	return pc, remote, nil
}
