package transport

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// pipeBytes is how much a direction of a pipe takes without being read.
const pipeBytes = 64 << 10

// pipe is a connection in memory that takes some bytes before it waits, as a socket does.
func pipe() (net.Conn, net.Conn) {
	a, b := newDirection(), newDirection()
	return &pipeEnd{in: a, out: b}, &pipeEnd{in: b, out: a}
}

type direction struct {
	mu       sync.Mutex
	buf      []byte
	ended    bool // no more comes
	dropped  bool // nobody reads any more
	deadline [2]time.Time
	changed  chan struct{}
}

const (
	reading = iota
	writing
)

func newDirection() *direction { return &direction{changed: make(chan struct{})} }

func (d *direction) set(f func()) {
	d.mu.Lock()
	f()
	close(d.changed)
	d.changed = make(chan struct{})
	d.mu.Unlock()
}

// try calls f until it is done, the deadline of that side is over, or it fails.
func (d *direction) try(side int, f func() (done bool, err error)) error {
	for {
		d.mu.Lock()
		late := d.deadline[side]
		if !late.IsZero() && !time.Now().Before(late) {
			d.mu.Unlock()
			return os.ErrDeadlineExceeded
		}
		done, err := f()
		changed := d.changed
		if done || err != nil {
			close(d.changed)
			d.changed = make(chan struct{})
			d.mu.Unlock()
			return err
		}
		d.mu.Unlock()
		var timer <-chan time.Time
		if !late.IsZero() {
			timer = time.After(time.Until(late))
		}
		select {
		case <-changed:
		case <-timer:
		}
	}
}

type pipeEnd struct {
	net.Conn
	in, out *direction
}

func (p *pipeEnd) Read(b []byte) (n int, err error) {
	err = p.in.try(reading, func() (bool, error) {
		switch {
		case p.in.dropped:
			return false, net.ErrClosed
		case len(p.in.buf) > 0:
			n = copy(b, p.in.buf)
			p.in.buf = p.in.buf[n:]
			return true, nil
		case p.in.ended:
			return false, io.EOF
		}
		return len(b) == 0, nil
	})
	return n, err
}

func (p *pipeEnd) Write(b []byte) (n int, err error) {
	err = p.out.try(writing, func() (bool, error) {
		if p.out.ended || p.out.dropped {
			return false, net.ErrClosed
		}
		m := min(len(b)-n, pipeBytes-len(p.out.buf))
		p.out.buf = append(p.out.buf, b[n:n+m]...)
		n += m
		if m > 0 && n < len(b) { // there is something to read
			close(p.out.changed)
			p.out.changed = make(chan struct{})
		}
		return n == len(b), nil
	})
	return n, err
}

func (p *pipeEnd) CloseWrite() error {
	p.out.set(func() { p.out.ended = true })
	return nil
}

func (p *pipeEnd) Close() error {
	p.in.set(func() { p.in.dropped = true })
	p.out.set(func() { p.out.ended = true })
	return nil
}

func (p *pipeEnd) SetReadDeadline(t time.Time) error {
	p.in.set(func() { p.in.deadline[reading] = t })
	return nil
}

func (p *pipeEnd) SetWriteDeadline(t time.Time) error {
	p.out.set(func() { p.out.deadline[writing] = t })
	return nil
}

func (p *pipeEnd) SetDeadline(t time.Time) error {
	_ = p.SetReadDeadline(t)
	return p.SetWriteDeadline(t)
}

func (p *pipeEnd) LocalAddr() net.Addr  { return &net.UnixAddr{Name: "here"} }
func (p *pipeEnd) RemoteAddr() net.Addr { return &net.UnixAddr{Name: "there"} }
