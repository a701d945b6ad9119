package partition

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
)

// Config is what a partition needs of its surroundings. All but ID and Topic is usually the same for all partitions of a
// node. Log, Tail, Settings and Now must be set.
type Config struct {
	ID    mq.PartitionID
	Topic string    // for messages only
	Node  mq.NodeID // this node: its own place in the in-sync set
	Log   *wal.Log
	Cold  Cold // reads what only the bucket has; nil: nothing is ever tiered
	// Checkpoint fetches the checkpoint of the partition's last tier commit from the metadata. A leader that was a follower
	// before needs it, once, before it uploads. nil: only what Open was given.
	Checkpoint func(ctx context.Context, id mq.PartitionID) (Checkpoint, error)
	// KeepLocal has the log hold everything from the log start on, whatever the object store has: what needs the partition does not need the object store. A
	// replica that is behind goes on at the leader's log start, which is a boundary of batches, and not at the tiered end.
	KeepLocal bool
	// Tail bounds the memory of the hot tails of all partitions together.
	Tail *TailBudget
	// Settings are the topic's as of now. Called for each append, from many goroutines: a load, not a lookup.
	Settings func() Settings
	Now      func() time.Time
	Logger   *slog.Logger // nil: silent
	Counters *Counters    // shared by partitions; nil: nobody counts

	// The hooks are called with the partition's mutex held: they must be quick, never block, and call nothing of the
	// partition but ID and Offsets. nil is allowed.

	// Committed: the high watermark moved, or this node began to lead. For tier.Uploader.Notify.
	Committed func(*Partition)
	// Lease says why this node may not acknowledge anything now, for it may have been replaced as the leader without knowing; nil, and a
	// nil func: it may. Asked once more after the sync, just before an acknowledgement: a few loads, no lock, no wait.
	Lease func() error

	// Acknowledged: something is being acknowledged. For tests, which see to it that one node leads in each epoch.
	Acknowledged func(Acknowledgement)

	// ProducerTTL is how long an idle producer is remembered; 0: DefaultProducerTTL.
	ProducerTTL time.Duration
	// Planted is for tests only: nothing else sets it.
	Planted Planted
	// MaxProducers bounds the producers remembered; the longest idle goes first; 0: DefaultMaxProducers.
	MaxProducers int
}

// Planted are bugs that tests put in, to see that they would be found.
type Planted struct {
	AckedTooEarly      bool // a follower acknowledges what it has not synced
	NotCompared        bool // a follower takes its log for the beginning of its leader's
	CutByWatermark     bool // a follower cuts its log at its watermark, and compares nothing
	OwnSyncIgnored     bool // the watermark does not wait for the leader's own sync
	SlowestIgnored     bool // nor for the slowest follower in sync
	ProposedIgnored    bool // nor for who is proposed as in sync
	DoubtIgnored       bool // a proposal whose answer was lost counts as refused
	MinISRIgnored      bool // the watermark moves though too few are in sync
	IncarnationIgnored bool // what an earlier process acknowledged counts for the next
	LeaseNotAsked      bool // an acknowledgement does not ask for the lease again
	RepeatTooEarly     bool // a repeated batch is acknowledged at once
	SenderNotKept      bool // a follower does not note who sent a batch
	SenderNotCut       bool // who sent a batch is remembered when it is truncated
	EndTooEarly        bool // a new leader tells an end below the beginning of its epoch
	ReadsUncommitted   bool // readers see what is above the watermark
	ReadRefused        bool // a read between the watermark and the end is out of range
}

// Acknowledgement says of an append that it is being acknowledged.
type Acknowledgement struct {
	Partition  mq.PartitionID
	Epoch      mq.Epoch // in which this node leads
	Base, Last mq.Offset
	Reached    mq.Mark
}

// Settings are what a topic's configuration says to an append.
type Settings struct {
	MaxBatchBytes int  // max.message.bytes; 0: mq.DefaultMaxBatchBytes
	MinISR        int  // min.insync.replicas as it applies to this partition; 0 counts as 1
	LogAppendTime bool // message.timestamp.type=LogAppendTime
	ObjectAcks    bool // durability=object: DurabilityAll waits for the object store, too
	Keyed         bool // cleanup.policy has compact: a record without a key is refused
}

// Cold is the object store as a partition sees it; *tier.Reader is one. Trouble of the store is an error, never an empty
// answer.
type Cold interface {
	// Read returns whole batches from the one that holds from on, at least one, no more than one beyond maxBytes, and the
	// offset after the last. The bytes stay valid and are not changed.
	Read(ctx context.Context, p mq.PartitionID, from mq.Offset, maxBytes int) (batches []byte, next mq.Offset, err error)
	// OffsetByTime finds the first record at or above from whose timestamp is at least ts (milliseconds since 1970) among
	// the tiered ones. ok is false when there is none.
	OffsetByTime(ctx context.Context, p mq.PartitionID, from mq.Offset, ts int64) (offset mq.Offset, at int64, ok bool, err error)
}

// Checkpoint is what the last tier commit of a partition carried, as the metadata has it: all of it is exact at End.
type Checkpoint struct {
	End       mq.Offset       // the tiered end; 0: nothing was ever tiered
	Producers []byte          // state of the idempotent producers; never changed once it is here
	Epochs    mq.EpochHistory // likewise
}

// Counters count what all partitions that share them do. They only grow.
type Counters struct {
	AppendedBatches, AppendedBytes     atomic.Int64 // by a leader
	ReplicatedBatches, ReplicatedBytes atomic.Int64 // by a follower
	Duplicates                         atomic.Int64 // batches that were there already
	Refused                            atomic.Int64 // appends refused
	TailBytes, LogBytes, ColdBytes     atomic.Int64 // read by consumers, by source
	TieredBytes                        atomic.Int64 // likewise, from the object store without the partition
	Truncations                        atomic.Int64
	Quarantines                        atomic.Int64
}

// bytesFrom counts what consumers read from a source.
func (c *Counters) bytesFrom(s Source) *atomic.Int64 {
	return [...]*atomic.Int64{FromMemory: &c.TailBytes, FromLog: &c.LogBytes, FromStore: &c.ColdBytes}[s]
}
