package control

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

// network is connections in memory, between nodes that are named by their addresses.
type network struct {
	mu        sync.Mutex
	listeners map[string]*listener
	links     map[*link]bool
	cuts      map[[2]mq.NodeID]chan struct{} // closed when healed
}

type listener struct {
	node    mq.NodeID
	accept  chan net.Conn
	closed  chan struct{}
	closing sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.accept:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *listener) Close() error   { l.closing.Do(func() { close(l.closed) }); return nil }
func (l *listener) Addr() net.Addr { return &net.TCPAddr{} }

// link is one end of a connection. A write never waits, as a lock may be held around it: a goroutine passes on what was written, but for while the
// two nodes are cut off from each other.
type link struct {
	net.Conn
	n        *network
	from, to mq.NodeID
	closed   chan struct{}
	closing  sync.Once
	ready    chan struct{}
	mu       sync.Mutex
	waiting  []byte
}

func (n *network) link(conn net.Conn, from, to mq.NodeID) *link {
	l := &link{Conn: conn, n: n, from: from, to: to, closed: make(chan struct{}), ready: make(chan struct{}, 1)}
	n.mu.Lock()
	n.links[l] = true
	n.mu.Unlock()
	go l.pump()
	return l
}

func (l *link) Write(b []byte) (int, error) {
	l.mu.Lock()
	l.waiting = append(l.waiting, b...)
	l.mu.Unlock()
	select {
	case <-l.closed:
		return 0, net.ErrClosed
	case l.ready <- struct{}{}:
	default:
	}
	return len(b), nil
}

func (l *link) pump() {
	for {
		select {
		case <-l.ready:
		case <-l.closed:
			return
		}
		if healed := l.n.cut(l.from, l.to); healed != nil {
			select {
			case <-healed:
			case <-l.closed:
				return
			}
		}
		l.mu.Lock()
		b := l.waiting
		l.waiting = nil
		l.mu.Unlock()
		if _, err := l.Conn.Write(b); err != nil {
			return
		}
	}
}

func (l *link) Close() error {
	l.closing.Do(func() { close(l.closed) })
	l.n.mu.Lock()
	delete(l.n.links, l)
	l.n.mu.Unlock()
	return l.Conn.Close()
}

func newNetwork() *network {
	return &network{listeners: map[string]*listener{}, links: map[*link]bool{}, cuts: map[[2]mq.NodeID]chan struct{}{}}
}

func pair(a, b mq.NodeID) [2]mq.NodeID { return [2]mq.NodeID{min(a, b), max(a, b)} }

func (n *network) cut(a, b mq.NodeID) chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cuts[pair(a, b)]
}

// part cuts two nodes off from each other, in both directions.
func (n *network) part(a, b mq.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cuts[pair(a, b)] = make(chan struct{})
}

func (n *network) heal(a, b mq.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	close(n.cuts[pair(a, b)])
	delete(n.cuts, pair(a, b))
}

// kill ends all that a node has open.
func (n *network) kill(node mq.NodeID) {
	n.mu.Lock()
	var ends []interface{ Close() error }
	for l := range n.links {
		if l.from == node || l.to == node {
			ends = append(ends, l)
		}
	}
	if l := n.listeners[addressOf(node)]; l != nil {
		ends = append(ends, l)
		delete(n.listeners, addressOf(node))
	}
	n.mu.Unlock()
	for _, e := range ends {
		_ = e.Close()
	}
}

