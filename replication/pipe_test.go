package replication

import (
	"io"
	"net"
	"sync"
	"time"
)

// pipe is one direction of a connection in memory. Writing never waits, as if its buffer had no end.
type pipe struct {
	delay func() time.Duration // of each chunk, which nothing overtakes; nil: none
	news  chan struct{}        // buffered

	mu     sync.Mutex
	chunks []chunk
	closed bool
}

type chunk struct {
	data []byte
	due  time.Time
}

func (p *pipe) write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return 0, io.ErrClosedPipe
	}
	due := time.Now()
	if p.delay != nil {
		due = due.Add(p.delay())
	}
	p.chunks = append(p.chunks, chunk{append([]byte(nil), b...), due})
	signal(p.news)
	return len(b), nil
}

func (p *pipe) read(b []byte) (int, error) {
	for {
		p.mu.Lock()
		switch {
		case len(p.chunks) > 0:
			wait := time.Until(p.chunks[0].due)
			if wait <= 0 {
				n := copy(b, p.chunks[0].data)
				if p.chunks[0].data = p.chunks[0].data[n:]; len(p.chunks[0].data) == 0 {
					p.chunks = p.chunks[1:]
				}
				p.mu.Unlock()
				return n, nil
			}
			p.mu.Unlock()
			time.Sleep(wait)
		case p.closed:
			p.mu.Unlock()
			signal(p.news) // for whoever else reads
			return 0, io.EOF
		default:
			p.mu.Unlock()
			<-p.news
		}
	}
}

// close ends it. Who closes what it reads loses what it has not read; what was written before the writer closed may still be read.
func (p *pipe) close(reader bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if reader {
		p.chunks = nil
	}
	signal(p.news)
}

// end is one end of a connection in memory. Deadlines do nothing.
type end struct {
	net.Conn // nil: for what is not used
	in, out  *pipe
}

func connected(delay func() time.Duration) (a, b net.Conn) {
	x, y := &pipe{delay: delay, news: make(chan struct{}, 1)}, &pipe{delay: delay, news: make(chan struct{}, 1)}
	return &end{in: x, out: y}, &end{in: y, out: x}
}

func (e *end) Read(b []byte) (int, error)  { return e.in.read(b) }
func (e *end) Write(b []byte) (int, error) { return e.out.write(b) }

func (e *end) Close() error {
	e.in.close(true)
	e.out.close(false)
	return nil
}

func (e *end) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
func (e *end) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
func (e *end) SetDeadline(time.Time) error      { return nil }
func (e *end) SetReadDeadline(time.Time) error  { return nil }
func (e *end) SetWriteDeadline(time.Time) error { return nil }
