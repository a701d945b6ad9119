package wal

import (
	"crypto/rand"
	"io"
	"log/slog"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// Options of one log. Every field but Dir may be left zero.
type Options struct {
	FS           FS            // nil: the operating system's
	Dir          string        // of this log only; made if it is not there
	SegmentBytes int64         // of one segment file; 0: 128 MiB; rounded up to whole 4 KiB blocks. A young log begins with 4 MiB, and doubles
	MaxBytes     int64         // of all segment files together, prepared ones included; 0: as much as the disk has
	QueueBytes   int64         // of what is reserved and not yet durable; 0: 64 MiB
	PromiseDelay time.Duration // how long the queue stays dry before a promise frame is synced; 0: 5 ms
	FullDelay    time.Duration // how long Reserve waits for a log at MaxBytes before it refuses; 0: 1 s
	RetryDelay   time.Duration // between attempts to prepare a segment on a full disk; 0: 500 ms
	RecycleMax   int           // freed segments that are kept for reuse; 0: 2
	CopyBehind   int           // segments sealed after the oldest before what little is left in it is copied; 0: 4
	Logger       *slog.Logger  // nil: silent
	Rand         io.Reader     // for the salt of a new log; nil: crypto/rand
}

// withDefaults fills in what is zero, and refuses what cannot work.
func (o Options) withDefaults() (Options, error) {
	if o.FS == nil {
		o.FS = OS()
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = defaultSegmentBytes
	}
	o.SegmentBytes = roundUp(o.SegmentBytes, blockSize)
	if o.QueueBytes == 0 {
		o.QueueBytes = defaultQueueBytes
	}
	if o.PromiseDelay == 0 {
		o.PromiseDelay = 5 * time.Millisecond
	}
	if o.FullDelay == 0 {
		o.FullDelay = time.Second
	}
	if o.RetryDelay == 0 {
		o.RetryDelay = 500 * time.Millisecond
	}
	if o.RecycleMax == 0 {
		o.RecycleMax = 2
	}
	if o.CopyBehind == 0 {
		o.CopyBehind = defaultCopyBehind
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	switch {
	case o.Dir == "":
		return o, mq.Errorf(mq.InvalidConfig, "wal: no directory given")
	case o.SegmentBytes < MinSegmentBytes || o.SegmentBytes > MaxSegmentBytes:
		return o, mq.Errorf(mq.InvalidConfig, "wal %s: segments of %d bytes: not in [%d, %d]", o.Dir, o.SegmentBytes, MinSegmentBytes, MaxSegmentBytes)
	case o.MaxBytes != 0 && o.MaxBytes < 3*o.SegmentBytes:
		return o, mq.Errorf(mq.InvalidConfig, "wal %s: a bound of %d bytes: at least three segments of %d bytes are needed", o.Dir, o.MaxBytes, o.SegmentBytes)
	case o.QueueBytes < 0 || o.PromiseDelay < 0 || o.FullDelay < 0 || o.RetryDelay < 0 || o.RecycleMax < 0 || o.CopyBehind < 0:
		return o, mq.Errorf(mq.InvalidConfig, "wal %s: negative option", o.Dir)
	}
	return o, nil
}

// MaxPayload is the longest payload of one entry in bytes: half a segment,
// and never more than 64 MiB. Valid for options without zero SegmentBytes and
// for those with.
func (o Options) MaxPayload() int64 {
	if o.SegmentBytes == 0 {
		o.SegmentBytes = defaultSegmentBytes
	}
	return min(maxEntryBytes, o.SegmentBytes/2)
}

// roundUp rounds n up to a multiple of unit, a power of two.
func roundUp(n, unit int64) int64 { return (n + unit - 1) &^ (unit - 1) }
