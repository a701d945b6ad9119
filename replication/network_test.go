package replication

import (
	"context"
	"net"
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

// serve answers for a broker, by whatever follower it has, until the listener is closed, and then waits for the streams to end.
func (n *network) serve(node mq.NodeID, follower *atomic.Pointer[Follower]) (stop func()) {
	l := n.listen(node)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f := follower.Load()
			if f == nil { // not registered
				_ = c.Close()
				continue
			}
			serving.Go(func() { f.Serve(c, c.(*conn).from) })
		}
	})
	return func() {
		_ = l.Close()
		serving.Wait()
	}
}

// dialer is from's way to another.
func (n *network) dialer(from, to mq.NodeID) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) { return n.dial(ctx, from, to) }
}
