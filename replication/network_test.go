package replication

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// network connects brokers in memory, or over loopback when it is to be fast. It knows who is at which end of a connection.
type network struct {
	mu        sync.Mutex
	loopback  bool
	delay     func() time.Duration
	listeners map[mq.NodeID]*listener
	cut       map[[2]mq.NodeID]bool // from, to: connections are broken and refused
	conns     map[*conn]struct{}
}

func newNetwork() *network {
	return &network{listeners: make(map[mq.NodeID]*listener), cut: make(map[[2]mq.NodeID]bool), conns: make(map[*conn]struct{})}
}

// conn is one end of a connection.
type conn struct {
	net.Conn
	from, to mq.NodeID
}

// peerKey is where a request's context has who sent it.
type peerKey struct{}

func peerOf(ctx context.Context) (mq.NodeID, bool) {
	id, ok := ctx.Value(peerKey{}).(mq.NodeID)
	return id, ok
}

// listener is a broker's.
type listener struct {
	node    mq.NodeID
	arrived chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.arrived:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *listener) Addr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(l.node)}
}

func (n *network) listen(node mq.NodeID) *listener {
	l := &listener{node: node, arrived: make(chan net.Conn), closed: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listeners[node] = l
	return l
}

func (n *network) dial(ctx context.Context, from, to mq.NodeID) (net.Conn, error) {
	n.mu.Lock()
	l, cut := n.listeners[to], n.cut[[2]mq.NodeID{from, to}]
	n.mu.Unlock()
	if l == nil || cut {
		return nil, net.ErrClosed
	}
	near, far, err := n.pair()
	if err != nil {
		return nil, err
	}
	out, in := &conn{near, from, to}, &conn{far, from, to}
	select {
	case l.arrived <- in:
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns[out], n.conns[in] = struct{}{}, struct{}{}
	return out, nil
}

func (n *network) pair() (near, far net.Conn, err error) {
	if !n.loopback {
		near, far = connected(n.delay)
		return near, far, nil
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = l.Close() }()
	if near, err = net.Dial("tcp", l.Addr().String()); err != nil {
		return nil, nil, err
	}
	far, err = l.Accept()
	return near, far, err
}

// break ends every connection that is to be ended.
func (n *network) breakIf(end func(from, to mq.NodeID) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		if end(c.from, c.to) {
			_ = c.Close()
			delete(n.conns, c)
		}
	}
}

// cutOff breaks connections between two brokers in both directions, and refuses new ones until heal.
func (n *network) cutOff(a, b mq.NodeID) {
	n.mu.Lock()
	n.cut[[2]mq.NodeID{a, b}], n.cut[[2]mq.NodeID{b, a}] = true, true
	n.mu.Unlock()
	n.breakIf(func(from, to mq.NodeID) bool { return from == a && to == b || from == b && to == a })
}

func (n *network) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cut)
}

// serve answers for a broker until the server is closed.
func (n *network) serve(node mq.NodeID, handler *atomic.Pointer[http.Handler]) *http.Server {
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if h := handler.Load(); h != nil {
				(*h).ServeHTTP(w, r)
				return
			}
			http.Error(w, "not registered", http.StatusServiceUnavailable)
		}),
		Protocols: protocols(), HTTP2: HTTP2(),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, c.(*conn).from)
		},
	}
	l := n.listen(node)
	go func() { _ = server.Serve(l) }()
	return server
}

func protocols() *http.Protocols {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return p
}

// client is from's way to others: the port is the node.
func (n *network) client(from mq.NodeID) *http.Client {
	return &http.Client{Transport: &http.Transport{
		Protocols: protocols(), HTTP2: HTTP2(),
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			to, err := strconv.Atoi(port)
			if err != nil {
				return nil, err
			}
			return n.dial(ctx, from, mq.NodeID(to))
		},
	}}
}

func urlOf(node mq.NodeID) string { return "http://broker:" + strconv.Itoa(int(node)) }
