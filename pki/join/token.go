package join

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/pki"
)

const (
	tokenPrefix = "rustmq-join-1."
	// MaxAddressBytes is the longest address of a token: a name of DNS with a port.
	MaxAddressBytes = 253 + 1 + 5
	secretBytes     = 32
	tokenFixed      = 16 + sha256.Size + 16 + secretBytes + 4 + 8
	tokenSum        = 4
)

// MaxTokenText is the longest token's text in bytes: what is longer is not looked at.
var MaxTokenText = len(tokenPrefix) + base64.RawURLEncoding.EncodedLen(tokenFixed+MaxAddressBytes+tokenSum)

// TokenID names a token; it is no secret.
type TokenID [16]byte

// Token lets one node in, once.
type Token struct {
	Cluster   mq.ClusterID
	Authority pki.Fingerprint
	ID        TokenID
	Secret    [secretBytes]byte
	Node      mq.NodeID
	Expires   time.Time // in whole seconds
	Address   string    // where the node with the authority's key is, host:port
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Text is the token as it is handed over. Whoever has it can become the node.
func (t *Token) Text() string {
	b := make([]byte, 0, tokenFixed+len(t.Address)+tokenSum)
	b = append(b, t.Cluster[:]...)
	b = append(b, t.Authority[:]...)
	b = append(b, t.ID[:]...)
	b = append(b, t.Secret[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(t.Node))
	b = binary.BigEndian.AppendUint64(b, uint64(t.Expires.Unix()))
	b = append(b, t.Address...)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(b)
}

// Parse reads what [Token.Text] wrote. Its errors show nothing of the text, which may be a secret with a typing error.
func Parse(text string) (*Token, error) {
	if len(text) > MaxTokenText {
		return nil, mq.Errorf(mq.InvalidRequest, "a join token has at most %d characters, this has %d", MaxTokenText, len(text))
	}
	encoded, ok := strings.CutPrefix(text, tokenPrefix)
	if !ok {
		return nil, mq.Errorf(mq.InvalidRequest, "a join token of this version begins with %q: get one with `rustmq ctl ca join-token`", tokenPrefix)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil || len(b) < tokenFixed+tokenSum || strings.ContainsAny(encoded, "\r\n") {
		return nil, mq.Errorf(mq.InvalidRequest, "the join token is cut short or mistyped: copy it whole")
	}
	body := b[:len(b)-tokenSum]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(b[len(body):]) {
		return nil, mq.Errorf(mq.InvalidRequest, "the join token is mistyped: its check sum is wrong")
	}
	t := new(Token)
	for _, field := range [][]byte{t.Cluster[:], t.Authority[:], t.ID[:], t.Secret[:]} {
		body = body[copy(field, body):]
	}
	t.Node = mq.NodeID(int32(binary.BigEndian.Uint32(body)))
	seconds := int64(binary.BigEndian.Uint64(body[4:]))
	t.Address = string(body[12:])
	if t.Cluster.IsZero() || t.Node < 1 || seconds < 0 || seconds > maxExpiry {
		return nil, mq.Errorf(mq.InvalidRequest, "the join token names no cluster, node or time that can be")
	}
	t.Expires = time.Unix(seconds, 0)
	return t, CheckAddress(t.Address)
}

// maxExpiry is the end of the year 9999: what times can be written as text.
const maxExpiry = 253402300799

// CheckAddress refuses what nobody can dial.
func CheckAddress(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host == "" || len(addr) > MaxAddressBytes {
		return mq.Errorf(mq.InvalidRequest, "%.300q is no address to dial: write host:port", addr)
	}
	if err := pki.CheckHosts([]string{host}); err != nil {
		return err
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 || strconv.Itoa(n) != port {
		return mq.Errorf(mq.InvalidRequest, "%.300q is no address to dial: its port is a number from 1 to 65535", addr)
	}
	return nil
}

// newToken draws a token's id and secret.
func newToken(random io.Reader) (*Token, error) {
	t := new(Token)
	if _, err := io.ReadFull(random, t.ID[:]); err != nil {
		return nil, mq.Errorf(mq.Internal, "draw a token: %w", err)
	}
	if _, err := io.ReadFull(random, t.Secret[:]); err != nil {
		return nil, mq.Errorf(mq.Internal, "draw a token: %w", err)
	}
	return t, nil
}
