package partition

import (
	"context"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/tier"
	"github.com/rustmq/rustmq/wal"
)

// TailBudget bounds the memory of all hot tails together. Safe for concurrent use.
type TailBudget struct{ max int64 }

// NewTailBudget makes a budget of so many bytes.
func NewTailBudget(max int64) *TailBudget { return &TailBudget{max: max} }

// Used is the bytes of batches that hot tails hold now.
func (b *TailBudget) Used() int64 { panic("not yet") }

// Recovery collects, while the WAL is replayed, what each partition needs to open.
type Recovery struct{}

func NewRecovery(now time.Time) *Recovery { panic("not yet") }

// Visit is for wal.Open.
func (r *Recovery) Visit(e wal.Entry) error { panic("not yet") }

// Finish is told what wal.Open found damaged.
func (r *Recovery) Finish(found *wal.Recovery) { panic("not yet") }

// Partitions lists those that were found and not taken yet, sorted.
func (r *Recovery) Partitions() []mq.PartitionID { panic("not yet") }

// Suspect lists the partitions that cannot show all they promised: for RegisterBroker.
func (r *Recovery) Suspects() []mq.PartitionID { panic("not yet") }

// Take hands over what was found of a partition, nil if nothing.
func (r *Recovery) Take(id mq.PartitionID) *Recovered { panic("not yet") }

type Recovered struct{}

type Partition struct{}

// Open makes a partition out of what recovery found (nil: nothing) and the checkpoint of its last tier commit (zero: none).
// It is offline until Lead or Follow, or quarantined when damage was found: see State.
func Open(cfg Config, found *Recovered, tiered Checkpoint) (*Partition, error) { panic("not yet") }

// Close ends the partition on this node: everything that waits gets ShuttingDown. The log keeps its records.
func (p *Partition) Close() { panic("not yet") }

// Delete is Close for a topic that is gone: UnknownTopicOrPartition, and the log drops its records.
func (p *Partition) Delete() { panic("not yet") }

type State uint8

const (
	StateOffline State = iota
	StateLeader
	StateFollower
	StateQuarantined
	StateClosed
)

func (s State) String() string { panic("not yet") }

// State, and the error that a quarantined or offline partition answers with.
func (p *Partition) State() (State, error) { panic("not yet") }

// Replica is one incarnation of a member of the replica set. Incarnation is the broker epoch.
type Replica struct {
	Node        mq.NodeID
	Incarnation uint64
}

// Lead makes this node the leader in epoch, which must be newer than any epoch that the partition saw before in another role
// or another incarnation of this node. Again with the same epoch it changes the in-sync set.
func (p *Partition) Lead(epoch mq.Epoch, isr []Replica) error { panic("not yet") }

// ProposeISR says that a change of the in-sync set was asked for: until Lead (decided) or ProposeISR(nil) (refused), the watermark is
// the minimum over both sets.
func (p *Partition) ProposeISR(isr []Replica) error { panic("not yet") }

// Acked: a follower holds everything below end on its disk.
func (p *Partition) Acked(from Replica, epoch mq.Epoch, end mq.Offset) error { panic("not yet") }

// Follow makes this node a follower of leader in epoch.
func (p *Partition) Follow(epoch mq.Epoch, leader mq.NodeID) error { panic("not yet") }

// Offline takes leadership away without giving another: err is what requests get.
func (p *Partition) Offline(err error) { panic("not yet") }

// Quarantine stops the partition because of damage. Reads below the object mark go on.
func (p *Partition) Quarantine(err error) { panic("not yet") }

// Append: see the contract. b belongs to the partition from here on, whatever the outcome.
func (p *Partition) Append(b mq.Batch, want mq.Durability, done Completion) { panic("not yet") }

// ReadBuffer is scratch memory of a reader, reused from read to read. The zero value is ready.
type ReadBuffer struct {
	Bytes  []byte
	Slices [][]byte
}

type ReadResult struct {
	Batches       [][]byte // whole batches, one or more per slice; those in ReadBuffer.Bytes are valid until its next use, others for ever
	Next          mq.Offset
	End           mq.Offset // where the isolation ends: Next == End means caught up
	HighWatermark mq.Offset
	LogStart      mq.Offset
	LogEnd        mq.Offset
}

