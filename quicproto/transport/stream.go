package transport

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// tcpStream is one stream on a wire, which may have carried others before and may carry others later.
type tcpStream struct {
	w    *wire
	done chan struct{} // closed when both sides have ended in order

	mu         sync.Mutex
	readEnded  bool // the peer's end has come, or is not waited for
	writeEnded bool
	finished   bool // both: the wire is not the stream's any more
}

func newTCPStream(w *wire) *tcpStream { return &tcpStream{w: w, done: make(chan struct{})} }

// errEnded is what is said of a stream that is used after its end.
var errEnded = errors.New("the stream has ended")

// Read implements Stream.
func (s *tcpStream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if s.isOver(&s.readEnded) {
		return 0, io.EOF
	}
	if err := s.w.take(s.w.readTurn); err != nil {
		return 0, err
	}
	defer func() { <-s.w.readTurn }()
	if s.isOver(&s.readEnded) { // whoever had the turn has read the end
		return 0, io.EOF
	}
	n, err := s.w.read(p)
	if err == io.EOF { //nolint:errorlint // read returns it as it is
		s.ends(&s.readEnded)
	}
	return n, err
}

// Write implements Stream.
func (s *tcpStream) Write(p []byte) (int, error) {
	if s.isOver(&s.writeEnded) {
		return 0, errEnded
	}
	return s.w.write(p)
}

// Close implements Stream.
func (s *tcpStream) Close() error {
	if s.isOver(&s.writeEnded) {
		return nil
	}
	if err := s.w.send(appendRecord(nil, kindEnd)); err != nil {
		return err
	}
	s.ends(&s.writeEnded)
	return nil
}

// StopReading implements Stream.
func (s *tcpStream) StopReading(code mq.Code) {
	if s.isOver(&s.readEnded) {
		return
	}
	if !s.isOver(&s.writeEnded) || s.w.control {
		s.Abort(code)
		return
	}
	select {
	case s.w.readTurn <- struct{}{}:
	default:
		s.Abort(code)
		return
	}
	if !s.isOver(&s.readEnded) {
		s.w.owed++
	}
	<-s.w.readTurn
	s.ends(&s.readEnded)
}

// Abort implements Stream.
func (s *tcpStream) Abort(code mq.Code) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.finished {
		return
	}
	if s.w.control {
		s.w.sess.Close(code, "the control stream was given up")
		return
	}
	s.w.finish(&quic.StreamError{ErrorCode: quic.StreamErrorCode(quicproto.ErrorCode(code))}, resetRecord(code))
}

// SetReadDeadline implements Stream.
func (s *tcpStream) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.finished {
		return nil
	}
	return s.w.setReadDeadline(t)
}

func (s *tcpStream) isOver(side *bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *side || s.finished
}

// ends notes that a side has ended in order. When both have, the wire is free for another stream.
func (s *tcpStream) ends(side *bool) {
	s.mu.Lock()
	*side = true
	finished := s.readEnded && s.writeEnded && !s.finished
	s.finished = s.finished || finished
	if finished {
		_ = s.w.setReadDeadline(time.Time{})
	}
	s.mu.Unlock()
	if finished {
		close(s.done)
		s.w.sess.recycle(s.w)
	}
}
