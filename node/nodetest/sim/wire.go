package sim

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	// wireWindow is what may be on its way in one direction of a connection, in bytes.
	wireWindow = 1 << 20
	// connectTimeout is after how long without an answer a connection is given up.
	connectTimeout = 2 * time.Second
	usualJitter    = time.Millisecond
)

// network carries what nodes say to each other, and knows who reaches whom. Hosts are numbered like the nodes; host 0 is all clients.
type network struct {
	mu        sync.Mutex
	rand      *rand.Rand
	delay     time.Duration // at least, one way
	jitter    time.Duration // at most this much more
	loss      float64       // of clients' packets
	cut       map[way]bool
	silent    map[int]bool // hosts that are off or paused: nothing comes or goes
	listeners map[string]*listener
	conns     map[*conn]bool
}

// way is a direction between two hosts.
type way struct{ from, to int }

func newNetwork(rng *rand.Rand) *network {
	return &network{
		rand: rng, delay: 200 * time.Microsecond, jitter: usualJitter,
		cut: make(map[way]bool), silent: make(map[int]bool), listeners: make(map[string]*listener), conns: make(map[*conn]bool),
	}
}

// blocked says whether nothing gets from one host to another now. The mutex is held.
func (n *network) blocked(from, to int) bool {
	return from != to && n.cut[way{from, to}] || n.silent[from] || n.silent[to]
}

// latency is how long the next bytes take. The mutex is held.
func (n *network) latency() time.Duration {
	return n.delay + time.Duration(n.rand.Int64N(int64(n.jitter)+1))
}

// change changes something about the network, and has everybody who waits for bytes look again.
func (n *network) change(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
	for c := range n.conns {
		c.in.wake()
		c.out.wake()
	}
}

// hangUp ends all connections of a host. The host itself hears of it at once; the others are reset, or, when tell is false, hear nothing
// until the host is back: its power is gone.
func (n *network) hangUp(host int, tell bool) {
	n.change(func() {
		for addr, l := range n.listeners {
			if l.host == host {
				delete(n.listeners, addr)
				l.end()
			}
		}
		for c := range n.conns {
			if c.host != host {
				continue
			}
			c.end(net.ErrClosed)
			if tell {
				c.peer.end(syscall.ECONNRESET)
			}
		}
	})
}

// forget resets what others still take for connections with a host: it is back, and does not know them.
func (n *network) forget(host int) {
	n.change(func() {
		for c := range n.conns {
			if c.peer.host == host && c.peer.in.err != nil {
				c.end(syscall.ECONNRESET)
			}
		}
	})
}

// reset breaks all connections between two hosts.
func (n *network) reset(a, b int) {
	n.change(func() {
		for c := range n.conns {
			if c.host == a && c.peer.host == b || c.host == b && c.peer.host == a {
				c.end(syscall.ECONNRESET)
			}
		}
	})
}

// listener is where a host takes connections.
type listener struct {
	net    *network
	host   int
	addr   *net.TCPAddr
	accept chan *conn
	closed chan struct{}
	over   bool
}

func (n *network) listen(host int, addr string) (net.Listener, error) {
	at, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[addr] != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Addr: at, Err: syscall.EADDRINUSE}
	}
	l := &listener{net: n, host: host, addr: at, accept: make(chan *conn, 128), closed: make(chan struct{})}
	n.listeners[addr] = l
	return l, nil
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.accept:
		return c, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.addr, Err: net.ErrClosed}
	}
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return l.addr }

// Close implements net.Listener.
func (l *listener) Close() error {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	if l.net.listeners[l.addr.String()] == l {
		delete(l.net.listeners, l.addr.String())
	}
	l.end()
	return nil
}

// end closes the listener, and resets whom nobody accepted. The network's mutex is held.
func (l *listener) end() {
	if l.over {
		return
	}
	l.over = true
	close(l.closed)
	for {
		select {
		case c := <-l.accept:
			c.end(net.ErrClosed)
			c.peer.end(syscall.ECONNRESET)
		default:
			return
		}
	}
}

// dial connects a host with whoever listens at an address.
func (n *network) dial(ctx context.Context, host int, addr string) (net.Conn, error) {
	to, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, err
	}
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: to, Err: err}
	}
	n.mu.Lock()
	there := hostOf(to.IP)
	lost := n.blocked(host, there) || n.blocked(there, host)
	pause := n.latency() + n.latency()
	n.mu.Unlock()
	if lost {
		pause = connectTimeout
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return fail(context.Cause(ctx))
	}
	if lost {
		return fail(os.ErrDeadlineExceeded)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.listeners[addr]
	switch {
	case n.blocked(host, there) || n.blocked(there, host):
		return fail(syscall.EHOSTUNREACH)
	case l == nil || len(l.accept) == cap(l.accept):
		return fail(syscall.ECONNREFUSED)
	}
	from := &net.TCPAddr{IP: addrOf(host), Port: 40000 + n.rand.IntN(20000)}
	near, far := n.pair(host, there, from, to)
	l.accept <- far
	return near, nil
}

// pair makes both ends of a connection. The mutex is held.
func (n *network) pair(a, b int, from, to net.Addr) (near, far *conn) {
	there, back := newFlow(n, way{a, b}), newFlow(n, way{b, a})
	near = &conn{net: n, host: a, local: from, remote: to, in: back, out: there}
	far = &conn{net: n, host: b, local: to, remote: from, in: there, out: back}
	near.peer, far.peer = far, near
	n.conns[near], n.conns[far] = true, true
	return near, far
}

