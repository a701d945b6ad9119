package client

import (
	"fmt"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// Position is where reading a partition starts. Its zero value is [Start].
type Position struct {
	kind   positionKind
	offset mq.Offset
	time   int64 // ms since 1970
}

type positionKind uint8

const (
	atStart positionKind = iota
	atEnd
	atOffset
	atTime
)

// Start is the oldest record that the partition still has.
func Start() Position { return Position{} }

// End is behind the newest record that the consumer's isolation lets be read: only what comes later is read.
func End() Position { return Position{kind: atEnd} }

// At is the record with this offset, or the first after it where a compacted topic lacks it.
func At(offset mq.Offset) Position { return Position{kind: atOffset, offset: offset} }

// AtTime is the first record whose timestamp is not before t (to the millisecond), or [End] if there is none.
func AtTime(t time.Time) Position { return Position{kind: atTime, time: t.UnixMilli()} }

// String is "start", "end", the offset, or the time in RFC 3339.
func (p Position) String() string {
	switch p.kind {
	case atStart:
		return "start"
	case atEnd:
		return "end"
	case atTime:
		return time.UnixMilli(p.time).UTC().Format(time.RFC3339Nano)
	default:
		return fmt.Sprint(int64(p.offset))
	}
}

// wire is the offset that a frame says for p, which must not be a time.
func (p Position) wire() mq.Offset {
	switch p.kind {
	case atStart:
		return quicproto.OffsetEarliest
	case atEnd:
		return quicproto.OffsetLatest
	default:
		return p.offset
	}
}

// query is the timestamp that ListOffsets says for p, which must not be an offset.
func (p Position) query() int64 {
	switch p.kind {
	case atStart:
		return quicproto.TimestampEarliest
	case atEnd:
		return quicproto.TimestampLatest
	default:
		return p.time
	}
}
