package pki

import (
	"crypto/ecdsa"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// The files of a directory.
const (
	CACertFile   = "ca.crt"
	caKeyFile    = "ca.key"
	nodeCertFile = "node.crt"
	nodeKeyFile  = "node.key"
)

// Identity is a node's certificate and the authority that it and its peers are judged by.
type Identity struct {
	dir  string
	ca   *x509.Certificate
	node pair
}

// Open loads the certificates in dir. An empty or missing directory gets an
// authority of its own and a certificate for the subject. A node's certificate
// that nears its end or lacks a host is issued anew if the authority's key is
// there; otherwise one that has ended, or is another node's, is WrongDataDir.
func Open(dir string, s Subject, now time.Time) (*Identity, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, mq.Errorf(mq.KafkaStorageError, "make the directory of certificates %s: %w", dir, err)
	}
	ca, err := openAuthority(dir, s, now)
	if err != nil {
		return nil, err
	}
	node, err := openNode(dir, ca, s, now)
	if err != nil {
		return nil, err
	}
	return &Identity{dir: dir, ca: ca.cert, node: node}, nil
}

// openAuthority loads the authority, whose key may be elsewhere, or makes one in an empty directory.
func openAuthority(dir string, s Subject, now time.Time) (pair, error) {
	cert, err := readCert(filepath.Join(dir, CACertFile))
	if errors.Is(err, fs.ErrNotExist) {
		return makeAuthority(dir, s, now)
	}
	if err != nil {
		return pair{}, err
	}
	key, err := readKey(filepath.Join(dir, caKeyFile))
	if errors.Is(err, fs.ErrNotExist) {
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
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return pair{}, err
	}
	if !missing && !s.owns(cert) {
		return pair{}, mq.Errorf(mq.WrongDataDir, "%s in %s is not the certificate of %s", nodeCertFile, dir, s.URI())
	}
	if missing || !s.fits(cert) || now.After(cert.NotAfter.Add(-renewBefore)) {
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

// ServerTLS is the configuration of a listener for clients: TLS 1.3, and a client may show a certificate of the same authority.
func (id *Identity) ServerTLS() *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(id.ca)
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{{Certificate: [][]byte{id.node.cert.Raw, id.ca.Raw}, PrivateKey: id.node.key, Leaf: id.node.cert}},
		ClientCAs:    pool,
		ClientAuth:   tls.VerifyClientCertIfGiven,
	}
}

// write puts the key, then the certificate into dir, each whole or not at all.
func (p pair) write(dir, keyName, certName string) error {
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		return mq.Errorf(mq.Internal, "encode %s: %w", keyName, err)
	}
	if err := writeFile(filepath.Join(dir, keyName), "PRIVATE KEY", der, 0o600); err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, certName), "CERTIFICATE", p.cert.Raw, 0o644)
}

func writeFile(path, kind string, der []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path+".tmp", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
	if err != nil {
		return mq.Errorf(mq.KafkaStorageError, "write %s: %w", path, err)
	}
	err = pem.Encode(f, &pem.Block{Type: kind, Bytes: der})
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(path+".tmp", path)
	}
	if err != nil {
		return mq.Errorf(mq.KafkaStorageError, "write %s: %w", path, err)
	}
	return nil
}

func readPEM(path, kind string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, mq.Errorf(mq.KafkaStorageError, "read %s: %w", path, err)
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != kind {
		return nil, mq.Errorf(mq.WrongDataDir, "%s holds no PEM block %q", path, kind)
	}
	return block.Bytes, nil
}

func readCert(path string) (*x509.Certificate, error) {
	der, err := readPEM(path, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, mq.Errorf(mq.WrongDataDir, "%s is not a certificate: %w", path, err)
	}
	return cert, nil
}

func readKey(path string) (*ecdsa.PrivateKey, error) {
	der, err := readPEM(path, "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	key, ok := parsed.(*ecdsa.PrivateKey)
	if err != nil || !ok {
		return nil, mq.Errorf(mq.WrongDataDir, "%s is not an ECDSA key (PKCS #8)", path)
	}
	return key, nil
}

// Secret derives a secret of the node for one purpose from its key (HKDF, RFC 5869). It stays the same until the key is renewed.
func (id *Identity) Secret(purpose string) (secret [32]byte, err error) {
	der, err := x509.MarshalPKCS8PrivateKey(id.node.key)
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
