package partition

import (
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
)

// State is what a replica of a partition is doing.
type State uint8

const (
	// StateOffline neither leads nor follows, because nobody said so yet, or because the log failed.
	StateOffline State = iota
	// StateLeader takes appends and serves reads.
	StateLeader
	// StateFollower copies its leader's log.
	StateFollower
	// StateQuarantined takes nothing, for damage was found; what the object store holds is still served.
	StateQuarantined
	// StateClosed is the end.
	StateClosed
)

// String is "offline", "leader", "follower", "quarantined" or "closed".
func (s State) String() string {
	return [...]string{"offline", "leader", "follower", "quarantined", "closed"}[s]
}

// Partition is this node's replica of one topic-partition. Its methods may be called from any goroutine. It has no goroutine of
// its own; none of its methods holds a lock while it waits or does I/O.
type Partition struct {
	cfg    Config
	stream wal.StreamID

	// Written under mu, read without it.
	marks        marks
	tail         tail
	state        atomic.Uint32 // a State
	leadingEpoch atomic.Int32  // mq.NoEpoch when not leading

	mu      sync.Mutex
	stopped error // why offline, quarantined or closed

	epoch        mq.Epoch  // newest leader epoch taken part in
	durableEpoch mq.Epoch  // newest one whose state entry is synced
	aligned      bool      // while following: as far as this log goes it is the same as the leader's of this epoch
	damaged      bool      // quarantined by what Open found
	blank        bool      // while following: nothing of the log may be believed before a Reset
	confirmed    mq.Offset // while following: the tiered end that the leader of this epoch has confirmed
	epochStart   mq.Offset
	epochs       mq.EpochHistory
	leader       mq.NodeID
	progress     *progress // while leading
	producers    *producers
	index        index
	remembered   int64        // index.total when the state entry was written last
	cuts         int          // truncations and resets that are not synced yet
	cutTo        mq.Offset    // the lowest of these
	thrown       atomic.Int64 // what the log has below this offset is thrown away, though the log has not done that yet; 0: nothing
	uploads      uploads

	waiting  [mq.MarkObject + 1]waitQueue
	outcomes []outcome // to be told by unlock
	spare    []outcome
	telling  bool
	waits    *Wait
	watchers []Watcher
	moved    chan struct{} // closed when something becomes visible; nil while nobody waits
}

// ID names the partition.
func (p *Partition) ID() mq.PartitionID { return p.cfg.ID }

// Topic is the name of the partition's topic.
func (p *Partition) Topic() string { return p.cfg.Topic }

// State says what the replica is doing, and for a quarantined, offline or closed one why.
func (p *Partition) State() (State, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return State(p.state.Load()), p.stopped
}

// LeaderEpoch is the epoch in which this node leads the partition, mq.NoEpoch when it does not.
func (p *Partition) LeaderEpoch() mq.Epoch { return mq.Epoch(p.leadingEpoch.Load()) }

// Epoch is the newest leader epoch that this replica has taken part in, in any role, mq.NoEpoch for none. After a restart the
// next one to lead in must be greater.
func (p *Partition) Epoch() mq.Epoch {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.epoch
}

// Offsets are the partition's marks as of now: the first readable offset, the ends of what is replicated, of the log, and of
// what is in the object store.
func (p *Partition) Offsets() (logStart, highWatermark, logEnd, objectEnd mq.Offset) {
	// Read so that a concurrent advance can not break their order.
	logStart, objectEnd = p.marks.logStart(), p.marks.object()
	highWatermark = p.marks.high()
	return logStart, highWatermark, max(p.marks.logEnd(), highWatermark), objectEnd
}

// LocalStart is where what this node's own log has begins, the log start at least: what lies before it is in the object store only.
func (p *Partition) LocalStart() mq.Offset {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(p.marks.logStart(), p.firstInLog())
}

// VisibleEnd is the end offset that a client may be told. OffsetNotAvailable, which is retriable, while the watermark of a new
// leader has not reached the beginning of its epoch: an end told before might be below one that was told by the last leader.
// NotLeaderOrFollower when this node does not lead, or may have been replaced because its lease is over: the next leader may have
// acknowledged more.
func (p *Partition) VisibleEnd(iso mq.Isolation) (mq.Offset, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.mustLead(); err != nil {
		return -1, err
	}
	if err := p.lease(); err != nil {
		return -1, err
	}
	if p.marks.high() < p.epochStart && !p.cfg.Planted.EndTooEarly {
		return -1, mq.Errorf(mq.OffsetNotAvailable, "partition %s: the watermark has not reached %d, where leader epoch %d began", p.name(), p.epochStart, p.epoch)
	}
	return p.marks.visible(iso), nil
}

