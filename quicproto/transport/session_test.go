package transport

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"
	"go.uber.org/goleak"

	"github.com/rustmq/rustmq/mq"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func certificate(t testing.TB) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"localhost"},
		NotBefore: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	must(t, err)
	leaf, err := x509.ParseCertificate(der)
	must(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

// host accepts connections over pipes in memory, or over what dial gives.
type host struct {
	t         testing.TB
	acceptor  *Acceptor
	roots     *x509.CertPool
	principal atomic.Value // of who connects next
	wg        sync.WaitGroup
	sessions  chan *Session
	refused   chan error
	conns     atomic.Int64
}

func newHost(t testing.TB, idle time.Duration, streams int) *host {
	cert, roots := certificate(t)
	h := &host{
		t: t, roots: roots, sessions: make(chan *Session, 10), refused: make(chan error, 100),
		acceptor: NewAcceptor(&tls.Config{Certificates: []tls.Certificate{cert}}, nil, idle, streams),
	}
	h.principal.Store("somebody")
	t.Cleanup(h.wg.Wait)
	return h
}

// dial is a Dialer's.
func (h *host) dial(context.Context, string) (net.Conn, error) {
	a, b := pipe()
	h.conns.Add(1)
	h.wg.Go(func() { h.take(b) })
	return a, nil
}

func (h *host) take(conn net.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	in, _, err := h.acceptor.Handshake(ctx, conn)
	if err != nil {
		h.refused <- err
		return
	}
	s, err := in.Enter(time.Now().Add(5*time.Second), h.principal.Load().(string))
	switch {
	case err != nil:
		h.refused <- err
	case s == nil:
		in.Serve()
	default:
		h.sessions <- s
		<-s.Context().Done()
		s.Wait()
	}
}

func (h *host) dialer() Dialer {
	return Dialer{Dial: h.dial, TLS: &tls.Config{RootCAs: h.roots, ServerName: "localhost"}, IdleTimeout: time.Minute}
}

// pair is both ends of a session, after a first word on its control stream.
func (h *host) pair() (client, server *Session, control, peer Stream) {
	h.t.Helper()
	ctx := h.t.Context()
	client, err := DialTCP(ctx, h.dialer(), "anywhere")
	must(h.t, err)
	h.t.Cleanup(func() {
		client.Close(mq.None, "")
		client.Wait()
	})
	control, err = client.OpenStream(ctx)
	must(h.t, err)
	_, err = control.Write([]byte("hello"))
	must(h.t, err)
	server = <-h.sessions
	peer, err = server.AcceptStream(ctx)
	must(h.t, err)
	want(h.t, peer, "hello")
	_, err = peer.Write([]byte("welcome"))
	must(h.t, err)
	want(h.t, control, "welcome")
	h.wg.Go(func() { _, _ = io.Copy(io.Discard, control) })
	h.wg.Go(func() { _, _ = io.Copy(io.Discard, peer) })
	return client, server, control, peer
}

func want(t testing.TB, st Stream, text string) {
	t.Helper()
	buf := make([]byte, len(text))
	if _, err := io.ReadFull(st, buf); err != nil || string(buf) != text {
		t.Fatalf("read %q, %v, want %q", buf, err, text)
	}
}

// open opens a stream with a word, and gives both ends.
func open(t testing.TB, client, server *Session, text string) (a, b Stream) {
	t.Helper()
	a, err := client.OpenStream(t.Context())
	must(t, err)
	wrote := make(chan error, 1)
	go func() {
		_, err := a.Write([]byte(text))
		wrote <- err
	}()
	b, err = server.AcceptStream(t.Context())
	must(t, err)
	want(t, b, text)
	must(t, <-wrote)
	return a, b
}

func TestConnectionCarriesOneStreamAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, time.Minute, 8)
		client, server, _, _ := h.pair()
		for range 5 {
			a, b := open(t, client, server, "question")
			must(t, a.Close())
			if _, err := b.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Fatalf("after the end: %v", err)
			}
			answered := make(chan error, 1)
			go func() {
				_, err := b.Write([]byte("answer, and more that nobody wants"))
				answered <- errors.Join(err, b.Close())
			}()
			want(t, a, "answer")
			a.StopReading(mq.None)
			a.Abort(mq.Canceled) // of what has ended: nothing
			if n := h.conns.Load(); n != 2 {
				t.Fatalf("%d connections", n)
			}
			// What is left of the answer is read by the next one that uses the connection.
			next, err := client.OpenStream(t.Context())
			must(t, err)
			go func() { _, _ = next.Write([]byte("again")) }()
			ended := make(chan error, 1)
			go func() {
				_, err := next.Read(make([]byte, 1))
				ended <- err
			}()
			must(t, <-answered)
			c, err := server.AcceptStream(t.Context())
			must(t, err)
			want(t, c, "again")
			must(t, c.Close())
			if err := <-ended; !errors.Is(err, io.EOF) {
				t.Fatalf("the next stream read %v", err)
			}
			must(t, next.Close())
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
		}
	})
}

