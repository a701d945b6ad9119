package tier

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/rustmq/rustmq/mq"
)

const (
	// DefaultTargetBytes is the default of CompactorConfig.TargetBytes: large enough that a request costs little beside what it brings, and that a
	// partition of 100 GiB has some thousand ranges; small enough to be held in memory, by every broker.
	DefaultTargetBytes = 64 << 20
	// DefaultMergeRanges is the default of CompactorConfig.MergeRanges.
	DefaultMergeRanges = 256
	// DefaultCompactInterval is the default of CompactorConfig.Interval.
	DefaultCompactInterval = time.Minute
	// DefaultCommitRanges is the default of CompactorConfig.CommitRanges.
	DefaultCommitRanges = 4096

	// packShare is the part of the target, 1/packShare, below which runs of several partitions share an object: all of it is in memory twice.
	packShare = 4
	// idleLooks is how many intervals a partition is left alone at most of which there was nothing to merge.
	idleLooks = 16
	// damagedFor is how long a partition is left alone of which something could not be read for good.
	damagedFor = time.Hour
	// leaseMergeIDs is how many object ids are fetched at once.
	leaseMergeIDs = 8
	// readersShare is what merges leave to consumers that read from the store meanwhile: they take 1/readersShare of the time.
	readersShare = 10
	// lateLooks is how many intervals a look takes at most that gives way to consumers: what is left then is done without a rest, lest it grow for ever.
	lateLooks = 10
	// readLull is for how long nobody reads when nobody has to be given way.
	readLull = time.Second
)

// CompactorCatalog is the part of the metadata that a [Compactor] needs.
type CompactorCatalog interface {
	// LeaseObjectIDs is as in Catalog.
	LeaseObjectIDs(ctx context.Context, n int) (first uint64, err error)
	// Ranges is as in Catalog.
	Ranges(ctx context.Context, p mq.PartitionID, from mq.Offset, limit int) ([]Range, error)
	// ReplaceRanges puts ranges of an object into the place of those that they were made of. There is a verdict per replacement, in order; nil
	// accepts it. It is refused when anything that it replaces is not there any more. An error of the whole call says nothing about the outcome
	// unless its code is final.
	ReplaceRanges(ctx context.Context, m ObjectMerge) (verdicts []error, err error)
}

// ObjectMerge is an object made of others, uploaded and verified.
type ObjectMerge struct {
	ID           uint64
	Key          string
	Size         int64
	Replacements []Replacement // by partition, then offset
}

// Replacement is one range of such an object, and what it is made of.
type Replacement struct {
	Partition mq.PartitionID
	Old       []Range // in order, without a gap
	// First is that of the first of them, or above it and not above the log start. End is that of the last.
	First, End       mq.Offset
	MinTime, MaxTime int64
	Position, Bytes  int64
	CRC              uint32
	ByKey            bool // records of it were left out, or could have been
}

// Compactable is a partition whose ranges can be merged.
type Compactable struct {
	Partition           mq.PartitionID
	LogStart, TieredEnd mq.Offset  // as far as is known
	Keyed               *KeyPolicy // nil: not compacted by key
}

// CompactorConfig is what a [Compactor] works with. Zero values of the optional fields mean their defaults.
type CompactorConfig struct {
	// Store is asked as ClassCompaction: its limits bound the compactor's share of requests and bandwidth.
	Store   *Store
	Catalog CompactorCatalog
	// Partitions lists those that this node compacts: that two nodes compact the same at once costs, but does no harm.
	Partitions func() []Compactable
	Cluster    mq.ClusterID // written into each object
	Node       mq.NodeID    // written into each object
	// Prefix of every key, as the uploader's.
	Prefix string
	// TargetBytes is what ranges are merged to, and objects of one partition have, about. Ranges of half of it and more stay as they are. Three times
	// as much is held in memory at most, while it is made. Default DefaultTargetBytes.
	TargetBytes int64
	// MergeRanges is how many ranges of a partition are merged though they are less than TargetBytes. Default DefaultMergeRanges.
	MergeRanges int
	// CommitRanges is how many ranges one object replaces at most. Default DefaultCommitRanges.
	CommitRanges int
	// Interval is how often the partitions are looked at. Default DefaultCompactInterval.
	Interval time.Duration
	Logger   *slog.Logger
}

