package node

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/pki"
)

// traffic is a kind of what nodes say to each other. Each has a connection of its own, so that none waits behind another.
type traffic string

// The kinds of traffic.
const (
	trafficRaft        traffic = "raft"
	trafficSnapshot    traffic = "snapshot"
	trafficReplication traffic = "replication"
	trafficControl     traffic = "control"
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
	// address is where a node is to be found now, host:port; "" when that is not known.
	address func(mq.NodeID) string

	mu      sync.Mutex
	clients map[dialled]*http.Client
	closed  bool
}

type dialled struct {
	node    mq.NodeID
	traffic traffic
}

func newDialer(certs *pki.Identity, network Network, address func(mq.NodeID) string) *dialer {
	return &dialer{certs: certs, network: network, address: address, clients: make(map[dialled]*http.Client)}
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
		DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return d.dial(ctx, node) },
		TLSClientConfig: d.certs.NodeClientTLS(node), TLSHandshakeTimeout: rpcHandshakeTimeout,
		Protocols: protocols, HTTP2: config, IdleConnTimeout: dialKeep, DisableCompression: true,
	}
}

func (d *dialer) dial(ctx context.Context, node mq.NodeID) (net.Conn, error) {
	d.mu.Lock()
	closed := d.closed
	d.mu.Unlock()
	if closed {
		return nil, mq.Errorf(mq.ShuttingDown, "dial node %d: this node is closing", node)
	}
	addr := d.address(node)
	if addr == "" {
		return nil, mq.Errorf(mq.NetworkException, "dial node %d: it is not known where it is", node)
	}
	conn, err := d.network.Dial(ctx, addr)
	if err != nil {
		return nil, mq.Errorf(mq.NetworkException, "dial node %d: %w", node, err)
	}
	return conn, nil
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