func (p *Partition) Read(ctx context.Context, from mq.Offset, maxBytes int, iso mq.Isolation, buf *ReadBuffer) (ReadResult, error) {
	panic("not yet")
}

// Local says whether a Read from there is answered without the bucket.
func (p *Partition) Local(from mq.Offset) bool { panic("not yet") }

// Waiter is woken by Await. Wake never blocks, takes no lock that is held while calling the partition, and calls nothing of it.
type Waiter interface{ Wake() }

// Wait is one registration of a Waiter.
type Wait struct{}

func (p *Partition) Await(from mq.Offset, iso mq.Isolation, w Waiter) (*Wait, bool) {
	panic("not yet")
}
func (p *Partition) Cancel(w *Wait) { panic("not yet") }

// Wait returns a channel that is closed when something at or after from may be visible.
func (p *Partition) Wait(from mq.Offset, iso mq.Isolation) <-chan struct{} { panic("not yet") }

func (p *Partition) Offsets() (logStart, highWatermark, logEnd, objectEnd mq.Offset) {
	panic("not yet")
}

// VisibleEnd is the end offset that a client may be told: OffsetNotAvailable while a new leader's watermark has not reached its epoch's start.
func (p *Partition) VisibleEnd(iso mq.Isolation) (mq.Offset, error) { panic("not yet") }

// OffsetByTime: the first visible record with timestamp ts or later; offset -1 when there is none.
func (p *Partition) OffsetByTime(ctx context.Context, ts int64) (offset mq.Offset, timestamp int64, err error) {
	panic("not yet")
}

func (p *Partition) EndOffsetForEpoch(epoch mq.Epoch) (mq.Epoch, mq.Offset) { panic("not yet") }

// SetLogStart raises the log start (retention, DeleteRecords); never above the high watermark.
func (p *Partition) SetLogStart(to mq.Offset) error { panic("not yet") }

// TieredTo tells of the tiered end as metadata has it (image delta; leader to follower).
func (p *Partition) TieredTo(end mq.Offset) { panic("not yet") }

// Replicate appends what the leader of epoch sent. It reserves its room in the log itself.
func (p *Partition) Replicate(ctx context.Context, epoch mq.Epoch, batches []byte, leaderHW, leaderLogStart mq.Offset) error {
	panic("not yet")
}

// Durable is what a follower may acknowledge; ok is false until its epoch itself is durable.
func (p *Partition) Durable() (epoch mq.Epoch, end mq.Offset, ok bool) { panic("not yet") }

// Truncate cuts by what the leader answered to EndOffsetForEpoch(our last epoch).
func (p *Partition) Truncate(epoch mq.Epoch, leaderEpoch mq.Epoch, leaderEnd mq.Offset) (again bool, err error) {
	panic("not yet")
}

// Reset empties the log and restarts it at the tiered end.
func (p *Partition) Reset(epoch mq.Epoch, tiered Checkpoint) error { panic("not yet") }

// ExpireProducers forgets idle producers; call it from a ticker.
func (p *Partition) ExpireProducers(now time.Time) { panic("not yet") }

func (p *Partition) ID() mq.PartitionID    { panic("not yet") }
func (p *Partition) LeaderEpoch() mq.Epoch { panic("not yet") }
func (p *Partition) Pending() tier.Pending { panic("not yet") }
func (p *Partition) ReadUpload(ctx context.Context, first, end mq.Offset, maxBytes int, dst []byte) ([]byte, mq.Offset, error) {
	panic("not yet")
}
func (p *Partition) Checkpoint(end mq.Offset) (state []byte, epochs []mq.EpochStart, err error) {
	panic("not yet")
}
func (p *Partition) Tiered(end mq.Offset, verdict error) { panic("not yet") }

var _ tier.Source = (*Partition)(nil)

// Completion is told the outcome of one Append.
type Completion interface{ Complete(AppendResult) }

// AppendResult is the outcome of one Append.
type AppendResult struct {
	Base, Last mq.Offset
	Reached    mq.Mark
	LogStart   mq.Offset
	Timestamp  int64
	Duplicate  bool
	Err        error
}

// LogBytes is what to Reserve in the WAL before Append of b.
func LogBytes(b mq.Batch) int64 { return int64(len(b)) }