func TestManyBytesArriveAsTheyWere(t *testing.T) {
	h := newHost(t, time.Minute, 8)
	client, server, _, _ := h.pair()
	a, b := open(t, client, server, "x")
	sent := make([]byte, 3<<20+7)
	_, _ = rand.Read(sent)
	go func() {
		for p := sent; len(p) > 0; {
			n := min(len(p), 1+len(p)/3)
			_, _ = a.Write(p[:n])
			p = p[n:]
		}
		_ = a.Close()
	}()
	got, err := io.ReadAll(b)
	must(t, err)
	if !bytes.Equal(got, sent) {
		t.Error("other bytes arrived")
	}
}

func TestResetHasItsCodeWhoeverGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, time.Minute, 8)
		client, server, _, _ := h.pair()
		for _, byServer := range []bool{false, true} {
			a, b := open(t, client, server, "x")
			if byServer {
				a, b = b, a
			}
			blocked := make(chan error, 1)
			go func() {
				_, err := b.Read(make([]byte, 1))
				blocked <- err
			}()
			synctest.Wait()
			a.Abort(mq.RequestTimedOut)
			var reset *quic.StreamError
			if err := <-blocked; !errors.As(err, &reset) || !reset.Remote || mq.Code(reset.ErrorCode) != mq.RequestTimedOut {
				t.Errorf("the peer read %v", err)
			}
			if _, err := a.Read(make([]byte, 1)); !errors.As(err, &reset) || reset.Remote {
				t.Errorf("who gave up read %v", err)
			}
			if client.Context().Err() != nil || server.Context().Err() != nil {
				t.Fatal("the session has ended")
			}
		}
		open(t, client, server, "and on")
	})
}

func TestConnectionThatBreaksIsNoEndOfAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, time.Minute, 8)
		client, server, _, _ := h.pair()
		a, b := open(t, client, server, "x")
		a.(*tcpStream).w.raw.Close()
		var reset *quic.StreamError
		if _, err := b.Read(make([]byte, 1)); !errors.As(err, &reset) || reset.ErrorCode != 0 {
			t.Errorf("the peer of a lost connection read %v", err)
		}
		open(t, client, server, "and on")
		client.control.raw.Close()
		<-server.Context().Done()
		var closed *quic.ApplicationError
		if err := context.Cause(server.Context()); errors.As(err, &closed) {
			t.Errorf("a session whose connection was lost ended with %v", err)
		}
	})
}

func TestWriteThatWaitsForThePeerEndsWithTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, time.Minute, 8)
		client, server, _, _ := h.pair()
		a, _ := open(t, client, server, "x")
		blocked := make(chan error, 1)
		go func() {
			_, err := a.Write(make([]byte, 1<<20)) // nobody reads
			blocked <- err
		}()
		synctest.Wait()
		began := time.Now()
		a.Abort(mq.Canceled)
		if err := <-blocked; err == nil || time.Since(began) > lingerTime {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestCloseTellsThePeerCodeAndReason(t *testing.T) {
	for _, byServer := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			h := newHost(t, time.Minute, 8)
			client, server, _, _ := h.pair()
			_, _ = open(t, client, server, "x")
			from, to := client, server
			if byServer {
				from, to = to, from
			}
			from.Close(mq.ShuttingDown, "bye")
			<-to.Context().Done()
			var app *quic.ApplicationError
			if err := context.Cause(to.Context()); !errors.As(err, &app) || !app.Remote || mq.Code(app.ErrorCode) != mq.ShuttingDown || app.ErrorMessage != "bye" {
				t.Errorf("ended with %v", err)
			}
			from.Wait()
			to.Wait()
			if n := len(h.acceptor.sessions); n != 0 {
				t.Errorf("%d sessions are kept", n)
			}
		})
	}
}

func TestSilentPeerIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, 9*time.Second, 8)
		client, err := DialTCP(t.Context(), h.dialer(), "anywhere")
		must(t, err)
		control, err := client.OpenStream(t.Context())
		must(t, err)
		_, err = control.Write([]byte("hello"))
		must(t, err)
		server := <-h.sessions // and reads nothing
		began := time.Now()
		<-server.Context().Done()
		var idle *quic.IdleTimeoutError
		if err := context.Cause(server.Context()); !errors.As(err, &idle) || time.Since(began) > 13*time.Second {
			t.Errorf("the server gave up for %v after %v", err, time.Since(began))
		}
		_, _ = control.Read(make([]byte, 1))
		client.Close(mq.None, "")
		client.Wait()
	})
}

func TestQuietSessionLivesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, 9*time.Second, 8)
		client, server, _, _ := h.pair()
		time.Sleep(10 * time.Minute)
		open(t, client, server, "still there")
		if client.RTT() == 0 || client.Received() < 100 {
			t.Errorf("round trip %v, %d pieces heard", client.RTT(), client.Received())
		}
	})
}

func TestConnectionsAreAttachedBySecretAndPrincipal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, time.Minute, 8)
		client, server, _, _ := h.pair()
		right := *client.begun
		try := func(at attach, principal string) error {
			h.principal.Store(principal)
			w, err := client.connect(t.Context(), appendRecord(nil, kindAttach, at.body()...))
			must(t, err)
			defer w.raw.Close()
			if err := w.emit(append(appendHeader(nil, kindData, 1), 'x')); err != nil {
				return err
			}
			_, err = w.raw.Read(make([]byte, 1))
			return err
		}
		wrong := right.secret
		wrong[31] ^= 1
		for name, c := range map[string]struct {
			at        attach
			principal string
		}{
			"another secret":    {attach{right.id, wrong}, "somebody"},
			"no secret":         {attach{right.id, [secretSize]byte{}}, "somebody"},
			"another session":   {attach{right.id + 1, right.secret}, "somebody"},
			"no session":        {attach{}, "somebody"},
			"another principal": {attach{right.id, right.secret}, "else"},
			"nobody":            {attach{right.id, right.secret}, ""},
		} {
			if err := try(c.at, c.principal); err == nil {
				t.Errorf("%s: got an answer", name)
			}
			if err := <-h.refused; mq.CodeOf(err) != mq.ClusterAuthorizationFailed {
				t.Errorf("%s: refused with %v", name, err)
			}
		}
		h.principal.Store("somebody")
		open(t, client, server, "and on")
	})
}

func TestConnectionsOfASessionAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, time.Minute, 3)
		client, server, _, _ := h.pair()
		first, peer := open(t, client, server, "x")
		go func() { _, _ = io.Copy(io.Discard, peer) }()
		open(t, client, server, "x")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := client.OpenStream(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a fourth stream: %v", err)
		}
		w, err := client.connect(t.Context(), appendRecord(nil, kindAttach, attach{client.begun.id, client.begun.secret}.body()...)) // who does not care
		must(t, err)
		must(t, w.emit(append(appendHeader(nil, kindData, 1), 'x')))
		if err := <-h.refused; mq.CodeOf(err) != mq.TooManyRequests {
			t.Errorf("refused with %v", err)
		}
		w.raw.Close()
		first.Abort(mq.None)
		open(t, client, server, "and on")
	})
}

func TestWhatIsNoRecordEndsTheSession(t *testing.T) {
	for name, bytes := range map[string][]byte{
		"an unknown kind":             {77, 0, 0, 0},
		"kind zero":                   {0, 0, 0, 0},
		"empty data":                  {byte(kindData), 0, 0, 0},
		"a huge ping":                 {byte(kindPing), 255, 255, 255},
		"a short ping":                {byte(kindPing), 0, 0, 1, 0},
		"a second begin":              appendRecord(nil, kindBegin, begin{}.body()...),
		"begun by a client":           appendRecord(nil, kindBegun, begun{}.body()...),
		"an end with something in it": appendRecord(nil, kindEnd, 1),
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newHost(t, time.Minute, 8)
			client, err := DialTCP(t.Context(), h.dialer(), "anywhere")
			must(t, err)
			go func() { _ = client.control.send(bytes) }()
			server := <-h.sessions
			st, err := server.AcceptStream(t.Context())
			must(t, err)
			if _, err := st.Read(make([]byte, 1)); mq.CodeOf(err) != mq.ProtocolViolation {
				t.Errorf("%s: %v", name, err)
			}
			server.Close(mq.ProtocolViolation, "")
			client.Close(mq.None, "")
			client.Wait()
		})
	}
}
