package transport

import (
	"encoding/binary"
	"io"
	"time"
	"unicode/utf8"

	"github.com/rustmq/rustmq/mq"
)

// kind says what a record is. The numbers are part of the wire format.
type kind uint8

const (
	kindData kind = iota + 1
	kindEnd
	kindReset
	kindBegin
	kindBegun
	kindAttach
	kindClose
	kindPing
	kindPong
)

const (
	recordHeader = 4
	// maxData is the largest body of a data record, bytes.
	maxData = 1<<24 - 1
	// maxReason is the longest reason in a close record, bytes.
	maxReason = 512
	// maxBody is the largest body of any other record, bytes.
	maxBody = 2 + maxReason

	magic   = "RMQT"
	version = 1
	// secretSize is what a connection has to know to be attached, bytes.
	secretSize = 32
)

// begin is the client's part of a session's beginning.
type begin struct {
	idle time.Duration
}

// begun is the server's answer.
type begun struct {
	id      uint64
	secret  [secretSize]byte
	idle    time.Duration
	streams uint32
}

// attach is what makes a connection one of a session's.
type attach struct {
	id     uint64
	secret [secretSize]byte
}

func appendHeader(dst []byte, k kind, n int) []byte {
	return binary.BigEndian.AppendUint32(dst, uint32(k)<<24|uint32(n))
}

func appendRecord(dst []byte, k kind, body ...byte) []byte {
	return append(appendHeader(dst, k, len(body)), body...)
}

func appendMillis(dst []byte, d time.Duration) []byte {
	return binary.BigEndian.AppendUint32(dst, uint32(min(max(d.Milliseconds(), 0), 1<<32-1)))
}

func (b begin) body() []byte { return appendMillis(append([]byte(magic), version, 0), b.idle) }

func (b begun) body() []byte {
	dst := binary.BigEndian.AppendUint64(nil, b.id)
	dst = appendMillis(append(dst, b.secret[:]...), b.idle)
	return binary.BigEndian.AppendUint32(dst, b.streams)
}

func (a attach) body() []byte {
	dst := binary.BigEndian.AppendUint64(append([]byte(magic), version, 0), a.id)
	return append(dst, a.secret[:]...)
}

func codeBody(code mq.Code, reason string) []byte {
	for len(reason) > maxReason || !utf8.ValidString(reason) {
		reason = reason[:min(len(reason)-1, maxReason)]
	}
	return append(binary.BigEndian.AppendUint16(nil, uint16(code)), reason...)
}

// fields reads a body front to back; what is missing is noticed at the end.
type fields struct {
	rest []byte
	bad  bool
}

func (f *fields) take(n int) []byte {
	if len(f.rest) < n {
		f.bad, f.rest = true, nil
		return make([]byte, n)
	}
	b := f.rest[:n]
	f.rest = f.rest[n:]
	return b
}

func (f *fields) uint16() uint16 { return binary.BigEndian.Uint16(f.take(2)) }
func (f *fields) uint32() uint32 { return binary.BigEndian.Uint32(f.take(4)) }
func (f *fields) uint64() uint64 { return binary.BigEndian.Uint64(f.take(8)) }

func (f *fields) millis() time.Duration { return time.Duration(f.uint32()) * time.Millisecond }

func (f *fields) end(what string) error {
	if f.bad || len(f.rest) > 0 {
		return mq.Errorf(mq.ProtocolViolation, "a record of TCP: %s has the wrong length", what)
	}
	return nil
}

// opening reads what the first record of a connection begins with.
func (f *fields) opening() error {
	if string(f.take(len(magic))) != magic {
		return mq.Errorf(mq.ProtocolViolation, "a connection that begins with something else")
	}
	if v := f.take(2); v[0] != version || v[1] != 0 {
		return mq.Errorf(mq.UnsupportedVersion, "version %d of records on TCP, this is version %d", v[0], version)
	}
	return nil
}

// parseFirst decodes the first record of a connection: a begin or an attach.
func parseFirst(k kind, body []byte) (*begin, *attach, error) {
	f := fields{rest: body}
	switch k {
	case kindBegin, kindAttach:
	default:
		return nil, nil, mq.Errorf(mq.ProtocolViolation, "a connection begins with record kind %d", k)
	}
	if err := f.opening(); err != nil {
		return nil, nil, err
	}
	if k == kindBegin {
		b := &begin{idle: f.millis()}
		return b, nil, f.end("begin")
	}
	a := &attach{id: f.uint64()}
	copy(a.secret[:], f.take(secretSize))
	return nil, a, f.end("attach")
}

func parseBegun(body []byte) (begun, error) {
	f := fields{rest: body}
	b := begun{id: f.uint64()}
	copy(b.secret[:], f.take(secretSize))
	b.idle, b.streams = f.millis(), f.uint32()
	return b, f.end("begun")
}

// parseCode decodes a reset, and with reason a close.
func parseCode(body []byte, withReason bool) (uint16, string, error) {
	f := fields{rest: body}
	code := f.uint16()
	if !withReason {
		return code, "", f.end("reset")
	}
	reason := string(f.rest)
	f.rest = nil
	if !utf8.ValidString(reason) {
		f.bad = true
	}
	return code, reason, f.end("close")
}

func parseNumber(body []byte) (uint64, error) {
	f := fields{rest: body}
	n := f.uint64()
	return n, f.end("ping")
}

// input reads records. A read that fails for a deadline loses nothing: the next call goes on. It is for one goroutine at a time.
type input struct {
	r    io.Reader
	left int // bytes of the present data record that have not been read
	have int // bytes in buf
	buf  [recordHeader + maxBody]byte
}

// next reads the next record, of data only the header: left is its length. The body is valid until the next call. The error is io.EOF only between records.
func (in *input) next() (kind, []byte, error) {
	if err := in.fill(recordHeader); err != nil {
		return 0, nil, err
	}
	head := binary.BigEndian.Uint32(in.buf[:])
	k, n := kind(head>>24), int(head&maxData)
	switch {
	case k == kindData && n > 0:
		in.have, in.left = 0, n
		return k, nil, nil
	case k == kindData || k < kindData || k > kindPong:
		return 0, nil, mq.Errorf(mq.ProtocolViolation, "a record of TCP of kind %d and length %d", k, n)
	case n > maxBody:
		return 0, nil, mq.Errorf(mq.ProtocolViolation, "a record of TCP of kind %d has %d bytes", k, n)
	}
	if err := in.fill(recordHeader + n); err != nil {
		return 0, nil, err
	}
	in.have = 0
	return k, in.buf[recordHeader : recordHeader+n], nil
}

// fill reads until buf has n bytes, and no further.
func (in *input) fill(n int) error {
	for in.have < n {
		m, err := in.r.Read(in.buf[in.have:n])
		in.have += m
		if err != nil && in.have < n {
			if err == io.EOF && in.have > 0 {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// read reads bytes of the present data record.
func (in *input) read(p []byte) (int, error) {
	n, err := in.r.Read(p[:min(len(p), in.left)])
	in.left -= n
	if n > 0 && err == io.EOF {
		err = nil // it comes again
	}
	return n, err
}