// Compactor merges small ranges of partitions into large ones. It has one goroutine, which looks for what to merge, and does one merge after the
// other; while consumers read from the store it rests for nine times as long as each took, unless it is late. It remembers nothing: what it was at when it ended is an object that nobody refers to, or one that was committed.
type Compactor struct {
	cfg    CompactorConfig
	policy mergePolicy
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	log    *slog.Logger
	done   chan struct{}

	store, catalog health
	counters       compactorCounters

	// The rest belongs to the goroutine.
	states         map[mq.PartitionID]*compactState
	nextID, lastID uint64    // of the lease
	buf            []byte    // the memory of the last object, for the next one of the same look
	rested         time.Time // from when on a merge may begin though consumers read
	looked         time.Time // when the present look began
}

// compactState is what is remembered of a partition between looks.
type compactState struct {
	settled mq.Offset // below it nothing is merged any more
	idle    int       // looks that found nothing
	next    time.Time // look again
	current bool      // it is still there
}

type compactorCounters struct {
	objects, ranges, merges, readBytes, writtenBytes, refused, failures, passes atomic.Int64
}

// NewCompactor starts a compactor. Close it.
func NewCompactor(cfg CompactorConfig) (*Compactor, error) {
	if cfg.Store == nil || cfg.Catalog == nil || cfg.Partitions == nil {
		return nil, mq.Errorf(mq.InvalidConfig, "compactor without a store, a catalogue or partitions")
	}
	cfg.Store = cfg.Store.For(ClassCompaction)
	cfg.TargetBytes = cmp.Or(cfg.TargetBytes, DefaultTargetBytes)
	cfg.MergeRanges = cmp.Or(cfg.MergeRanges, DefaultMergeRanges)
	cfg.CommitRanges = cmp.Or(cfg.CommitRanges, DefaultCommitRanges)
	cfg.Interval = cmp.Or(cfg.Interval, DefaultCompactInterval)
	if cfg.TargetBytes < settledShare || cfg.MergeRanges < 2 || cfg.CommitRanges < cfg.MergeRanges || cfg.Interval < 0 {
		return nil, mq.Errorf(mq.InvalidConfig, "compactor with a target of %d bytes, %d ranges to merge and %d to commit, interval %s",
			cfg.TargetBytes, cfg.MergeRanges, cfg.CommitRanges, cfg.Interval)
	}
	c := &Compactor{
		cfg: cfg, policy: mergePolicy{target: cfg.TargetBytes, count: cfg.MergeRanges, most: cfg.CommitRanges},
		log: cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler)), done: make(chan struct{}), states: make(map[mq.PartitionID]*compactState),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.store = health{what: "object store, for compaction,", log: c.log}
	c.catalog = health{what: "metadata, for compaction,", log: c.log}
	go c.run()
	return c, nil
}

// Close stops at once and joins. What is under way becomes an object that nobody refers to.
func (c *Compactor) Close() error {
	c.cancel()
	<-c.done
	return nil
}

// CompactorStats are the compactor's counters since its start.
type CompactorStats struct {
	Objects                 int64 // committed
	Ranges                  int64 // that were replaced
	Merges                  int64 // ranges that they became
	Refused                 int64 // merges that were for nothing: something else was there meanwhile
	Passes                  int64 // over partitions that are compacted by key
	Failures                int64 // merges that the store, the catalogue or damage put an end to
	ReadBytes, WrittenBytes int64 // of the store, those of merges that were for nothing included
}

// Stats reads the counters.
func (c *Compactor) Stats() CompactorStats {
	n := &c.counters
	return CompactorStats{
		Objects: n.objects.Load(), Ranges: n.ranges.Load(), Merges: n.merges.Load(), Refused: n.refused.Load(), Failures: n.failures.Load(), Passes: n.passes.Load(),
		ReadBytes: n.readBytes.Load(), WrittenBytes: n.writtenBytes.Load(),
	}
}

func (c *Compactor) run() {
	defer close(c.done)
	look := time.NewTimer(c.cfg.Interval)
	defer look.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-look.C:
		}
		c.look()
		look.Reset(c.cfg.Interval)
	}
}

