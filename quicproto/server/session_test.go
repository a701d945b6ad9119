package server_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/server"
)

func TestWelcomeTellsVersionIdentityAndLimits(t *testing.T) {
	f := start(t, server.Limits{WindowBytes: 12345, IdleTimeout: 7 * time.Second})
	w := f.dial(t).welcome
	if w.Version != 1 || w.Features != 0 || w.ClusterID != (mq.ClusterID{1, 2, 3}) || w.NodeID != 7 || w.IdleTimeout != 7000 {
		t.Errorf("got %+v", w)
	}
	if w.Limits.WindowBytes != 12345 || w.Limits.WindowCount != 1024 || w.Limits.BatchBytes != quicproto.MaxBatchBytes {
		t.Errorf("got %+v", w.Limits)
	}
}

func TestClientOfTheFutureIsSpokenToInOurVersion(t *testing.T) {
	f := start(t, server.Limits{})
	conn, err := f.dialRaw(t, nil)
	must(t, err)
	st, err := conn.OpenStream(t.Context())
	must(t, err)
	_, err = st.Write(quicproto.AppendFrame(nil, &quicproto.Hello{MinVersion: 1, MaxVersion: 900, Features: ^quicproto.Features(0)}))
	must(t, err)
	frame, err := quicproto.NewFrameReader(st, 0).Read()
	must(t, err)
	if w, ok := frame.(*quicproto.Welcome); !ok || w.Version != quicproto.MaxVersion || w.Features != quicproto.AllFeatures {
		t.Errorf("got %+v", frame)
	}
}

func TestWhatComesInPlaceOfHelloClosesTheSession(t *testing.T) {
	f := start(t, server.Limits{})
	for _, c := range []struct {
		name  string
		first []byte
		code  mq.Code
		text  string
	}{
		{"only later versions", quicproto.AppendFrame(nil, &quicproto.Hello{MinVersion: 2, MaxVersion: 3}), mq.UnsupportedVersion, "versions 2 to 3"},
		{"no versions", quicproto.AppendFrame(nil, &quicproto.Hello{MinVersion: 2, MaxVersion: 1}), mq.ProtocolViolation, "lowest"},
		{"another frame", quicproto.AppendFrame(nil, &quicproto.OpenProduce{}), mq.ProtocolViolation, "not Hello"},
		{"no frame", []byte("GET / HTTP/1.1\r\n\r\n"), mq.UnsupportedVersion, "unknown"},
		{"a huge frame", quicproto.AppendHeader(nil, quicproto.TypeHello, 1<<30), mq.MessageTooLarge, "at most"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := f.dialRaw(t, nil)
			must(t, err)
			st, err := conn.OpenStream(t.Context())
			must(t, err)
			_, err = st.Write(c.first)
			must(t, err)
			(&client{t: t, conn: conn}).wantClosed(c.code, c.text)
		})
	}
	f.dial(t) // and others may still come
}

func TestViolationsCloseTheSessionWithTheirCode(t *testing.T) {
	f := start(t, server.Limits{Handles: 10})
	f.broker.add("t", 1)
	bind := &quicproto.Bind{Handle: 1, Topic: "t"}
	for name, c := range map[string]struct {
		frames []quicproto.Frame
		raw    []byte
		code   mq.Code
		text   string
	}{
		"a stream that opens with Produce":  {frames: []quicproto.Frame{&quicproto.Produce{}}, code: mq.ProtocolViolation, text: "first frame"},
		"a stream that opens with Hello":    {frames: []quicproto.Frame{&quicproto.Hello{}}, code: mq.ProtocolViolation, text: "first frame"},
		"a fetch frame on a produce stream": {frames: []quicproto.Frame{&quicproto.OpenProduce{}, &quicproto.Seek{}}, code: mq.ProtocolViolation, text: "Seek on a produce stream"},
		"a produce frame on a fetch stream": {frames: []quicproto.Frame{&quicproto.OpenFetch{}, bind}, code: mq.ProtocolViolation, text: "Bind on a fetch stream"},
		"requests that do not grow": {
			frames: []quicproto.Frame{&quicproto.OpenProduce{}, bind, &quicproto.Produce{Request: 5, Batch: batch(0)}, &quicproto.Produce{Request: 5, Batch: batch(0)}},
			code:   mq.ProtocolViolation, text: "request 5 after 5",
		},
		"a produce handle beyond the limit": {frames: []quicproto.Frame{&quicproto.OpenProduce{}, &quicproto.Bind{Handle: 10, Topic: "t"}}, code: mq.ProtocolViolation, text: "handle 10"},
		"a fetch handle beyond the limit":   {frames: []quicproto.Frame{&quicproto.OpenFetch{}, &quicproto.Assign{Handle: 10, Topic: "t"}}, code: mq.ProtocolViolation, text: "handle 10"},
		"an origin that is not known":       {frames: []quicproto.Frame{&quicproto.OpenFetch{}, &quicproto.Assign{Topic: "t", From: 3}}, code: mq.UnsupportedVersion, text: "origin"},
		"an unknown frame":                  {frames: []quicproto.Frame{&quicproto.OpenProduce{}}, raw: []byte{0, 0, 0, 0, 0x77}, code: mq.UnsupportedVersion, text: "0x77"},
		"a reserved bit":                    {frames: []quicproto.Frame{&quicproto.OpenProduce{}}, raw: []byte{0, 0, 0, 7, 0x11, 0, 0, 0, 1, 1, 0, 0}, code: mq.UnsupportedVersion, text: "reserved"},
		"a frame beyond every limit":        {frames: []quicproto.Frame{&quicproto.OpenProduce{}}, raw: []byte{0xff, 0xff, 0xff, 0xff, 0x13}, code: mq.MessageTooLarge, text: "Produce"},
		"a short frame":                     {frames: []quicproto.Frame{&quicproto.OpenFetch{}}, raw: []byte{0, 0, 0, 1, 0x23, 0}, code: mq.ProtocolViolation, text: "Unassign"},
	} {
		t.Run(name, func(t *testing.T) {
			c2 := f.dial(t)
			s := c2.open()
			for _, fr := range c.frames {
				must(t, s.out.Write(fr))
			}
			must(t, s.out.Flush())
			if len(c.raw) > 0 {
				_, err := s.st.Write(c.raw)
				must(t, err)
			}
			c2.wantClosed(c.code, c.text)
		})
	}
	if n := f.Stats().ViolationsTotal; n != 12 {
		t.Errorf("%d violations counted", n)
	}
}

