package client

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"flag"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(bothTransports{m}) }

// overTCP says that clients of clusters on the machine's network speak TCP. It changes between two runs of all tests.
var overTCP bool

// bothTransports runs all tests twice: what they say holds over QUIC and over TCP.
type bothTransports struct{ *testing.M }

// Run implements goleak.TestingM.
func (m bothTransports) Run() int {
	code := m.M.Run()
	if b := flag.Lookup("test.bench"); code == 0 && (b == nil || b.Value.String() == "") {
		fmt.Println("the same over TCP:")
		overTCP = true
		code = m.M.Run()
	}
	return code
}

// cluster is one fake broker behind a real server on loopback that can be killed and started again on the same port.
type cluster struct {
	t      testing.TB
	broker *fakeBroker
	cert   tls.Certificate
	roots  *x509.CertPool
	addr   string
	key    [32]byte

	mu  sync.Mutex
	srv *server.Server
}

func startCluster(t testing.TB) *cluster {
	t.Helper()
	h := &cluster{t: t, broker: newFakeBroker(), key: [32]byte{1}}
	h.cert, h.roots = selfSigned(t)
	h.addr = freeAddress(t)
	h.listen(h.addr)
	h.broker.addr = h.addr
	t.Cleanup(h.kill)
	return h
}

func (h *cluster) listen(addr string) {
	tcp, err := net.Listen("tcp", addr)
	if err != nil {
		h.t.Error(err)
		return
	}
	srv, err := server.Listen(addr, server.Config{
		TLS: &tls.Config{Certificates: []tls.Certificate{h.cert}}, Broker: h.broker, ResetKey: &h.key, Listener: tcp,
	})
	if err != nil {
		tcp.Close()
		h.t.Error(err)
		return
	}
	h.srv = srv
}

// kill ends the server as a crash would.
func (h *cluster) kill() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.srv != nil {
		h.srv.Close()
		h.srv = nil
	}
}

// start starts the server again.
func (h *cluster) start() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.srv == nil {
		h.listen(h.addr)
	}
}

func (h *cluster) restart() {
	h.kill()
	h.start()
}

func (h *cluster) client(opts ...Option) *Client {
	h.t.Helper()
	own := []Option{Servers(h.addr), TLSConfig(&tls.Config{RootCAs: h.roots})}
	if overTCP {
		own = append(own, Transport(TCP))
	}
	c, err := New(append(own, opts...)...)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		if err := c.Close(); err != nil {
			h.t.Error(err)
		}
	})
	return c
}

// freeAddress is a loopback address whose port is below those that the system gives to connections: a server that is started again finds it free.
func freeAddress(t testing.TB) string {
	t.Helper()
	for range 1000 {
		addr := fmt.Sprintf("127.0.0.1:%d", 10_000+mathrand.IntN(20_000))
		tcp, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		udp, err := net.ListenPacket("udp", addr)
		if err == nil {
			udp.Close()
		}
		tcp.Close()
		if err == nil {
			return addr
		}
	}
	t.Fatal("no port is free")
	return ""
}

func selfSigned(t testing.TB) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Now().Add(100 * 365 * 24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(10, 0, 0, 1), net.IPv4(10, 0, 0, 2), net.IPv4(10, 0, 0, 3)}, DNSNames: []string{"localhost"},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, roots
}

func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func wantCode(t testing.TB, err error, code mq.Code) {
	t.Helper()
	if mq.CodeOf(err) != code {
		t.Fatalf("error %v, want code %v", err, code)
	}
}
