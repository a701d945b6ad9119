package server_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/testutils/simnet"
	"go.uber.org/goleak"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/server"
	"github.com/rustmq/rustmq/quicproto/transport"
)

func TestMain(m *testing.M) {
	if addr := os.Getenv(idleClientsEnv); addr != "" {
		idleClients(addr)
		return
	}
	goleak.VerifyTestMain(bothTransports{m})
}

// overTCP says that sessions of fixtures on the machine's network go over TCP. It changes between two runs of all tests.
var overTCP bool

// bothTransports runs all tests twice: what they say of sessions and streams holds over QUIC and over TCP.
type bothTransports struct{ *testing.M }

// Run implements goleak.TestingM.
func (m bothTransports) Run() int {
	code := m.M.Run()
	if code == 0 && !benchmarking() {
		fmt.Println("the same over TCP:")
		overTCP = true
		code = m.M.Run()
	}
	return code
}

// benchmarking says whether benchmarks or a fuzz target run, which have a transport of their own or none.
func benchmarking() bool {
	for _, name := range []string{"test.bench", "test.fuzz"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != "" {
			return true
		}
	}
	return false
}

// authority is a certificate authority for one test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: notBefore, NotAfter: notAfter, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	must(t, err)
	a := &authority{key: key, pool: x509.NewCertPool()}
	a.cert, err = x509.ParseCertificate(der)
	must(t, err)
	a.pool.AddCert(a.cert)
	return a
}

// Wide enough for real time and for that of a synctest bubble, which begins in the year 2000.
var (
	notBefore = time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)
	notAfter  = time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)
)

func (a *authority) issue(t testing.TB, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: notBefore, NotAfter: notAfter,
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	must(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a *authority) clientTLS() *tls.Config {
	return &tls.Config{RootCAs: a.pool, ServerName: "localhost", NextProtos: []string{quicproto.ALPN}, MinVersion: tls.VersionTLS13}
}

// fixture is a server with a fake broker on a loopback socket.
type fixture struct {
	*server.Server
	broker *fakeBroker
	ca     *authority
	log    *logBuffer
	socket func() net.PacketConn // a new one for a client
	tcp    string                // where it listens for TCP; "" on a simulated network
}

func start(t testing.TB, limits server.Limits, change ...func(*server.Config)) *fixture {
	t.Helper()
	f := &fixture{broker: newFakeBroker(), ca: newAuthority(t), log: &logBuffer{}}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	f.tcp = tcp.Addr().String()
	f.Server, err = server.Listen("127.0.0.1:0", f.config(t, limits, append(change, func(c *server.Config) { c.Listener = tcp })...))
	must(t, err)
	t.Cleanup(f.Close)
	f.socket = func() net.PacketConn {
		sock, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		must(t, err)
		return sock
	}
	return f
}

// startSimulated is start on a simulated network with a latency of 5 ms, for use in a synctest bubble. Packets that drop says so of are lost.
func startSimulated(t testing.TB, limits server.Limits, drop func(simnet.Packet) bool) *fixture {
	t.Helper()
	f := &fixture{broker: newFakeBroker(), ca: newAuthority(t), log: &logBuffer{}}
	router := &lossyRouter{drop: drop}
	endpoint := func(host byte) net.PacketConn {
		n := &simnet.Simnet{Router: router}
		c := n.NewEndpoint(&net.UDPAddr{IP: net.IPv4(1, 0, 0, host), Port: 9092}, simnet.NodeBiDiLinkSettings{Latency: 5 * time.Millisecond})
		must(t, n.Start())
		t.Cleanup(func() {
			c.Close()
			n.Close()
		})
		return c
	}
	var err error
	f.Server, err = server.Serve(endpoint(1), f.config(t, limits))
	must(t, err)
	t.Cleanup(f.Close)
	host := byte(1)
	f.socket = func() net.PacketConn {
		host++
		return endpoint(host)
	}
	return f
}

type lossyRouter struct {
	simnet.PerfectRouter
	drop func(simnet.Packet) bool
}

func (r *lossyRouter) SendPacket(p simnet.Packet) error {
	if r.drop != nil && r.drop(p) {
		return nil
	}
	return r.PerfectRouter.SendPacket(p)
}

func (f *fixture) config(t testing.TB, limits server.Limits, change ...func(*server.Config)) server.Config {
	cfg := server.Config{
		TLS:    &tls.Config{Certificates: []tls.Certificate{f.ca.issue(t, "server")}},
		Broker: f.broker,
		Limits: limits,
		Logger: slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, c := range change {
		c(&cfg)
	}
	return cfg
}

// client is one session seen from the client.
type client struct {
	t       testing.TB
	conn    transport.Conn
	control *channel
	welcome *quicproto.Welcome
}

// dialRaw makes a connection without a Hello.
func (f *fixture) dialRaw(t testing.TB, tlsConf *tls.Config) (transport.Conn, error) {
	t.Helper()
	if overTCP && f.tcp != "" {
		return f.dialTCP(t, tlsConf)
	}
	conn, err := f.dialQUIC(t, tlsConf)
	if err != nil {
		return nil, err
	}
	return transport.QUIC(conn), nil
}

// dialTCP is dialRaw over TCP.
func (f *fixture) dialTCP(t testing.TB, tlsConf *tls.Config) (transport.Conn, error) {
	t.Helper()
	f.broker.isSet()
	if tlsConf == nil {
		tlsConf = f.ca.clientTLS()
	}
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	conn, err := transport.DialTCP(ctx, transport.Dialer{TLS: tlsConf, IdleTimeout: time.Minute}, f.tcp)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		conn.Close(mq.None, "")
		conn.Wait()
	})
	return &tcpConn{Session: conn}, nil
}

