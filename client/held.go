package client

import (
	"sync"
	"sync/atomic"
)

// busyBytes is how much has to be on the wire for the first records of a batch to wait for those that are about to come: half a batch. Whoever waits for
// an acknowledgement before the next record has less, and so do some that do.
const busyBytes = DefaultBatchBytes / 2

// holding is what a client has on the wire, and the partitions that wait for it to be less. They have nothing there themselves: their first record would go at once and
// alone, while the partitioner has more for the same batch. That is for when nothing else has to be waited for; a batch of one record costs the servers as much as
// fifty records in one of many do. A partition waits until the partitioner is done with it, until little is on the wire, or until it has lingered.
type holding struct {
	bytes atomic.Int64

	mu   sync.Mutex
	held []*partition
}

// busy reports whether p has to wait, and takes it on the list. p's mutex is held.
func (w *holding) busy(p *partition) bool {
	if w.bytes.Load() < busyBytes {
		return false
	}
	if !p.held {
		p.held = true
		w.mu.Lock()
		w.held = append(w.held, p)
		w.mu.Unlock()
	}
	return w.bytes.Load() >= busyBytes // otherwise release may have come before
}

// release has those looked after that waited, if little is on the wire. No lock may be held.
func (w *holding) release() {
	if w.bytes.Load() >= busyBytes {
		return
	}
	w.mu.Lock()
	held := w.held
	w.held = nil
	w.mu.Unlock()
	for _, p := range held {
		p.mu.Lock()
		p.held = false
		st, search := p.poke()
		p.mu.Unlock()
		p.dispatch(st, search)
	}
}