func TestAnythingOnTheControlStreamAfterHelloIsAViolation(t *testing.T) {
	f := start(t, server.Limits{})
	c := f.dial(t)
	c.control.send(&quicproto.Hello{})
	c.wantClosed(mq.ProtocolViolation, "control")
}

func TestEndingTheControlStreamEndsTheSession(t *testing.T) {
	f := start(t, server.Limits{})
	c := f.dial(t)
	must(t, c.control.st.Close())
	c.wantClosed(mq.None, "")
	eventually(t, "the session is forgotten", func() bool { return f.Stats().Sessions == 0 })
}

func TestPrincipalComesFromTheVerifiedCertificate(t *testing.T) {
	clients, strangers := newAuthority(t), newAuthority(t)
	f := start(t, server.Limits{}, func(c *server.Config) {
		c.TLS.ClientAuth = tls.VerifyClientCertIfGiven
		c.TLS.ClientCAs = clients.pool
	})
	seen := make(chan *server.Session, 1)
	f.broker.deny = func(s *server.Session) error {
		seen <- s
		return nil
	}
	who := func(certs ...tls.Certificate) (*server.Session, *client) {
		conf := f.ca.clientTLS()
		conf.Certificates = certs
		conn, err := f.dialRaw(t, conf)
		must(t, err)
		c := hello(t, conn)
		must(t, c.request(&quicproto.DescribeClusterRequest{}, &quicproto.DescribeClusterResponse{}))
		return <-seen, c
	}
	if s, _ := who(clients.issue(t, "billing")); s.Principal != "billing" {
		t.Errorf("with a certificate: %+v", s)
	}
	s, c := who()
	if s.Principal != server.Anonymous || s.ClientID != "test" || s.Software != "go test" || s.Version != 1 ||
		s.Remote.Network() != c.conn.RemoteAddr().Network() {
		t.Errorf("without one: %+v", s)
	}
	for name, cert := range map[string]tls.Certificate{
		"a stranger's":            strangers.issue(t, "billing"),
		"one that names nobody":   clients.issue(t, ""),
		"one that says anonymous": clients.issue(t, server.Anonymous),
	} {
		conf := f.ca.clientTLS()
		conf.Certificates = []tls.Certificate{cert}
		conn, err := f.dialRaw(t, conf)
		if err == nil { // the server looks at it after the client is done with the handshake
			if c, ok := conn.(*tcpConn); ok {
				c.awaitEnd(t)
			}
			select {
			case <-conn.Context().Done():
			case <-time.After(testTimeout):
				t.Errorf("%s certificate got in", name)
			}
		}
	}
}

func TestClientsWithoutOurProtocolAreRefusedInTheHandshake(t *testing.T) {
	f := start(t, server.Limits{})
	conf := f.ca.clientTLS()
	conf.NextProtos = []string{"h3"}
	if _, err := f.dialQUIC(t, conf); err == nil {
		t.Error("a client of another protocol got in")
	}
	f.dial(t)
}

