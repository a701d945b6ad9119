package partition

import "github.com/rustmq/rustmq/mq"

// Waiter is woken by Await. Wake is called with the partition's mutex held: it never blocks, calls nothing of the partition, and
// takes no lock under which its owner calls Await or Cancel.
type Waiter interface{ Wake() }

// Wait is one registration of a Waiter.
type Wait struct {
	waiter     Waiter
	from       mq.Offset
	iso        mq.Isolation
	prev, next *Wait
	waits      bool
}

// Await has w woken, once, when a record at or above from is visible at this isolation, or when Read would fail for another
// reason (leadership lost, partition closed, log cut back). When that is so already it registers nothing and returns false.
// The registration ends with the wake or with Cancel.
func (p *Partition) Await(from mq.Offset, iso mq.Isolation, w Waiter) (*Wait, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if State(p.state.Load()) != StateLeader || p.marks.visible(iso) > from {
		return nil, false
	}
	wait := &Wait{waiter: w, from: from, iso: iso, next: p.waits, waits: true}
	if p.waits != nil {
		p.waits.prev = wait
	}
	p.waits = wait
	return wait, true
}

// Cancel ends a registration. Once it returned no Wake comes. It may be called again, after the wake, and with nil.
func (p *Partition) Cancel(w *Wait) {
	if w == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unregister(w)
}

func (p *Partition) unregister(w *Wait) {
	if !w.waits {
		return
	}
	w.waits = false
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		p.waits = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	}
	w.prev, w.next = nil, nil
}

// Wait returns a channel that is closed when a record at or above from may be visible at this isolation, or Read may fail for
// another reason; closed already if that is so. It is one channel for all who wait, so it may also be closed too early: Read
// and Wait again. Nothing has to be given back.
func (p *Partition) Wait(from mq.Offset, iso mq.Isolation) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if State(p.state.Load()) != StateLeader || p.marks.visible(iso) > from {
		return closedChannel()
	}
	if p.moved == nil {
		p.moved = make(chan struct{})
	}
	return p.moved
}

func closedChannel() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// wake wakes those for whom something became visible, or everybody. The caller holds mu.
func (p *Partition) wake(everybody bool) {
	if p.moved != nil {
		close(p.moved)
		p.moved = nil
	}
	for w := p.waits; w != nil; {
		next := w.next
		if everybody || p.marks.visible(w.iso) > w.from {
			p.unregister(w)
			w.waiter.Wake()
		}
		w = next
	}
}
