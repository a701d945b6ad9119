package pki

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/x509"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// Identity is a node's certificate and the authority that it and its peers are judged by.
type Identity struct {
	dir     string
	subject Subject
	ca      pair // its key may be elsewhere
	roots   *x509.CertPool
	node    atomic.Pointer[pair] // read by every handshake, replaced by Refresh
}

// Open loads the certificates in dir. An empty or missing directory gets an
// authority of its own and a certificate for the subject. A node's certificate
// that nears its end or lacks a host is issued anew if the authority's key is
// there; otherwise one that has ended, or is another node's, is WrongDataDir.
func Open(dir string, s Subject, now time.Time) (*Identity, error) {
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	ca, err := openAuthority(dir, s, now)
	if err != nil {
		return nil, err
	}
	node, err := openNode(dir, ca, s, now)
	if err != nil {
		return nil, err
	}
	id := &Identity{dir: dir, subject: s, ca: ca, roots: x509.NewCertPool()}
	id.roots.AddCert(ca.cert)
	id.node.Store(&node)
	return id, nil
}

// Refresh takes up the certificate that lies in the directory by now, and issues a new one before if that nears its end and the
// authority's key is there. Handshakes that begin from then on show it; connections that there are go on. On an error, as while somebody
// else is replacing the files, the certificate from before stays. One caller at a time.
func (id *Identity) Refresh(now time.Time) (changed bool, err error) {
	node, err := openNode(id.dir, id.ca, id.subject, now)
	if err != nil {
		return false, err
	}
	if node.cert.Equal(id.node.Load().cert) {
		return false, nil
	}
	id.node.Store(&node)
	return true, nil
}

// ReadSubject tells whose certificate lies in dir: the node's, or without one the cluster of an authority that can issue it, and no
// node's then. found is false where there is neither.
func ReadSubject(dir string) (s Subject, found bool, err error) {
	cert, err := readCert(filepath.Join(dir, nodeCertFile))
	if err == nil {
		if s, found = nodeOf(cert); !found {
			err = mq.Errorf(mq.WrongDataDir, "%s in %s names no node: it needs one URI like %s", nodeCertFile, dir, Subject{Node: 1}.URI())
		}
		return s, found, err
	}
	if !notThere(err) {
		return Subject{}, false, err
	}
	ca, err := readAuthority(dir)
	if notThere(err) || err == nil && ca.key == nil {
		return Subject{}, false, nil
	}
	if err != nil {
		return Subject{}, false, err
	}
	s.Cluster, found = clusterOf(ca.cert)
	return s, found, nil
}

// openAuthority loads the authority, whose key may be elsewhere, or makes one in an empty directory.
func openAuthority(dir string, s Subject, now time.Time) (pair, error) {
	ca, err := readAuthority(dir)
	if notThere(err) {
		return makeAuthority(dir, s, now)
	}
	if err != nil {
		return pair{}, err
	}
	if cluster, ok := clusterOf(ca.cert); ok && cluster != s.Cluster {
		return pair{}, mq.Errorf(mq.WrongDataDir, "%s in %s is the authority of cluster %s, not of %s", CACertFile, dir, cluster, s.Cluster)
	}
	return ca, nil
}

// readAuthority loads the authority, whose key may be elsewhere.
func readAuthority(dir string) (pair, error) {
	cert, err := readCert(filepath.Join(dir, CACertFile))
	if err != nil {
		return pair{}, err
	}
	key, err := readKey(filepath.Join(dir, caKeyFile))
	if notThere(err) {
		return pair{cert: cert}, nil
	}
	if err != nil {
		return pair{}, err
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return pair{}, mq.Errorf(mq.WrongDataDir, "%s in %s is not the key of %s", caKeyFile, dir, CACertFile)
	}
	return pair{cert, key}, nil
}

