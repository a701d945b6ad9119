package join

import (
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/rustmq/rustmq/api/join/v1/joinpbconnect"
)

// connTimeout is how long a connection of who has no certificate lives, whatever it does.
const connTimeout = 10 * time.Second

// Door serves JoinService, and nothing else, on connections that have shaken hands for [pki.JoinProtocol].
type Door struct {
	http    http.Server
	conns   chan net.Conn
	closed  chan struct{}
	once    sync.Once
	stopped chan struct{}
}

// NewDoor starts serving what [Door.Serve] is given.
func NewDoor(s joinpbconnect.JoinServiceHandler) *Door {
	mux := http.NewServeMux()
	mux.Handle(joinpbconnect.NewJoinServiceHandler(s, connect.WithReadMaxBytes(MaxMessageBytes)))
	d := &Door{conns: make(chan net.Conn), closed: make(chan struct{}), stopped: make(chan struct{})}
	d.http = http.Server{Handler: mux, ReadTimeout: connTimeout, WriteTimeout: connTimeout, MaxHeaderBytes: 8 << 10}
	d.http.SetKeepAlivesEnabled(false)
	go func() {
		defer close(d.stopped)
		_ = d.http.Serve(doorListener{d})
	}()
	return d
}

// Serve serves one connection until it ends.
func (d *Door) Serve(conn *tls.Conn) {
	ended := make(chan struct{})
	defer time.AfterFunc(connTimeout, func() { _ = conn.NetConn().Close() }).Stop()
	select {
	// Hidden, so that the library serves HTTP/1.1 on what is a protocol it does not know.
	case d.conns <- &served{Conn: conn, ended: ended}:
	case <-d.closed:
		return
	}
	select {
	case <-ended:
	case <-d.stopped:
	}
}

// Close ends what is under way.
func (d *Door) Close() error {
	d.once.Do(func() { close(d.closed) })
	err := d.http.Close()
	<-d.stopped
	return err
}

type served struct {
	net.Conn
	once  sync.Once
	ended chan struct{}
}

// Close implements net.Conn.
func (s *served) Close() error {
	err := s.Conn.Close()
	s.once.Do(func() { close(s.ended) })
	return err
}

type doorListener struct{ d *Door }

// Accept implements net.Listener.
func (l doorListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.d.conns:
		return c, nil
	case <-l.d.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l doorListener) Close() error {
	l.d.once.Do(func() { close(l.d.closed) })
	return nil
}

// Addr implements net.Listener.
func (l doorListener) Addr() net.Addr { return &net.TCPAddr{} }