// look goes over the partitions once, and merges what there is to merge.
func (c *Compactor) look() {
	c.looked = time.Now()
	partitions := c.cfg.Partitions()
	slices.SortFunc(partitions, func(a, b Compactable) int { return comparePartitions(a.Partition, b.Partition) })
	for _, s := range c.states {
		s.current = false
	}
	pack := pack{most: c.cfg.CommitRanges, bytes: c.cfg.TargetBytes / packShare}
	for _, p := range partitions {
		s := c.states[p.Partition]
		if s == nil {
			s = &compactState{}
			c.states[p.Partition] = s
		}
		s.current = true
		runs, err := c.find(p, s)
		if err != nil {
			break // the next look will find it again
		}
		for _, r := range runs {
			if !pack.fits(r) {
				c.merge(pack.take())
			}
			pack.add(r)
		}
		if c.ctx.Err() != nil {
			return
		}
	}
	c.merge(pack.take())
	c.buf = nil
	for id, s := range c.states {
		if !s.current {
			delete(c.states, id)
		}
	}
}

// find lists what of a partition is to be merged.
func (c *Compactor) find(p Compactable, s *compactState) ([]run, error) {
	now := time.Now()
	if now.Before(s.next) || p.TieredEnd <= max(p.LogStart, s.settled) {
		return nil, nil
	}
	var found [][]Range
	var err error
	if p.Keyed != nil {
		s.settled = 0 // all of it is looked at, from the log start on
		found, err = c.findKeyed(p, s, now)
	} else {
		found, err = c.findSmall(p, s)
	}
	if err != nil {
		return nil, err
	}
	if len(found) > 0 {
		s.idle, s.next = 0, time.Time{}
	} else {
		s.idle = min(max(1, 2*s.idle), idleLooks)
		if next := now.Add(time.Duration(s.idle) * c.cfg.Interval); next.After(s.next) { // which may be later, after damage
			s.next = next
		}
	}
	runs := make([]run, len(found))
	for i, ranges := range found {
		runs[i] = run{partition: p.Partition, logStart: p.LogStart, ranges: ranges, bytes: bytesOf(ranges)}
	}
	return runs, nil
}

// findSmall lists what of a partition is to be merged because it is small.
func (c *Compactor) findSmall(p Compactable, s *compactState) ([][]Range, error) {
	ranges, err := c.list(p, max(p.LogStart, s.settled), c.cfg.CommitRanges)
	c.note(&c.catalog, err)
	if err != nil {
		return nil, err
	}
	found, settled := c.policy.plan(ranges)
	if settled > 0 {
		s.settled = ranges[settled-1].End
	}
	return found, nil
}

// list is the ranges of a partition from an offset on, up to its tiered end, at most so many.
func (c *Compactor) list(p Compactable, from mq.Offset, most int) (ranges []Range, err error) {
	for len(ranges) < most && from < p.TieredEnd {
		ctx, cancel := context.WithTimeout(c.ctx, catalogTimeout)
		page, err := c.cfg.Catalog.Ranges(ctx, p.Partition, from, most-len(ranges))
		cancel()
		if err != nil {
			return nil, mq.Wrapf(err, "list the ranges of %s", p.Partition)
		}
		if len(page) == 0 {
			break
		}
		ranges = append(ranges, page...)
		from = page[len(page)-1].End
	}
	return ranges, nil
}

// run is ranges of a partition that become one.
type run struct {
	partition mq.PartitionID
	logStart  mq.Offset
	ranges    []Range
	bytes     int64
	pass      *keyPass // nil: it is copied as it is
}

// pack gathers small runs that share an object. A larger one has one to itself.
type pack struct {
	most  int   // ranges that one object replaces
	bytes int64 // that make a pack

	runs   []run
	size   int64 // bytes of the runs
	ranges int   // in them
}

func (p *pack) fits(r run) bool {
	return len(p.runs) == 0 || p.ranges+len(r.ranges) <= p.most && p.size+r.bytes <= p.bytes
}

func (p *pack) add(r run) {
	p.runs = append(p.runs, r)
	p.size += r.bytes
	p.ranges += len(r.ranges)
}

func (p *pack) take() []run {
	runs := p.runs
	p.runs, p.size, p.ranges = nil, 0, 0
	return runs
}
