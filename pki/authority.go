package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"slices"
	"time"

	"github.com/rustmq/rustmq/mq"
)

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	nodeLife      = 365 * 24 * time.Hour
	// renewBefore is how long before its end a node's certificate is replaced, where the authority's key is at hand.
	renewBefore = 60 * 24 * time.Hour
	// backdate lets a peer's clock be behind.
	backdate = time.Hour
)

// Subject is whose certificate it is.
type Subject struct {
	Cluster mq.ClusterID
	Node    mq.NodeID
	// Hosts are the names and addresses that others dial.
	Hosts []string
}

// URI is the name that other nodes believe.
func (s Subject) URI() *url.URL {
	return &url.URL{Scheme: "rustmq", Host: s.Cluster.String(), Path: fmt.Sprintf("/node/%d", s.Node)}
}

// pair is a certificate with its key.
type pair struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newAuthority makes an authority for a cluster.
func newAuthority(cluster mq.ClusterID, now time.Time) (pair, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "RustMQ cluster " + cluster.String()},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(authorityLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	return sign(template, nil)
}

// issue makes a node's certificate.
func (p pair) issue(s Subject, now time.Time) (pair, error) {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: fmt.Sprintf("node-%d", s.Node)},
		NotBefore:   now.Add(-backdate),
		NotAfter:    now.Add(nodeLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		URIs:        []*url.URL{s.URI()},
	}
	for _, h := range s.Hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	return sign(template, &p)
}

// sign completes the template with a new key; a nil authority signs itself.
func sign(template *x509.Certificate, ca *pair) (pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, mq.Errorf(mq.Internal, "draw a key: %w", err)
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return pair{}, mq.Errorf(mq.Internal, "draw a serial number: %w", err)
	}
	parent, signer := template, key
	if ca != nil {
		parent, signer = ca.cert, ca.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		return pair{}, mq.Errorf(mq.Internal, "sign the certificate of %s: %w", template.Subject.CommonName, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return pair{}, mq.Errorf(mq.Internal, "read back the certificate of %s: %w", template.Subject.CommonName, err)
	}
	return pair{cert, key}, nil
}

// fits reports whether a certificate is the subject's and good for all its hosts at now.
func (s Subject) fits(cert *x509.Certificate) bool {
	for _, h := range s.Hosts {
		if cert.VerifyHostname(h) != nil {
			return false
		}
	}
	return s.owns(cert)
}

func (s Subject) owns(cert *x509.Certificate) bool {
	return slices.ContainsFunc(cert.URIs, func(u *url.URL) bool { return u.String() == s.URI().String() })
}