// EndOffsetForEpoch answers a follower that asks where epoch ended in the leader's log: the greatest epoch known at or below it, and the
// offset behind its last record; mq.NoEpoch and -1 when nothing can be said. The follower gives both to Truncate.
func (p *Partition) EndOffsetForEpoch(epoch mq.Epoch) (mq.Epoch, mq.Offset) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.epochs.EndOffset(epoch, p.marks.logEnd())
}

// Epochs is the epoch history. It is not to be changed.
func (p *Partition) Epochs() mq.EpochHistory {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.epochs
}

// Held is what this replica needs its log for, in bytes, to about [indexStride]: the records that are not in the object store yet. behind is how far
// its end is below the high watermark that it knows of.
func (p *Partition) Held() (bytes int64, behind mq.Offset) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.index.total - p.index.bytesBelow(p.firstHeld()), max(0, p.marks.high()-p.marks.logEnd())
}

// Producers are the idempotent producers that are remembered, the one that appended least lately first. It is an error when this node does not lead.
func (p *Partition) Producers() ([]ProducerState, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.mustLead(); err != nil || p.producers == nil {
		return nil, err
	}
	return p.producers.states(), nil
}

// ExpireProducers forgets producers that have been idle too long as of now. Appends do that as well: a ticker calls it for partitions
// that have none.
func (p *Partition) ExpireProducers(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.producers != nil {
		p.producers.expire(now.UnixMilli(), nil)
	}
}

// mustLead is nil when this node leads, else the error that requests get. The caller holds mu.
func (p *Partition) mustLead() error {
	switch State(p.state.Load()) {
	case StateLeader:
		return nil
	case StateFollower:
		return mq.Errorf(mq.NotLeaderOrFollower, "partition %s: node %d leads it in epoch %d", p.name(), p.leader, p.epoch)
	}
	if p.stopped != nil {
		return p.stopped
	}
	return mq.Errorf(mq.NotLeaderOrFollower, "partition %s: has no leader here", p.name())
}

// name is the partition as people know it.
func (p *Partition) name() string { return partitionName(&p.cfg) }

func (p *Partition) logger() *slog.Logger {
	return p.cfg.Logger.With("topic", p.cfg.Topic, "partition", p.cfg.ID.Index)
}

// advance moves the watermark as far as it may go, completes what waits, and tells who wants to know. The caller holds mu.
func (p *Partition) advance() {
	if State(p.state.Load()) == StateLeader {
		own := p.marks.local()
		if p.cfg.Planted.OwnSyncIgnored {
			own = p.marks.logEnd()
		}
		high, ok := p.progress.replicated(own, p.cfg.Settings().MinISR)
		if ok && high > p.marks.high() {
			p.marks.setHigh(high)
			p.wake(false)
			p.tell(NewsMarks)
			if p.cfg.Committed != nil {
				p.cfg.Committed(p)
			}
		}
	}
	p.complete()
}

// Appended is called by the log when the batch is synced, or never will be.
func (e *tailEntry) Appended(err error) {
	p := e.owner
	p.mu.Lock()
	defer p.unlock()
	if err != nil {
		p.logFailed(err)
		return
	}
	end := e.end
	if p.cuts > 0 {
		// In log order this batch lies before a cut: what it says holds below the cut only.
		end = min(end, p.cutTo)
	}
	p.persisted(end)
}

// persisted notes that everything below end is synced here. The caller holds mu.
func (p *Partition) persisted(end mq.Offset) {
	if end <= p.marks.local() {
		return
	}
	p.marks.setLocal(end)
	p.advance()
	if State(p.state.Load()) == StateFollower {
		p.release()
		p.tell(NewsDurable)
	}
}

// logFailed notes that the log did not take an entry: it is poisoned or closed and takes nothing any more, or it found this stream damaged.
// The caller holds mu.
func (p *Partition) logFailed(err error) {
	err = mq.Wrapf(err, "partition %s: append to the log", p.name())
	switch mq.CodeOf(err) {
	case mq.PartitionQuarantined, mq.Corrupt:
		p.quarantine(err)
	default:
		if p.mustRun() == nil {
			p.stop(StateOffline, err)
		}
	}
}

func partitionName(cfg *Config) string {
	return cfg.Topic + "-" + strconv.Itoa(int(cfg.ID.Index))
}
