package partition

import (
	"slices"
	"sort"

	"github.com/rustmq/rustmq/mq"
)

// Completion is told the outcome of one Append. Complete is called exactly once, without any lock of the partition held; those of
// one partition and mark in offset order and never two at once. It may run on the log's writer goroutine: it must not block and should
// be quick.
type Completion interface{ Complete(AppendResult) }

// AppendResult is the outcome of one Append.
type AppendResult struct {
	Base, Last mq.Offset // of the batch; with Err they say nothing
	Reached    mq.Mark   // the highest mark that the batch had passed
	LogStart   mq.Offset
	Timestamp  int64 // log append time, milliseconds since 1970; -1 when the producer's timestamps stand or it is not known any more
	Duplicate  bool  // the batch had been appended before, at Base
	Err        error // of *mq.Error
}

// waiting is an append, or a repeated one, that waits for a mark to pass its last offset.
type waiting struct {
	done       Completion
	base, last mq.Offset
	timestamp  int64
	duplicate  bool
	other      bool // it waits for the mark, and is no append
}

// waitQueue holds what waits for one mark, by last offset. What is new comes at the end, but for repeated batches.
type waitQueue struct {
	items []waiting
	head  int
}

func (q *waitQueue) push(w waiting) {
	if n := len(q.items); n == q.head || q.items[n-1].last <= w.last {
		q.items = append(q.items, w)
		return
	}
	live := q.items[q.head:]
	i := sort.Search(len(live), func(i int) bool { return live[i].last > w.last })
	q.items = slices.Insert(q.items, q.head+i, w)
}

// holds says whether the append of a batch waits that ends with last.
func (q *waitQueue) holds(last mq.Offset) bool {
	live := q.items[q.head:]
	for i := sort.Search(len(live), func(i int) bool { return live[i].last >= last }); i < len(live) && live[i].last == last; i++ {
		if !live[i].other {
			return true
		}
	}
	return false
}

// pop takes the first one if the mark has passed it.
func (q *waitQueue) pop(mark mq.Offset) (w waiting, ok bool) {
	if q.head == len(q.items) || q.items[q.head].last >= mark {
		return w, false
	}
	w = q.items[q.head]
	q.items[q.head] = waiting{} // let go of the Completion
	q.head++
	switch {
	case q.head == len(q.items) && cap(q.items) > maxIdleQueue:
		q.items, q.head = nil, 0
	case q.head == len(q.items):
		q.items, q.head = q.items[:0], 0
	case q.head >= maxIdleQueue && q.head > len(q.items)/2:
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	return w, true
}

func (q *waitQueue) empty() bool { return q.head == len(q.items) }

// maxIdleQueue is how many places a queue keeps when it runs empty.
const maxIdleQueue = 64

// outcome is a Completion that is to be called with its result.
type outcome struct {
	done   Completion
	result AppendResult
}

// complete has every append completed whose mark was passed. The caller holds mu and unlocks with unlock.
func (p *Partition) complete() {
	var lease error
	asked := false
	for m, mark := range [...]mq.Offset{mq.MarkLocal: p.marks.local(), mq.MarkReplicated: p.marks.high(), mq.MarkObject: p.marks.object()} {
		q := &p.waiting[m]
		for {
			w, ok := q.pop(mark)
			if !ok {
				break
			}
			if !asked && !p.cfg.Planted.LeaseNotAsked {
				lease, asked = p.lease(), true
			}
			p.settle(w, lease)
		}
	}
}

// lease is why nothing may be acknowledged now, or nil. The caller holds mu.
func (p *Partition) lease() error {
	if p.cfg.Lease == nil {
		return nil
	}
	if err := p.cfg.Lease(); err != nil {
		return mq.Errorf(mq.NotLeaderOrFollower, "partition %s: another may lead it by now: %w", p.name(), err)
	}
	return nil
}

// Lapse fails what waits to be acknowledged if the node has no lease: whether it survives is not known, and who sent it should ask another leader rather than wait for
// a disk that hangs, or for controllers that are out of reach. The node calls it now and then.
func (p *Partition) Lapse() {
	p.mu.Lock()
	defer p.unlock()
	if State(p.state.Load()) != StateLeader {
		return
	}
	if err := p.lease(); err != nil {
		p.abandon(err)
	}
}

// settle queues the good news, or with a lease that ran out that whether the batch survives is not known. The caller holds mu.
func (p *Partition) settle(w waiting, lease error) {
	if lease != nil {
		p.outcomes = append(p.outcomes, outcome{w.done, AppendResult{Err: lease, Timestamp: -1, LogStart: p.marks.logStart()}})
		return
	}
	reached := p.reached(w.last)
	p.outcomes = append(p.outcomes, outcome{w.done, AppendResult{
		Base: w.base, Last: w.last, Reached: reached, LogStart: p.marks.logStart(), Timestamp: w.timestamp, Duplicate: w.duplicate,
	}})
	if p.cfg.Acknowledged != nil && reached > mq.MarkNone {
		p.cfg.Acknowledged(Acknowledgement{p.cfg.ID, p.epoch, w.base, w.last, reached})
	}
}

// reached is the highest mark that has passed the record at offset. The caller holds mu.
func (p *Partition) reached(offset mq.Offset) mq.Mark {
	switch {
	case offset < p.marks.object():
		return mq.MarkObject
	case offset < p.marks.high():
		return mq.MarkReplicated
	case offset < p.marks.local():
		return mq.MarkLocal
	}
	return mq.MarkNone
}

// wait completes w when mark passes it: at once if it has. The caller holds mu.
func (p *Partition) wait(w waiting, mark mq.Mark) {
	switch {
	case mark == mq.MarkNone:
		p.settle(w, nil) // nothing is promised
		return
	case p.reached(w.last) >= mark:
		p.settle(w, p.lease())
		return
	}
	p.waiting[mark].push(w)
}

// abandon fails every append that waits: whether its batch survives is not known. The caller holds mu.
func (p *Partition) abandon(err error) {
	for m := range p.waiting {
		q := &p.waiting[m]
		for _, w := range q.items[q.head:] {
			p.outcomes = append(p.outcomes, outcome{w.done, AppendResult{Err: err, Timestamp: -1, LogStart: p.marks.logStart()}})
		}
		*q = waitQueue{}
	}
}

// unlock releases mu and calls what became complete meanwhile. Whoever finds another goroutine at it leaves its own
// outcomes to that one, so that they are told one at a time and in order, without the lock.
func (p *Partition) unlock() {
	if len(p.outcomes) == 0 || p.telling {
		p.mu.Unlock()
		return
	}
	p.telling = true
	for len(p.outcomes) > 0 {
		told := p.outcomes
		p.outcomes, p.spare = p.spare, nil
		p.mu.Unlock()
		for i := range told {
			told[i].done.Complete(told[i].result)
		}
		clear(told)
		p.mu.Lock()
		if cap(told) <= maxIdleQueue {
			p.spare = told[:0]
		}
	}
	p.telling = false
	p.mu.Unlock()
}
