package pki

import (
	"crypto/tls"
	"crypto/x509"
	"slices"

	"github.com/rustmq/rustmq/mq"
)

// certificate is what a handshake shows: the node's certificate alone. Who is to believe it has the authority's, and would check the signature once more
// for each copy that is shown.
func (id *Identity) certificate() *tls.Certificate {
	node := id.node.Load()
	return &tls.Certificate{Certificate: [][]byte{node.cert.Raw}, PrivateKey: node.key, Leaf: node.cert}
}

// withAuthority is certificate with the authority's, for who knows only the fingerprint of that.
func (id *Identity) withAuthority() *tls.Certificate {
	c := id.certificate()
	c.Certificate = append(c.Certificate, id.ca.cert.Raw)
	return c
}

// serverTLS is what the listeners have in common: TLS 1.3, and the certificate of the moment.
func (id *Identity) serverTLS() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return id.certificate(), nil },
		ClientCAs:      id.roots,
	}
}

// ServerTLS is the configuration of a listener for clients: TLS 1.3, and a client may show a certificate of the same authority.
func (id *Identity) ServerTLS() *tls.Config {
	c := id.serverTLS()
	c.ClientAuth = tls.VerifyClientCertIfGiven
	return c
}

// StreamProtocol is the ALPN name of connections between nodes that carry a stream of replication, and nothing of HTTP.
const StreamProtocol = "rustmq-replication/1"

// NodeServerTLS is the configuration of a listener that only nodes of the cluster may speak to: mutual TLS 1.3, HTTP/2 or [StreamProtocol], and the other side's
// certificate is of the cluster's authority and names a node of it. Each connection is judged anew: no sessions are resumed.
func (id *Identity) NodeServerTLS() *tls.Config {
	c := id.serverTLS()
	c.ClientAuth = tls.RequireAndVerifyClientCert
	c.NextProtos = []string{"h2", StreamProtocol}
	c.SessionTicketsDisabled = true
	c.VerifyConnection = func(state tls.ConnectionState) error {
		_, err := id.verifiedNode(state)
		return err
	}
	return c
}

// JoinServerTLS is [Identity.NodeServerTLS], and beside it lets in who asks for [JoinProtocol] and nothing else. Whoever serves the
// connections tells the two apart by the protocol that was agreed on: on those there is no certificate, and h2 is not spoken.
func (id *Identity) JoinServerTLS() *tls.Config {
	nodes, joins := id.NodeServerTLS(), id.serverTLS()
	joins.NextProtos = []string{JoinProtocol}
	joins.SessionTicketsDisabled = true
	joins.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return id.withAuthority(), nil }
	nodes.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if slices.Equal(hello.SupportedProtos, joins.NextProtos) {
			return joins, nil
		}
		return nil, nil // go on with the configuration that there is
	}
	return nodes
}

// NodeClientTLS is the configuration for dialling the node want of the same cluster: whoever answers has to prove that he is it, by his
// certificate's URI; the name and address that were dialled mean nothing. With want [mq.NoNode] any node of the cluster will do.
func (id *Identity) NodeClientTLS(want mq.NodeID) *tls.Config {
	return &tls.Config{
		MinVersion:           tls.VersionTLS13,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return id.certificate(), nil },
		NextProtos:           []string{"h2"},
		// The library would compare host names. VerifyConnection verifies everything else, and the name that counts.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			if err := verifyServer(state, id.roots); err != nil {
				return mq.Errorf(mq.ClusterAuthorizationFailed, "the certificate of who answers for node %d: %w", want, err)
			}
			got, err := id.nodeOfCluster(state.PeerCertificates[0])
			if err == nil && want != mq.NoNode && got != want {
				err = mq.Errorf(mq.ClusterAuthorizationFailed, "node %d answers where node %d should: is an address wrong?", got, want)
			}
			return err
		},
	}
}

// ClientTLS is the configuration for what speaks to the cluster's brokers out of this node's process for others: it shows no certificate, so that it may do what anybody may, and believes
// any node of the cluster, under whatever name it was dialled.
func (id *Identity) ClientTLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		// The library would compare host names. VerifyConnection verifies everything else.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			if err := verifyServer(state, id.roots); err != nil {
				return mq.Errorf(mq.ClusterAuthorizationFailed, "the certificate of a broker: %w", err)
			}
			_, err := id.nodeOfCluster(state.PeerCertificates[0])
			return err
		},
	}
}

// verifyServer checks the chain that a server showed, without its host's name.
func verifyServer(state tls.ConnectionState, roots *x509.CertPool) error {
	if len(state.PeerCertificates) == 0 {
		return mq.Errorf(mq.ClusterAuthorizationFailed, "it showed none")
	}
	between := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	return err
}

// verifiedNode is who is at the other end, when the library has verified his chain.
func (id *Identity) verifiedNode(state tls.ConnectionState) (mq.NodeID, error) {
	if len(state.VerifiedChains) == 0 {
		return mq.NoNode, mq.Errorf(mq.ClusterAuthorizationFailed, "no certificate of the cluster's authority was shown: only nodes may speak here")
	}
	return id.nodeOfCluster(state.PeerCertificates[0])
}

func (id *Identity) nodeOfCluster(cert *x509.Certificate) (mq.NodeID, error) {
	s, ok := nodeOf(cert)
	switch {
	case !ok:
		return mq.NoNode, mq.Errorf(mq.ClusterAuthorizationFailed, "the certificate of %q names no node: only nodes may speak here", cert.Subject.CommonName)
	case s.Cluster != id.subject.Cluster:
		return mq.NoNode, mq.Errorf(mq.InconsistentClusterID, "node %d of cluster %s is not of cluster %s", s.Node, s.Cluster, id.subject.Cluster)
	}
	return s.Node, nil
}

// PeerNode is the node at the other end of a connection that was made under [Identity.NodeServerTLS], which lets no other in.
func PeerNode(state tls.ConnectionState) (mq.NodeID, bool) {
	if !state.HandshakeComplete || len(state.VerifiedChains) == 0 {
		return mq.NoNode, false
	}
	s, ok := nodeOf(state.PeerCertificates[0])
	if !ok {
		return mq.NoNode, false
	}
	return s.Node, true
}
