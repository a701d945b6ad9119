package server

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/sync/semaphore"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/transport"
	"github.com/rustmq/rustmq/quicproto/udp"
)

// Server accepts sessions on one socket and serves them.
type Server struct {
	cfg       Config
	limits    Limits
	log       *slog.Logger
	conn      net.PacketConn
	transport *quic.Transport
	listener  *quic.Listener
	acceptor  *transport.Acceptor // nil without a listener for TCP
	stopping  context.Context     // ends when no more connections are taken
	stop      context.CancelFunc
	admission *admission
	inFlight  *semaphore.Weighted // bytes of batches, all sessions
	// inFlightBatches is how many batches are with the broker, all sessions.
	inFlightBatches atomic.Int64
	connections     atomic.Int64 // over TCP
	counters        counters

	draining atomic.Bool
	nextID   atomic.Uint64
	wg       sync.WaitGroup // the accept loop and all sessions
	done     chan struct{}  // closed when the accept loop ended

	mu       sync.Mutex
	sessions map[*session]struct{}
	err      error // why the accept loop ended, nil if Close or Shutdown did it
}

// Listen opens a UDP socket on addr ("host:port") and serves on it.
func Listen(addr string, cfg Config) (*Server, error) {
	local, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return nil, mq.Errorf(mq.InvalidConfig, "resolve listen address %q: %w", addr, err)
	}
	conn, err := udp.Listen("udp", local)
	if err != nil {
		return nil, mq.Errorf(mq.InvalidConfig, "listen on udp %s: %w", addr, err)
	}
	s, err := Serve(conn, cfg)
	if err != nil {
		_ = conn.Close()
	}
	return s, err
}

// Serve starts serving on conn, which the server closes in the end. To be fast conn must come from
// [udp.Listen]: most that is wrapped around a socket hides its segmentation offload from QUIC, at a third of the speed.
func Serve(conn net.PacketConn, cfg Config) (*Server, error) {
	if cfg.TLS == nil || cfg.Broker == nil {
		return nil, mq.Errorf(mq.InvalidConfig, "server needs a TLS configuration and a broker")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Principal == nil {
		cfg.Principal = CertificatePrincipal
	}
	limits := cfg.Limits.withDefaults()
	s := &Server{
		cfg:       cfg,
		limits:    limits,
		log:       cfg.Logger,
		conn:      conn,
		admission: newAdmission(limits),
		inFlight:  semaphore.NewWeighted(int64(limits.TotalBytes)),
		done:      make(chan struct{}),
		sessions:  make(map[*session]struct{}),
	}
	s.stopping, s.stop = context.WithCancel(context.Background())
	s.transport = &quic.Transport{
		Conn:                conn,
		ConnContext:         s.admission.connContext,
		VerifySourceAddress: s.admission.verifyAddress,
		ConnectionIDLength:  8,
	}
	if cfg.ResetKey != nil {
		s.transport.StatelessResetKey = (*quic.StatelessResetKey)(cfg.ResetKey)
	}
	var err error
	if s.listener, err = s.transport.Listen(tlsConfig(cfg.TLS), s.quicConfig()); err != nil {
		_ = s.transport.Close()
		return nil, mq.Errorf(mq.InvalidConfig, "listen for QUIC on %v: %w", conn.LocalAddr(), err)
	}
	s.wg.Add(1)
	go s.accept()
	if cfg.Listener != nil {
		var others *tls.Config
		if cfg.Others != nil {
			others = othersTLS(cfg.TLS)
		}
		s.acceptor = transport.NewAcceptor(tlsConfig(cfg.TLS), others, limits.IdleTimeout, limits.Streams)
		s.wg.Go(s.acceptTCP)
	}
	return s, nil
}

// tlsConfig is c with what the protocol requires.
func tlsConfig(c *tls.Config) *tls.Config {
	c = c.Clone()
	c.MinVersion = tls.VersionTLS13
	c.NextProtos = []string{quicproto.ALPN}
	if next := c.GetConfigForClient; next != nil {
		c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			got, err := next(hello)
			if got == nil || err != nil {
				return nil, err
			}
			got = got.Clone()
			got.MinVersion = tls.VersionTLS13
			got.NextProtos = []string{quicproto.ALPN}
			return got, nil
		}
	}
	return c
}

// othersTLS is c for clients of other protocols, which are older than TLS 1.3. Each connection is judged anew.
func othersTLS(c *tls.Config) *tls.Config {
	c = c.Clone()
	c.MinVersion = tls.VersionTLS12
	c.NextProtos = nil
	c.SessionTicketsDisabled = true
	return c
}

