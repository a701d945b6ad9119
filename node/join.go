package node

import (
	"context"
	"net"
	"net/http"
	"os"
	"slices"
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

// openJoin is what the node serves to others about joining: tokens for nodes, and a door for who has one.
func (n *Node) openJoin() (*http.ServeMux, *join.Door) {
	n.tokens = &joinTokens{early: join.NewMemory(), client: n.client.Load}
	cfg := join.Config{
		Cluster: n.id.Cluster, Fingerprint: n.certs.Fingerprint(), Tokens: n.tokens,
		Peer: Peer, Random: n.seams.Random, Now: time.Now, Logger: n.logger,
	}
	dir := n.cfg.PKI.AuthorityDir
	if dir == "" && n.certs.Issues() {
		dir = n.cfg.PKIDir()
	}
	if dir != "" {
		cfg.Authority = func() (*pki.Authority, error) { return pki.OpenAuthority(dir, time.Now()) }
	} else {
		cfg.Elsewhere = n.admitElsewhere
	}
	server, mux := join.NewServer(cfg), http.NewServeMux()
	mux.Handle(joinpbconnect.NewTokenServiceHandler(server, connect.WithReadMaxBytes(join.MaxMessageBytes)))
	return mux, join.NewDoor(server)
}

// shareTokens has the join tokens that were made before there was a cluster kept by it.
func (n *Node) shareTokens(ctx context.Context) error {
	if n.tokens == nil {
		return nil
	}
	if err := n.tokens.share(ctx, time.Now()); err != nil {
		n.logger.Warn("a join token that was made before the controllers were reached is not kept by them", "error", err)
	}
	return nil
}

// admitTimeout bounds how long one node is asked to let a new one in, dialling it included.
const admitTimeout = tokenTimeout + time.Second

// admitElsewhere has a node that has the authority's key let a new one in. Nobody knows who has it: one after the other is asked.
func (n *Node) admitElsewhere(ctx context.Context, req *joinpb.JoinRequest) (certificate []byte, err error) {
	nobody := mq.Errorf(mq.UnsupportedVersion, "no node that is reached has the authority's key: start one with it (pki.authority_dir), or use `rustmq ctl ca node`")
	for _, node := range n.others() {
		certificate, err := n.admitAt(ctx, node, req)
		switch mq.CodeOf(err) {
		case mq.UnsupportedVersion, mq.NetworkException, mq.ShuttingDown: // it has no key, or is not there
			n.logger.Debug("a node lets nobody in", "node", node, "error", err)
		default:
			return certificate, err
		}
	}
	return nil, nobody
}

func (n *Node) admitAt(ctx context.Context, node mq.NodeID, req *joinpb.JoinRequest) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, admitTimeout)
	defer cancel()
	client := joinpbconnect.NewTokenServiceClient(byNode{n.dialer, trafficControl}, baseURL(node), connect.WithReadMaxBytes(join.MaxMessageBytes))
	answer, err := client.Admit(ctx, connect.NewRequest(&joinpb.AdmitRequest{Join: req}))
	if err != nil {
		return nil, rpcerr.FromConnect(err)
	}
	return answer.Msg.GetCertificate(), nil
}

// others are the nodes of the cluster that this one knows, but itself.
func (n *Node) others() []mq.NodeID {
	var nodes []mq.NodeID
	add := func(id mq.NodeID) {
		if id != n.id.Node && !slices.Contains(nodes, id) {
			nodes = append(nodes, id)
		}
	}
	for _, c := range n.controllers {
		add(c.Node)
	}
	if img := n.image(); img != nil {
		for _, c := range img.Controllers() {
			add(c.Node)
		}
		for _, b := range img.Brokers() {
			add(b.ID)
		}
	}
	return nodes
}

// TokenRequest says for whom a join token is to be.
type TokenRequest struct {
	Node    mq.NodeID
	TTL     time.Duration // in whole milliseconds, from a second to [join.MaxTTL]
	Server  string        // the listener for nodes, host:port, of any node
	Address string        // where the new node finds that, or the one of any other node
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
	d := newDialer(certs, machineNetwork{}, func(mq.NodeID) []string { return []string{r.Server} })
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
