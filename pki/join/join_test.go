package join

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	joinpb "github.com/rustmq/rustmq/api/join/v1"
	"github.com/rustmq/rustmq/api/rpcerr"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/pki"
)

type rig struct {
	t         *testing.T
	authority *pki.Authority
	certs     *pki.Identity
	server    *Server
	addr      string
	now       time.Time
	peer      mq.NodeID
}

// newRig is node 1 with the authority's key, and its door.
func newRig(t *testing.T) *rig {
	t.Helper()
	cluster, err := mq.NewClusterID(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, now: time.Now(), peer: 1}
	dir := filepath.Join(t.TempDir(), "ca")
	if r.authority, err = pki.NewAuthority(dir, cluster, r.now); err != nil {
		t.Fatal(err)
	}
	if r.certs, err = pki.Open(dir, pki.Subject{Cluster: cluster, Node: 1}, r.now); err != nil {
		t.Fatal(err)
	}
	r.server = NewServer(Config{
		Cluster: cluster, Fingerprint: r.certs.Fingerprint(), Tokens: NewMemory(),
		Issuer: Issuer{Authority: func() (*pki.Authority, error) { return pki.OpenAuthority(dir, r.now) }},
		Peer:   func(context.Context) (mq.NodeID, bool) { return r.peer, r.peer > 0 },
		Random: rand.Reader, Now: func() time.Time { return r.now }, Logger: slog.New(slog.DiscardHandler),
	})
	listener, err := tls.Listen("tcp", "127.0.0.1:0", r.certs.JoinServerTLS())
	if err != nil {
		t.Fatal(err)
	}
	r.addr = listener.Addr().String()
	door := NewDoor(r.server)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				secure := conn.(*tls.Conn)
				if secure.HandshakeContext(context.Background()) == nil && secure.ConnectionState().NegotiatedProtocol == pki.JoinProtocol {
					door.Serve(secure)
				}
			}()
		}
	}()
	t.Cleanup(func() { listener.Close(); door.Close() })
	return r
}

func (r *rig) create(node mq.NodeID, ttl time.Duration, addr string) (string, error) {
	resp, err := r.server.CreateToken(r.t.Context(), connect.NewRequest(&joinpb.CreateTokenRequest{NodeId: int32(node), TtlMs: ttl.Milliseconds(), Address: addr}))
	if err != nil {
		return "", rpcerr.FromConnect(err)
	}
	return resp.Msg.GetToken(), nil
}