// flow is one direction of a connection. Its fields are the network's mutex'.
type flow struct {
	net *network
	way way

	parcels []parcel
	bytes   int
	eof     bool  // the writer is done
	err     error // what the reader gets instead of anything else
	werr    error // likewise the writer

	readBy, writeBy time.Time   // deadlines; zero: none
	due             *time.Timer // when the reader is to look again
	reader, writer  signal
}

// parcel is what was written at once, and arrives at once.
type parcel struct {
	data []byte
	at   time.Time
}

// signal wakes whoever waits.
type signal struct{ waiting chan struct{} }

// wait is closed at the next wake. The mutex is held, and given back before anybody waits for it.
func (s *signal) wait() <-chan struct{} {
	if s.waiting == nil {
		s.waiting = make(chan struct{})
	}
	return s.waiting
}

func (s *signal) wake() {
	if s.waiting != nil {
		close(s.waiting)
		s.waiting = nil
	}
}

func newFlow(n *network, w way) *flow {
	f := &flow{net: n, way: w, due: time.NewTimer(time.Hour)}
	f.due.Stop()
	return f
}

// wake has both ends look again.
func (f *flow) wake() {
	f.reader.wake()
	f.writer.wake()
}

// arm sets the moment at which the reader looks again by itself: when something arrives, or at its deadline.
func (f *flow) arm() {
	at := f.readBy
	if len(f.parcels) > 0 && !f.net.blocked(f.way.from, f.way.to) && (at.IsZero() || f.parcels[0].at.Before(at)) {
		at = f.parcels[0].at
	}
	if at.IsZero() {
		f.due.Stop()
		return
	}
	f.due.Reset(time.Until(at))
}

func passed(at time.Time) bool { return !at.IsZero() && !time.Now().Before(at) }

func (f *flow) read(p []byte) (int, error) {
	f.net.mu.Lock()
	defer f.net.mu.Unlock()
	for {
		switch {
		case f.err != nil:
			return 0, f.err
		case passed(f.readBy):
			return 0, os.ErrDeadlineExceeded
		case len(f.parcels) > 0 && passed(f.parcels[0].at) && !f.net.blocked(f.way.from, f.way.to):
			return f.take(p), nil
		case len(f.parcels) == 0 && f.eof:
			return 0, io.EOF
		}
		f.arm()
		woken := f.reader.wait()
		f.net.mu.Unlock()
		select {
		case <-woken:
		case <-f.due.C:
		}
		f.net.mu.Lock()
	}
}

// take reads of what has arrived. The mutex is held.
func (f *flow) take(p []byte) (k int) {
	for k < len(p) && len(f.parcels) > 0 && passed(f.parcels[0].at) {
		first := &f.parcels[0]
		n := copy(p[k:], first.data)
		if first.data = first.data[n:]; len(first.data) == 0 {
			f.parcels = f.parcels[1:]
		}
		k += n
	}
	if f.bytes >= wireWindow {
		f.writer.wake()
	}
	f.bytes -= k
	return k
}

func (f *flow) write(p []byte) (written int, err error) {
	f.net.mu.Lock()
	defer f.net.mu.Unlock()
	for len(p) > 0 {
		switch {
		case f.werr != nil:
			return written, f.werr
		case f.eof:
			return written, net.ErrClosed
		case passed(f.writeBy):
			return written, os.ErrDeadlineExceeded
		case f.bytes >= wireWindow:
			f.waitForRoom()
			continue
		}
		k := min(len(p), wireWindow-f.bytes)
		at := time.Now().Add(f.net.latency())
		if last := len(f.parcels) - 1; last >= 0 && f.parcels[last].at.After(at) {
			at = f.parcels[last].at // bytes keep their order
		}
		f.parcels = append(f.parcels, parcel{bytes.Clone(p[:k]), at})
		f.bytes += k
		p, written = p[k:], written+k
		if len(f.parcels) == 1 {
			f.arm()
		}
	}
	return written, nil
}

// waitForRoom waits for a change, or for the writer's deadline. The mutex is held, but not while it waits.
func (f *flow) waitForRoom() {
	var over <-chan time.Time
	if !f.writeBy.IsZero() {
		timer := time.NewTimer(time.Until(f.writeBy))
		defer timer.Stop()
		over = timer.C
	}
	woken := f.writer.wait()
	f.net.mu.Unlock()
	select {
	case <-woken:
	case <-over:
	}
	f.net.mu.Lock()
}

// conn is one end of a connection.
type conn struct {
	net           *network
	host          int
	local, remote net.Addr
	peer          *conn
	in, out       *flow
}

// end ends this end of the connection with an error. The mutex is held.
func (c *conn) end(err error) {
	if c.in.err == nil {
		c.in.err = err
	}
	if c.out.werr == nil {
		c.out.werr = err
	}
	delete(c.net.conns, c)
	c.in.wake()
	c.out.wake()
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) { return c.in.read(p) }

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) { return c.out.write(p) }

// Close implements net.Conn. The other end reads what was written, then the end.
func (c *conn) Close() error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	c.out.eof = true
	c.peer.out.werr = syscall.EPIPE
	c.end(net.ErrClosed)
	return nil
}

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t) // neither fails
	return c.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	c.in.readBy = t
	c.in.reader.wake()
	return nil
}

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	c.out.writeBy = t
	c.out.writer.wake()
	return nil
}
