package tier

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/rustmq/rustmq/mq"
)

const (
	// DefaultCacheBytes is the default of ReaderConfig.CacheBytes.
	DefaultCacheBytes = 128 << 20
	// DefaultBlockBytes is the default of ReaderConfig.BlockBytes: what a store
	// delivers in about the time that it takes to answer.
	DefaultBlockBytes = 1 << 20
	// DefaultReadAheadBytes is the default of ReaderConfig.ReadAheadBytes.
	DefaultReadAheadBytes = 8 << 20
	// DefaultFetches is the default of ReaderConfig.Concurrency.
	DefaultFetches = 8

	// indexCacheBytes bounds the section indexes that are kept parsed.
	indexCacheBytes = 16 << 20
	// maxCursors bounds the sequential readers that are recognised, about 200
	// bytes each. One more than that is only read ahead for less.
	maxCursors = 16 << 10
	// joinBytes is up to how much small pieces are put together for one Read,
	// half as much again at most. Larger ones come without being copied, one for
	// each Read.
	joinBytes = 64 << 10
)

// ReaderConfig is what a [Reader] works with. Zero values of the optional
// fields mean their defaults.
type ReaderConfig struct {
	Store   *Store // of any class: what consumers wait for is ClassRead
	Catalog Catalog
	// CacheBytes bounds the blocks that are kept in memory, at least one block.
	// Beside them there is what is being fetched: at most Concurrency times
	// ReadAheadBytes. Default DefaultCacheBytes.
	CacheBytes int64
	// BlockBytes is the unit of caching. Default DefaultBlockBytes.
	BlockBytes int64
	// ReadAheadBytes is the most that is fetched ahead of a sequential reader.
	// Default DefaultReadAheadBytes, but no more than an eighth of CacheBytes.
	ReadAheadBytes int64
	// Concurrency is how many ranged reads may be under way at once. Default
	// DefaultFetches.
	Concurrency int
	Logger      *slog.Logger
}

// Reader reads tiered batches. It is safe for concurrent use. It has a goroutine
// for each ranged read under way, and none otherwise but that of its cache.
type Reader struct {
	cfg    ReaderConfig
	log    *slog.Logger
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	cache  *blockCache
	ranges *rangeCache
	slots  chan struct{} // one for each ranged read under way
	window int64         // read-ahead, in blocks

	counters readerCounters
	fetches  sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	flights map[blockKey]*flight
	indexes *lru[indexKey, *sectionIndex]
	cursors *lru[cursorKey, cursor]
}

type readerCounters struct {
	hits, misses, readAhead, fetches, fetchedBytes, fetchErrors, corruptions, lookups atomic.Int64
}

// NewReader makes a reader. Close it.
func NewReader(cfg ReaderConfig) (*Reader, error) {
	if cfg.Store == nil || cfg.Catalog == nil {
		return nil, mq.Errorf(mq.InvalidConfig, "reader without a store or a catalogue")
	}
	cfg.Store = cfg.Store.For(ClassRead)
	cfg.CacheBytes = cmp.Or(cfg.CacheBytes, DefaultCacheBytes)
	cfg.BlockBytes = cmp.Or(cfg.BlockBytes, DefaultBlockBytes)
	cfg.ReadAheadBytes = cmp.Or(cfg.ReadAheadBytes, min(DefaultReadAheadBytes, cfg.CacheBytes/8))
	cfg.Concurrency = cmp.Or(cfg.Concurrency, DefaultFetches)
	if cfg.BlockBytes <= 0 || cfg.CacheBytes < cfg.BlockBytes || cfg.ReadAheadBytes < 0 || cfg.Concurrency < 0 {
		return nil, mq.Errorf(mq.InvalidConfig, "reader with a cache of %d bytes, blocks of %d, read-ahead of %d, concurrency %d",
			cfg.CacheBytes, cfg.BlockBytes, cfg.ReadAheadBytes, cfg.Concurrency)
	}
	cache, err := newBlockCache(cfg.CacheBytes, cfg.BlockBytes)
	if err != nil {
		return nil, err
	}
	r := &Reader{
		cfg:     cfg,
		log:     cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler)),
		cache:   cache,
		slots:   make(chan struct{}, cfg.Concurrency),
		window:  max(1, cfg.ReadAheadBytes/cfg.BlockBytes),
		flights: make(map[blockKey]*flight),
		indexes: newLRU[indexKey, *sectionIndex](indexCacheBytes, nil),
		cursors: newLRU[cursorKey, cursor](maxCursors, nil),
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.ranges = newRangeCache(r.ctx, cfg.Catalog)
	return r, nil
}

// Close ends all fetches and joins them. Reads under way fail.
func (r *Reader) Close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	r.fetches.Wait()
	r.cache.close()
	return nil
}

