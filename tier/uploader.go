package tier

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rustmq/rustmq/mq"
)

const (
	// DefaultFlushBytes is the default of UploaderConfig.FlushBytes: large
	// enough that requests cost little, small enough to hold several.
	DefaultFlushBytes = 8 << 20
	// DefaultFlushAge is the default of UploaderConfig.FlushAge.
	DefaultFlushAge = 10 * time.Second
	// DefaultAckBytes is the default of UploaderConfig.AckBytes.
	DefaultAckBytes = 8 << 20
	// DefaultAckAge is the default of UploaderConfig.AckAge: a compromise
	// between a producer's patience and the number of objects.
	DefaultAckAge = 250 * time.Millisecond
	// DefaultCommitBytes is the default of UploaderConfig.CommitBytes.
	DefaultCommitBytes = 1 << 20
	// DefaultUploads is the default of UploaderConfig.Concurrency.
	DefaultUploads = 4

	// lookInterval is how often sources that have something pending are looked
	// at. It bounds how late an upload begins.
	lookInterval = 100 * time.Millisecond
	// rescanInterval is how often all sources are looked at, in case one forgot
	// to notify.
	rescanInterval = time.Minute
	// catalogTimeout ends one try of the catalogue: a reply that takes longer will
	// not come.
	catalogTimeout = 2 * time.Minute
	// leaseObjectIDs is how many object ids are fetched at once: one raft
	// command for so many objects.
	leaseObjectIDs = 64
	// readChunkBytes is how much is read from a source at once.
	readChunkBytes = 1 << 20
)

// UploaderConfig is what an [Uploader] works with. Zero values of the optional
// fields mean their defaults.
type UploaderConfig struct {
	Store   *Store // of any class: what is uploaded is ClassUpload
	Catalog Catalog
	// Sources lists the partitions that this node leads. It is asked at start,
	// now and then, and by Flush; between that, Notify names who has something.
	// Optional.
	Sources func() []Source
	Cluster mq.ClusterID // written into each object
	Node    mq.NodeID    // written into each object
	// Prefix of every key, "" or ending in a slash: cluster and generation.
	Prefix string
	// FlushBytes is the target size of an object and, once so much is pending,
	// the reason to write one. Default DefaultFlushBytes.
	FlushBytes int64
	// CommitBytes ends an object, too: it takes no further range once
	// RangeCommit.Size of those in it adds up to so much, since the catalogue
	// decides an object in one command, and those have a bound. Default
	// DefaultCommitBytes.
	CommitBytes int64
	// FlushAge is how long a committed batch waits at most before an object is
	// begun with it. Default DefaultFlushAge.
	FlushAge time.Duration
	// AckBytes and AckAge are the same for what is pending of partitions whose
	// producers wait for the object store ([Pending.Awaited]), where that is
	// sooner. Defaults DefaultAckBytes and DefaultAckAge.
	AckBytes int64
	AckAge   time.Duration
	// Pressure, when set, asks with each value for an upload of everything that
	// is pending, oldest first: the log is running out of room. Send without
	// waiting, into a buffer of one: the uploader may be busy.
	Pressure <-chan struct{}
	// Concurrency is how many objects may be on their way at once, each held in
	// memory with FlushBytes, one batch, and its footer. Default DefaultUploads.
	Concurrency int
	// Now is the clock of the sources' Pending.Since. Default time.Now.
	Now    func() time.Time
	Logger *slog.Logger
}

// Uploader writes what is pending of many partitions into objects and commits
// them. It has one goroutine that plans and reads, and one for each object on
// its way. It keeps no queue: what is pending is asked of the sources, so after
// any failure it simply finds the same work again.
type Uploader struct {
	cfg    UploaderConfig
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	log    *slog.Logger

	marked  marks
	flushes chan *flush
	results chan *shipment
	stopped chan struct{} // the loop returned
	ships   sync.WaitGroup

	store, catalog health
	counters       uploaderCounters

	// The rest belongs to the loop.
	states     map[Source]*sourceState
	candidates []candidate // for the plan, kept for its memory
	free       []*slot
	active     []*flush
	lastDone   <-chan struct{} // of the newest shipment
	nextID     uint64
	lastID     uint64 // one past the lease
}

// slot is the memory for one object on its way.
type slot struct{ buf []byte }

type uploaderCounters struct {
	objects, ranges, bytes, refused, orphans, retries, sourceErrors atomic.Int64
	inFlightObjects, inFlightBytes, dirty, pending, oldest          atomic.Int64
}

