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
	"os"
	"path/filepath"
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

// pair is a certificate with its key.
type pair struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Authority issues the certificates of one cluster's nodes. It needs no node that runs.
type Authority struct {
	dir     string
	cluster mq.ClusterID
	pair
}

// NewAuthority makes an authority in dir, which is created; one with anything in it is refused. The cluster has this id from then on.
func NewAuthority(dir string, cluster mq.ClusterID, now time.Time) (*Authority, error) {
	names, err := os.ReadDir(dir)
	switch {
	case err == nil && len(names) > 0:
		return nil, mq.Errorf(mq.WrongDataDir, "%s has %s in it: an authority is made in an empty directory, or one that does not exist", dir, names[0].Name())
	case err != nil && !os.IsNotExist(err):
		return nil, mq.Errorf(mq.KafkaStorageError, "list %s: %w", dir, err)
	}
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	ca, err := newAuthority(cluster, now)
	if err != nil {
		return nil, err
	}
	return &Authority{dir, cluster, ca}, ca.write(dir, caKeyFile, CACertFile)
}

// OpenAuthority loads the authority in dir, with its key.
func OpenAuthority(dir string, now time.Time) (*Authority, error) {
	ca, err := readAuthority(dir)
	if err != nil {
		return nil, err
	}
	if ca.key == nil {
		return nil, mq.Errorf(mq.WrongDataDir, "%s has no %s: certificates are issued where the authority was made", dir, caKeyFile)
	}
	cluster, ok := clusterOf(ca.cert)
	if !ok {
		return nil, mq.Errorf(mq.WrongDataDir, "%s in %s names no cluster: it is not an authority that rustmq made", CACertFile, dir)
	}
	if now.After(ca.cert.NotAfter) {
		return nil, mq.Errorf(mq.WrongDataDir, "the authority in %s ended at %s", dir, ca.cert.NotAfter.Format(time.RFC3339))
	}
	return &Authority{dir, cluster, ca}, nil
}

// Cluster is the cluster whose authority it is.
func (a *Authority) Cluster() mq.ClusterID { return a.cluster }

// Fingerprint is that of the authority's certificate.
func (a *Authority) Fingerprint() Fingerprint { return FingerprintOf(a.cert.Raw) }

// NotAfter is when the authority's certificate ends.
func (a *Authority) NotAfter() time.Time { return a.cert.NotAfter }

// CAFile is the path of the authority's certificate: what a client has to trust.
func (a *Authority) CAFile() string { return filepath.Join(a.dir, CACertFile) }

// Issue writes the authority's certificate, and a new certificate for a node with its key, into the directory out. One that holds a
// certificate already is refused; with renew it has to be that of the same node, which is replaced. It returns when the new one ends.
func (a *Authority) Issue(out string, node mq.NodeID, hosts []string, renew bool, now time.Time) (time.Time, error) {
	s := Subject{Cluster: a.cluster, Node: node, Hosts: hosts}
	if err := s.check(); err != nil {
		return time.Time{}, err
	}
	if err := a.mayWrite(out, s, renew); err != nil {
		return time.Time{}, err
	}
	if err := makeDir(out); err != nil {
		return time.Time{}, err
	}
	made, err := a.issue(s, now)
	if err != nil {
		return time.Time{}, err
	}
	if err := writeFile(filepath.Join(out, CACertFile), certType, a.cert.Raw, certMode); err != nil {
		return time.Time{}, err
	}
	return made.cert.NotAfter, made.write(out, nodeKeyFile, nodeCertFile)
}

// mayWrite refuses a directory that holds what is another's, or what is not to be replaced.
func (a *Authority) mayWrite(out string, s Subject, renew bool) error {
	switch other, err := readCert(filepath.Join(out, CACertFile)); {
	case err == nil && !other.Equal(a.cert):
		return mq.Errorf(mq.WrongDataDir, "%s has the %s of another authority: name another directory", out, CACertFile)
	case err != nil && !notThere(err):
		return err
	}
	old, err := readCert(filepath.Join(out, nodeCertFile))
	switch {
	case notThere(err):
		return nil
	case err != nil:
		return err
	case !renew:
		return mq.Errorf(mq.WrongDataDir, "%s has a %s, which is good until %s: it is replaced only when that is asked for", out, nodeCertFile, old.NotAfter.Format(time.RFC3339))
	case !s.owns(old):
		return mq.Errorf(mq.WrongDataDir, "%s in %s is not the certificate of %s", nodeCertFile, out, s.URI())
	}
	return nil
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
		URIs:                  []*url.URL{authorityURI(cluster)},
	}
	key, err := newKey()
	if err != nil {
		return pair{}, err
	}
	cert, err := sign(template, &key.PublicKey, pair{template, key})
	return pair{cert, key}, err
}

// issue makes a node's key and certificate.
func (p pair) issue(s Subject, now time.Time) (pair, error) {
	key, err := newKey()
	if err != nil {
		return pair{}, err
	}
	cert, err := p.certify(s, &key.PublicKey, now)
	return pair{cert, key}, err
}

// certify makes the certificate of a node that has the key.
func (p pair) certify(s Subject, key *ecdsa.PublicKey, now time.Time) (*x509.Certificate, error) {
	end := now.Add(nodeLife)
	if end.After(p.cert.NotAfter) {
		end = p.cert.NotAfter
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: fmt.Sprintf("node-%d", s.Node)},
		NotBefore:   now.Add(-backdate),
		NotAfter:    end,
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
	return sign(template, key, p)
}

func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, mq.Errorf(mq.Internal, "draw a key: %w", err)
	}
	return key, nil
}

// sign completes the template with a serial number, and signs it for the holder of the key.
func sign(template *x509.Certificate, key *ecdsa.PublicKey, ca pair) (*x509.Certificate, error) {
	var err error
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return nil, mq.Errorf(mq.Internal, "draw a serial number: %w", err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key, ca.key)
	if err != nil {
		return nil, mq.Errorf(mq.Internal, "sign the certificate of %s: %w", template.Subject.CommonName, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, mq.Errorf(mq.Internal, "read back the certificate of %s: %w", template.Subject.CommonName, err)
	}
	return cert, nil
}
