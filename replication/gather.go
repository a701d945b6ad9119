package replication

import (
	"net"
	"sync"
)

// gatherBytes is how much is gathered: four records of TLS, which is about what the kernel takes for one segment of TCP.
const gatherBytes = 4 * (keptBytes + 64)

// Gather is a connection for TLS to write to, over which a stream of replication is to go: TLS writes each of its records by itself, of 16 KiB at
// most, and the stream has those of a message gathered, for one system call costs less than four, and the other end wakes up for more.
func Gather(conn net.Conn) net.Conn { return &gathering{Conn: conn} }

type gathering struct {
	net.Conn

	mu   sync.Mutex // TLS has one of its own across each write, so this one makes nobody wait who would not
	held bool
	buf  []byte
}

// below is the gathering connection that conn goes over, or nil.
func below(conn net.Conn) *gathering {
	if secure, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = secure.NetConn()
	}
	g, _ := conn.(*gathering)
	return g
}

// Write implements net.Conn. An error may be one of what was written before.
func (g *gathering) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.held {
		return g.Conn.Write(b)
	}
	if len(g.buf)+len(b) > gatherBytes {
		if err := g.flush(); err != nil {
			return 0, err
		}
	}
	g.buf = append(g.buf, b...)
	return len(b), nil
}

// hold begins to gather.
func (g *gathering) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held = true
}

// release writes what was gathered, and ends that. When it becomes quiet no buffer is kept.
func (g *gathering) release(quiet bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held = false
	err := g.flush()
	if quiet {
		g.buf = nil
	}
	return err
}

// flush writes what was gathered. The caller holds the mutex.
func (g *gathering) flush() error {
	if len(g.buf) == 0 {
		return nil
	}
	_, err := g.Conn.Write(g.buf)
	g.buf = g.buf[:0]
	return err
}
