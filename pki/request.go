package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"net"
	"path/filepath"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// maxRequestBytes is far more than a request with [MaxHosts] names takes.
const maxRequestBytes = 16 << 10

// Request is what a node asks to be certified: its key and its hosts.
type Request struct {
	key   *ecdsa.PublicKey
	hosts []string
}

// ParseRequest reads a certificate request (PKCS #10, DER) and checks that whoever wrote it has the key. Beside the key and the hosts it
// may hold what it likes: nothing of that is looked at.
func ParseRequest(der []byte) (*Request, error) {
	if len(der) > maxRequestBytes {
		return nil, mq.Errorf(mq.InvalidRequest, "the certificate request has %d bytes, at most %d are read", len(der), maxRequestBytes)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, mq.Errorf(mq.InvalidRequest, "the certificate request cannot be read: %w", err)
	}
	key, ok := csr.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, mq.Errorf(mq.InvalidRequest, "the certificate request is for another key than ECDSA on P-256")
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, mq.Errorf(mq.InvalidRequest, "the certificate request is not signed by its key: %w", err)
	}
	r := &Request{key: key, hosts: csr.DNSNames}
	for _, ip := range csr.IPAddresses {
		r.hosts = append(r.hosts, ip.String())
	}
	return r, CheckHosts(r.hosts)
}

// Hosts are the names and addresses in the request.
func (r *Request) Hosts() []string { return r.hosts }

// Certify signs a node's certificate for what it asked, and gives it in DER.
func (a *Authority) Certify(r *Request, node mq.NodeID, now time.Time) ([]byte, error) {
	s := Subject{Cluster: a.cluster, Node: node, Hosts: r.hosts}
	if err := s.check(); err != nil {
		return nil, err
	}
	cert, err := a.certify(s, r.key, now)
	if err != nil {
		return nil, err
	}
	return cert.Raw, nil
}

// Applicant is a node that has no certificate yet: it has drawn its key, and knows its authority by the fingerprint only.
type Applicant struct {
	subject     Subject
	fingerprint Fingerprint
	key         *ecdsa.PrivateKey
	ca          *x509.Certificate // set by the handshake
}

// NewApplicant draws a key for the subject.
func NewApplicant(s Subject, authority Fingerprint) (*Applicant, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	return &Applicant{subject: s, fingerprint: authority, key: key}, nil
}

// Request is the certificate request in DER.
func (a *Applicant) Request() ([]byte, error) {
	template := &x509.CertificateRequest{}
	for _, h := range a.subject.Hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, a.key)
	if err != nil {
		return nil, mq.Errorf(mq.Internal, "make a certificate request: %w", err)
	}
	return der, nil
}

// JoinProtocol is the ALPN name of connections on which a node that has no certificate yet asks for it.
const JoinProtocol = "rustmq-join/1"

// ClientTLS is the configuration for dialling the node that has the authority's key: it has to show the authority with the fingerprint, and a
// certificate that this one signed for a node of the cluster.
func (a *Applicant) ClientTLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{JoinProtocol},
		// As in NodeClientTLS: VerifyConnection verifies everything but the host's name.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			ca, err := a.authority(state)
			if err != nil {
				return err
			}
			roots := x509.NewCertPool()
			roots.AddCert(ca)
			if err := verifyServer(state, roots); err != nil {
				return mq.Errorf(mq.ClusterAuthorizationFailed, "the certificate of who answers: %w", err)
			}
			if s, ok := nodeOf(state.PeerCertificates[0]); !ok || s.Cluster != a.subject.Cluster {
				return mq.Errorf(mq.InconsistentClusterID, "who answers is no node of cluster %s", a.subject.Cluster)
			}
			a.ca = ca
			return nil
		},
	}
}

func (a *Applicant) authority(state tls.ConnectionState) (*x509.Certificate, error) {
	for _, c := range state.PeerCertificates {
		if FingerprintOf(c.Raw) == a.fingerprint && c.IsCA {
			return c, nil
		}
	}
	return nil, mq.Errorf(mq.ClusterAuthorizationFailed, "who answers does not show the authority %s of cluster %s: it is somebody else, or somebody is in between", a.fingerprint, a.subject.Cluster)
}

// Accept checks the certificate that came and writes all into dir, the certificate last: a directory without one can be joined into again.
func (a *Applicant) Accept(dir string, der []byte) error {
	cert, err := x509.ParseCertificate(der)
	switch {
	case err != nil:
		return mq.Errorf(mq.ProtocolViolation, "the certificate that came cannot be read: %w", err)
	case a.ca == nil || cert.CheckSignatureFrom(a.ca) != nil || !a.subject.owns(cert) || !a.key.PublicKey.Equal(cert.PublicKey):
		return mq.Errorf(mq.ProtocolViolation, "the certificate that came is not that of %s, which was asked for", a.subject.URI())
	}
	if err := makeDir(dir); err != nil {
		return err
	}
	if old, err := readCert(filepath.Join(dir, CACertFile)); err == nil && !old.Equal(a.ca) {
		return mq.Errorf(mq.WrongDataDir, "%s has the %s of another authority: name another directory", dir, CACertFile)
	}
	if err := writeFile(filepath.Join(dir, CACertFile), certType, a.ca.Raw, certMode); err != nil {
		return err
	}
	return pair{cert, a.key}.write(dir, nodeKeyFile, nodeCertFile)
}