func (r *rig) token(node mq.NodeID) *Token {
	r.t.Helper()
	text, err := r.create(node, time.Hour, r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	t, err := Parse(text)
	if err != nil {
		r.t.Fatal(err)
	}
	return t
}

func dial(ctx context.Context, addr string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", addr)
}

func (r *rig) join(t *Token) (dir string, err error) {
	dir = filepath.Join(r.t.TempDir(), "pki")
	return dir, Join(r.t.Context(), t, dir, []string{"node2.example", "127.0.0.1"}, dial)
}

func TestNodeGetsItsCertificateOnce(t *testing.T) {
	r := newRig(t)
	token := r.token(2)
	dir, err := r.join(token)
	if err != nil {
		t.Fatal(err)
	}
	certs, err := pki.Open(dir, pki.Subject{Cluster: r.authority.Cluster(), Node: 2, Hosts: []string{"node2.example", "127.0.0.1"}}, time.Now())
	if err != nil || certs.Issues() || len(certs.Lacks()) > 0 {
		t.Fatalf("%v, lacks %v", err, certs.Lacks())
	}
	if again, err := r.join(token); mq.CodeOf(err) != mq.ClusterAuthorizationFailed {
		t.Errorf("the token was taken twice: %v", err)
	} else if _, err := os.Stat(again); err == nil {
		t.Error("a refusal left a directory")
	}
}

func TestBadTokensAreAllRefusedAlike(t *testing.T) {
	r := newRig(t)
	texts := map[string]bool{}
	for name, spoil := range map[string]func(*Token){
		"another secret": func(t *Token) { t.Secret[7]++ },
		"another id":     func(t *Token) { t.ID[0]++ },
		"another node":   func(t *Token) { t.Node = 3 },
		"expired":        func(*Token) { r.now = r.now.Add(2 * time.Hour) },
	} {
		token := r.token(2)
		good := *token
		spoil(token)
		_, err := r.join(token)
		if mq.CodeOf(err) != mq.ClusterAuthorizationFailed {
			t.Errorf("%s: %v", name, err)
			continue
		}
		texts[strings.ReplaceAll(err.Error(), "node 3", "node 2")] = true
		if _, err := r.join(&good); (err == nil) == (name == "expired") {
			t.Errorf("after %s the good one: %v", name, err)
		}
	}
	if len(texts) != 1 {
		t.Errorf("the answers differ: %v", texts)
	}
}

func TestSecretIsNotToldToWhoHasAnotherAuthority(t *testing.T) {
	r, other := newRig(t), newRig(t)
	for name, spoil := range map[string]func(*Token){
		"another's address":     func(t *Token) { t.Address = other.addr },
		"another's fingerprint": func(t *Token) { t.Authority[0]++ },
		"another cluster's id":  func(t *Token) { t.Cluster[0]++ },
	} {
		token := r.token(2)
		good := *token
		spoil(token)
		if _, err := r.join(token); err == nil || strings.Contains(err.Error(), "no such join token") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := r.join(&good); err != nil {
			t.Errorf("after %s the token is gone: %v", name, err)
		}
	}
}

func TestTokensAreMadeForNodesByNodesOnly(t *testing.T) {
	r := newRig(t)
	for name, try := range map[string]struct {
		node mq.NodeID
		ttl  time.Duration
		addr string
	}{
		"node 0":     {0, time.Hour, r.addr},
		"no time":    {2, 0, r.addr},
		"too long":   {2, MaxTTL + time.Hour, r.addr},
		"no address": {2, time.Hour, ""},
		"no port":    {2, time.Hour, "host"},
		"port 0":     {2, time.Hour, "host:0"},
		"no host":    {2, time.Hour, ":9093"},
	} {
		if _, err := r.create(try.node, try.ttl, try.addr); mq.CodeOf(err) != mq.InvalidRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
	r.peer = mq.NoNode
	if _, err := r.create(2, time.Hour, r.addr); mq.CodeOf(err) != mq.ClusterAuthorizationFailed {
		t.Errorf("nobody made a token: %v", err)
	}
}

func TestAttemptsAndTokensAreBounded(t *testing.T) {
	r := newRig(t)
	try := func() error {
		_, err := r.server.join(t.Context(), &joinpb.JoinRequest{})
		return err
	}
	for range attemptsBurst {
		if err := try(); mq.CodeOf(err) != mq.ClusterAuthorizationFailed {
			t.Fatal(err)
		}
	}
	if err := try(); mq.CodeOf(err) != mq.TooManyRequests {
		t.Errorf("one more than may be: %v", err)
	}
	r.now = r.now.Add(attemptsEach)
	if err := try(); mq.CodeOf(err) != mq.ClusterAuthorizationFailed {
		t.Errorf("later: %v", err)
	}
	if err := try(); mq.CodeOf(err) != mq.TooManyRequests {
		t.Errorf("two later: %v", err)
	}
	m := NewMemory()
	for i := range MaxTokens {
		if err := m.Put(t.Context(), Issued{ID: TokenID{byte(i), byte(i >> 8)}, Expires: r.now.Add(time.Hour)}, r.now); err != nil {
			t.Fatal(err)
		}
	}
	more := Issued{ID: TokenID{15: 1}, Expires: r.now.Add(3 * time.Hour)}
	if err := m.Put(t.Context(), more, r.now); mq.CodeOf(err) != mq.TooManyRequests {
		t.Errorf("one token more: %v", err)
	}
	if err := m.Put(t.Context(), more, r.now.Add(time.Hour)); err != nil {
		t.Errorf("when the others have expired: %v", err)
	}
}

func TestRequestsThatAreNoneAreRefusedBeforeTheTokenIsUsed(t *testing.T) {
	r := newRig(t)
	token := r.token(2)
	for name, der := range map[string][]byte{"nothing": nil, "garbage": []byte("garbage"), "too much": bytes.Repeat([]byte{1}, 20<<10)} {
		_, err := r.server.join(t.Context(), &joinpb.JoinRequest{TokenId: token.ID[:], Secret: token.Secret[:], NodeId: 2, CertificateRequest: der})
		if mq.CodeOf(err) != mq.InvalidRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := r.join(token); err != nil {
		t.Errorf("the token is gone: %v", err)
	}
}

func TestTokenReadsBack(t *testing.T) {
	token := Token{Cluster: mq.ClusterID{1}, Authority: pki.Fingerprint{2}, ID: TokenID{3}, Secret: [32]byte{4}, Node: 5, Expires: time.Unix(1795507200, 0), Address: "broker1.example:9093"}
	const golden = "rustmq-join-1.AQAAAAAAAAAAAAAAAAAAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAwAAAAAAAAAAAAAAAAAAAAQ"
	text := token.Text()
	if !strings.HasPrefix(text, golden) {
		t.Errorf("the format has changed: %s", text)
	}
	back, err := Parse(text)
	if err != nil || *back != token {
		t.Fatalf("%+v, %v", back, err)
	}
	for i := range text {
		spoilt := []byte(text)
		spoilt[i] ^= 1
		if _, err := Parse(string(spoilt)); mq.CodeOf(err) != mq.InvalidRequest {
			t.Errorf("with another character at %d: %v", i, err)
		} else if strings.Contains(err.Error(), text[20:40]) {
			t.Errorf("the error shows the token: %v", err)
		}
	}
	for _, text := range []string{"", "rustmq-join-1.", "rustmq-join-2." + text[14:], text[:len(text)-4], text + "\n", strings.Repeat("a", MaxTokenText+1)} {
		if _, err := Parse(text); mq.CodeOf(err) != mq.InvalidRequest {
			t.Errorf("%.30q: %v", text, err)
		}
	}
}

// FuzzJoin: whatever is asked, the certificate goes to who tells the token's secret, and it is that of the token's node.
func FuzzJoin(f *testing.F) {
	dir, now := filepath.Join(f.TempDir(), "ca"), time.Now()
	authority, err := pki.NewAuthority(dir, mq.ClusterID{1}, now)
	if err != nil {
		f.Fatal(err)
	}
	applicant, err := pki.NewApplicant(pki.Subject{Cluster: mq.ClusterID{1}, Node: 2, Hosts: []string{"h"}}, authority.Fingerprint())
	if err != nil {
		f.Fatal(err)
	}
	request, err := applicant.Request()
	if err != nil {
		f.Fatal(err)
	}
	id, secret := TokenID{1}, bytes.Repeat([]byte{2}, secretBytes)
	for _, r := range []*joinpb.JoinRequest{
		{TokenId: id[:], Secret: secret, NodeId: 2, CertificateRequest: request},
		{TokenId: id[:], Secret: secret, NodeId: 3, CertificateRequest: request},
		{TokenId: id[:], Secret: secret[1:], NodeId: 2, CertificateRequest: request[1:]},
		{},
	} {
		b, err := proto.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &joinpb.JoinRequest{}
		if proto.Unmarshal(b, r) != nil {
			return
		}
		tokens := NewMemory()
		if err := tokens.Put(t.Context(), Issued{ID: id, Hash: sha256.Sum256(secret), Node: 2, Expires: now.Add(time.Hour)}, now); err != nil {
			t.Fatal(err)
		}
		s := NewServer(Config{
			Cluster: mq.ClusterID{1}, Fingerprint: authority.Fingerprint(), Tokens: tokens, Random: rand.Reader, Now: func() time.Time { return now },
			Issuer: Issuer{Authority: func() (*pki.Authority, error) { return authority, nil }}, Logger: slog.New(slog.DiscardHandler),
			Peer: func(context.Context) (mq.NodeID, bool) { return 1, true },
		})
		der, err := s.join(t.Context(), r)
		good := bytes.Equal(r.GetTokenId(), id[:]) && bytes.Equal(r.GetSecret(), secret) && r.GetNodeId() == 2
		switch code := mq.CodeOf(err); {
		case err == nil && !good:
			t.Fatal("a certificate without a token")
		case code != mq.None && code != mq.ClusterAuthorizationFailed && code != mq.InvalidRequest:
			t.Fatal(err)
		case err != nil:
			return
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil || cert.IsCA || len(cert.URIs) != 1 || cert.URIs[0].String() != (pki.Subject{Cluster: mq.ClusterID{1}, Node: 2}).URI().String() {
			t.Fatalf("%v, %+v", err, cert)
		}
		if _, err := s.join(t.Context(), r); mq.CodeOf(err) != mq.ClusterAuthorizationFailed {
			t.Fatalf("the token is taken again: %v", err)
		}
	})
}

func FuzzParse(f *testing.F) {
	token := Token{Cluster: mq.ClusterID{1}, Node: 5, Expires: time.Unix(1795507200, 0), Address: "h:1"}
	f.Add(token.Text())
	f.Add("rustmq-join-1.AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		token, err := Parse(text)
		if err != nil {
			if mq.CodeOf(err) != mq.InvalidRequest {
				t.Fatal(err)
			}
			return
		}
		if token.Text() != text {
			t.Fatalf("%q reads as what prints as %q", text, token.Text())
		}
	})
}
