package client

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/rustmq/rustmq/mq"
)

// budget bounds the bytes that are buffered. Who has to wait is served in turn, and nobody passes those who wait.
type budget struct {
	max     int64
	used    atomic.Int64
	waiting atomic.Int32 // len(queue), to be read without the mutex
	count   *counters

	mu     sync.Mutex
	queue  []*waiter
	closed bool
}

type waiter struct {
	bytes   int64
	granted chan struct{} // closed when the bytes are the waiter's, or the budget is closed
	err     error         // set before granted is closed
}

// try takes n bytes if there is room and nobody waits.
func (b *budget) try(n int64) bool {
	if b.waiting.Load() != 0 {
		return false
	}
	if b.used.Add(n) <= b.max {
		return true
	}
	b.release(n)
	return false
}

// acquire takes n bytes, waiting for room. What can never fit is MESSAGE_TOO_LARGE.
func (b *budget) acquire(ctx context.Context, n int64) error {
	if b.try(n) {
		return nil
	}
	if n > b.max {
		return mq.Errorf(mq.MessageTooLarge, "record of about %d bytes, buffer of %d", n, b.max)
	}
	w := &waiter{bytes: n, granted: make(chan struct{})}
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return ErrClosed
	}
	b.queue = append(b.queue, w)
	b.waiting.Add(1)
	b.grant() // room may have come since try
	b.mu.Unlock()
	b.count.bufferWaits.Add(1)
	select {
	case <-w.granted:
		return w.err
	case <-ctx.Done():
		if b.leave(w) {
			return transportError(ctx, ctx.Err())
		}
		return w.err // granted at the same moment
	}
}

// leave takes w out of the queue; false if it was granted before.
func (b *budget) leave(w *waiter) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.queue {
		if b.queue[i] == w {
			b.queue = append(b.queue[:i], b.queue[i+1:]...)
			b.waiting.Add(-1)
			b.grant() // the next one may be smaller
			return true
		}
	}
	return false
}

// release gives n bytes back.
func (b *budget) release(n int64) {
	b.used.Add(-n)
	if b.waiting.Load() == 0 {
		return
	}
	b.mu.Lock()
	b.grant()
	b.mu.Unlock()
}

// grant serves the queue as far as there is room. The mutex is held.
func (b *budget) grant() {
	n := 0
	for _, w := range b.queue {
		if b.used.Add(w.bytes) > b.max {
			b.used.Add(-w.bytes)
			break
		}
		close(w.granted)
		n++
	}
	if n > 0 {
		b.queue = append(b.queue[:0], b.queue[n:]...)
		b.waiting.Add(int32(-n))
	}
}

// close fails all who wait and who will.
func (b *budget) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for _, w := range b.queue {
		w.err = ErrClosed
		close(w.granted)
	}
	b.waiting.Add(int32(-len(b.queue)))
	b.queue = nil
}
