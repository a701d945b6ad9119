package partition

import (
	"context"
	"log/slog"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
)

// Config is what a partition needs of its surroundings. All but ID and Topic is usually shared by all partitions of a node.
type Config struct {
	ID    mq.PartitionID
	Topic string    // for messages only
	Node  mq.NodeID // this node: its own place in the in-sync set
	Log   *wal.Log
	Cold  Cold // reads what only the bucket has
	// Tail bounds the memory of the hot tails of all partitions together.
	Tail *TailBudget
	// Settings are the topic's as of now. Called once per append, from many goroutines: a load, not a lookup.
	Settings func() Settings
	Logger   *slog.Logger
	Now      func() time.Time
	// ProducerTTL is how long an idle producer is remembered; 0: DefaultProducerTTL.
	ProducerTTL time.Duration
	// MaxProducers bounds the producers remembered; the longest idle goes first; 0: DefaultMaxProducers.
	MaxProducers int
}

// Settings are what a topic's configuration says to an append.
type Settings struct {
	MaxBatchBytes int  // max.message.bytes; 0: mq.DefaultMaxBatchBytes
	MinISR        int  // min.insync.replicas, already resolved; 0 counts as 1
	LogAppendTime bool // message.timestamp.type=LogAppendTime
}

// Cold is the object store as a partition sees it: *tier.Reader, and the metadata's checkpoints. Trouble of the store is an
// error, never an empty answer.
type Cold interface {
	// Read returns whole batches from the one that holds from on, about maxBytes of them, at least one, and the offset after
	// the last. It may return batches that begin below from.
	Read(ctx context.Context, p mq.PartitionID, from mq.Offset, maxBytes int) (batches []byte, next mq.Offset, err error)
	// OffsetByTime is the first record in the bucket whose timestamp (ms since 1970) is ts or later; found is false when
	// there is none.
	OffsetByTime(ctx context.Context, p mq.PartitionID, ts int64) (offset mq.Offset, timestamp int64, found bool, err error)
}
