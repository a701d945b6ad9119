package server_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/server"
	"github.com/rustmq/rustmq/quicproto/transport"
)

// closedWithin reads until the other side closes, and says how long that took.
func closedWithin(t *testing.T, conn net.Conn, most time.Duration) {
	t.Helper()
	began := time.Now()
	must(t, conn.SetReadDeadline(began.Add(testTimeout)))
	_, _ = io.Copy(io.Discard, conn)
	if took := time.Since(began); took > most {
		t.Errorf("closed after %v, at most %v", took, most)
	}
}

func TestWhatIsNoTLSOverTCPHurtsNobody(t *testing.T) {
	f := start(t, server.Limits{HandshakeTimeout: 500 * time.Millisecond, HelloTimeout: 500 * time.Millisecond})
	rnd := rand.New(rand.NewPCG(1, 1))
	for i := range 30 {
		conn, err := net.Dial("tcp", f.tcp)
		must(t, err)
		garbage := make([]byte, 1+rnd.IntN(2000))
		for j := range garbage {
			garbage[j] = byte(rnd.Uint32())
		}
		if i%2 == 0 { // looks like a ClientHello
			copy(garbage, []byte{22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3})
		}
		_, _ = conn.Write(garbage)
		closedWithin(t, conn, 2*time.Second)
		conn.Close()
	}
	silent, err := net.Dial("tcp", f.tcp)
	must(t, err)
	defer silent.Close()
	closedWithin(t, silent, 2*time.Second)
	eventually(t, "their places are free", func() bool { return f.Stats().HalfOpen == 0 })
	if n := f.Stats().HandshakesFailedTotal; n < 31 {
		t.Errorf("%d failed handshakes counted", n)
	}
	f.dial(t)
}

func TestClientThatShakesHandsAndSaysNothingIsClosed(t *testing.T) {
	f := start(t, server.Limits{HelloTimeout: 300 * time.Millisecond})
	for _, said := range [][]byte{nil, {4}, {4, 0, 0, 10, 'R'}} {
		conn, err := tls.Dial("tcp", f.tcp, f.ca.clientTLS())
		must(t, err)
		for _, b := range said {
			_, err := conn.Write([]byte{b})
			must(t, err)
		}
		closedWithin(t, conn, 2*time.Second)
		conn.Close()
	}
	for name, first := range map[string]string{"another protocol": "GET / HTTP/1.1\r\n\r\n", "another magic": "\x04\x00\x00\x0aRMQX\x01\x00\x00\x00\x00\x00"} {
		conn, err := tls.Dial("tcp", f.tcp, f.ca.clientTLS())
		must(t, err)
		_, err = conn.Write([]byte(first))
		must(t, err)
		closedWithin(t, conn, 250*time.Millisecond)
		conn.Close()
		_ = name
	}
	eventually(t, "their places are free", func() bool { return f.Stats().HalfOpen == 0 })
}

// TestWhoFallsSilentOverTCPIsClosed, at whatever step before there is something to wait for: none may hold its connection for longer than half a minute, by default.
func TestWhoFallsSilentOverTCPIsClosed(t *testing.T) {
	if d := server.DefaultLimits(); d.HandshakeTimeout+2*d.HelloTimeout > 30*time.Second || d.FirstFrame > 30*time.Second {
		t.Errorf("by default %v, %v and %v", d.HandshakeTimeout, d.HelloTimeout, d.FirstFrame)
	}
	const limit = 300 * time.Millisecond
	f := start(t, server.Limits{HandshakeTimeout: limit, HelloTimeout: limit, FirstFrame: limit})
	// One who sends a byte now and then is silent, too: each time is one in all.
	drip, err := net.Dial("tcp", f.tcp)
	must(t, err)
	defer drip.Close()
	go func() {
		for _, err := drip.Write([]byte{22}); err == nil; _, err = drip.Write([]byte{3}) { // ends when the connection does
			time.Sleep(limit / 20)
		}
	}()
	closedWithin(t, drip, 2*time.Second)

	ended := func(what string, conn transport.Conn) {
		t.Helper()
		began := time.Now()
		conn.(*tcpConn).awaitEnd(t)
		var app *quic.ApplicationError
		if err := context.Cause(conn.Context()); !errors.As(err, &app) || quicproto.CodeOfError(uint64(app.ErrorCode)) != mq.RequestTimedOut {
			t.Errorf("%s: it ended with %v", what, err)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("%s: it was closed after %v", what, took)
		}
	}
	conn, err := f.dialTCP(t, nil)
	must(t, err)
	ended("a session and nothing", conn)
	conn, err = f.dialTCP(t, nil)
	must(t, err)
	st, err := conn.OpenStream(t.Context())
	must(t, err)
	_, err = st.Write(quicproto.AppendFrame(nil, &quicproto.Hello{ClientID: "slow"})[:20])
	must(t, err)
	ended("half a Hello", conn)
	conn, err = f.dialTCP(t, nil)
	must(t, err)
	hello(t, conn)
	st, err = conn.OpenStream(t.Context()) // on another connection
	must(t, err)
	_, err = st.Write([]byte{0, 0, 0, 1})
	must(t, err)
	ended("half a first frame", conn)
	eventually(t, "nothing is left", func() bool { return f.Stats().HalfOpen == 0 && f.Stats().Sessions == 0 })
}