func (n *network) listen(node mq.NodeID) *listener {
	l := &listener{node: node, accept: make(chan net.Conn), closed: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listeners[addressOf(node)] = l
	return l
}

func (n *network) dial(ctx context.Context, from mq.NodeID, address string) (net.Conn, error) {
	n.mu.Lock()
	l := n.listeners[address]
	n.mu.Unlock()
	if l == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	if healed := n.cut(from, l.node); healed != nil {
		select {
		case <-healed:
		case <-ctx.Done():
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: ctx.Err()}
		}
	}
	a, b := net.Pipe()
	near, far := n.link(a, from, l.node), n.link(b, l.node, from)
	select {
	case l.accept <- far:
		return near, nil
	case <-l.closed:
		return nil, errors.Join(near.Close(), far.Close(), &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED})
	case <-ctx.Done():
		return nil, errors.Join(near.Close(), far.Close(), &net.OpError{Op: "dial", Net: "tcp", Err: ctx.Err()})
	}
}

// plain is HTTP/2 without TLS.
func plain() *http.Protocols {
	p := &http.Protocols{}
	p.SetUnencryptedHTTP2(true)
	return p
}

type peerKey struct{}

func peerOf(ctx context.Context) (mq.NodeID, bool) {
	id, ok := ctx.Value(peerKey{}).(mq.NodeID)
	return id, ok && id >= 0
}

// group is the controllers' raft, as simple as can be: what the leader takes is in all stores that are there.
type group struct {
	mu      sync.Mutex
	stores  map[mq.NodeID]*ledger
	leader  mq.NodeID
	term    uint64
	changed chan struct{}
	broken  map[mq.NodeID]bool // cannot reach a majority
	refuse  func() error       // why a proposal is not taken
	lose    func() error       // what becomes of the answer to a proposal
	entries int
}

func (g *group) elect(leader mq.NodeID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.leader = leader
	g.term++
	close(g.changed)
	g.changed = make(chan struct{})
}

// member is the group as one controller has it.
type member struct {
	*group
	id mq.NodeID
}

func (m member) Propose(_ context.Context, data []byte) (result []byte, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.leader != m.id {
		return nil, mq.Errorf(mq.NotController, "node %d does not lead", m.id)
	}
	if m.refuse != nil {
		if err := m.refuse(); err != nil {
			return nil, err
		}
	}
	m.entries++
	for id, l := range m.stores {
		if r := l.apply(data); id == m.id {
			result = r
		}
	}
	if m.lose != nil {
		if err := m.lose(); err != nil {
			return nil, err
		}
	}
	return result, nil
}

func (m member) ReadIndex(ctx context.Context) (uint64, error) {
	m.mu.Lock()
	broken := m.broken[m.id]
	m.mu.Unlock()
	if broken {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	return m.stores[m.id].store.Image().Index, nil
}

func (m member) Leadership() (Leadership, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := Leadership{Leading: m.leader == m.id, Term: m.term, Leader: m.leader}
	if l.Leader != mq.NoNode {
		l.Address = addressOf(l.Leader)
	}
	return l, m.changed
}

// cluster is controllers 1 to 3, and brokers and others that the test starts.
type cluster struct {
	t      *testing.T
	net    *network
	group  *group
	start  time.Time
	close  map[mq.NodeID][]func() // of each node, to be called in reverse
	ctl    map[mq.NodeID]*Controller
	plans  []Plan
	logger *slog.Logger          // of clients that are started from then on; may be nil
	unfit  func(mq.NodeID) error // of brokers that are started from then on; may be nil
	old    bool                  // brokers that are started from then on know no feature level
}

func newTestCluster(t *testing.T, plans ...Plan) *cluster {
	t.Helper()
	c := &cluster{
		t: t, net: newNetwork(), start: time.Now(), close: map[mq.NodeID][]func(){}, ctl: map[mq.NodeID]*Controller{}, plans: plans,
		group: &group{stores: map[mq.NodeID]*ledger{}, leader: 1, term: 1, changed: make(chan struct{}), broken: map[mq.NodeID]bool{}},
	}
	for node := range mq.NodeID(3) {
		c.group.stores[node+1] = newLedger(t)
	}
	for node := range mq.NodeID(3) {
		c.startController(node + 1)
	}
	c.propose(formCommand())
	return c
}

func (c *cluster) propose(command *metadatapb.Command) *metadatapb.Result {
	c.t.Helper()
	data, err := member{c.group, c.group.leader}.Propose(c.t.Context(), encode(c.t, command))
	if err != nil {
		c.t.Fatal(err)
	}
	result, err := decode(data)
	if err != nil {
		c.t.Fatal(err)
	}
	return result
}

func (c *cluster) now() time.Duration { return time.Since(c.start) }

func (c *cluster) later(node mq.NodeID, f func()) { c.close[node] = append(c.close[node], f) }

// serve opens a node's RPC listener.
func (c *cluster) serve(node mq.NodeID, mux *http.ServeMux) {
	server := &http.Server{Handler: mux, Protocols: plain(), ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, peerKey{}, conn.(*link).to)
	}}
	l := c.net.listen(node)
	done := make(chan struct{})
	go func() { _ = server.Serve(l); close(done) }()
	c.later(node, func() { _ = server.Close(); <-done })
}

