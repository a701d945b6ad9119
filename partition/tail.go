package partition

import (
	"sync/atomic"

	"github.com/rustmq/rustmq/mq"
)

const (
	// chunkEntries and chunkBytes close a chunk: it is what the tail is evicted by.
	chunkEntries = 64
	chunkBytes   = 256 << 10
	// firstChunkEntries is the room of the first chunk after a pause; each further one has twice as much.
	firstChunkEntries = 4
	// entryOverhead is what an entry takes beside the bytes of its batch.
	entryOverhead = 64
)

// tailEntry is one batch of the hot tail, and the wal.Done of its log entry: so an append allocates nothing of its own.
type tailEntry struct {
	owner *Partition
	batch mq.Batch
	base  mq.Offset
	end   mq.Offset
}

// chunk is a run of batches without a gap. Entries below n are immutable and may be read by anyone who found n; the
// rest belongs to the holder of the partition's mutex.
type chunk struct {
	number  uint64 // its place in the ring
	base    mq.Offset
	n       atomic.Int32
	entries []tailEntry
	bytes   int64 // under the partition's mutex
}

// end is the offset behind the last entry of a chunk that has one.
func (c *chunk) end() mq.Offset { return c.entries[c.n.Load()-1].end }

func (c *chunk) full() bool { return int(c.n.Load()) == len(c.entries) || c.bytes >= chunkBytes }

// ring holds the chunks numbered [first, next), each in the slot of its number modulo the size.
type ring struct {
	slots       []atomic.Pointer[chunk] // length is a power of two
	first, next atomic.Uint64
}

func (r *ring) slot(number uint64) *atomic.Pointer[chunk] {
	return &r.slots[number&uint64(len(r.slots)-1)]
}

// chunk is the one with this number, or nil when it was evicted.
func (r *ring) chunk(number uint64) *chunk {
	if c := r.slot(number).Load(); c != nil && c.number == number {
		return c
	}
	return nil
}

// tail is the newest batches of a partition, in memory and immutable. It always reaches to the log end, if it is not empty.
//
// One goroutine at a time changes it, under the partition's mutex; readers take no lock. What makes this sound:
//
//   - an entry is written before its chunk's n is stored, a chunk before its slot, a slot before the ring's next, and all of
//     it before the high watermark that allows to read it. The stores and loads are atomic, hence ordered: who has seen the
//     watermark finds the entry, or finds that it was evicted.
//   - eviction clears slots from first on; who misses a chunk reads the log instead, where it is durable: nothing else is evicted.
//     Who holds a chunk keeps it alive and unchanged.
//   - truncation and growth publish a new ring; entries of the old one stay as they are. What a truncation removes lies above
//     every watermark that a reader may have seen.
type tail struct {
	ring  atomic.Pointer[ring]
	bytes int64 // held now; under the partition's mutex
}

// push publishes a batch at the log end and returns its entry, and whether it began a new chunk. The caller holds the mutex.
func (t *tail) push(owner *Partition, b mq.Batch, base, end mq.Offset) (e *tailEntry, began bool) {
	c := t.newest()
	if c == nil || c.full() {
		c = t.begin(base)
		began = true
	}
	n := c.n.Load()
	e = &c.entries[n]
	*e = tailEntry{owner, b, base, end}
	size := int64(len(b)) + entryOverhead
	c.bytes += size
	t.bytes += size
	c.n.Store(n + 1)
	if began {
		t.publish(c)
	}
	return e, began
}

func (t *tail) newest() *chunk {
	r := t.ring.Load()
	if r == nil || r.first.Load() == r.next.Load() {
		return nil
	}
	return r.chunk(r.next.Load() - 1)
}

// begin makes the chunk that follows the newest.
func (t *tail) begin(base mq.Offset) *chunk {
	room := firstChunkEntries
	if last := t.newest(); last != nil {
		room = min(2*len(last.entries), chunkEntries)
	}
	return &chunk{base: base, entries: make([]tailEntry, room)}
}

