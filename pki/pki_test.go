package pki

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
)

var (
	now     = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	subject = Subject{Cluster: mq.ClusterID{1, 2, 3}, Node: 7, Hosts: []string{"127.0.0.1", "localhost"}}
)

func open(t *testing.T, dir string, s Subject, at time.Time) *Identity {
	t.Helper()
	id, err := Open(dir, s, at)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestClientThatTrustsTheAuthorityReachesTheNode(t *testing.T) {
	id := open(t, t.TempDir(), subject, time.Now())
	pool := x509.NewCertPool()
	ca, err := os.ReadFile(id.CAFile())
	if err != nil || !pool.AppendCertsFromPEM(ca) {
		t.Fatalf("read %s: %v", id.CAFile(), err)
	}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	go func() { _ = tls.Server(b, id.ServerTLS()).Handshake() }()
	client := tls.Client(a, &tls.Config{RootCAs: pool, ServerName: "localhost"})
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if v := client.ConnectionState().Version; v != tls.VersionTLS13 {
		t.Fatalf("negotiated TLS %x, want 1.3", v)
	}
}

func TestOpenAgainKeepsTheCertificates(t *testing.T) {
	dir := t.TempDir()
	first := open(t, dir, subject, now)
	again := open(t, dir, subject, now.Add(time.Hour))
	if !first.node.Load().cert.Equal(again.node.Load().cert) || !first.ca.cert.Equal(again.ca.cert) {
		t.Fatal("certificates changed though they were good")
	}
}

func TestCertificateIsRenewedBeforeItsEndAndForNewHosts(t *testing.T) {
	dir := t.TempDir()
	first := open(t, dir, subject, now)
	late := open(t, dir, subject, now.Add(nodeLife-renewBefore+2*time.Hour))
	if first.node.Load().cert.Equal(late.node.Load().cert) {
		t.Fatal("a certificate near its end was kept")
	}
	s := subject
	s.Hosts = append(s.Hosts, "broker.example")
	if err := open(t, dir, s, now).node.Load().cert.VerifyHostname("broker.example"); err != nil {
		t.Fatal(err)
	}
}

func TestKeysAreNotReadableByOthers(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, subject, now)
	for _, name := range []string{caKeyFile, nodeKeyFile} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", name, info.Mode())
		}
	}
}

func TestForeignOrHalfCopiedDirectoryIsRefused(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, dir string) Subject{
		"another node's": func(*testing.T, string) Subject {
			s := subject
			s.Node = 8
			return s
		},
		"without the authority": func(t *testing.T, dir string) Subject {
			remove(t, dir, CACertFile)
			return subject
		},
		"without the node's certificate and the authority's key": func(t *testing.T, dir string) Subject {
			remove(t, dir, nodeCertFile)
			remove(t, dir, caKeyFile)
			return subject
		},
		"with a file that is no certificate": func(t *testing.T, dir string) Subject {
			if err := os.WriteFile(filepath.Join(dir, CACertFile), []byte("nothing"), 0o600); err != nil {
				t.Fatal(err)
			}
			return subject
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			open(t, dir, subject, now)
			if _, err := Open(dir, damage(t, dir), now); mq.CodeOf(err) != mq.WrongDataDir {
				t.Fatalf("got %v, want WrongDataDir", err)
			}
		})
	}
}

func TestRenewalThatWasCutShortIsFinished(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, subject, now)
	cert, err := os.ReadFile(filepath.Join(dir, nodeCertFile))
	if err != nil {
		t.Fatal(err)
	}
	remove(t, dir, nodeCertFile)
	open(t, dir, subject, now) // a new key and certificate
	if err := os.WriteFile(filepath.Join(dir, nodeCertFile), cert, 0o600); err != nil {
		t.Fatal(err)
	}
	again := open(t, dir, subject, now)
	if node := again.node.Load(); !node.key.PublicKey.Equal(node.cert.PublicKey) {
		t.Fatal("key and certificate do not belong together")
	}
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func TestSecretsLastAndDiffer(t *testing.T) {
	dir := t.TempDir()
	secret := func(purpose string) [32]byte {
		s, err := open(t, dir, subject, now).Secret(purpose)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if first, again := secret("a"), secret("a"); first != again || first == secret("b") || secret("a") == [32]byte{} {
		t.Fatal("a secret has to be the same for one purpose, and another for another")
	}
}
