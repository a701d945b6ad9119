package pki

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// meet has two ends of a connection shake hands. In TLS 1.3 the client is done before the server has judged it, so it then waits for a byte.
func meet(t *testing.T, server, client *tls.Config) (accepted *tls.ConnectionState, dialled error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	done := make(chan *tls.ConnectionState, 1)
	go func() {
		b, err := listener.Accept()
		if err != nil {
			done <- nil
			return
		}
		defer b.Close()
		conn := tls.Server(b, server)
		if conn.Handshake() != nil {
			done <- nil
			return
		}
		state := conn.ConnectionState()
		_, _ = conn.Write([]byte{1})
		done <- &state
	}()
	a, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn := tls.Client(a, client)
	_, dialled = conn.Read(make([]byte, 1))
	a.Close()
	return <-done, dialled
}

func TestNodesOfOneClusterMeet(t *testing.T) {
	a := authority(t, cluster, time.Now())
	one, two := issued(t, a, 1, time.Now()), issued(t, a, 2, time.Now())
	state, err := meet(t, one.NodeServerTLS(), two.NodeClientTLS(1))
	if err != nil || state == nil {
		t.Fatal(err)
	}
	if shown := len(state.PeerCertificates); shown != 1 {
		t.Errorf("%d certificates were shown: the authority's is known, and its signature is to be checked once", shown)
	}
	if peer, ok := PeerNode(*state); !ok || peer != 2 || state.Version != tls.VersionTLS13 || state.NegotiatedProtocol != "h2" {
		t.Errorf("peer %d, %v; version %x; protocol %q", peer, ok, state.Version, state.NegotiatedProtocol)
	}
	if _, ok := PeerNode(tls.ConnectionState{}); ok {
		t.Error("a connection without a handshake has a peer")
	}
}

// shows is the configuration of somebody who trusts all and shows one certificate.
func shows(p *pair, chain ...[]byte) *tls.Config {
	c := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}
	if p != nil {
		c.Certificates = []tls.Certificate{{Certificate: append([][]byte{p.cert.Raw}, chain...), PrivateKey: p.key}}
	}
	return c
}

// signed is a certificate that the authority signed with the template's names.
func signed(t *testing.T, a *Authority, change func(*x509.Certificate)) *pair {
	t.Helper()
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "somebody"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	change(template)
	cert, err := sign(template, &key.PublicKey, a.pair)
	if err != nil {
		t.Fatal(err)
	}
	return &pair{cert, key}
}

func named(uris ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		for _, text := range uris {
			u, err := url.Parse(text)
			if err != nil {
				panic(err)
			}
			c.URIs = append(c.URIs, u)
		}
	}
}

// strangers are those who are no node of the cluster, and what they show.
func strangers(t *testing.T, a *Authority) map[string]*tls.Config {
	other := authority(t, cluster, time.Now()) // the same cluster id, made by somebody else
	foreign := authority(t, mq.ClusterID{9}, time.Now())
	expired := issued(t, a, 2, time.Now().Add(-nodeLife-time.Hour)).node.Load()
	early := issued(t, a, 2, time.Now().Add(24*time.Hour)).node.Load()
	base := "rustmq://" + cluster.String()
	return map[string]*tls.Config{
		"a node of another authority":  shows(issued(t, other, 2, time.Now()).node.Load(), other.cert.Raw),
		"a node of another cluster":    shows(issued(t, foreign, 2, time.Now()).node.Load(), foreign.cert.Raw),
		"an expired node":              shows(expired),
		"a node of the future":         shows(early),
		"a client":                     shows(signed(t, a, named())),
		"another cluster's URI":        shows(signed(t, a, named("rustmq://"+foreign.Cluster().String()+"/node/2"))),
		"the authority's URI":          shows(signed(t, a, named(base+"/authority"))),
		"the authority itself":         shows(&a.pair),
		"two nodes at once":            shows(signed(t, a, named(base+"/node/2", base+"/node/1"))),
		"a number written differently": shows(signed(t, a, named(base+"/node/02"))),
		"a node with a query":          shows(signed(t, a, named(base+"/node/2?a"))),
		"node 0":                       shows(signed(t, a, named(base+"/node/0"))),
		"another scheme":               shows(signed(t, a, named("https://"+cluster.String()+"/node/2"))),
	}
}

func TestOnlyNodesOfTheClusterGetIn(t *testing.T) {
	a := authority(t, cluster, time.Now())
	server := issued(t, a, 1, time.Now()).NodeServerTLS()
	who := strangers(t, a)
	who["nobody"] = shows(nil)
	for name, client := range who {
		if state, err := meet(t, server, client); state != nil || err == nil {
			t.Errorf("%s got in: %v", name, err)
		}
	}
	old := shows(issued(t, a, 2, time.Now()).node.Load())
	if state, err := meet(t, server, old); state == nil || err != nil {
		t.Errorf("a node was refused: %v", err)
	}
	old.MaxVersion = tls.VersionTLS12
	if state, _ := meet(t, server, old); state != nil {
		t.Error("TLS 1.2 was spoken")
	}
}

func TestDiallerBelievesOnlyTheNodeItDialled(t *testing.T) {
	a := authority(t, cluster, time.Now())
	dial := issued(t, a, 1, time.Now()).NodeClientTLS(2)
	who := strangers(t, a)
	who["another node"] = issued(t, a, 3, time.Now()).ServerTLS()
	who["a node that may not serve"] = shows(signed(t, a, func(c *x509.Certificate) {
		named("rustmq://" + cluster.String() + "/node/2")(c)
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}))
	for name, server := range who {
		server.NextProtos = []string{"h2"}
		if _, err := meet(t, server, dial); err == nil {
			t.Errorf("%s was believed", name)
		}
	}
}

// TestClientOfTheClusterBelievesItsNodesAndIsNobody: it dials any of them by whatever name, and shows no certificate.
func TestClientOfTheClusterBelievesItsNodesAndIsNobody(t *testing.T) {
	a := authority(t, cluster, time.Now())
	one := issued(t, a, 1, time.Now())
	dial := one.ClientTLS()
	for _, node := range []*Identity{one, issued(t, a, 2, time.Now())} {
		state, err := meet(t, node.ServerTLS(), dial)
		if err != nil || state == nil {
			t.Fatalf("a node was not believed: %v", err)
		}
		if len(state.PeerCertificates) != 0 {
			t.Errorf("it showed the certificate of %v", state.PeerCertificates[0].URIs)
		}
	}
	for name, server := range strangers(t, a) {
		if _, err := meet(t, server, dial); err == nil {
			t.Errorf("%s was believed", name)
		}
	}
}

func TestRenewedCertificateIsShownByTheNextHandshake(t *testing.T) {
	a := authority(t, cluster, time.Now())
	one, two := issued(t, a, 1, time.Now()), issued(t, a, 2, time.Now())
	server, client := one.NodeServerTLS(), two.NodeClientTLS(1)
	before, err := meet(t, server, client)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Issue(two.dir, 2, nil, true, time.Now()); err != nil {
		t.Fatal(err)
	}
	if changed, err := two.Refresh(time.Now()); !changed || err != nil {
		t.Fatal(err)
	}
	after, err := meet(t, server, client)
	if err != nil {
		t.Fatal(err)
	}
	if after.PeerCertificates[0].Equal(before.PeerCertificates[0]) {
		t.Error("the old certificate was shown")
	}
}
