package wal

import (
	"sync"
	"time"
)

// item is one thing for the writer to do, in the order of asking.
type item struct {
	Entry
	done   Done
	origin uint64 // workCopy: the segment that it is copied from
}

// queue hands items from any goroutine to the writer. What waits in it is
// bounded by reservations.
type queue struct {
	mu     sync.Mutex
	items  []item
	framed int  // of items, from the first on: they are in the next group already
	asleep bool // the writer is, and wants to be woken
	closed bool
	since  time.Time // when the first of items came
	taken  time.Time // when the first of those came that the writer has; zero: it has none

	wake chan struct{}
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

// put adds an item and says how many wait now to be framed; it is refused after close.
func (q *queue) put(it item) (waiting int, ok bool) {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return 0, false
	}
	if len(q.items) == 0 {
		q.since = time.Now()
	}
	q.items = append(q.items, it)
	waiting = len(q.items) - q.framed
	wake := q.asleep
	q.asleep = false
	q.mu.Unlock()
	if wake {
		signal(q.wake)
	}
	return waiting, true
}

// take returns all items, the first of which are framed already, and leaves buf, emptied, for the next ones. Without
// any it says whether the queue was closed; if not, the next put wakes the
// writer. It may be woken for nothing too.
func (q *queue) take(buf []item) (items []item, framed int, closed bool) {
	clear(buf)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.taken = time.Time{}
	if len(q.items) == 0 {
		q.asleep = !q.closed
		return buf[:0], 0, q.closed
	}
	items, q.items = q.items, buf[:0]
	framed, q.framed = q.framed, 0
	q.asleep, q.taken = false, q.since
	return items, framed, false
}

// waiting are the items that are not framed. They stay as they are until the next take.
func (q *queue) waiting() []item {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.items[q.framed:]
}

// frame says that the first n of those that waited are framed.
func (q *queue) frame(n int) {
	q.mu.Lock()
	q.framed += n
	q.mu.Unlock()
}

func (q *queue) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items)
}

func (q *queue) close() {
	q.mu.Lock()
	wake := q.asleep
	q.asleep, q.closed = false, true
	q.mu.Unlock()
	if wake {
		signal(q.wake)
	}
}

// oldest is the age of the oldest item that is not done yet.
func (q *queue) oldest(now time.Time) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case !q.taken.IsZero():
		return now.Sub(q.taken)
	case len(q.items) > 0:
		return now.Sub(q.since)
	}
	return 0
}
