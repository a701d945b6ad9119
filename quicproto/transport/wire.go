package transport

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// lingerTime is for how long a connection outlives its last record, at most: until the peer has closed it, too.
const lingerTime = time.Second

// wire is one TLS connection of a session. It carries one stream at a time.
type wire struct {
	sess      *Session
	raw       *gathered
	tls       *tls.Conn
	control   bool
	writeTurn chan struct{} // cap 1, full while somebody writes
	readTurn  chan struct{} // likewise
	gone      chan struct{} // closed when err is set

	// Of whose turn it is to write.
	prefix []byte // goes before the first record

	// Of whose turn it is to read.
	in   input
	owed int   // streams before the present one whose end has not come
	bad  error // what the peer sent that is no record

	mu  sync.Mutex
	err error // why it is over
}

func newWire(sess *Session, raw *gathered, conn *tls.Conn, prefix []byte) *wire {
	raw.gather()
	w := &wire{
		sess: sess, raw: raw, tls: conn, prefix: prefix,
		writeTurn: make(chan struct{}, 1), readTurn: make(chan struct{}, 1), gone: make(chan struct{}),
	}
	w.in.r = conn
	return w
}

// failure is why the connection is over, nil while it is not.
func (w *wire) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// take waits for a turn.
func (w *wire) take(turn chan struct{}) error {
	select {
	case <-w.gone:
		return w.failure()
	default:
	}
	select {
	case turn <- struct{}{}:
		return nil
	case <-w.gone:
		return w.failure()
	}
}

// finish ends the connection with err, which its stream gets, and reports whether it had not ended before. With a last record the peer is told.
func (w *wire) finish(err error, last []byte) bool {
	w.mu.Lock()
	if w.err != nil {
		w.mu.Unlock()
		return false
	}
	w.err = err
	if last != nil {
		now := time.Now()
		_ = w.raw.SetReadDeadline(now)
		_ = w.raw.SetWriteDeadline(now.Add(lingerTime / 4)) // for who is writing
		w.sess.wg.Go(func() { w.linger(last) })             // under the mutex: who waits for these has been here
	}
	w.mu.Unlock()
	close(w.gone)
	if last == nil {
		_ = w.raw.Close()
	}
	w.sess.forget(w, last == nil)
	return true
}

// linger writes the last record, and closes the connection when the peer has.
func (w *wire) linger(last []byte) {
	defer w.sess.released(w)
	defer w.raw.Close()
	timeout := time.NewTimer(lingerTime)
	defer timeout.Stop()
	if w.control {
		defer close(w.sess.controlOver)
	} else if w.sess.ctx.Err() != nil {
		select { // a peer that is told of the session's end first has no doubt about this stream's
		case <-w.sess.controlOver:
		case <-timeout.C:
			return
		}
	}
	select {
	case w.writeTurn <- struct{}{}:
	case <-timeout.C:
		return
	}
	deadline := time.Now().Add(lingerTime)
	_ = w.raw.SetWriteDeadline(deadline)
	if w.emit(last) != nil {
		return
	}
	w.raw.closeWrite()
	select {
	case w.readTurn <- struct{}{}:
	case <-timeout.C:
		return
	}
	_ = w.raw.SetReadDeadline(deadline)
	_, _ = io.Copy(io.Discard, w.raw.Conn) // it ends with the connection, or in time
}

// lost is called when the connection failed.
func (w *wire) lost(err error) {
	if w.control {
		w.sess.end(lostError(err), nil)
		return
	}
	w.finish(&quic.StreamError{Remote: true}, nil)
}

// emit writes records. The turn to write is the caller's.
func (w *wire) emit(records []byte) error {
	if w.prefix != nil {
		records = append(w.prefix, records...)
		w.prefix = nil
	}
	if _, err := w.tls.Write(records); err != nil {
		return err
	}
	return w.raw.flush()
}

// send is emit for who has no turn yet.
func (w *wire) send(records []byte) error {
	if err := w.take(w.writeTurn); err != nil {
		return err
	}
	defer func() { <-w.writeTurn }()
	w.limitWrite()
	if err := w.emit(records); err != nil {
		w.lost(err)
		return w.failure()
	}
	return nil
}

// limitWrite bounds how long a write may take on the control stream's connection: the peer always reads there.
func (w *wire) limitWrite() {
	if !w.control {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		_ = w.raw.SetWriteDeadline(time.Now().Add(w.sess.idleTimeout() / keepAlives))
	}
}

// write writes p as data. Header and the first bytes go into one record of TLS.
func (w *wire) write(p []byte) (int, error) {
	if err := w.take(w.writeTurn); err != nil {
		return 0, err
	}
	defer func() { <-w.writeTurn }()
	w.limitWrite()
	done := 0
	for done < len(p) {
		n := min(len(p)-done, maxData)
		if err := w.writeRecord(p[done : done+n]); err != nil {
			w.lost(err)
			return done, w.failure()
		}
		done += n
	}
	return done, nil
}

