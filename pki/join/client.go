package join

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect"

	joinpb "github.com/rustmq/rustmq/api/join/v1"
	"github.com/rustmq/rustmq/api/join/v1/joinpbconnect"
	"github.com/rustmq/rustmq/api/rpcerr"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/pki"
)

// timeout bounds a whole attempt to join.
const timeout = 15 * time.Second

// Dial opens a plain connection to host:port.
type Dial func(ctx context.Context, address string) (net.Conn, error)

// Join uses the token to fetch a node's certificate, good for the hosts, and writes it into dir together with the authority's. It tries once.
// When the answer is lost the token is used up and dir has no certificate: another token is needed.
func Join(ctx context.Context, t *Token, dir string, hosts []string, dial Dial) error {
	applicant, err := pki.NewApplicant(pki.Subject{Cluster: t.Cluster, Node: t.Node, Hosts: hosts}, t.Authority)
	if err != nil {
		return err
	}
	request, err := applicant.Request()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := dial(ctx, t.Address)
	if err != nil {
		return mq.Errorf(mq.NetworkException, "reach the node that lets others in at %s: %w", t.Address, err)
	}
	secure := tls.Client(conn, applicant.ClientTLS())
	defer secure.Close()
	// The secret is told below, after the handshake has shown the authority.
	if err := secure.HandshakeContext(ctx); err != nil {
		return mq.Wrapf(err, "shake hands with %s", t.Address)
	}
	transport := &http.Transport{
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return secure, nil },
		DisableKeepAlives: true,
	}
	// To the library it is plain HTTP/1.1: the connection beneath is TLS already.
	client := joinpbconnect.NewJoinServiceClient(&http.Client{Transport: transport}, "http://join", connect.WithReadMaxBytes(MaxMessageBytes))
	answer, err := client.Join(ctx, connect.NewRequest(&joinpb.JoinRequest{
		TokenId: t.ID[:], Secret: t.Secret[:], NodeId: int32(t.Node), CertificateRequest: request,
	}))
	if err != nil {
		return mq.Wrapf(rpcerr.FromConnect(err), "ask %s for the certificate of node %d", t.Address, t.Node)
	}
	return applicant.Accept(dir, answer.Msg.GetCertificate())
}
