package tier

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/ristretto/v2"

	"github.com/rustmq/rustmq/mq"
)

// blockKey names a block: the index-th run of BlockBytes of an object. The
// object is named by its key, which is unique among clusters and generations
// where its id is not.
type blockKey struct {
	object string
	index  int64
}

// block is a piece of an object. It never changes.
type block struct {
	key  blockKey
	data []byte
}

// blockCache keeps blocks in memory, never more than its budget. New ones go
// to a small part where the least recently used leaves first: so what was just
// fetched, or fetched ahead, is there when it is asked for. What leaves it is
// offered to the large part (ristretto), which takes it only if it is asked for
// more often than what would have to go: so one scan does not wash out what
// many readers want.
type blockCache struct {
	seed maphash.Seed

	mu     sync.Mutex
	recent *lru[blockKey, *block]
	closed bool

	main      *ristretto.Cache[uint64, *block] // nil in a cache of a few blocks
	mainLimit int64
	mainBytes atomic.Int64 // counted here: ristretto holds blocks that it has not decided on yet beside its own limit
}

// recentShare is the part of the budget for new blocks: 1/recentShare.
const recentShare = 4

func newBlockCache(budget, blockBytes int64) (*blockCache, error) {
	c := &blockCache{seed: maphash.MakeSeed()}
	recent := max(budget/recentShare, min(budget, 4*blockBytes))
	c.mainLimit = budget - recent
	c.recent = newLRU[blockKey](recent, c.offer)
	// What ristretto has not decided on yet must fit beside what it keeps.
	undecided := min(8*blockBytes, c.mainLimit/4)
	if c.mainLimit-undecided < 2*blockBytes {
		return c, nil
	}
	var err error
	c.main, err = ristretto.NewCache(&ristretto.Config[uint64, *block]{
		NumCounters:        max(1000, 10*c.mainLimit/blockBytes),
		MaxCost:            c.mainLimit - undecided,
		BufferItems:        64,
		IgnoreInternalCost: true,
		OnExit: func(b *block) {
			if b != nil {
				c.mainBytes.Add(-int64(len(b.data)))
			}
		},
	})
	if err != nil {
		return nil, mq.Errorf(mq.Internal, "block cache of %d bytes: %w", budget, err)
	}
	return c, nil
}

func (c *blockCache) hash(key blockKey) uint64 { return maphash.Comparable(c.seed, key) }

// get is the block, or nil.
func (c *blockCache) get(key blockKey) *block {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	b, ok := c.recent.get(key)
	if c.main == nil {
		return b
	}
	// Asked also on a hit above, so that it counts how often.
	if m, found := c.main.Get(c.hash(key)); !ok && found && m.key == key {
		return m
	}
	return b
}

func (c *blockCache) put(b *block) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.recent.put(b.key, b, int64(len(b.data)))
	}
}

// offer gives a block to the large part. The lock is held.
func (c *blockCache) offer(b *block) {
	if c.main == nil {
		return
	}
	size := int64(len(b.data))
	if c.mainBytes.Add(size) > c.mainLimit || !c.main.Set(c.hash(b.key), b, size) {
		c.mainBytes.Add(-size)
	}
}

// drop forgets a block.
func (c *blockCache) drop(key blockKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.recent.remove(key)
	if c.main != nil {
		c.main.Del(c.hash(key))
	}
}

// bytes is how much the cache holds.
func (c *blockCache) bytes() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.recent.used + c.mainBytes.Load()
}

func (c *blockCache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed && c.main != nil {
		c.main.Close()
	}
	c.closed = true
}
