package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/pki"
	"github.com/rustmq/rustmq/replication"
)

// traffic is a kind of what nodes say to each other over HTTP/2. Each has a connection of its own, so that none waits behind another. Beside them is
// [dialer.stream].
type traffic string

// The kinds of traffic.
const (
	trafficRaft     traffic = "raft"
	trafficSnapshot traffic = "snapshot"
	trafficControl  traffic = "control"
)

const (
	// dialTimeout bounds the way to a peer that does not answer, the handshake not included.
	dialTimeout = 2 * time.Second
	// dialKeep is how long a connection without a stream is kept.
	dialKeep = time.Minute
)

// dialer makes the connections to the other nodes. A connection proves to be the node's that was asked for, whatever the address is.
type dialer struct {
	certs   *pki.Identity
	network Network
	// addresses are where a node may be found now, host:port, the likeliest first; none when that is not known.
	addresses func(mq.NodeID) []string

	mu      sync.Mutex
	clients map[dialled]*http.Client
	reached map[mq.NodeID]string // where each node was when it was last connected to
	closed  bool
}

type dialled struct {
	node    mq.NodeID
	traffic traffic
}

func newDialer(certs *pki.Identity, network Network, addresses func(mq.NodeID) []string) *dialer {
	return &dialer{certs: certs, network: network, addresses: addresses, clients: make(map[dialled]*http.Client), reached: make(map[mq.NodeID]string)}
}

// baseURL is what a node's services are called under. It names the node and no address, which may change from one connection to the next.
func baseURL(node mq.NodeID) string { return fmt.Sprintf("https://%s%d", nodeHost, node) }

// nodeHost begins the host of a [baseURL].
const nodeHost = "node-"

// client is the one for a kind of traffic with a node, under [baseURL]: it has at most one connection, which is made when it is needed. It
// has no timeout of its own, for streams live long.
func (d *dialer) client(node mq.NodeID, kind traffic) *http.Client {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := dialled{node, kind}
	c := d.clients[key]
	if c == nil {
		c = &http.Client{Transport: d.transport(node)}
		d.clients[key] = c
	}
	return c
}

func (d *dialer) transport(node mq.NodeID) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	config := rpcHTTP2()
	config.StrictMaxConcurrentRequests = true // a second connection would take this one's order, and its meaning, away
	return &http.Transport{
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.dial(ctx, node, d.certs.NodeClientTLS(node), nil)
		},
		Protocols: protocols, HTTP2: config, IdleConnTimeout: dialKeep, DisableCompression: true,
	}
}

// errNowhere is the cause of a dial that had nowhere to go to, as net has causes: nothing was sent.
var errNowhere = &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("it is not known where it is")}

// dial connects with a node, wherever it is: at the first of its addresses at which it proves to be that node. With below, TLS goes over what that makes of
// the connection.
func (d *dialer) dial(ctx context.Context, node mq.NodeID, config *tls.Config, below func(net.Conn) net.Conn) (net.Conn, error) {
	d.mu.Lock()
	closed := d.closed
	d.mu.Unlock()
	if closed {
		return nil, mq.Errorf(mq.ShuttingDown, "dial node %d: this node is closing", node)
	}
	candidates := d.candidates(node)
	if len(candidates) == 0 {
		return nil, mq.Errorf(mq.NetworkException, "dial node %d: %w", node, errNowhere)
	}
	var errs []error
	for _, addr := range candidates {
		conn, err := d.dialAt(ctx, node, addr, config, below)
		if err == nil {
			d.mu.Lock()
			d.reached[node] = addr
			d.mu.Unlock()
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// dialAt connects with a node at an address, and shakes hands.
func (d *dialer) dialAt(ctx context.Context, node mq.NodeID, addr string, config *tls.Config, below func(net.Conn) net.Conn) (net.Conn, error) {
	conn, err := d.network.Dial(ctx, addr)
	if err != nil {
		return nil, mq.Errorf(mq.NetworkException, "dial node %d: %w", node, err)
	}
	if below != nil {
		conn = below(conn)
	}
	ctx, cancel := context.WithTimeout(ctx, rpcHandshakeTimeout)
	defer cancel()
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, mq.Wrapf(err, "dial node %d at %s", node, addr)
	}
	return secure, nil
}

// candidates are where a node may be, the place where it was last reached first.
func (d *dialer) candidates(node mq.NodeID) []string {
	all := d.addresses(node)
	d.mu.Lock()
	defer d.mu.Unlock()
	if at := slices.Index(all, d.reached[node]); at > 0 {
		all = append([]string{all[at]}, slices.Delete(slices.Clone(all), at, at+1)...)
	}
	return all
}

// at is where a node was last reached, or else probably is; "" when that is not known.
func (d *dialer) at(node mq.NodeID) string {
	if all := d.candidates(node); len(all) > 0 {
		return all[0]
	}
	return ""
}

// stream makes a connection of its own for a stream of replication.
func (d *dialer) stream(ctx context.Context, node mq.NodeID) (net.Conn, error) {
	config := d.certs.NodeClientTLS(node)
	config.NextProtos = []string{pki.StreamProtocol}
	return d.dial(ctx, node, config, replication.Gather)
}

// close lets go of connections without a stream, and makes no new ones. Whoever has a stream ends it before.
func (d *dialer) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for _, c := range d.clients {
		c.CloseIdleConnections()
	}
}

// byNode is an HTTP client that finds the connection by the node that a URL names, see [baseURL].
type byNode struct {
	dialer *dialer
	kind   traffic
}

// Do implements connect.HTTPClient.
func (b byNode) Do(req *http.Request) (*http.Response, error) {
	id, ok := strings.CutPrefix(req.URL.Host, nodeHost)
	node, err := strconv.ParseInt(id, 10, 32)
	if !ok || err != nil {
		return nil, mq.Errorf(mq.Internal, "%q names no node", req.URL.Host)
	}
	return b.dialer.client(mq.NodeID(node), b.kind).Do(req)
}
