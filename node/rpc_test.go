package node

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
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/pki"
)

// rpcCluster is an authority and what it has issued.
type rpcCluster struct {
	t         *testing.T
	dir       string
	authority *pki.Authority
}

func newRPCCluster(t *testing.T) *rpcCluster {
	t.Helper()
	cluster, err := mq.NewClusterID(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "ca")
	a, err := pki.NewAuthority(dir, cluster, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &rpcCluster{t, dir, a}
}

func (c *rpcCluster) node(id mq.NodeID) *pki.Identity {
	c.t.Helper()
	dir := c.t.TempDir()
	if _, err := c.authority.Issue(dir, id, nil, false, time.Now()); err != nil {
		c.t.Fatal(err)
	}
	certs, err := pki.Open(dir, pki.Subject{Cluster: c.authority.Cluster(), Node: id}, time.Now())
	if err != nil {
		c.t.Fatal(err)
	}
	return certs
}

// whoAsks answers with the node that asks, and has a path that holds its answer back until the request ends.
func whoAsks() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/who", func(w http.ResponseWriter, r *http.Request) {
		node, ok := Peer(r.Context())
		fmt.Fprint(w, node, ok)
	})
	mux.HandleFunc("/size", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, err)
	})
	mux.HandleFunc("/wait", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	return mux
}

func (c *rpcCluster) listen(id mq.NodeID) *rpcListener {
	c.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	l := serveRPC(listener, c.node(id), whoAsks(), nil, slog.New(slog.DiscardHandler))
	c.t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = l.Close(ctx)
	})
	return l
}

// dialerTo finds all nodes at one address.
func (c *rpcCluster) dialerTo(id mq.NodeID, addr net.Addr) *dialer {
	d := newDialer(c.node(id), machineNetwork{}, func(mq.NodeID) []string { return []string{addr.String()} })
	c.t.Cleanup(d.close)
	return d
}

func ask(t *testing.T, d *dialer, node mq.NodeID, path string, body io.Reader) (string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, baseURL(node)+path, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := d.client(node, trafficControl).Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return string(answer), err
}

func TestHandlerKnowsTheNodeThatAsks(t *testing.T) {
	c := newRPCCluster(t)
	l := c.listen(1)
	for _, node := range []mq.NodeID{2, 3} {
		if got, err := ask(t, c.dialerTo(node, l.Addr()), 1, "/who", nil); err != nil || got != fmt.Sprint(node, true) {
			t.Errorf("node %d is taken for %q, %v", node, got, err)
		}
	}
	if _, ok := Peer(t.Context()); ok {
		t.Error("a context of nobody has a peer")
	}
	if got, err := ask(t, c.dialerTo(2, l.Addr()), 1, "/size", bytes.NewReader(make([]byte, 40<<20))); err != nil || got != fmt.Sprint(40<<20, nil) {
		t.Errorf("of 40 MiB there came %q, %v", got, err)
	}
}

func TestAddressOfAnotherNodeIsNoticed(t *testing.T) {
	c := newRPCCluster(t)
	l := c.listen(1)
	if _, err := ask(t, c.dialerTo(2, l.Addr()), 3, "/who", nil); err == nil || !strings.Contains(err.Error(), "node 1 answers where node 3 should") {
		t.Errorf("node 1 was taken for node 3: %v", err)
	}
	several := newDialer(c.node(2), machineNetwork{}, func(mq.NodeID) []string {
		return []string{"127.0.0.1:1", l.Addr().String(), c.listen(3).Addr().String()}
	})
	defer several.close()
	for range 2 {
		if got, err := ask(t, several, 3, "/who", nil); err != nil || got != "2 true" {
			t.Errorf("behind others' addresses: %q, %v", got, err)
		}
		several.client(3, trafficControl).CloseIdleConnections()
	}
	unknown := newDialer(c.node(2), machineNetwork{}, func(mq.NodeID) []string { return nil })
	if _, err := ask(t, unknown, 3, "/who", nil); mq.CodeOf(err) != mq.NetworkException || !errors.Is(err, errNowhere) {
		t.Errorf("a node without an address: %v", err)
	}
	unknown.close()
	if _, err := ask(t, unknown, 3, "/who", nil); mq.CodeOf(err) != mq.ShuttingDown {
		t.Errorf("after the end: %v", err)
	}
}

