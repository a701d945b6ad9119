package wal

import "encoding/binary"

// StreamID names one stream of entries inside a log: a partition's key, or a
// fixed one for the raft log.
type StreamID [20]byte

// StreamSlots is how many slots there are for streams to be looked for first,
// before a map: a power of two.
const StreamSlots = 256

// Slot is where a stream is looked for first, below [StreamSlots]. Keys of
// partitions differ in a topic's random id, and at their end in a number.
func (id *StreamID) Slot() int {
	le := binary.LittleEndian
	return int((le.Uint64(id[8:]) ^ uint64(le.Uint32(id[16:]))) * 0x9e3779b97f4a7c15 >> 56 % StreamSlots)
}

// EntryType says what an entry does to its stream. The numbers are on disk and
// never change; those above 63 are the log's own.
type EntryType uint8

const (
	// EntryData carries the offsets [First, End) and continues its stream:
	// First must be the stream's end. A stream that the log does not know
	// starts at First.
	EntryData EntryType = 1
	// EntryTruncate cuts its stream to end at First, which must be the
	// boundary of an entry, or lie below all that the log holds of the stream.
	// End equals First. The payload is opaque.
	EntryTruncate EntryType = 2
	// EntryState is sticky: the latest of each stream is carried into every
	// new segment, so that freeing never loses it. The payload is opaque and at
	// most [MaxState] bytes; First and End are kept and not looked at.
	EntryState EntryType = 3
	// EntryReset empties its stream, which goes on at First. End equals
	// First. The sticky state stays.
	EntryReset EntryType = 4
	// EntryDrop forgets its stream with its state. In a replay it voids
	// everything that was said about the stream before.
	EntryDrop EntryType = 5
)

// The log's own frames.
const (
	typeCheckpoint EntryType = 64 // at the head of a segment: all streams as they are
	typePromise    EntryType = 65 // nothing but its promised position
	typeSeal       EntryType = 66 // at the end of a segment: the streams written in it
	typeFree       EntryType = 67 // the oldest segments are needed no more
)

// Kinds of work for the writer that are not entries. They are never on disk.
const (
	workCopy EntryType = 128 + iota // copy an entry of the oldest segment forward
	workFree                        // write that the oldest segment is free
	workSync                        // nothing but a completion
)

func (t EntryType) String() string {
	switch t {
	case EntryData:
		return "data"
	case EntryTruncate:
		return "truncate"
	case EntryState:
		return "state"
	case EntryReset:
		return "reset"
	case EntryDrop:
		return "drop"
	case typeCheckpoint:
		return "checkpoint"
	case typePromise:
		return "promise"
	case typeSeal:
		return "seal"
	case typeFree:
		return "free"
	}
	return "unknown"
}

// known says whether this version understands a frame of the type.
func (t EntryType) known() bool {
	return t >= EntryData && t <= EntryDrop || t >= typeCheckpoint && t <= typeFree
}

// internal says whether a frame of the type is the log's own.
func (t EntryType) internal() bool { return t >= typeCheckpoint }

// Entry is one element of the log.
type Entry struct {
	Stream     StreamID
	Type       EntryType
	First, End uint64 // half-open range of the stream's offsets; End-First is below 2^32
	Payload    []byte // at most Options.MaxPayload bytes; the log's from Append until its Done is called
	// CRC is the CRC32C of Payload, if the caller happens to know it: the log then need not look at every byte once more. 0: it does.
	CRC uint32
}

// Done learns that an entry is durable, or never will be. Implement it on
// something that exists anyway, so that an append allocates nothing.
type Done interface {
	// Appended is called exactly once: by the log's writer goroutine, in log
	// order, with nil after the entry was synced. It must not block, and must
	// not wait for the log. Only for an entry given to a closed log it is
	// called by a goroutine of its own.
	Appended(err error)
}