// tcpConn is a client's session over TCP, which notices its end only while somebody reads the control stream.
type tcpConn struct {
	*transport.Session
	control transport.Stream // nil until it is opened
}

// OpenStream implements transport.Conn.
func (c *tcpConn) OpenStream(ctx context.Context) (transport.Stream, error) {
	st, err := c.Session.OpenStream(ctx)
	if c.control == nil {
		c.control = st
	}
	return st, err
}

// awaitEnd reads what comes on the control stream until the session ends.
func (c *tcpConn) awaitEnd(t testing.TB) {
	if c.control == nil {
		_, err := c.OpenStream(t.Context())
		must(t, err)
		c.Probe() // a session begins with the first thing that is said
	}
	must(t, c.control.SetReadDeadline(time.Now().Add(testTimeout)))
	_, _ = io.Copy(io.Discard, c.control)
}

// dialQUIC is dialRaw over QUIC, on a socket of its own.
func (f *fixture) dialQUIC(t testing.TB, tlsConf *tls.Config) (*quic.Conn, error) {
	t.Helper()
	f.broker.isSet()
	sock := f.socket()
	tr := &quic.Transport{Conn: sock}
	t.Cleanup(func() {
		tr.Close()
		sock.Close()
	})
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	if tlsConf == nil {
		tlsConf = f.ca.clientTLS()
	}
	return tr.Dial(ctx, f.Addr(), tlsConf, &quic.Config{
		MaxIdleTimeout:             time.Minute,
		InitialStreamReceiveWindow: 1 << 20, InitialConnectionReceiveWindow: 2 << 20,
		MaxStreamReceiveWindow: 8 << 20, MaxConnectionReceiveWindow: 16 << 20,
	})
}

func (f *fixture) dial(t testing.TB) *client {
	t.Helper()
	conn, err := f.dialRaw(t, nil)
	must(t, err)
	return hello(t, conn)
}

// dialWith is dial by a client that knows features.
func (f *fixture) dialWith(t testing.TB, features quicproto.Features) *client {
	t.Helper()
	conn, err := f.dialRaw(t, nil)
	must(t, err)
	return hello(t, conn, features)
}

// overQUIC is dial over QUIC, whatever others go over.
func (f *fixture) overQUIC(t testing.TB) (*client, *quic.Conn) {
	t.Helper()
	conn, err := f.dialQUIC(t, nil)
	must(t, err)
	return hello(t, transport.QUIC(conn)), conn
}

// hello does the beginning of a session.
func hello(t testing.TB, conn transport.Conn, features ...quicproto.Features) *client {
	t.Helper()
	c := &client{t: t, conn: conn}
	t.Cleanup(func() { conn.Close(mq.None, "") })
	c.control = c.open()
	h := &quicproto.Hello{MinVersion: quicproto.MinVersion, MaxVersion: quicproto.MaxVersion, ClientID: "test", Software: "go test"}
	for _, feature := range features {
		h.Features |= feature
	}
	c.control.send(h)
	c.welcome = recv[*quicproto.Welcome](c.control)
	return c
}

// channel is a stream of frames seen from the client.
type channel struct {
	t   testing.TB
	st  transport.Stream
	in  *quicproto.FrameReader
	out *quicproto.FrameWriter
}