// clientOf is a certificate of the cluster's authority that names no node.
func (c *rpcCluster) clientOf() tls.Certificate {
	c.t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(c.dir, pki.CACertFile), filepath.Join(c.dir, "ca.key"))
	if err != nil {
		c.t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a client"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, pair.Leaf, &key.PublicKey, pair.PrivateKey)
	if err != nil {
		c.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestOnlyNodesOfTheClusterSpeakToTheListener(t *testing.T) {
	c := newRPCCluster(t)
	l := c.listen(1)
	roots := x509.NewCertPool()
	ca, err := os.ReadFile(c.authority.CAFile())
	if err != nil || !roots.AppendCertsFromPEM(ca) {
		t.Fatal(err)
	}
	expired := t.TempDir()
	if _, err := c.authority.Issue(expired, 2, nil, false, time.Now().Add(-2*365*24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	old, err := tls.LoadX509KeyPair(filepath.Join(expired, "node.crt"), filepath.Join(expired, "node.key"))
	if err != nil {
		t.Fatal(err)
	}
	for name, config := range map[string]*tls.Config{
		"nobody":                    {},
		"a client":                  {Certificates: []tls.Certificate{c.clientOf()}},
		"a node that expired":       {Certificates: []tls.Certificate{old}},
		"a node of another cluster": newRPCCluster(t).node(2).NodeClientTLS(1),
	} {
		config.VerifyConnection, config.InsecureSkipVerify = nil, true // who wants to get in does not look
		protocols := new(http.Protocols)
		protocols.SetHTTP2(true)
		transport := &http.Transport{TLSClientConfig: config, Protocols: protocols}
		resp, err := (&http.Client{Transport: transport}).Get("https://" + l.Addr().String() + "/who")
		if err == nil {
			resp.Body.Close()
			t.Errorf("%s got the answer %s", name, resp.Status)
		}
		transport.CloseIdleConnections()
	}
	// A node that speaks HTTP/1.1 is no node of ours.
	conn, err := tls.Dial("tcp", l.Addr().String(), func() *tls.Config {
		config := c.node(2).NodeClientTLS(1)
		config.NextProtos = nil
		return config
	}())
	if err == nil {
		defer conn.Close()
		fmt.Fprint(conn, "GET /who HTTP/1.1\r\nHost: a\r\n\r\n")
		if answer, _ := io.ReadAll(conn); len(answer) > 0 {
			t.Errorf("HTTP/1.1 was answered: %q", answer)
		}
	}
}

func TestGarbageAndStrangersKeepNoNodeOut(t *testing.T) {
	c := newRPCCluster(t)
	l := c.listen(1)
	for i := range rpcStrangers + 20 { // they say nothing, or what is no TLS
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if i%2 == 0 {
			_, _ = conn.Write([]byte("\x16\x03\x01")) // a record that does not go on
		} else if i%5 == 0 {
			_, _ = conn.Write(bytes.Repeat([]byte{0xff}, 1<<10))
		}
	}
	if got, err := ask(t, c.dialerTo(2, l.Addr()), 1, "/who", nil); err != nil || got != fmt.Sprint(mq.NodeID(2), true) {
		t.Errorf("a node was answered %q, %v", got, err)
	}
}

func TestNodeHasNoMoreConnectionsThanItMay(t *testing.T) {
	c := newRPCCluster(t)
	l := c.listen(1)
	certs, open := c.node(2), 0
	for range rpcPeerConns + 3 {
		d := newDialer(certs, machineNetwork{}, func(mq.NodeID) []string { return []string{l.Addr().String()} })
		t.Cleanup(d.close)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, baseURL(1)+"/wait", nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := d.client(1, trafficRaft).Do(req); err == nil {
			defer resp.Body.Close()
			open++
		}
	}
	if open != rpcPeerConns {
		t.Errorf("%d connections are open, want %d", open, rpcPeerConns)
	}
	if got, err := ask(t, c.dialerTo(3, l.Addr()), 1, "/who", nil); err != nil || got != fmt.Sprint(mq.NodeID(3), true) {
		t.Errorf("another node was answered %q, %v", got, err)
	}
}

func TestEachKindOfTrafficHasOneConnection(t *testing.T) {
	c := newRPCCluster(t)
	l := c.listen(1)
	d := c.dialerTo(2, l.Addr())
	for _, kind := range []traffic{trafficRaft, trafficSnapshot, trafficControl} {
		for range 5 {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, baseURL(1)+"/wait", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := d.client(1, kind).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.peers[2] != 3 {
		t.Errorf("%d connections for 3 kinds of traffic", l.peers[2])
	}
}

func TestStreamsAreTakenFromNodesWithWhoHasThem(t *testing.T) {
	c := newRPCCluster(t)
	l := c.listen(1)
	early, err := c.dialerTo(2, l.Addr()).stream(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer early.Close()
	for waits := 0; waits == 0; {
		l.mu.Lock()
		waits = l.peers[2]
		l.mu.Unlock()
	}
	l.takeStreams(func(conn net.Conn, from mq.NodeID) {
		fmt.Fprint(conn, from)
		_, _ = conn.Read(make([]byte, 1))
	})
	if _, err := io.ReadFull(early, make([]byte, 1)); err != nil {
		t.Errorf("a stream that came before anybody took any: %v", err)
	}
	early.Close()
	for open := 1; open > 0; { // its place is free a moment later
		l.mu.Lock()
		open = l.peers[2]
		l.mu.Unlock()
	}
	var conns []net.Conn
	for i := range rpcPeerConns + 1 {
		conn, err := c.dialerTo(2, l.Addr()).stream(t.Context(), 1)
		if err != nil && i == rpcPeerConns {
			continue // refused before the handshake was over
		}
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns = append(conns, conn)
		said := make([]byte, 1)
		if _, err := io.ReadFull(conn, said); (err == nil) != (i < rpcPeerConns) || err == nil && string(said) != "2" {
			t.Errorf("stream %d: %q, %v", i, said, err)
		}
	}
	conns[0].Close()
	for { // its place is free, once it is known that it has ended
		conn, err := c.dialerTo(2, l.Addr()).stream(t.Context(), 1)
		if err != nil {
			continue
		}
		defer conn.Close()
		if _, err := io.ReadFull(conn, make([]byte, 1)); err == nil {
			break
		}
	}
	wrong := c.dialerTo(2, l.Addr())
	if _, err := wrong.stream(t.Context(), 3); err == nil || !strings.Contains(err.Error(), "node 1 answers where node 3 should") {
		t.Errorf("node 1 was taken for node 3: %v", err)
	}
	wrong.close()
	if _, err := wrong.stream(t.Context(), 1); mq.CodeOf(err) != mq.ShuttingDown {
		t.Errorf("after the end: %v", err)
	}
}

// TestStreamsWaitNoLongerThanTheListener: nobody takes them any more, and then the node closes.
func TestStreamsWaitNoLongerThanTheListener(t *testing.T) {
	c := newRPCCluster(t)
	l := c.listen(1)
	l.takeStreams(func(conn net.Conn, _ mq.NodeID) { t.Error("a stream was taken that is not to be") })
	l.takeStreams(nil)
	conn, err := c.dialerTo(2, l.Addr()).stream(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for waits := 0; waits == 0; {
		l.mu.Lock()
		waits = l.peers[2]
		l.mu.Unlock()
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Close(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the stream outlived its listener")
	}
}

// TestStreamThatNobodyTakesIsClosed: whoever made it is told in the end, in virtual time.
func TestStreamThatNobodyTakesIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, other := net.Pipe()
		defer other.Close()
		l := &rpcListener{stopped: make(chan struct{}), taken: make(chan struct{}), members: map[net.Conn]mq.NodeID{conn: 2}}
		began := time.Now()
		if l.serverOf(conn) != nil || time.Since(began) != rpcStreamPatience {
			t.Errorf("it was given up after %v", time.Since(began))
		}
		delete(l.members, conn) // one too many
		if l.serverOf(conn) != nil || time.Since(began) != rpcStreamPatience {
			t.Error("one too many waited")
		}
	})
}

// TestSilentPeerIsNoticed: the peer shakes hands and settles HTTP/2, then never says another word, as one whose machine is gone.
func TestSilentPeerIsNoticed(t *testing.T) {
	c := newRPCCluster(t)
	l := c.listen(1)
	proxy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	cut := make(chan struct{})
	go func() {
		near, err := proxy.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return
		}
		go func() { _, _ = io.Copy(far, near) }()
		buf := make([]byte, 32<<10)
		for {
			n, err := far.Read(buf)
			if err != nil {
				return
			}
			select {
			case <-cut: // what was on its way gets lost
			default:
				_, _ = near.Write(buf[:n])
			}
		}
	}()
	d := c.dialerTo(2, proxy.Addr())
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, baseURL(1)+"/wait", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := d.client(1, trafficRaft).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	close(cut)
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("the stream ended well")
	}
}
