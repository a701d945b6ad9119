package transport

import (
	"net"
	"slices"
	"sync"
)

const (
	// tlsRecord is what fits into one record of TLS, bytes.
	tlsRecord = 16 << 10
	// flushBytes is how much goes to the kernel at once, bytes: four records of TLS.
	flushBytes = 4 * tlsRecord
)

// gathered is a connection below TLS. When it is on, what TLS writes stays in memory until flush: several records go to the kernel at once, and TLS, which
// writes under a lock, never waits for the peer.
type gathered struct {
	net.Conn
	first []byte // what was read of it before; it is read first

	mu  sync.Mutex
	on  bool
	buf []byte
}

// Read implements net.Conn.
func (g *gathered) Read(p []byte) (int, error) {
	if len(g.first) > 0 {
		n := copy(p, g.first)
		g.first = g.first[n:]
		return n, nil
	}
	return g.Conn.Read(p)
}

// Write implements net.Conn.
func (g *gathered) Write(p []byte) (int, error) {
	g.mu.Lock()
	if g.on {
		if g.buf == nil {
			g.buf = *buffers.Get().(*[]byte)
		}
		g.buf = append(g.buf, p...)
		g.mu.Unlock()
		return len(p), nil
	}
	g.mu.Unlock()
	return g.Conn.Write(p)
}

// gather turns it on, which is done when the handshake is over.
func (g *gathered) gather() {
	g.mu.Lock()
	g.on = true
	g.mu.Unlock()
}

// flush writes what has gathered. One goroutine may do so at a time.
func (g *gathered) flush() error {
	g.mu.Lock()
	buf := g.buf
	g.buf = nil
	g.mu.Unlock()
	if buf == nil {
		return nil
	}
	_, err := g.Conn.Write(buf)
	buf = buf[:0]
	buffers.Put(&buf)
	return err
}

// closeWrite ends the sending half, if the connection can.
func (g *gathered) closeWrite() {
	if c, ok := g.Conn.(interface{ CloseWrite() error }); ok {
		// If this fails the connection is gone, which is what comes next.
		_ = c.CloseWrite()
	}
}

// buffers are for what gathers, and stages for what a write begins with. Both are only taken while something is written.
var (
	buffers = sync.Pool{New: func() any { b := slices.Grow[[]byte](nil, flushBytes+4<<10); return &b }}
	stages  = sync.Pool{New: func() any { b := make([]byte, 0, tlsRecord); return &b }}
)