func TestGarbageAndBrokenHandshakesChangeNothingForOthers(t *testing.T) {
	f := start(t, server.Limits{HandshakeTimeout: 2 * time.Second})
	f.broker.add("t", 1)
	c := f.dial(t)
	s := c.open(&quicproto.OpenProduce{})
	s.bind(1, "t")

	var wg sync.WaitGroup
	wg.Go(func() { throwGarbage(t, f.Addr()) })
	wg.Go(func() { breakHandshakes(t, f, 100) })
	for i := range uint64(200) {
		s.send(&quicproto.Produce{Request: i, Handle: 1, Durability: mq.DurabilityAll, Batch: batch(500)})
		if a := s.acks(1)[0]; a.Err() != nil || a.Base != mq.Offset(i) {
			t.Fatalf("ack %+v", a)
		}
	}
	wg.Wait()
	f.dial(t)
	eventually(t, "half-open handshakes are forgotten", func() bool { return f.Stats().HalfOpen == 0 })
	if n := f.Stats().HandshakesFailedTotal; n < 100 {
		t.Errorf("%d failed handshakes counted", n)
	}
}

func throwGarbage(t *testing.T, addr net.Addr) {
	sock, err := net.Dial("udp", addr.String())
	if err != nil {
		t.Error(err)
		return
	}
	defer sock.Close()
	rnd := rand.New(rand.NewPCG(1, 1))
	for i := range 5000 {
		p := make([]byte, 1+rnd.IntN(1400))
		for j := range p {
			p[j] = byte(rnd.Uint32())
		}
		if i%2 == 0 { // looks like an Initial packet
			copy(p, []byte{0xc3, 0, 0, 0, 1, 8, 1, 2, 3, 4, 5, 6, 7, byte(i), 8, 1, 2, 3, 4, 5, 6, 7, 8})
		}
		_, _ = sock.Write(p) // the socket may report that the last one was refused
	}
}

func breakHandshakes(t *testing.T, f *fixture, n int) {
	conf := f.ca.clientTLS()
	conf.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error { return errors.New("I do not like it") }
	conf.InsecureSkipVerify = true
	for range n {
		ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
		if _, err := quic.DialAddr(ctx, f.Addr().String(), conf, nil); err == nil {
			t.Error("a handshake that the client refused went through")
		}
		cancel()
	}
}

func TestSessionsBeyondTheLimitAreRefusedWithAReason(t *testing.T) {
	f := start(t, server.Limits{Sessions: 2})
	first := f.dial(t)
	f.dial(t)
	conn, err := f.dialRaw(t, nil)
	must(t, err)
	third := &client{t: t, conn: conn}
	third.wantClosed(mq.TooManyRequests, "2 sessions")
	first.conn.Close(mq.None, "")
	eventually(t, "a place is free", func() bool { return f.Stats().Sessions == 1 })
	f.dial(t)
}

func TestStreamsBeyondTheLimitWaitAndCountAgainWhenOthersEnd(t *testing.T) {
	f := start(t, server.Limits{Streams: 3})
	c := f.dial(t)
	first := c.open(&quicproto.OpenFetch{})
	c.open(&quicproto.OpenFetch{})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.conn.OpenStream(ctx); err == nil {
		t.Fatal("a fourth stream")
	}
	must(t, first.st.Close())
	if _, err := first.next(); !errors.Is(err, io.EOF) {
		t.Fatalf("an ended subscription: %v", err)
	}
	c.open(&quicproto.OpenFetch{})
}

func TestResettingAStreamLeavesTheSessionAlone(t *testing.T) {
	f := start(t, server.Limits{Streams: 4})
	f.broker.add("t", 1)
	c := f.dial(t)
	for range 20 { // more than fit at a time
		p := c.open(&quicproto.OpenProduce{})
		p.bind(1, "t")
		p.st.Abort(1)
		s := c.open(&quicproto.OpenFetch{}, &quicproto.Assign{Handle: 1, Topic: "t", LeaderEpoch: -1})
		recv[*quicproto.Assigned](s)
		s.st.Abort(1)
	}
	eventually(t, "streams are gone", func() bool { return f.Stats().Streams == 0 })
	if n := f.broker.openReaders(); n != 0 {
		t.Errorf("%d readers are still open", n)
	}
	must(t, c.request(&quicproto.DescribeClusterRequest{}, &quicproto.DescribeClusterResponse{}))
}

func TestCloseTellsClientsAndLeavesNothing(t *testing.T) {
	f := start(t, server.Limits{})
	f.broker.add("t", 1)
	c := f.dial(t)
	s := c.open(&quicproto.OpenFetch{}, &quicproto.Assign{Handle: 1, Topic: "t", LeaderEpoch: -1})
	recv[*quicproto.Assigned](s)
	f.Close()
	c.wantClosed(mq.ShuttingDown, "shutting down")
	if n := f.broker.openReaders(); n != 0 {
		t.Errorf("%d readers are still open", n)
	}
	if f.Err() != nil {
		t.Errorf("closing is a failure: %v", f.Err())
	}
	select {
	case <-f.Done():
	default:
		t.Error("a closed server is not done")
	}
}