func (c *cluster) startController(node mq.NodeID) {
	c.t.Helper()
	controller, err := NewController(ControllerConfig{
		Node: node, Group: member{c.group, node}, Store: c.group.stores[node].store, Peer: peerOf, Now: c.now, Plans: c.plans,
		Dial: func(ctx context.Context, address string) error {
			conn, err := c.net.dial(ctx, node, address)
			if err == nil {
				err = conn.Close()
			}
			return err
		},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.ctl[node] = controller
	c.later(node, controller.Close)
	mux := http.NewServeMux()
	mux.Handle(controller.Handler())
	c.serve(node, mux)
}

// client starts a node's client; a broker with a registration.
func (c *cluster) client(node mq.NodeID, register bool) *Client {
	c.t.Helper()
	transport := &http.Transport{Protocols: plain(), HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10}, DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
		return c.net.dial(ctx, node, address)
	}}
	cfg := ClientConfig{
		Logger: c.logger, Node: node, Seeds: []string{addressOf(1), addressOf(2), addressOf(3)}, Now: c.now, Random: func() float64 { return 0.5 },
		Connect: func(address string) (connect.HTTPClient, string) {
			if !slices.Contains([]string{addressOf(1), addressOf(2), addressOf(3)}, address) {
				return nil, ""
			}
			return &http.Client{Transport: transport}, "http://" + address
		},
	}
	if register {
		incarnation := uint64(c.now()) + 1
		if unfit := c.unfit; unfit != nil {
			cfg.Unfit = func() error { return unfit(node) }
		}
		registration := registrationOf(node, incarnation)
		if c.old {
			registration.MaxFeatureLevel = 0
		}
		cfg.Registration = func() *metadatapb.RegisterBroker { return registration }
		if c.net.listeners[addressOf(node)] == nil {
			c.serve(node, http.NewServeMux())
		}
	}
	client, err := NewClient(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	c.later(node, transport.CloseIdleConnections)
	c.later(node, client.Close)
	return client
}

// broker starts a broker and waits until it is one.
func (c *cluster) broker(node mq.NodeID) *Client {
	c.t.Helper()
	client := c.client(node, true)
	if _, err := client.Registered(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	return client
}

// kill is kill -9.
func (c *cluster) kill(node mq.NodeID) {
	c.net.kill(node)
	for i := len(c.close[node]) - 1; i >= 0; i-- {
		c.close[node][i]()
	}
	delete(c.close, node)
}

func (c *cluster) end() {
	c.net.mu.Lock()
	for _, healed := range c.net.cuts {
		close(healed)
	}
	clear(c.net.cuts)
	c.net.mu.Unlock()
	for _, node := range []mq.NodeID{9, 8, 7, 6, 5, 4, 3, 2, 1} {
		c.kill(node)
	}
}

// until waits, in steps of a millisecond, and gives how long it took.
func (c *cluster) until(what string, ok func() bool) time.Duration {
	c.t.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) > time.Minute {
			c.t.Fatalf("in a minute: no %s", what)
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(began)
}
