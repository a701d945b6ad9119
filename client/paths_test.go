package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// deafSocket loses what is sent while it is blocked.
type deafSocket struct {
	net.PacketConn
	blocked *atomic.Bool
}

func (s deafSocket) WriteTo(p []byte, addr net.Addr) (int, error) {
	if s.blocked.Load() {
		return len(p), nil
	}
	return s.PacketConn.WriteTo(p, addr)
}

// firewalled are options of a client whose UDP gets through while blocked is not set.
func firewalled(blocked *atomic.Bool) []Option {
	return []Option{
		Transport(Auto),
		Listen(func(addr string) (net.PacketConn, net.Addr, error) {
			conn, remote, err := listenUDP(addr)
			return deafSocket{conn, blocked}, remote, err
		}),
		Dial(func(ctx context.Context, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}),
	}
}

type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), text)
}

func TestClientGoesOnOverTCPWhereUDPIsBlockedAndComesBack(t *testing.T) {
	h := startCluster(t)
	h.broker.create("t", 1)
	var blocked atomic.Bool
	blocked.Store(true)
	log := &lines{}
	c := h.client(append(firewalled(&blocked), Logger(slog.New(slog.NewTextHandler(log, nil))))...)
	c.pool.paths.first = 2 * time.Second
	began := time.Now()
	if err := c.ProduceSync(soon(t), &Record{Topic: "t", Value: []byte("1")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("the first record took %v", took)
	}
	k := consumer(t, c, Assign("t", 0, Start()))
	if _, err := k.Poll(soon(t)); err != nil {
		t.Fatal(err)
	}
	if n := c.Stats().Fallbacks; n == 0 {
		t.Error("no fallback is counted")
	}
	if n := log.count("QUIC does not get through"); n != 1 {
		t.Errorf("told %d times", n)
	}
	blocked.Store(false)
	for deadline := time.Now().Add(30 * time.Second); c.pool.onTCP() > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("QUIC is not tried again")
		}
	}
	if n := log.count(`msg="QUIC gets through again"`); n != 1 {
		t.Errorf("told %d times that it gets through", n)
	}
	if err := c.ProduceSync(soon(t), &Record{Topic: "t", Value: []byte("2")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if n := c.pool.onTCP(); n > 0 {
		t.Errorf("%d connections over TCP are in use", n)
	}
}

// onTCP is how many connections over TCP take new streams.
func (p *pool) onTCP() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.slots {
		if s.sess != nil && s.sess.usable() && s.sess.over == TCP {
			n++
		}
	}
	return n
}

func TestRefusalsAreNoReasonToFallBack(t *testing.T) {
	h := startCluster(t)
	var blocked atomic.Bool
	c := h.client(append(firewalled(&blocked), TLSConfig(&tls.Config{RootCAs: x509.NewCertPool()}))...)
	if _, err := c.DescribeCluster(soon(t)); err == nil || mq.CodeOf(err) == mq.RequestTimedOut {
		t.Errorf("got %v", err)
	}
	if n := c.Stats().Fallbacks; n != 0 {
		t.Errorf("%d fallbacks", n)
	}
}

func TestPathsAreTriedAgainEverLater(t *testing.T) {
	ps := paths{first: firstRetry, blocked: map[string]*blockage{}}
	now := time.Unix(1000, 0)
	if !ps.block("a", now, true) {
		t.Error("the first time is not told")
	}
	for _, want := range []time.Duration{firstRetry, 2 * firstRetry, 4 * firstRetry, 8 * firstRetry, lastRetry, lastRetry} {
		wait, avoided := ps.avoided("a", now)
		if wait != want || !avoided {
			t.Errorf("avoided for %v, want %v", wait, want)
		}
		if due, gone := ps.probe("a", now); due || gone {
			t.Error("it is tried before its time")
		}
		now = now.Add(want)
		if due, _ := ps.probe("a", now); !due {
			t.Error("it is not tried in its time")
		}
		if due, _ := ps.probe("a", now); due {
			t.Error("it is tried twice at a time")
		}
		if ps.block("a", now, true) {
			t.Error("it is told again")
		}
	}
	if _, avoided := ps.avoided("b", now); avoided {
		t.Error("another address is avoided")
	}
	if !ps.works("a") || ps.works("a") {
		t.Error("news are told once")
	}
	if _, gone := ps.probe("a", now); !gone {
		t.Error("it is still thought to be blocked")
	}
}

func TestTransportsHaveTheirNames(t *testing.T) {
	for _, k := range []TransportKind{Auto, QUIC, TCP} {
		if got, err := ParseTransport(k.String()); got != k || err != nil {
			t.Errorf("%v: %v, %v", k, got, err)
		}
	}
	if _, err := ParseTransport("pigeon"); mq.CodeOf(err) != mq.InvalidConfig {
		t.Errorf("got %v", err)
	}
	if _, err := New(Transport(7)); mq.CodeOf(err) != mq.InvalidConfig {
		t.Errorf("got %v", err)
	}
}
