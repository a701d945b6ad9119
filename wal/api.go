package wal

import (
	"context"
	"io"
	"log/slog"
	"time"
)

// StreamID names one stream of entries inside a log: a partition's key, or a fixed one for the raft log.
type StreamID [20]byte

// EntryType says what an entry does to its stream. Numbers are on disk and never change; those above 63 are the log's own.
type EntryType uint8

const (
	// EntryData carries [First, End) and continues its stream: First must be the stream's end. A stream that the log does not know starts at First.
	EntryData EntryType = 1
	// EntryTruncate cuts its stream to end at First (End must equal First), which must be the boundary of an entry. The payload is opaque.
	EntryTruncate EntryType = 2
	// EntryState is sticky: the latest of each stream is carried into every new segment, so it is never lost by freeing. The payload is opaque; First and End are kept and not looked at.
	EntryState EntryType = 3
	// EntryReset empties its stream, which goes on at First (End must equal First). The sticky state stays.
	EntryReset EntryType = 4
	// EntryDrop forgets its stream, its state included. In a replay it voids everything said about the stream so far.
	EntryDrop EntryType = 5
)

// Entry is one element of the log.
type Entry struct {
	Stream     StreamID
	Type       EntryType
	First, End uint64 // half-open range of the stream's offsets; End-First is below 2^32
	Payload    []byte // at most Options.MaxPayload(); owned by the log from Append until its Done is called
}

// Done learns that an entry is durable, or never will be. Implement it on something that exists anyway, so that an append allocates nothing.
type Done interface {
	// Appended is called exactly once: from the log's writer goroutine, in log order, with nil after the entry was synced. It must not block
	// and must not wait for the log. Only for an entry that was given to a closed log it is called from a goroutine of its own.
	Appended(err error)
}

// Options of one log. The zero value of each field but Dir is usable.
type Options struct {
	FS           FS            // nil: the operating system's
	Dir          string        // one log per directory; made if it is not there
	SegmentBytes int64         // size of a segment file, bytes; 0: 128 MiB
	MaxBytes     int64         // bound of all segment files together, bytes; 0: only the disk's
	QueueBytes   int64         // bound of what is reserved and not yet durable, bytes; 0: 64 MiB
	PromiseDelay time.Duration // how long the queue stays dry before a promise frame is synced; 0: 5 ms
	FullDelay    time.Duration // how long Reserve waits for a log at MaxBytes before it says StorageFull; 0: 1 s
	RecycleMax   int           // freed segments kept prepared for reuse; 0: 2
	Logger       *slog.Logger  // nil: silent
	Rand         io.Reader     // source of the log's salt; nil: crypto/rand
}

// Damage is one stretch of a log that was once promised and cannot be read any more.
type Damage struct {
	Segment    uint64
	Path       string   // of the segment's file
	Position   int64    // of the first bad byte's frame in the file
	Bytes      int64    // length of the stretch
	Stream     StreamID // whose entry it was, if Known
	Known      bool
	First, End uint64 // offsets lost, if known; else equal
	Reason     string
}

// Recovery says what Open or Check found.
type Recovery struct {
	Segments  int        // in use
	Bytes     int64      // of frames read
	Entries   int64      // of the caller's
	TornBytes int64      // cut from the tail: written, never promised
	Damage    []Damage   // in log order
	Suspect   []StreamID // streams that are quarantined: damaged, or not proven whole
	Doubt     bool       // a damaged stretch may have held all there was of a stream that the log does not know
	Elapsed   time.Duration
}

// Log is one multi-stream log. All methods may be called from any goroutine.
type Log struct{}

// Open recovers the log in opts.Dir, or makes a new one, and starts it.
func Open(opts Options, visit func(Entry) error) (*Log, *Recovery, error) { panic("not yet") }

// Reserve waits for room for one EntryData with a payload of the given bytes. One Reserve goes before each Append of an EntryData (no other
// type); what is not appended is given back by Unreserve. The error is StorageFull (retriable) when the disk or the log is full.
func (l *Log) Reserve(ctx context.Context, bytes int64) error { panic("not yet") }