func (c *client) open(first ...quicproto.Frame) *channel {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	st, err := c.conn.OpenStream(ctx)
	must(c.t, err)
	s := &channel{c.t, st, quicproto.NewFrameReader(st, quicproto.MaxBatchBytes), quicproto.NewFrameWriter(st)}
	s.send(first...)
	return s
}

func (s *channel) send(frames ...quicproto.Frame) {
	s.t.Helper()
	for _, f := range frames {
		must(s.t, s.out.Write(f))
	}
	must(s.t, s.out.Flush())
}

// next reads a frame within testTimeout. What it aliases is valid until the frame after it.
func (s *channel) next() (quicproto.Frame, error) {
	if err := s.st.SetReadDeadline(time.Now().Add(testTimeout)); err != nil {
		return nil, err
	}
	return s.in.Read()
}

// nothing checks that no frame comes for a while.
func (s *channel) nothing(d time.Duration) {
	s.t.Helper()
	must(s.t, s.st.SetReadDeadline(time.Now().Add(d)))
	if typ, _, err := s.in.Next(); !errors.Is(err, os.ErrDeadlineExceeded) {
		s.t.Fatalf("got %v, %v", typ, err)
	}
}

func recv[F quicproto.Frame](s *channel) F {
	s.t.Helper()
	f, err := s.next()
	must(s.t, err)
	got, ok := f.(F)
	if !ok {
		s.t.Fatalf("got %v: %+v", f.Type(), f)
	}
	return got
}

// acks reads n acks.
func (s *channel) acks(n int) []quicproto.Ack {
	s.t.Helper()
	var all []quicproto.Ack
	for len(all) < n {
		all = append(all, recv[*quicproto.ProduceAcks](s).Acks...)
	}
	if len(all) != n {
		s.t.Fatalf("%d acks, want %d", len(all), n)
	}
	return all
}

// request asks on a stream of its own.
func (c *client) request(body quicproto.RequestBody, answer quicproto.Body) error {
	c.t.Helper()
	s := c.open(quicproto.NewRequest(body, 0))
	must(c.t, s.st.Close())
	r := recv[*quicproto.Response](s)
	if err := r.Err(); err != nil {
		return err
	}
	if answer == nil {
		if len(r.Body) > 0 {
			c.t.Errorf("an unexpected body %x", r.Body)
		}
		return nil
	}
	return answer.Decode(r.Body)
}

// closedWith waits for the connection to end and tells with which code and reason the server closed it.
func (c *client) closedWith() (mq.Code, string) {
	c.t.Helper()
	return closedWith(c.t, c.conn)
}

func closedWith(t testing.TB, conn transport.Conn) (mq.Code, string) {
	t.Helper()
	if c, ok := conn.(*tcpConn); ok {
		c.awaitEnd(t)
	}
	select {
	case <-conn.Context().Done():
	case <-time.After(testTimeout):
		t.Fatal("the connection is still open")
	}
	var app *quic.ApplicationError
	if err := context.Cause(conn.Context()); !errors.As(err, &app) || !app.Remote {
		t.Fatalf("the connection ended with %v", err)
	}
	return quicproto.CodeOfError(uint64(app.ErrorCode)), app.ErrorMessage
}

func (c *client) wantClosed(code mq.Code, text string) {
	c.t.Helper()
	if got, msg := c.closedWith(); got != code || !strings.Contains(msg, text) {
		c.t.Errorf("closed with %v %q, want %v %q", got, msg, code, text)
	}
}

// batch is a record batch with one record, which is not a real one, of about size bytes.
func batch(size int) mq.Batch {
	b := make([]byte, max(size, mq.BatchHeaderSize+mq.MinRecordBytes))
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	binary.BigEndian.PutUint32(b[12:], 0xffffffff) // leader epoch
	b[16] = 2
	binary.BigEndian.PutUint64(b[43:], 0xffffffffffffffff) // producer id
	binary.BigEndian.PutUint16(b[51:], 0xffff)
	binary.BigEndian.PutUint32(b[53:], 0xffffffff)
	binary.BigEndian.PutUint32(b[57:], 1)
	for i := mq.BatchHeaderSize; i < len(b); i++ {
		b[i] = byte(i)
	}
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits for a condition that other goroutines bring about.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(testTimeout); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, testTimeout)
		}
	}
}

// logBuffer keeps what was logged.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (s *channel) bind(handle uint32, topic string) *quicproto.Bound {
	s.t.Helper()
	s.send(&quicproto.Bind{Handle: handle, Topic: topic})
	return recv[*quicproto.Bound](s)
}
