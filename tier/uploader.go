package tier

import (
	"context"
	"log/slog"
	"time"

	"gocloud.dev/blob"

	"github.com/rustmq/rustmq/mq"
)

// UploaderConfig is what an [Uploader] works with. Zero values of the optional
// fields mean their defaults.
type UploaderConfig struct {
	Bucket  *blob.Bucket
	Catalog Catalog
	// Sources lists the partitions that this node leads. It is asked at start,
	// now and then, and by Flush; between that, Notify names who has something.
	Sources func() []Source
	Cluster mq.ClusterID // written into each object
	Node    mq.NodeID    // written into each object
	// Prefix of every key, "" or ending in a slash: cluster and generation.
	Prefix string
	// FlushBytes is the target size of an object and, once so much is pending,
	// the reason to write one. Default 8 MiB.
	FlushBytes int64
	// FlushAge is how long a committed batch waits at most. Default 10 s.
	FlushAge time.Duration
	// Pressure, when set, asks with each value for an upload of everything that
	// is pending: the log is running out of room.
	Pressure <-chan struct{}
	// Concurrency is how many objects may be on their way at once, each held in
	// memory with up to FlushBytes and one batch. Default 4.
	Concurrency int
	Logger      *slog.Logger
}

// Uploader writes what is pending of many partitions into objects and commits
// them.
type Uploader struct{}

// NewUploader starts an uploader. Close it.
func NewUploader(cfg UploaderConfig) (*Uploader, error) { panic("not yet") }

// Notify says that s may have something pending now: its high watermark moved,
// or it became leader. It costs some ten nanoseconds when s is known to be
// dirty already, never blocks, and may be called under the source's lock.
func (u *Uploader) Notify(s Source) { panic("not yet") }

// Flush uploads what all sources have pending now and waits for the verdicts.
func (u *Uploader) Flush(ctx context.Context) error { panic("not yet") }

// Close stops at once and joins: uploads under way are given up (their objects
// become orphans), and no source hears anything after it returned.
func (u *Uploader) Close() error { panic("not yet") }

// Stats are counters since the start.
func (u *Uploader) Stats() UploaderStats { panic("not yet") }

// UploaderStats are the uploader's counters and gauges.
type UploaderStats struct {
	Objects, Ranges, Bytes int64 // committed
	RangesRefused          int64 // verdicts that were not nil
	Orphans                int64 // objects uploaded of which nothing was committed
	Retries                int64 // tries of the store or the catalogue that failed
	SourceErrors           int64 // sources that could not be read
	InFlightObjects        int64
	InFlightBytes          int64
	DirtySources           int64
	PendingBytes           int64     // at the last look
	OldestPending          time.Time // at the last look; zero when nothing is pending
	StoreFailing           bool      // the last try of the store failed
}