// Unreserve gives back what Reserve gave for bytes and was not appended.
func (l *Log) Unreserve(bytes int64) { panic("not yet") }

// Append queues an entry. It never blocks on I/O and never calls done itself, so it may be called with the caller's mutex held. done may be nil.
func (l *Log) Append(e Entry, done Done) { panic("not yet") }

// Read appends to dst the payloads of the stream's data entries from the one that holds from, whole, in order and verified, until maxBytes
// are reached (one entry at least), and returns the grown slice and the offset to go on at. from at the stream's end gives nothing.
// Errors: OffsetOutOfRange, Corrupt with segment and position.
func (l *Log) Read(stream StreamID, from uint64, maxBytes int, dst []byte) (data []byte, next uint64, err error) {
	panic("not yet")
}

// ReadEntries is Read that keeps the entries apart: visit gets each with a payload that is valid during the call only.
func (l *Log) ReadEntries(stream StreamID, from uint64, maxBytes int, visit func(Entry) error) (next uint64, err error) {
	panic("not yet")
}

// Bounds returns what the log holds of the stream, live and durable; ok is false for a stream that it does not know.
func (l *Log) Bounds(stream StreamID) (first, end uint64, ok bool) { panic("not yet") }

// State returns a copy of the stream's latest durable EntryState.
func (l *Log) State(stream StreamID) (Entry, bool) { panic("not yet") }

// Streams returns the streams that the log knows, in no order.
func (l *Log) Streams() []StreamID { panic("not yet") }

// Quarantined returns why the stream may not be read or continued, or nil. EntryReset, EntryDrop, a truncation at or below the damage
// and a release beyond it lift it.
func (l *Log) Quarantined(stream StreamID) error { panic("not yet") }

// Release says that everything of the stream below upTo is needed no more.
func (l *Log) Release(stream StreamID, upTo uint64) { panic("not yet") }

// Drop forgets the stream: Append of an EntryDrop.
func (l *Log) Drop(stream StreamID) { l.Append(Entry{Stream: stream, Type: EntryDrop}, nil) }

// Sync returns when everything appended before the call is durable.
func (l *Log) Sync(ctx context.Context) error { panic("not yet") }

// Close makes durable what is queued, and ends the log's goroutines.
func (l *Log) Close() error { panic("not yet") }

// Failed is closed at the first write or sync error: from then on nothing is acknowledged and the process should end.
func (l *Log) Failed() <-chan struct{} { panic("not yet") }

// Err is the error that poisoned the log, or nil.
func (l *Log) Err() error { panic("not yet") }

// Histogram is a snapshot of a distribution: Counts[i] are the values at most Bounds[i]; one more count is for those above all.
type Histogram struct {
	Bounds []float64
	Counts []uint64
	Sum    float64
}

// Stats is a snapshot of the log's counters; totals count from Open.
type Stats struct {
	Segments, Prepared   int   // segment files in use; ready for use
	FileBytes, LiveBytes int64 // of all files; of entries still needed in them
	Streams              int
	QueuedBytes          int64  // reserved, not yet durable
	EntriesTotal         uint64 // made durable
	BytesTotal           uint64 // written, frames and padding
	PayloadBytesTotal    uint64
	SyncsTotal           uint64
	PromisesTotal        uint64
	CopiedBytesTotal     uint64 // copied forward
	FreedTotal           uint64 // segments
	RecycledTotal        uint64 // segments
	FullTotal            uint64 // refusals with StorageFull
	PreparedLate         uint64 // times the writer had to wait for a segment
	SyncSeconds          Histogram
	GroupEntries         Histogram
	OldestPending        time.Duration // age of the oldest entry not yet durable
	Full                 bool          // no room for more: Reserve refuses
}

// Stats returns a snapshot.
func (l *Log) Stats() Stats { panic("not yet") }

// Dump writes one line per frame of a log's directory or of one segment file. Read-only.
func Dump(fs FS, path string, w io.Writer) error { panic("not yet") }

// Check reads a log's directory like Open does, and changes nothing. It may be used on a running log.
func Check(fs FS, path string) (*Recovery, error) { panic("not yet") }