func (w *wire) writeRecord(p []byte) error {
	stage := stages.Get().(*[]byte)
	defer stages.Put(stage)
	head := appendHeader(append((*stage)[:0], w.prefix...), kindData, len(p))
	w.prefix = nil
	n := min(len(p), tlsRecord-len(head))
	if _, err := w.tls.Write(append(head, p[:n]...)); err != nil {
		return err
	}
	room := flushBytes - tlsRecord
	for p = p[n:]; len(p) > 0; p = p[n:] {
		if room == 0 {
			if err := w.raw.flush(); err != nil {
				return err
			}
			room = flushBytes
		}
		n = min(len(p), room)
		room -= n
		if _, err := w.tls.Write(p[:n]); err != nil {
			return err
		}
	}
	return w.raw.flush()
}

// read reads data into p: io.EOF is the end of the stream. The turn to read is the caller's.
func (w *wire) read(p []byte) (int, error) {
	for {
		if w.in.left > 0 && w.owed == 0 {
			n, err := w.in.read(p)
			if n > 0 {
				w.sess.hear(w)
				return n, nil
			}
			if err != nil {
				return 0, w.readError(err)
			}
			continue
		}
		k, err := w.next()
		if err != nil {
			return 0, err
		}
		if k == kindEnd {
			return 0, io.EOF
		}
	}
}

// next reads up to the next record that is of the present stream, data or its end, and does what others say.
func (w *wire) next() (kind, error) {
	for {
		if k, err := w.step(); k != 0 || err != nil {
			return k, err
		}
	}
}

// step is next for one record: its kind is zero if it was not of the present stream.
func (w *wire) step() (kind, error) {
	if w.bad != nil {
		return 0, w.bad
	}
	for w.in.left > 0 { // of a stream before
		var sink [512]byte
		if _, err := w.in.read(sink[:]); err != nil {
			return 0, w.readError(err)
		}
	}
	k, body, err := w.in.next()
	if err != nil {
		return 0, w.readError(err)
	}
	w.sess.hear(w)
	switch {
	case k == kindData && w.owed == 0:
		return k, nil
	case k == kindEnd && w.owed == 0:
		return k, w.checkEmpty(body)
	case k == kindEnd:
		w.owed--
		return 0, w.checkEmpty(body)
	case k == kindData:
		return 0, nil
	default:
		return 0, w.told(k, body)
	}
}

func (w *wire) checkEmpty(body []byte) error {
	if len(body) > 0 {
		w.bad = mq.Errorf(mq.ProtocolViolation, "an end of a stream with %d bytes", len(body))
	}
	return w.bad
}

// told does what a record says that is about the connection or the session.
func (w *wire) told(k kind, body []byte) error {
	switch {
	case k == kindReset:
		code, _, err := parseCode(body, false)
		if err != nil {
			w.bad = err
			return err
		}
		if w.control {
			w.sess.end(&quic.ApplicationError{Remote: true, ErrorCode: quic.ApplicationErrorCode(code)}, nil)
		}
		w.finish(&quic.StreamError{Remote: true, ErrorCode: quic.StreamErrorCode(code)}, nil)
		return w.failure()
	case k == kindClose && w.control:
		code, reason, err := parseCode(body, true)
		if err != nil {
			w.bad = err
			return err
		}
		w.sess.end(&quic.ApplicationError{Remote: true, ErrorCode: quic.ApplicationErrorCode(code), ErrorMessage: reason}, nil)
		return w.failure()
	case k == kindPing && w.control:
		if len(body) != 8 {
			w.bad = mq.Errorf(mq.ProtocolViolation, "a ping of %d bytes", len(body))
			return w.bad
		}
		return w.send(appendRecord(nil, kindPong, body...))
	case k == kindPong && w.control:
		n, err := parseNumber(body)
		w.sess.pong(n)
		w.bad = err
		return err
	case k == kindBegun && w.control:
		w.bad = w.sess.begins(body)
		return w.bad
	default:
		w.bad = mq.Errorf(mq.ProtocolViolation, "a record of TCP of kind %d where it means nothing", k)
		return w.bad
	}
}

// readError is what a failed read means.
func (w *wire) readError(err error) error {
	if ended := w.failure(); ended != nil {
		return ended
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if _, ok := errors.AsType[*mq.Error](err); ok {
		return err
	}
	w.lost(err)
	return w.failure()
}

// setReadDeadline is SetReadDeadline of a connection that has not ended.
func (w *wire) setReadDeadline(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	return w.raw.SetReadDeadline(t)
}

// resetRecord is the last one of a stream that is given up.
func resetRecord(code mq.Code) []byte {
	return appendRecord(nil, kindReset, binary.BigEndian.AppendUint16(nil, uint16(quicproto.ErrorCode(code)))...)
}
