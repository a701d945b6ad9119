package pki

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/rustmq/rustmq/mq"
)

const (
	uriScheme = "rustmq"
	// MaxHosts is how many names and addresses a certificate may have: a node's interfaces, not a directory of names.
	MaxHosts = 32
	// maxHostBytes is the longest name that DNS has.
	maxHostBytes = 253
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
	return &url.URL{Scheme: uriScheme, Host: s.Cluster.String(), Path: fmt.Sprintf("/node/%d", s.Node)}
}

// authorityURI is the name in an authority's certificate, by which it is known whose it is. It makes nobody a node.
func authorityURI(cluster mq.ClusterID) *url.URL {
	return &url.URL{Scheme: uriScheme, Host: cluster.String(), Path: "/authority"}
}

// hostName is a name of DNS: labels of letters, digits, dashes and, as some networks have it, underscores.
var hostName = regexp.MustCompile(`^([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$`)

// check refuses what no certificate is issued for.
func (s Subject) check() error {
	if s.Node < 1 {
		return mq.Errorf(mq.InvalidRequest, "node id %d: it must be at least 1", s.Node)
	}
	return CheckHosts(s.Hosts)
}

// CheckHosts refuses what is neither a host's name nor an IP address, and more than [MaxHosts].
func CheckHosts(hosts []string) error {
	if len(hosts) > MaxHosts {
		return mq.Errorf(mq.InvalidRequest, "%d hosts: a certificate may have %d", len(hosts), MaxHosts)
	}
	for _, h := range hosts {
		if net.ParseIP(h) == nil && (len(h) > maxHostBytes || !hostName.MatchString(h)) {
			return mq.Errorf(mq.InvalidRequest, "%.300q is neither a host's name nor an IP address (without port and brackets)", h)
		}
	}
	return nil
}

// lacks are the hosts that the certificate is not good for.
func (s Subject) lacks(cert *x509.Certificate) []string {
	var out []string
	for _, h := range s.Hosts {
		if cert.VerifyHostname(h) != nil {
			out = append(out, h)
		}
	}
	return out
}

// owns reports whether it is a certificate of the subject's node.
func (s Subject) owns(cert *x509.Certificate) bool {
	named, ok := nodeOf(cert)
	return ok && named.Cluster == s.Cluster && named.Node == s.Node
}

// nodeOf is the node that a certificate names: by its only URI of ours, written the one way that it can be written.
func nodeOf(cert *x509.Certificate) (Subject, bool) {
	uri, ok := ourURI(cert)
	if !ok {
		return Subject{}, false
	}
	text, ok := strings.CutPrefix(uri.Path, "/node/")
	if !ok {
		return Subject{}, false
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 1 {
		return Subject{}, false
	}
	cluster, err := mq.ParseClusterID(uri.Host)
	if err != nil {
		return Subject{}, false
	}
	s := Subject{Cluster: cluster, Node: mq.NodeID(n)}
	return s, s.URI().String() == uri.String()
}

// clusterOf is the cluster that an authority's certificate names.
func clusterOf(ca *x509.Certificate) (mq.ClusterID, bool) {
	uri, ok := ourURI(ca)
	if !ok || !ca.IsCA {
		return mq.ClusterID{}, false
	}
	cluster, err := mq.ParseClusterID(uri.Host)
	return cluster, err == nil && authorityURI(cluster).String() == uri.String()
}

func ourURI(cert *x509.Certificate) (*url.URL, bool) {
	ours := slices.DeleteFunc(slices.Clone(cert.URIs), func(u *url.URL) bool { return u.Scheme != uriScheme })
	if len(ours) != 1 {
		return nil, false
	}
	return ours[0], true
}

// Fingerprint is the SHA-256 sum of a certificate.
type Fingerprint [sha256.Size]byte

// FingerprintOf is that of a certificate in DER.
func FingerprintOf(der []byte) Fingerprint { return sha256.Sum256(der) }

// String is the sum in lower-case hex, as other tools print it but for their colons.
func (f Fingerprint) String() string { return hex.EncodeToString(f[:]) }
