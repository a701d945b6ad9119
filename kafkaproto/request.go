package kafkaproto

import (
	"encoding/binary"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

// A request's frame; numbers are big-endian, a string is an i16 length (-1: null) and that many bytes, tags are as in KIP-482:
//
//	0           4         6             8                  12
//	+-----------+---------+-------------+------------------+------------------+------------------------+------+
//	| length i32| key i16 | version i16 | correlation id   | client id string | tags: flexible versions| body |
//	+-----------+---------+-------------+------------------+------------------+------------------------+------+
//
// length counts the bytes after itself.
const headBytes = 12

// head is the part of a frame that every version of everything has.
type head struct {
	length      int // of what follows the head
	key         int16
	version     int16
	correlation int32
}

// parseHead reads headBytes bytes.
func parseHead(b []byte) (head, error) {
	length := int32(binary.BigEndian.Uint32(b))
	if length < headBytes-4 {
		return head{}, mq.Errorf(mq.ProtocolViolation, "a request of %d bytes: its header has more", length)
	}
	return head{
		length:      int(length) - (headBytes - 4),
		key:         int16(binary.BigEndian.Uint16(b[4:])),
		version:     int16(binary.BigEndian.Uint16(b[6:])),
		correlation: int32(binary.BigEndian.Uint32(b[8:])),
	}, nil
}

// call is one request on its way.
type call struct {
	head
	api       *api
	conn      *conn
	session   *Session
	throttled throttled
	received  time.Time     // when all of it was there
	body      []byte        // after the header
	memory    *frameBuffer  // that body lies in, if its API gives it back
	done      chan struct{} // closed when it is answered; nil unless its API waits for other clients
	holding

	answer answer
}

// holding is what a request has of the limits of bytes, until it is given back.
type holding struct {
	weight         int   // what it takes of its connection's
	server         share // of the server's room
	address        share // of its address's
	small          int64 // of the server's room for small ones
	smallOfAddress int64
	answered       int64 // of the room for answers to administration
}

// broker answers.
func (c *call) broker() Broker { return c.conn.srv.cfg.Broker }

// parseRest reads what follows the head up to the body, and gives the client's id.
func (c *call) parseRest(frame []byte) (clientID string, err error) {
	f := fields{rest: frame}
	clientID = f.nullableString()
	if flexible(c.api.key, c.version) {
		f.tags()
	}
	if f.bad {
		return "", mq.Errorf(mq.ProtocolViolation, "the header of a %s request of version %d ends in its middle", c.api.key.Name(), c.version)
	}
	c.body = f.rest
	return clientID, nil
}

// flexible says whether a version of an API has tags.
func flexible(key kmsg.Key, version int16) bool {
	r := key.Request()
	r.SetVersion(version)
	return r.IsFlexible()
}

// fields reads Kafka's primitive types. Past the end everything is zero and bad is set.
type fields struct {
	rest []byte
	bad  bool
}

func (f *fields) span(n int) []byte {
	if n < 0 || n > len(f.rest) {
		f.bad, f.rest = true, nil
		return nil
	}
	b := f.rest[:n:n]
	f.rest = f.rest[n:]
	return b
}

func (f *fields) int16() int16 {
	if b := f.span(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (f *fields) int32() int32 {
	if b := f.span(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (f *fields) uvarint() int {
	v, n := binary.Uvarint(f.rest)
	if n <= 0 || v > 1<<31-1 {
		f.bad, f.rest = true, nil
		return 0
	}
	f.rest = f.rest[n:]
	return int(v)
}

// nullableString is "" for null, too.
func (f *fields) nullableString() string {
	n := f.int16()
	if n < 0 {
		return ""
	}
	return string(f.span(int(n)))
}

// text is a string, compact or not, that must not be null.
func (f *fields) text(compact bool) string {
	var n int
	if compact {
		n = f.uvarint() - 1
	} else {
		n = int(f.int16())
	}
	return string(f.span(n))
}

// nullableText is "" for null, too.
func (f *fields) nullableText(compact bool) string {
	if !compact {
		return f.nullableString()
	}
	return string(f.span(max(0, f.uvarint()-1)))
}

// bytes are as they lie there, not copied; nil for null.
func (f *fields) bytes(compact bool) []byte {
	var n int
	if compact {
		n = f.uvarint() - 1
	} else {
		n = int(f.int32())
	}
	if n < 0 {
		return nil
	}
	return f.span(n)
}

// count is an array's length: not more than there can be, with so many bytes for each element at least. 0 for null.
func (f *fields) count(compact bool, least int) int {
	var n int
	if compact {
		n = f.uvarint() - 1
	} else {
		n = int(f.int32())
	}
	if n > len(f.rest)/least {
		f.bad, f.rest = true, nil
	}
	if f.bad {
		return 0
	}
	return max(0, n)
}

// tags skips a section of tags.
func (f *fields) tags() {
	for n := f.uvarint(); n > 0 && !f.bad; n-- {
		f.uvarint()
		f.span(f.uvarint())
	}
}
