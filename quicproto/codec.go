package quicproto

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/rustmq/rustmq/mq"
)

func putUint32(b []byte, v uint32)                  { binary.BigEndian.PutUint32(b, v) }
func appendUint16(dst []byte, v uint16) []byte      { return binary.BigEndian.AppendUint16(dst, v) }
func appendUint32(dst []byte, v uint32) []byte      { return binary.BigEndian.AppendUint32(dst, v) }
func appendUint64(dst []byte, v uint64) []byte      { return binary.BigEndian.AppendUint64(dst, v) }
func appendOffset(dst []byte, v mq.Offset) []byte   { return appendUint64(dst, uint64(v)) }
func appendCode(dst []byte, v mq.Code) []byte       { return appendUint16(dst, uint16(v)) }
func appendInt32[T ~int32](dst []byte, v T) []byte  { return appendUint32(dst, uint32(v)) }
func appendTopicID(dst []byte, v mq.TopicID) []byte { return append(dst, v[:]...) }

// appendText appends a string of at most max bytes with its length before it. Longer ones are cut at a rune, so that
// what is encoded can always be decoded; validation of what a user gave happens before.
func appendText(dst []byte, s string, max int) []byte {
	if len(s) > max {
		s = s[:max]
		for len(s) > 0 && !utf8.ValidString(s[lastRune(s):]) {
			s = s[:lastRune(s)]
		}
	}
	return append(appendUint16(dst, uint16(len(s))), s...)
}

// lastRune is the index at which the last, maybe incomplete, rune of a non-empty s starts.
func lastRune(s string) int {
	i := len(s) - 1
	for i > 0 && len(s)-i < utf8.UTFMax && !utf8.RuneStart(s[i]) {
		i--
	}
	return i
}

// decoder reads a payload front to back. The first error sticks, and everything read after it is zero.
type decoder struct {
	frame string // what is being decoded, for the error text
	rest  []byte
	err   error
}

func (d *decoder) fail(code mq.Code, what string) {
	if d.err == nil {
		d.err = mq.Errorf(code, "%s: %s", d.frame, what)
		d.rest = nil
	}
}

func (d *decoder) take(n int) []byte {
	if len(d.rest) < n {
		d.fail(mq.ProtocolViolation, "payload is too short")
		return nil
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) uint8() uint8 {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) uint16() uint16 {
	if b := d.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (d *decoder) uint32() uint32 {
	if b := d.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (d *decoder) uint64() uint64 {
	if b := d.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) int32() int32      { return int32(d.uint32()) }
func (d *decoder) int64() int64      { return int64(d.uint64()) }
func (d *decoder) offset() mq.Offset { return mq.Offset(d.uint64()) }
func (d *decoder) epoch() mq.Epoch   { return mq.Epoch(d.uint32()) }
func (d *decoder) node() mq.NodeID   { return mq.NodeID(d.uint32()) }
func (d *decoder) code() mq.Code     { return mq.Code(d.uint16()) }

func (d *decoder) topicID() (id mq.TopicID) {
	copy(id[:], d.take(len(id)))
	return id
}

func (d *decoder) clusterID() (id mq.ClusterID) {
	copy(id[:], d.take(len(id)))
	return id
}

// text reads a string of at most max bytes, which must be UTF-8.
func (d *decoder) text(max int) string {
	n := int(d.uint16())
	if n > max {
		d.fail(mq.ProtocolViolation, "text is too long")
		return ""
	}
	b := d.take(n)
	if !utf8.Valid(b) {
		d.fail(mq.ProtocolViolation, "text is not UTF-8")
		return ""
	}
	return string(b)
}

// flags reads a byte of flags of which only those in known may be set.
func (d *decoder) flags(known uint8) uint8 {
	v := d.uint8()
	if v&^known != 0 {
		d.fail(mq.UnsupportedVersion, "a reserved flag is set")
	}
	return v & known
}

// reserved8 and reserved16 read bytes that must be zero in this version.
func (d *decoder) reserved8() { d.flags(0) }

func (d *decoder) reserved16() {
	if d.uint16() != 0 {
		d.fail(mq.UnsupportedVersion, "a reserved field is set")
	}
}

// handle reads a handle, which is below MaxHandles.
func (d *decoder) handle() uint32 {
	v := d.uint32()
	if v >= MaxHandles {
		d.fail(mq.ProtocolViolation, "handle is out of range")
	}
	return v
}

// count reads the length of a list whose elements take at least size bytes each, so that a lying count is found
// before anything is allocated for it.
func (d *decoder) count(limit, size int) int {
	n := d.uint32()
	if int64(n) > int64(limit) || int64(n)*int64(size) > int64(len(d.rest)) {
		d.fail(mq.ProtocolViolation, "count is larger than what can follow")
		return 0
	}
	return int(n)
}

// remaining hands out what is left, aliasing the payload.
func (d *decoder) remaining() []byte {
	b := d.rest
	d.rest = nil
	return b[:len(b):len(b)]
}

// end returns the first error, or one if something is left over.
func (d *decoder) end() error {
	if d.err == nil && len(d.rest) != 0 {
		d.fail(mq.ProtocolViolation, "bytes after the end")
	}
	return d.err
}