// NewUploader starts an uploader. Close it.
func NewUploader(cfg UploaderConfig) (*Uploader, error) {
	if cfg.Store == nil || cfg.Catalog == nil {
		return nil, mq.Errorf(mq.InvalidConfig, "uploader without a store or a catalogue")
	}
	cfg.Store = cfg.Store.For(ClassUpload)
	cfg.FlushBytes = cmp.Or(cfg.FlushBytes, DefaultFlushBytes)
	cfg.FlushAge = cmp.Or(cfg.FlushAge, DefaultFlushAge)
	cfg.AckBytes = cmp.Or(cfg.AckBytes, DefaultAckBytes)
	cfg.AckAge = cmp.Or(cfg.AckAge, DefaultAckAge)
	cfg.CommitBytes = cmp.Or(cfg.CommitBytes, DefaultCommitBytes)
	cfg.Concurrency = cmp.Or(cfg.Concurrency, DefaultUploads)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.FlushBytes < 0 || cfg.FlushAge < 0 || cfg.CommitBytes < 0 || cfg.Concurrency < 0 {
		return nil, mq.Errorf(mq.InvalidConfig, "uploader with flush bytes %d, flush age %s, commit bytes %d, concurrency %d",
			cfg.FlushBytes, cfg.FlushAge, cfg.CommitBytes, cfg.Concurrency)
	}
	if cfg.Sources == nil {
		cfg.Sources = func() []Source { return nil }
	}
	u := &Uploader{
		cfg:     cfg,
		log:     cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler)),
		marked:  marks{wake: make(chan struct{}, 1)},
		flushes: make(chan *flush),
		results: make(chan *shipment, cfg.Concurrency),
		stopped: make(chan struct{}),
		states:  make(map[Source]*sourceState),
	}
	u.ctx, u.cancel = context.WithCancel(context.Background())
	u.store = health{what: "object store", log: u.log}
	u.catalog = health{what: "metadata", log: u.log}
	for range cfg.Concurrency {
		u.free = append(u.free, &slot{})
	}
	go u.run()
	return u, nil
}

// Notify says that s may have something pending now, or something more urgent:
// its high watermark moved, it became leader, or somebody waits for the object
// mark. It costs some ten nanoseconds when s was named since the uploader last
// looked, never blocks, and may be called under the source's lock. s must be
// comparable, as a pointer is.
func (u *Uploader) Notify(s Source) { u.marked.add(s) }

// Flush uploads what all sources have pending now and waits for the verdicts.
// An error says that a source's range was refused or could not be read, or that
// ctx or the uploader ended first.
func (u *Uploader) Flush(ctx context.Context) error {
	f := &flush{ctx: ctx, done: make(chan struct{})}
	select {
	case u.flushes <- f:
	case <-ctx.Done():
		return mq.Wrapf(ctx.Err(), "flush to the object store")
	case <-u.stopped:
		return mq.Errorf(mq.ShuttingDown, "flush to the object store: the uploader is closed")
	}
	select {
	case <-f.done:
		return mq.Wrapf(f.err, "flush to the object store")
	case <-ctx.Done():
		return mq.Wrapf(ctx.Err(), "flush to the object store")
	case <-u.stopped:
		return mq.Errorf(mq.ShuttingDown, "flush to the object store: the uploader was closed")
	}
}

// Close stops at once and joins: uploads under way are given up (their objects
// become orphans), and no source hears anything after it returned. Flush before
// it if what is pending should go.
func (u *Uploader) Close() error {
	u.cancel()
	<-u.stopped
	u.ships.Wait()
	return nil
}

// UploaderStats are the uploader's counters since its start, and gauges.
type UploaderStats struct {
	Objects, Ranges, Bytes int64     // committed: objects with a committed range, ranges, bytes of batches
	RangesRefused          int64     // verdicts that were errors
	Orphans                int64     // objects uploaded of which nothing was committed
	Retries                int64     // tries of the store or the catalogue that failed
	SourceErrors           int64     // sources that could not be read
	InFlightObjects        int64     // now
	InFlightBytes          int64     // now
	DirtySources           int64     // sources with something pending, at the last look
	PendingBytes           int64     // not committed, at the last look
	OldestPending          time.Time // at the last look; zero when nothing is pending
	StoreFailing           bool      // the last try of the store failed
	CatalogFailing         bool      // the last try of the catalogue failed
}

// Stats reads the counters.
func (u *Uploader) Stats() UploaderStats {
	c := &u.counters
	s := UploaderStats{
		Objects: c.objects.Load(), Ranges: c.ranges.Load(), Bytes: c.bytes.Load(),
		RangesRefused: c.refused.Load(), Orphans: c.orphans.Load(), Retries: c.retries.Load(), SourceErrors: c.sourceErrors.Load(),
		InFlightObjects: c.inFlightObjects.Load(), InFlightBytes: c.inFlightBytes.Load(),
		DirtySources: c.dirty.Load(), PendingBytes: c.pending.Load(),
		StoreFailing: u.store.failing(), CatalogFailing: u.catalog.failing(),
	}
	if oldest := c.oldest.Load(); oldest != 0 {
		s.OldestPending = time.Unix(0, oldest)
	}
	return s
}

// run is the uploader's goroutine.
func (u *Uploader) run() {
	defer close(u.stopped)
	rescan := time.NewTicker(rescanInterval)
	defer rescan.Stop()
	look := time.NewTimer(0)
	defer look.Stop()
	u.markAll()
	for {
		u.look()
		u.dispatch()
		u.settleFlushes()
		// With something pending, the next look is soon enough for whatever is
		// notified meanwhile; without, there is nothing to wake up for.
		var due <-chan time.Time
		wake := u.marked.wake
		switch {
		case len(u.free) == 0:
			wake = nil
		case len(u.states) > 0:
			look.Reset(lookInterval)
			due, wake = look.C, nil
		}
		select {
		case <-u.ctx.Done():
			return
		case <-due:
		case <-wake:
		case s := <-u.results:
			u.settle(s)
		case f := <-u.flushes:
			u.begin(f)
		case <-u.cfg.Pressure:
			u.pressed()
		case <-rescan.C:
			u.markAll()
		}
	}
}

func (u *Uploader) markAll() {
	for _, s := range u.cfg.Sources() {
		u.marked.add(s)
	}
}