// ReaderStats are the reader's counters since its start, and gauges.
type ReaderStats struct {
	BlockHits, BlockMisses int64 // blocks that were in memory when they were needed, and that had to be waited for
	ReadAheadBlocks        int64 // fetched for a sequential reader
	Fetches, FetchedBytes  int64 // ranged reads of the store, tries that failed included
	FetchErrors            int64
	Corruptions            int64 // reads that failed because of damage
	CatalogLookups         int64
	CachedBytes            int64 // now
}

// Stats reads the counters.
func (r *Reader) Stats() ReaderStats {
	c := &r.counters
	return ReaderStats{
		BlockHits: c.hits.Load(), BlockMisses: c.misses.Load(), ReadAheadBlocks: c.readAhead.Load(),
		Fetches: c.fetches.Load(), FetchedBytes: c.fetchedBytes.Load(), FetchErrors: c.fetchErrors.Load(),
		Corruptions: c.corruptions.Load(), CatalogLookups: c.lookups.Load(), CachedBytes: r.cache.bytes(),
	}
}

// cursorKey is where a sequential reader will go on.
type cursorKey struct {
	partition mq.PartitionID
	offset    mq.Offset
}

// cursor is what is known about such a reader.
type cursor struct {
	last   blockKey // that it was served from
	window int64    // blocks to hold ahead of it
}

// Read returns whole, verified batches of p in offset order. The first holds
// the offset from (its base offset may be lower); next is one past the last
// offset. At least one batch comes, and beyond that no more than maxBytes; often
// it is less than there is, since what lies in one piece comes without a copy.
// The bytes are shared and must not be changed; they
// stay valid.
//
// Errors: OffsetOutOfRange when the catalogue has nothing at from (the caller
// knows the tiered end and the log start, and what it means), Corrupt with key
// and position when stored bytes are damaged, ObjectStoreUnavailable when the
// store does not answer or does not have a committed object, ShuttingDown, a
// context's error.
func (r *Reader) Read(ctx context.Context, p mq.PartitionID, from mq.Offset, maxBytes int) (batches []byte, next mq.Offset, err error) {
	cur := r.takeCursor(cursorKey{p, from})
	next = from
	var pieces [][]byte
	total := 0
	want := maxBytes
	for total == 0 || total < min(maxBytes/2, joinBytes) {
		piece, after, err := r.readRange(ctx, p, next, want, &cur)
		if err != nil && total == 0 {
			if mq.CodeOf(err) == mq.Corrupt {
				r.counters.corruptions.Add(1)
				r.log.Error("damage in the object store", "partition", p, "offset", from, "error", err)
			}
			return nil, 0, err
		}
		if err != nil || total > 0 && total+len(piece) > maxBytes {
			break // the next Read will meet it
		}
		pieces = append(pieces, piece)
		total += len(piece)
		next = after
		want = min(maxBytes-total, joinBytes)
	}
	r.mu.Lock()
	r.cursors.put(cursorKey{p, next}, cur, 1)
	r.mu.Unlock()
	if len(pieces) == 1 {
		return pieces[0], next, nil
	}
	return bytes.Join(pieces, nil), next, nil
}

func (r *Reader) takeCursor(key cursorKey) cursor {
	r.mu.Lock()
	defer r.mu.Unlock()
	cur, ok := r.cursors.get(key)
	if !ok {
		return cursor{window: 1}
	}
	r.cursors.remove(key)
	return cur
}

// readRange reads a piece of the range that holds from: at least one batch.
func (r *Reader) readRange(ctx context.Context, p mq.PartitionID, from mq.Offset, maxBytes int, cur *cursor) ([]byte, mq.Offset, error) {
	var gone string
	for {
		page, err := r.page(ctx, p, from)
		if err != nil {
			return nil, 0, err
		}
		piece, next, err := r.readPiece(ctx, page, from, maxBytes, cur)
		if errors.Is(err, ErrAbsent) && gone != page[0].Key {
			// The range may have been moved to another object since we asked.
			gone = page[0].Key
			r.ranges.drop(p)
			continue
		}
		return piece, next, err
	}
}

// page lists ranges of p of which the first holds from.
func (r *Reader) page(ctx context.Context, p mq.PartitionID, from mq.Offset) ([]Range, error) {
	page, asked, err := r.ranges.page(ctx, p, from)
	if asked {
		r.counters.lookups.Add(1)
	}
	if err != nil {
		return nil, err
	}
	if len(page) == 0 || from < page[0].First {
		return nil, mq.Errorf(mq.OffsetOutOfRange, "the object store has nothing of %s at offset %d", p, from)
	}
	return page, nil
}
