package partition

import (
	"sync"
	"sync/atomic"
)

// TailBudget bounds the memory of the hot tails of all partitions together. When they exceed it, the oldest chunks of batches
// go first, whatever partition they are of: every partition's tail reaches about equally far back in time. What the log has
// not synced can not go; that is bounded by the log's own queue. Safe for concurrent use.
type TailBudget struct {
	max        int64
	used       atomic.Int64
	reclaiming atomic.Bool

	mu sync.Mutex // taken with a partition's mutex held, never the other way round
	// chunks is a ring with the owner of each chunk in the order in which they were begun. Chunks of one partition go oldest
	// first, so the owner says it all.
	chunks  []*Partition
	head, n int
}

// NewTailBudget makes a budget of max bytes.
func NewTailBudget(max int64) *TailBudget { return &TailBudget{max: max} }

// Used is the number of bytes that the tails hold now.
func (b *TailBudget) Used() int64 { return b.used.Load() }

// slackShare is the part of the budget that is set free beyond need, so that not every append has to.
const slackShare = 32

// maxStuck is how many partitions whose oldest chunk is not synced yet one reclaim passes over.
const maxStuck = 16

// begun notes that p began a chunk. The caller holds p's mutex.
func (b *TailBudget) begun(p *Partition) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.n == len(b.chunks) {
		grown := make([]*Partition, max(64, 2*len(b.chunks)))
		for i := range b.n {
			grown[i] = b.chunks[(b.head+i)%len(b.chunks)]
		}
		b.chunks, b.head = grown, 0
	}
	b.chunks[(b.head+b.n)%len(b.chunks)] = p
	b.n++
}

func (b *TailBudget) oldest() *Partition {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.n == 0 {
		return nil
	}
	p := b.chunks[b.head]
	b.chunks[b.head] = nil
	b.head = (b.head + 1) % len(b.chunks)
	b.n--
	return p
}

// forget drops what is noted of p. The caller holds p's mutex.
func (b *TailBudget) forget(p *Partition) {
	b.mu.Lock()
	defer b.mu.Unlock()
	kept := make([]*Partition, 0, len(b.chunks))
	for i := range b.n {
		if q := b.chunks[(b.head+i)%len(b.chunks)]; q != p {
			kept = append(kept, q)
		}
	}
	b.chunks, b.head, b.n = kept[:cap(kept)], 0, len(kept)
}

// reclaim evicts until the tails fit the budget again. One goroutine at a time does it, for all. The caller holds no
// partition's mutex.
func (b *TailBudget) reclaim() {
	if b.used.Load() <= b.max || !b.reclaiming.CompareAndSwap(false, true) {
		return
	}
	defer b.reclaiming.Store(false)
	for stuck := 0; b.used.Load() > b.max-b.max/slackShare && stuck < maxStuck; {
		p := b.oldest()
		if p == nil {
			return
		}
		p.mu.Lock()
		freed, empty := p.tail.evict(p.marks.local())
		if freed == 0 && !empty {
			b.begun(p) // later, then
			stuck++
		}
		p.mu.Unlock()
		b.used.Add(-freed)
	}
}