func (s *Server) quicConfig() *quic.Config {
	initial := uint64(s.limits.InitialWindowBytes)
	return &quic.Config{
		HandshakeIdleTimeout:           s.limits.HandshakeTimeout,
		MaxIdleTimeout:                 s.limits.IdleTimeout,
		InitialStreamReceiveWindow:     initial,
		MaxStreamReceiveWindow:         max(initial, uint64(s.limits.StreamWindow)),
		InitialConnectionReceiveWindow: 2 * initial,
		MaxConnectionReceiveWindow:     max(2*initial, uint64(s.limits.ConnectionWindow)),
		AllowConnectionWindowIncrease:  s.admission.growWindow,
		MaxIncomingStreams:             int64(s.limits.Streams),
		MaxIncomingUniStreams:          -1,
		Allow0RTT:                      false,
	}
}

// Addr is the address that the server listens on.
func (s *Server) Addr() net.Addr { return s.conn.LocalAddr() }

// Done is closed when the server takes no more sessions: after Close or Shutdown, or because its socket failed, which Err
// then tells.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err is why the server stopped by itself, nil if it did not.
func (s *Server) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// accept hands every connection whose handshake is done to a goroutine of its own. It ends only with the socket: what one
// connection does wrong never reaches it.
func (s *Server) accept() {
	defer s.wg.Done()
	defer close(s.done)
	for {
		conn, err := s.listener.Accept(context.Background())
		if err != nil {
			if !errors.Is(err, quic.ErrServerClosed) && !s.draining.Load() {
				s.log.Error("QUIC listener failed", "addr", s.conn.LocalAddr(), "error", err)
				s.mu.Lock()
				s.err = mq.Errorf(mq.NetworkException, "QUIC listener on %v: %w", s.conn.LocalAddr(), err)
				s.mu.Unlock()
			}
			return
		}
		a := admissionOf(conn)
		s.wg.Go(func() {
			defer s.admission.forget(conn)
			s.serve(transport.QUIC(conn), a)
		})
	}
}

// serve runs one session from the end of its handshake on.
func (s *Server) serve(conn transport.Conn, a *ticket) {
	defer s.admission.leave(a)
	defer conn.Wait()
	if err := s.admission.enter(a); err != nil {
		s.counters.refused.Add(1)
		closeConn(conn, err)
		return
	}
	principal, err := s.cfg.Principal(conn.TLS())
	if err != nil {
		s.counters.refused.Add(1)
		s.log.Warn("session refused", "remote", conn.RemoteAddr(), "error", err)
		closeConn(conn, err)
		return
	}
	ss := newSession(s, conn, principal)
	if !s.add(ss) {
		closeConn(conn, mq.Errorf(mq.ShuttingDown, "the server is shutting down"))
		return
	}
	defer s.remove(ss)
	ss.run()
}

func (s *Server) add(ss *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining.Load() {
		return false
	}
	s.sessions[ss] = struct{}{}
	s.counters.sessionsTotal.Add(1)
	return true
}

func (s *Server) remove(ss *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, ss)
}

func (s *Server) all() []*session {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*session, 0, len(s.sessions))
	for ss := range s.sessions {
		list = append(list, ss)
	}
	return list
}

// drainPoll is how often Shutdown looks whether sessions have become quiet.
const drainPoll = 25 * time.Millisecond

// Shutdown takes no more sessions, tells those there are to go (GoAway), and lets them finish what is in flight. It returns
// when all are gone: closed by their clients, or by the server once they are quiet for DrainGrace, or, with ctx's
// error, at the end of ctx, whatever was still going on.
func (s *Server) Shutdown(ctx context.Context) error {
	if !s.draining.Swap(true) {
		_ = s.listener.Close()
		drain := time.Duration(0)
		if deadline, ok := ctx.Deadline(); ok {
			drain = max(0, time.Until(deadline))
		}
		var told sync.WaitGroup
		defer told.Wait()
		for _, ss := range s.all() {
			told.Go(func() {
				ss.goAway(&quicproto.GoAway{
					Code: mq.ShuttingDown, Drain: uint32(min(drain.Milliseconds(), 1<<31)), Msg: "the server is shutting down",
				})
			})
		}
	}
	tick := time.NewTicker(drainPoll)
	defer tick.Stop()
	var err error
	for err == nil {
		left := s.all()
		if len(left) == 0 {
			break
		}
		for _, ss := range left {
			if ss.quietFor(s.limits.DrainGrace) {
				ss.fail(mq.Errorf(mq.ShuttingDown, "the server is shutting down"))
			}
		}
		select {
		case <-ctx.Done():
			err = mq.Wrapf(ctx.Err(), "drain sessions, %d left", len(left))
		case <-tick.C:
		}
	}
	s.Close()
	return err
}

// Close ends all sessions at once, with SHUTTING_DOWN, and returns when every goroutine has ended and the socket is closed.
func (s *Server) Close() {
	s.draining.Store(true)
	_ = s.listener.Close()
	s.closeTCP()
	for _, ss := range s.all() {
		ss.fail(mq.Errorf(mq.ShuttingDown, "the server is shutting down"))
	}
	s.wg.Wait()
	_ = s.transport.Close()
	_ = s.conn.Close()
}