func makeAuthority(dir string, s Subject, now time.Time) (pair, error) {
	// A key of the authority without its certificate was left behind by a start that was cut short: nobody ever trusted it.
	for _, name := range []string{nodeCertFile, nodeKeyFile} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return pair{}, mq.Errorf(mq.WrongDataDir, "%s has %s but no %s: it is half a copy; restore the whole directory", dir, name, CACertFile)
		}
	}
	ca, err := newAuthority(s.Cluster, now)
	if err != nil {
		return pair{}, err
	}
	return ca, ca.write(dir, caKeyFile, CACertFile)
}

func openNode(dir string, ca pair, s Subject, now time.Time) (pair, error) {
	cert, err := readCert(filepath.Join(dir, nodeCertFile))
	missing := notThere(err)
	if err != nil && !missing {
		return pair{}, err
	}
	if !missing && !s.owns(cert) {
		return pair{}, mq.Errorf(mq.WrongDataDir, "%s in %s is not the certificate of %s", nodeCertFile, dir, s.URI())
	}
	if !missing && ca.key == nil && cert.CheckSignatureFrom(ca.cert) != nil {
		return pair{}, mq.Errorf(mq.WrongDataDir, "%s in %s was not issued by the authority in %s beside it", nodeCertFile, dir, CACertFile)
	}
	if missing || len(s.lacks(cert)) > 0 || cert.CheckSignatureFrom(ca.cert) != nil || now.After(cert.NotAfter.Add(-renewBefore)) {
		if ca.key != nil {
			node, err := ca.issue(s, now)
			if err != nil {
				return pair{}, err
			}
			return node, node.write(dir, nodeKeyFile, nodeCertFile)
		}
		if missing || now.After(cert.NotAfter) {
			return pair{}, mq.Errorf(mq.WrongDataDir, "%s has no valid %s, and no %s to issue one", dir, nodeCertFile, caKeyFile)
		}
	}
	key, err := readKey(filepath.Join(dir, nodeKeyFile))
	if err != nil {
		return pair{}, err
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		if ca.key == nil {
			return pair{}, mq.Errorf(mq.WrongDataDir, "%s in %s is not the key of %s", nodeKeyFile, dir, nodeCertFile)
		}
		// A renewal was cut short between the key and the certificate.
		node, err := ca.issue(s, now)
		if err != nil {
			return pair{}, err
		}
		return node, node.write(dir, nodeKeyFile, nodeCertFile)
	}
	return pair{cert, key}, nil
}

// CAFile is the path of the authority's certificate: what a client has to trust.
func (id *Identity) CAFile() string { return filepath.Join(id.dir, CACertFile) }

// Fingerprint is that of the authority's certificate, which every handshake shows.
func (id *Identity) Fingerprint() Fingerprint { return FingerprintOf(id.ca.cert.Raw) }

// Issues reports whether the authority's key lies beside the node's: where it does not, somebody else issued the certificate.
func (id *Identity) Issues() bool { return id.ca.key != nil }

// NotAfter is when the node's certificate ends.
func (id *Identity) NotAfter() time.Time { return id.node.Load().cert.NotAfter }

// Lacks are the hosts of the subject that the certificate is not good for: clients that dial them do not believe it.
func (id *Identity) Lacks() []string { return id.subject.lacks(id.node.Load().cert) }

// Secret derives a secret of the node for one purpose from its key (HKDF, RFC 5869). It stays the same until the key is renewed.
func (id *Identity) Secret(purpose string) (secret [32]byte, err error) {
	der, err := x509.MarshalPKCS8PrivateKey(id.node.Load().key)
	if err != nil {
		return secret, mq.Errorf(mq.Internal, "encode the node's key: %w", err)
	}
	derived, err := hkdf.Key(sha256.New, der, nil, purpose, len(secret))
	if err != nil {
		return secret, mq.Errorf(mq.Internal, "derive a secret: %w", err)
	}
	copy(secret[:], derived)
	return secret, nil
}
