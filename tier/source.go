package tier

import (
	"context"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// Pending is what a [Source] has for the object store and the object store has
// not committed yet.
type Pending struct {
	// First and End are [tiered end, high watermark), both on batch
	// boundaries. Nothing is pending when they are equal.
	First, End mq.Offset
	// Bytes is the size of the batches in [First, End): exact or an estimate.
	Bytes int64
	// Since is when the oldest pending batch was appended, or earlier.
	Since time.Time
	// Awaited says that a producer waits until the batches are committed:
	// [UploaderConfig.AckAge] and AckBytes hold for them, too.
	Awaited bool
}

// Source is a partition as the [Uploader] sees it: it is implemented by the
// leader. All methods are safe for concurrent use, cheap where not said
// otherwise, and go on to work (with errors) after leadership or the whole
// partition is gone.
type Source interface {
	// ID is the partition. It never changes.
	ID() mq.PartitionID
	// LeaderEpoch is the epoch in which this node leads the partition, -1 when
	// it does not.
	LeaderEpoch() mq.Epoch
	// Pending is what waits to be uploaded. Empty when this node does not lead
	// the partition.
	Pending() Pending
	// ReadUpload reads whole batches from first, which is a batch boundary at
	// or above Pending().First, and never goes beyond end, which is at most
	// Pending().End: only records below the high watermark are ever uploaded.
	// It returns at least one batch, and no more than one beyond maxBytes. next
	// is where the batches end. The batches are appended to dst[:0] or are
	// immutable memory of the source's; either way they are the caller's to
	// read until it calls again with the same dst. It may block on the disk.
	ReadUpload(ctx context.Context, first, end mq.Offset, maxBytes int, dst []byte) (batches []byte, next mq.Offset, err error)
	// Checkpoint is the state of the idempotent producers (opaque here) and the
	// epoch history, both exactly at end, which is a boundary that ReadUpload
	// returned. The caller only reads them.
	Checkpoint(end mq.Offset) (state []byte, epochs []mq.EpochStart, err error)
	// Tiered tells the verdict on the range that ends at end. Nil: it is
	// committed, everything below end is in the object store, the object mark
	// may advance to it and the log be released. An error: that upload came to
	// nothing, whatever the reason; the log must keep what it has. Verdicts of
	// one partition come in order of their ends, but after a failed one the
	// same offsets are tried again. Called from the uploader's goroutines; must
	// not block.
	Tiered(end mq.Offset, verdict error)
}

// Range is a run of one partition's offsets inside one committed object.
type Range struct {
	Partition        mq.PartitionID
	First, End       mq.Offset // half-open; First is the base offset of the first batch
	LeaderEpoch      mq.Epoch  // of the leader that committed it
	MinTime, MaxTime int64     // least base and greatest maximum timestamp of the batches, in milliseconds since 1970
	Position, Bytes  int64     // of the batches inside the object
	CRC              uint32    // CRC-32C of these bytes
	Rewrites         uint32    // how often its bytes were written again after the first time, at most
	Written          int64     // when its records came to the store, milliseconds since 1970, at the latest; 0: not known
	ByKey            bool      // compacted by key, and so is all of the partition that lies before it
	ObjectID         uint64
	Key              string // of the object in the bucket
	ObjectSize       int64  // in bytes
}

// RangeCommit is one range of an object that is to be committed.
type RangeCommit struct {
	Partition        mq.PartitionID
	LeaderEpoch      mq.Epoch // the one in which the source led when the range was read
	First, End       mq.Offset
	MinTime, MaxTime int64
	Position, Bytes  int64
	CRC              uint32
	State            []byte          // producer state at End
	Epochs           []mq.EpochStart // epoch history at End
}

// Size is what the range takes of the command that commits its object, in
// bytes, or a little more.
func (r *RangeCommit) Size() int64 {
	const fixed, epoch = 160, 24 // of the numbers at their longest
	return fixed + int64(len(r.State)) + epoch*int64(len(r.Epochs))
}

// ObjectCommit is an object that was uploaded and verified.
type ObjectCommit struct {
	ID      uint64
	Key     string
	Size    int64
	Written int64         // milliseconds since 1970, by this node's clock
	Ranges  []RangeCommit // by partition, then offset
}

// Catalog is the one authority on what the object store holds: the metadata
// behind raft.
type Catalog interface {
	// LeaseObjectIDs hands out n ids, [first, first+n), that nobody else ever
	// gets.
	LeaseObjectIDs(ctx context.Context, n int) (first uint64, err error)
	// CommitObject makes the object's ranges part of their partitions. There is
	// a verdict per range, in order; nil accepts it. A range is refused when its
	// epoch is not the partition's or when it does not continue the partition's
	// tiered end. An error of the whole call says nothing about the outcome
	// unless its code is final: the uploader then calls again with the same
	// object, which must give the same verdicts for what was accepted.
	CommitObject(ctx context.Context, commit ObjectCommit) (verdicts []error, err error)
	// Ranges lists in order at most limit ranges of a partition that end above
	// from. Empty: the object store has nothing of that.
	Ranges(ctx context.Context, p mq.PartitionID, from mq.Offset, limit int) ([]Range, error)
}
