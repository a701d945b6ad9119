package server

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// acceptPause is how long the listener for TCP rests after a failure, which is one of the machine's (no more files): it passes.
const acceptPause = 50 * time.Millisecond

// acceptTCP hands each TCP connection to a goroutine of its own until the listener is closed. That is open while the server drains: sessions that finish what they
// have in flight may need connections, and new sessions are told why they are not taken.
func (s *Server) acceptTCP() {
	for {
		conn, err := s.cfg.Listener.Accept()
		switch {
		case err == nil:
			s.wg.Go(func() { s.greet(conn) })
		case errors.Is(err, net.ErrClosed):
			return
		default:
			s.log.Warn("TCP listener: a connection was not accepted", "addr", s.cfg.Listener.Addr(), "error", err)
			time.Sleep(acceptPause)
		}
	}
}

// greet shakes hands with a TCP connection, and serves what it turns out to be until that ends.
func (s *Server) greet(conn net.Conn) {
	defer s.connections.Add(-1)
	if s.connections.Add(1) > int64(s.limits.Connections) {
		s.admission.refused.Add(1)
		_ = conn.Close()
		return
	}
	t, err := s.admission.knock()
	if err != nil {
		_ = conn.Close()
		return
	}
	defer t.finish()
	ctx, cancel := context.WithTimeout(s.stopping, s.limits.HandshakeTimeout)
	defer cancel()
	in, other, err := s.acceptor.Handshake(ctx, conn)
	if other != nil {
		s.cfg.Others(other.Conn, other.Read, other.TLS)
		return
	}
	if err != nil {
		s.admission.failed.Add(1)
		s.log.Debug("TCP connection refused", "remote", conn.RemoteAddr(), "error", err)
		return
	}
	principal, err := s.cfg.Principal(in.TLS())
	if err != nil {
		principal = "" // nothing is attached for it, and a session is told, below
	}
	stop := context.AfterFunc(s.stopping, func() { _ = conn.Close() })
	session, err := in.Enter(time.Now().Add(s.limits.HelloTimeout), principal)
	stop()
	t.finish()
	switch {
	case err != nil:
		s.refuseTCP(conn, err)
	case session == nil:
		in.Serve()
	default:
		s.serve(session, t)
	}
}

// refuseTCP closes a connection that came to nothing.
func (s *Server) refuseTCP(conn net.Conn, err error) {
	_ = conn.Close()
	s.counters.refused.Add(1)
	if mq.CodeOf(err) != mq.Unknown { // else it was only lost
		s.log.Warn("TCP connection refused", "remote", conn.RemoteAddr(), "error", err)
	}
}

// closeTCP has no more connections come.
func (s *Server) closeTCP() {
	s.stop()
	if s.cfg.Listener != nil {
		_ = s.cfg.Listener.Close()
	}
}
