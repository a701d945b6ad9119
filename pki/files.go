package pki

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/rustmq/rustmq/mq"
)

// The files of a directory.
const (
	CACertFile   = "ca.crt"
	caKeyFile    = "ca.key"
	nodeCertFile = "node.crt"
	nodeKeyFile  = "node.key"
)

const (
	certType = "CERTIFICATE"
	keyType  = "PRIVATE KEY"

	keyMode  fs.FileMode = 0o600
	certMode fs.FileMode = 0o644
	dirMode  fs.FileMode = 0o700

	// foreignKeyBits are what a key's mode must not have: nobody but its owner writes it, and only its group, by which
	// orchestrators hand keys to processes, may read it beside him.
	foreignKeyBits fs.FileMode = 0o037
	// foreignDirBits: whoever may write a directory may put another key into it.
	foreignDirBits fs.FileMode = 0o022

	// maxFileBytes is far more than any certificate or key has.
	maxFileBytes = 1 << 20
)

// makeDir makes a directory of keys, or checks that the one that is there is nobody else's to write.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return mq.Errorf(mq.KafkaStorageError, "make the directory of certificates %s: %w", dir, err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return mq.Errorf(mq.KafkaStorageError, "look at the directory of certificates %s: %w", dir, err)
	}
	if info.Mode().Perm()&foreignDirBits != 0 {
		return mq.Errorf(mq.WrongDataDir, "others may write the directory of certificates %s (mode %#o): chmod go-w %s", dir, info.Mode().Perm(), dir)
	}
	return nil
}

func notThere(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// write puts the key, then the certificate into dir, each whole or not at all.
func (p pair) write(dir, keyName, certName string) error {
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		return mq.Errorf(mq.Internal, "encode %s: %w", keyName, err)
	}
	if err := writeFile(filepath.Join(dir, keyName), keyType, der, keyMode); err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, certName), certType, p.cert.Raw, certMode)
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
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return mq.Errorf(mq.KafkaStorageError, "write %s: %w", path, err)
	}
	return nil
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func readPEM(path, kind string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, mq.Errorf(mq.KafkaStorageError, "read %s: %w", path, err)
	}
	if kind == keyType && info.Mode().Perm()&foreignKeyBits != 0 {
		return nil, mq.Errorf(mq.WrongDataDir, "others may read or write the key %s (mode %#o): chmod 600 %s", path, info.Mode().Perm(), path)
	}
	if info.Size() > maxFileBytes {
		return nil, mq.Errorf(mq.WrongDataDir, "%s has %d bytes: it is neither a certificate nor a key", path, info.Size())
	}
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
	der, err := readPEM(path, certType)
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
	der, err := readPEM(path, keyType)
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
