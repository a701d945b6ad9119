package kafkaproto

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/semaphore"

	"github.com/rustmq/rustmq/mq"
)

// Server serves connections that speak Kafka's protocol. It is safe for concurrent use.
type Server struct {
	cfg    Config
	limits Limits
	log    *slog.Logger
	table  []api

	memory room                // bytes of unanswered requests
	frames frameMemory         // of Produce requests
	small  *semaphore.Weighted // bytes of small ones that found no room there
	reads  *semaphore.Weighted // bytes of fetch responses that were read from somewhere
	cached atomic.Int64        // partitions of fetch sessions
	quotas quotas

	answers *semaphore.Weighted // bytes of responses to administration

	nextID atomic.Uint64
	open   context.Context // ends when the server drains
	close  context.CancelFunc
	wg     sync.WaitGroup // all connections

	mu       sync.Mutex
	draining bool
	conns    map[*conn]struct{}
	from     map[netip.Addr]*address

	accepted, refused, faults, produced, fetched, throttled atomic.Uint64

	calls map[kmsg.Key]*atomic.Uint64 // requests, by API; the map itself does not change
}

// address is where connections come from, as long as there is one.
type address struct {
	conns  int // the server's mutex guards it
	memory room
	small  *semaphore.Weighted
}

// Stats counts since the server was made, but for Connections, which are those that there are.
type Stats struct {
	Connections int
	Accepted    uint64            // connections that were served
	Refused     uint64            // connections that were not let in
	Faults      uint64            // connections that were closed because the client broke the protocol or a limit
	Requests    uint64            // all of them
	Calls       map[string]uint64 // requests by the name of their API
	Produced    uint64            // bytes of record batches that clients sent
	Fetched     uint64            // bytes of record batches that were sent to clients
	Throttled   uint64            // requests whose clients were held back by their quotas
}

// New makes a server. It does nothing until it gets a connection.
func New(cfg Config) (*Server, error) {
	if cfg.Broker == nil || cfg.Principal == nil {
		return nil, mq.Errorf(mq.InvalidConfig, "a server for Kafka clients needs a broker, and to know who they are")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	limits := cfg.Limits.withDefaults()
	open, closed := context.WithCancel(context.Background())
	s := &Server{
		cfg: cfg, limits: limits, log: cfg.Logger, table: table(limits), calls: make(map[kmsg.Key]*atomic.Uint64),
		memory: room{free: int64(limits.TotalBytes)}, small: semaphore.NewWeighted(int64(limits.SmallBytes)), reads: semaphore.NewWeighted(int64(limits.ReadBytes)),
		answers: semaphore.NewWeighted(int64(limits.AnswersBytes)),
		open:    open, close: closed, conns: make(map[*conn]struct{}), from: make(map[netip.Addr]*address),
	}
	for i := range s.table {
		s.calls[s.table[i].key] = new(atomic.Uint64)
	}
	return s, nil
}

// Stats is how the server does.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	n := len(s.conns)
	s.mu.Unlock()
	st := Stats{
		Connections: n, Accepted: s.accepted.Load(), Refused: s.refused.Load(), Faults: s.faults.Load(), Produced: s.produced.Load(), Fetched: s.fetched.Load(), Throttled: s.throttled.Load(),
		Calls: make(map[string]uint64, len(s.calls)),
	}
	for key, count := range s.calls {
		st.Calls[key.Name()] = count.Load()
		st.Requests += count.Load()
	}
	return st
}

// Serve takes over a connection, of which read was read already, and returns at once. state is what its TLS handshake came to, nil for one without TLS, which is closed where the configuration does not want that.
func (s *Server) Serve(nc net.Conn, read []byte, state *tls.ConnectionState) {
	principal, err := s.admit(nc, state)
	var c *conn
	if err == nil {
		c, err = s.enter(nc, read, principal)
	}
	if err != nil {
		_ = nc.Close()
		s.refused.Add(1)
		s.log.Warn("Kafka connection refused", "remote", nc.RemoteAddr(), "error", err)
		return
	}
	s.accepted.Add(1)
	go s.serve(c)
}

// serve serves a connection that has entered until it ends, and has it leave.
func (s *Server) serve(c *conn) {
	defer s.wg.Done()
	defer s.leave(c)
	c.run()
}

// admit says who connects, or why he may not.
func (s *Server) admit(nc net.Conn, state *tls.ConnectionState) (principal string, err error) {
	if state != nil {
		return s.cfg.Principal(*state)
	}
	here := loopback(nc.LocalAddr()) && loopback(nc.RemoteAddr())
	if s.cfg.Plaintext == PlaintextAnywhere || s.cfg.Plaintext == PlaintextLoopback && here {
		return Anonymous, nil
	}
	return "", mq.Errorf(mq.ClusterAuthorizationFailed, "a Kafka client without TLS (kafka.plaintext says where they may be)")
}

func loopback(a net.Addr) bool {
	ip, ok := addressOf(a)
	return ok && ip.IsLoopback()
}

// addressOf is the address without its port.
func addressOf(a net.Addr) (netip.Addr, bool) {
	ap, err := netip.ParseAddrPort(a.String())
	return ap.Addr().Unmap().WithZone(""), err == nil
}

// enter counts a connection in.
func (s *Server) enter(nc net.Conn, read []byte, principal string) (*conn, error) {
	c := newConn(s, nc, read, principal)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.draining:
		return nil, mq.Errorf(mq.ShuttingDown, "the server is shutting down")
	case len(s.conns) >= s.limits.Connections:
		return nil, mq.Errorf(mq.TooManyRequests, "there are %d connections already", len(s.conns))
	}
	from := s.from[c.address]
	if from == nil {
		from = &address{memory: room{free: int64(s.limits.AddressBytes)}, small: semaphore.NewWeighted(int64(s.limits.SmallBytes / 2))}
		s.from[c.address] = from
	}
	if from.conns >= s.limits.AddressesEach {
		return nil, mq.Errorf(mq.TooManyRequests, "there are %d connections from %s already (kafka.max_connections_per_address)", from.conns, c.address)
	}
	c.from = from
	s.wg.Add(1) // before the server can drain without it; serve says when it is done
	s.conns[c] = struct{}{}
	from.conns++
	return c, nil
}

// leave undoes enter.
func (s *Server) leave(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if c.from.conns--; c.from.conns == 0 {
		delete(s.from, c.address)
	}
}

// drain has no connection read any more.
func (s *Server) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return
	}
	s.draining = true
	s.close()
	for c := range s.conns {
		c.stopReading()
	}
}

// Shutdown takes no more connections and requests, answers those requests that there are, closes the connections and returns. At the end of ctx it closes them whatever is
// still going on, with ctx's error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.drain()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.wg.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		s.Close()
		<-done
		return mq.Wrapf(ctx.Err(), "drain Kafka connections")
	}
}

// Close closes all connections at once, and returns when every goroutine has ended.
func (s *Server) Close() {
	s.drain()
	s.mu.Lock()
	for c := range s.conns {
		c.stop()
	}
	s.mu.Unlock()
	s.wg.Wait()
}
