package tier

import (
	"context"
	"log/slog"

	"gocloud.dev/blob"

	"github.com/rustmq/rustmq/mq"
)

// ReaderConfig is what a [Reader] works with. Zero values of the optional
// fields mean their defaults.
type ReaderConfig struct {
	Bucket  *blob.Bucket
	Catalog Catalog
	// CacheBytes bounds the blocks that are kept in memory. Default 128 MiB.
	CacheBytes int64
	// BlockBytes is the unit of caching. Default 1 MiB.
	BlockBytes int64
	// ReadAheadBytes is the most that is fetched ahead of a sequential reader.
	// Default 8 MiB.
	ReadAheadBytes int64
	// Concurrency is how many ranged reads may be under way at once. Default 8.
	Concurrency int
	Logger      *slog.Logger
}

// Reader reads tiered batches. It is safe for concurrent use.
type Reader struct{}

// NewReader makes a reader. Close it.
func NewReader(cfg ReaderConfig) (*Reader, error) { panic("not yet") }

// Read returns whole, verified batches of p in offset order. The first holds
// the offset from (its base offset may be lower); next is one past the last
// offset. At least one batch comes, and no more than maxBytes beyond that. The
// bytes are shared and must not be changed; they stay valid.
//
// Errors: OffsetOutOfRange when the catalogue has nothing at from (the caller
// knows the tiered end and the log start, and what it means), Corrupt with key
// and position when stored bytes are damaged, ObjectStoreUnavailable when the
// store does not answer or does not have a committed object, a context's error.
func (r *Reader) Read(ctx context.Context, p mq.PartitionID, from mq.Offset, maxBytes int) (batches []byte, next mq.Offset, err error) {
	panic("not yet")
}

// OffsetByTime finds the first record at or above from whose timestamp is at
// least ts (milliseconds since 1970) among p's tiered records. ok is false when
// there is none. Errors as for Read.
func (r *Reader) OffsetByTime(ctx context.Context, p mq.PartitionID, from mq.Offset, ts int64) (offset mq.Offset, at int64, ok bool, err error) {
	panic("not yet")
}

// Close ends all fetches and joins them. Reads under way fail.
func (r *Reader) Close() error { panic("not yet") }

// Stats are counters since the start.
func (r *Reader) Stats() ReaderStats { panic("not yet") }

// ReaderStats are the reader's counters and gauges.
type ReaderStats struct {
	BlockHits, BlockMisses int64
	ReadAheadBlocks        int64 // of the misses: fetched before they were asked for
	Fetches, FetchedBytes  int64 // ranged reads of the store
	FetchErrors            int64
	Corruptions            int64 // damage found in stored bytes
	CachedBytes            int64 // now
	CatalogLookups         int64
}
