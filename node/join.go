package node

import (
	"context"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"connectrpc.com/connect"

	joinpb "github.com/rustmq/rustmq/api/join/v1"
	"github.com/rustmq/rustmq/api/join/v1/joinpbconnect"
	"github.com/rustmq/rustmq/api/rpcerr"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/pki"
	"github.com/rustmq/rustmq/pki/join"
)

// joinCluster fetches the node's certificate with a join token, when it has none yet. A node that has one starts with it, so that the same command
// line serves for every start.
func (n *Node) joinCluster(ctx context.Context) error {
	if n.cfg.PKI.Join == "" || n.seams.Headless {
		return nil
	}
	token, err := readToken(n.cfg.PKI.Join)
	if err != nil {
		return err
	}
	if token.Node != mq.NodeID(n.cfg.Node.ID) {
		return mq.Errorf(mq.InvalidConfig, "the join token is for node %d, and this is node %d: start with --node-id %d", token.Node, n.cfg.Node.ID, token.Node)
	}
	dir := n.cfg.PKIDir()
	switch s, found, err := pki.ReadSubject(dir); {
	case err != nil:
		return err
	case found && s.Cluster != token.Cluster:
		return mq.Errorf(mq.WrongDataDir, "%s has a certificate of cluster %s, and the join token is for cluster %s: name another directory", dir, s.Cluster, token.Cluster)
	case found:
		return nil
	}
	dial := func(ctx context.Context, addr string) (net.Conn, error) {
		return (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", addr)
	}
	if err := join.Join(ctx, token, dir, n.cfg.hosts(), dial); err != nil {
		return mq.Wrapf(err, "join cluster %s", token.Cluster)
	}
	n.logger.Info("got a certificate", "cluster", token.Cluster.String(), "from", token.Address, "dir", dir)
	return nil
}

// readToken reads a token, or @FILE that holds one.
func readToken(text string) (*join.Token, error) {
	if path, ok := strings.CutPrefix(text, "@"); ok {
		info, err := os.Stat(path)
		if err == nil && info.Size() > int64(join.MaxTokenText)+2 {
			return nil, mq.Errorf(mq.InvalidConfig, "%s has %d bytes: it is no join token", path, info.Size())
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, mq.Errorf(mq.InvalidConfig, "read the join token: %w", err)
		}
		text = strings.TrimRight(string(content), "\r\n")
	}
	return join.Parse(text)
}

// openJoin is what the node serves to others about joining: where the authority's key is, tokens for nodes, and a door for who has one.
func (n *Node) openJoin() (*http.ServeMux, *join.Door) {
	mux, dir := http.NewServeMux(), n.cfg.PKI.AuthorityDir
	if dir == "" {
		dir = n.cfg.PKIDir()
	}
	if dir == n.cfg.PKIDir() && !n.certs.Issues() {
		return mux, nil
	}
	server := join.NewServer(join.Config{
		Authority: func() (*pki.Authority, error) { return pki.OpenAuthority(dir, time.Now()) },
		Tokens:    join.NewMemory(), Peer: Peer, Random: n.seams.Random, Now: time.Now, Logger: n.logger,
	})
	mux.Handle(joinpbconnect.NewTokenServiceHandler(server, connect.WithReadMaxBytes(join.MaxMessageBytes)))
	return mux, join.NewDoor(server)
}

// TokenRequest says for whom a join token is to be.
type TokenRequest struct {
	Node    mq.NodeID
	TTL     time.Duration // in whole milliseconds, from a second to [join.MaxTTL]
	Server  string        // the listener for nodes, host:port, of the node that has the authority's key
	Address string        // where the new node finds that
}

// CreateToken has a join token made. It speaks to the cluster as the node whose certificate lies in dir: who may read that node's key may let others in.
func CreateToken(ctx context.Context, dir string, r TokenRequest) (*join.Token, error) {
	s, found, err := pki.ReadSubject(dir)
	if err == nil && (!found || s.Node == 0) {
		err = mq.Errorf(mq.WrongDataDir, "there is no node's certificate in %s: name the directory of a node that runs on this machine", dir)
	}
	if err != nil {
		return nil, err
	}
	certs, err := pki.Open(dir, s, time.Now())
	if err != nil {
		return nil, err
	}
	d := newDialer(certs, machineNetwork{}, func(mq.NodeID) string { return r.Server })
	defer d.close()
	client := joinpbconnect.NewTokenServiceClient(d.client(mq.NoNode, trafficControl), baseURL(s.Node), connect.WithReadMaxBytes(join.MaxMessageBytes))
	answer, err := client.CreateToken(ctx, connect.NewRequest(&joinpb.CreateTokenRequest{
		NodeId: int32(r.Node), TtlMs: r.TTL.Milliseconds(), Address: r.Address,
	}))
	if err != nil {
		return nil, mq.Wrapf(rpcerr.FromConnect(err), "ask the node at %s for a join token", r.Server)
	}
	return join.Parse(answer.Msg.GetToken())
}