func TestOtherProtocolsOfTLSAreRefusedOverTCP(t *testing.T) {
	f := start(t, server.Limits{})
	for _, protos := range [][]string{{"h2"}, nil} {
		conf := f.ca.clientTLS()
		conf.NextProtos = protos
		conn, err := tls.Dial("tcp", f.tcp, conf)
		if err == nil { // without ALPN it goes through
			closedWithin(t, conn, 2*time.Second)
			conn.Close()
		}
	}
	if n := f.Stats().Sessions; n != 0 {
		t.Errorf("%d sessions", n)
	}
}

func TestHandshakesOverTCPAreBounded(t *testing.T) {
	f := start(t, server.Limits{HalfOpen: 3, HandshakeTimeout: time.Minute})
	for range 3 {
		conn, err := net.Dial("tcp", f.tcp)
		must(t, err)
		defer conn.Close()
	}
	eventually(t, "three are half open", func() bool { return f.Stats().HalfOpen == 3 })
	fourth, err := net.Dial("tcp", f.tcp)
	must(t, err)
	defer fourth.Close()
	closedWithin(t, fourth, 2*time.Second)
}

func TestConnectionsOverTCPAreBounded(t *testing.T) {
	f := start(t, server.Limits{Connections: 2})
	conn, err := f.dialTCP(t, nil)
	must(t, err)
	c := hello(t, conn)
	c.open(&quicproto.OpenFetch{})
	third, err := net.Dial("tcp", f.tcp)
	must(t, err)
	defer third.Close()
	closedWithin(t, third, 2*time.Second)
	if n := f.Stats().RefusedTotal; n != 1 {
		t.Errorf("%d refused", n)
	}
}

// bytewise writes one byte at a time.
type bytewise struct{ net.Conn }

func (c bytewise) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := c.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

func TestSessionThatArrivesByteByByteWorks(t *testing.T) {
	f := start(t, server.Limits{})
	f.broker.add("t", 1)
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	conn, err := transport.DialTCP(ctx, transport.Dialer{
		TLS: f.ca.clientTLS(), IdleTimeout: time.Minute,
		Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
			return bytewise{c}, err
		},
	}, f.tcp)
	must(t, err)
	t.Cleanup(conn.Wait)
	c := hello(t, conn)
	s := c.open(&quicproto.OpenProduce{})
	s.bind(1, "t")
	s.send(produce(1, 1, 0, batch(3000)))
	if a := s.acks(1)[0]; a.Err() != nil {
		t.Errorf("%+v", a)
	}
	must(t, c.request(&quicproto.DescribeClusterRequest{}, &quicproto.DescribeClusterResponse{}))
}

func TestRequestsOverTCPShareAConnection(t *testing.T) {
	f := start(t, server.Limits{})
	dialled := 0
	conn, err := transport.DialTCP(t.Context(), transport.Dialer{
		TLS: f.ca.clientTLS(), IdleTimeout: time.Minute,
		Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			dialled++
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		},
	}, f.tcp)
	must(t, err)
	t.Cleanup(conn.Wait)
	c := hello(t, conn)
	for range 50 {
		s := c.open(quicproto.NewRequest(&quicproto.DescribeClusterRequest{}, 0))
		must(t, s.st.Close())
		if r := recv[*quicproto.Response](s); r.Err() != nil {
			t.Fatal(r.Err())
		}
		s.st.StopReading(mq.None)
	}
	if dialled != 2 {
		t.Errorf("%d connections for 50 requests", dialled)
	}
}