// publish gives c, which has its first entry, its place in the ring.
func (t *tail) publish(c *chunk) {
	r := t.ring.Load()
	if r == nil {
		r = &ring{slots: make([]atomic.Pointer[chunk], 1)}
		t.ring.Store(r)
	}
	first, next := r.first.Load(), r.next.Load()
	if next-first == uint64(len(r.slots)) {
		r = r.copied(first, next, 2*len(r.slots))
		t.ring.Store(r)
	}
	c.number = next
	r.slot(next).Store(c)
	r.next.Store(next + 1)
}

// copied is a ring with so many slots and the chunks [first, next).
func (r *ring) copied(first, next uint64, size int) *ring {
	out := &ring{slots: make([]atomic.Pointer[chunk], size)}
	for i := first; i < next; i++ {
		out.slot(i).Store(r.chunk(i))
	}
	out.first.Store(first)
	out.next.Store(next)
	return out
}

// evict drops the oldest chunk if all of it lies below durable, and returns the bytes that were set free. empty says that there
// was nothing to drop. The caller holds the mutex.
func (t *tail) evict(durable mq.Offset) (freed int64, empty bool) {
	r := t.ring.Load()
	if r == nil || r.first.Load() == r.next.Load() {
		return 0, true
	}
	first := r.first.Load()
	c := r.chunk(first)
	if c.end() > durable {
		return 0, false
	}
	r.slot(first).Store(nil)
	r.first.Store(first + 1)
	if first+1 == r.next.Load() {
		t.ring.Store(nil)
	}
	t.bytes -= c.bytes
	return c.bytes, false
}

// truncate drops everything at or above to, and returns the bytes that were set free and the number of chunks that it began:
// what the cut runs through is kept in new ones. The caller holds the mutex.
func (t *tail) truncate(to mq.Offset) (freed int64, began int) {
	r := t.ring.Load()
	if r == nil {
		return 0, 0
	}
	first, next := r.first.Load(), r.next.Load()
	keep := next
	for keep > first && r.chunk(keep-1).end() > to {
		keep--
	}
	if keep == next {
		return 0, 0
	}
	cut := r.chunk(keep)
	for i := keep; i < next; i++ {
		freed += r.chunk(i).bytes
	}
	t.bytes -= freed
	if keep == first {
		t.ring.Store(nil)
	} else {
		t.ring.Store(r.copied(first, keep, len(r.slots)))
	}
	for i := range cut.n.Load() {
		if e := &cut.entries[i]; e.end <= to {
			if _, isFirst := t.push(e.owner, e.batch, e.base, e.end); isFirst {
				began++
			}
			freed -= int64(len(e.batch)) + entryOverhead
		}
	}
	return freed, began
}

// clear drops everything and returns the bytes that were set free. The caller holds the mutex.
func (t *tail) clear() (freed int64) {
	freed, t.bytes = t.bytes, 0
	t.ring.Store(nil)
	return freed
}

// tailCursor is a place in the tail. It is a reader's own.
type tailCursor struct {
	ring  *ring
	chunk *chunk
	i     int32
}

// find is the place of the batch that holds offset; ok is false when the tail does not (any more) reach down to it. Takes no lock.
func (t *tail) find(offset mq.Offset) (cur tailCursor, ok bool) {
	r := t.ring.Load()
	if r == nil {
		return cur, false
	}
	var best *chunk
	low, high := r.first.Load(), r.next.Load()
	for low < high {
		mid := low + (high-low)/2
		c := r.chunk(mid)
		switch {
		case c == nil: // evicted, and all before it
			low = mid + 1
		case c.base > offset:
			high = mid
		default:
			best, low = c, mid+1
		}
	}
	if best == nil || offset >= best.end() {
		return cur, false
	}
	i, j := int32(0), best.n.Load()
	for i < j {
		mid := i + (j-i)/2
		if best.entries[mid].end > offset {
			j = mid
		} else {
			i = mid + 1
		}
	}
	return tailCursor{r, best, i}, true
}

// next returns the entry at the cursor and moves on. nil: no more.
func (c *tailCursor) next() *tailEntry {
	if c.i == c.chunk.n.Load() {
		following := c.ring.chunk(c.chunk.number + 1)
		if following == nil || following.base != c.chunk.end() {
			return nil
		}
		c.chunk, c.i = following, 0
	}
	e := &c.chunk.entries[c.i]
	c.i++
	return e
}
