package pki

import (
	"crypto/x509"
	"path/filepath"
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// FuzzParseRequest: whatever somebody asks to be certified, he gets a node's certificate, of that node, with hosts that are hosts.
func FuzzParseRequest(f *testing.F) {
	authority, err := NewAuthority(filepath.Join(f.TempDir(), "ca"), mq.ClusterID{1}, time.Now())
	if err != nil {
		f.Fatal(err)
	}
	for _, hosts := range [][]string{nil, {"h"}, {"h.example", "127.0.0.1", "::1"}} {
		applicant, err := NewApplicant(Subject{Cluster: mq.ClusterID{1}, Node: 2, Hosts: hosts}, authority.Fingerprint())
		if err != nil {
			f.Fatal(err)
		}
		der, err := applicant.Request()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(der)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		r, err := ParseRequest(der)
		if err != nil {
			if mq.CodeOf(err) != mq.InvalidRequest {
				t.Fatal(err)
			}
			return
		}
		if err := CheckHosts(r.Hosts()); err != nil {
			t.Fatal(err)
		}
		signed, err := authority.Certify(r, 2, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(signed)
		if err != nil || cert.IsCA || cert.KeyUsage&x509.KeyUsageCertSign != 0 {
			t.Fatalf("%v, %+v", err, cert)
		}
		if s, ok := nodeOf(cert); !ok || s.Node != 2 || s.Cluster != authority.Cluster() {
			t.Fatalf("it is the certificate of %+v", s)
		}
	})
}
