package wal

import (
	"context"
	"sync"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// room keeps the accounts of two bounds: what may wait in the queue, and what
// still fits in the segments that are ready on the disk. A reservation counts
// against both until its entry is durable, or given back.
type room struct {
	limit     int64 // of the queue, bytes
	headroom  int64 // of the disk, left to the log's own needs when there is no more
	fullDelay time.Duration

	mu       sync.Mutex
	queued   int64 // reserved and not yet durable
	claimed  int64 // reserved and not yet written; part of queued
	largest  int64 // of the reservations in claimed: what the end of a segment may waste
	active   int64 // bytes that fit in the active segment
	ready    []int64
	full     error // why no segment can be prepared; nil: one will be
	since    time.Time
	atOnce   bool // refuse without waiting for fullDelay
	err      error
	sweeper  *time.Timer
	waiters  []*waiter
	refused  uint64 // reservations, so far
	refusing bool   // one was refused, and there is no room for another segment yet
}

// waiter is a reservation that waits, in the order of asking.
type waiter struct {
	n    int64
	got  chan error // buffered
	gone bool
}

// reserve waits until n bytes fit.
func (r *room) reserve(ctx context.Context, n int64) error {
	r.mu.Lock()
	if r.err != nil {
		defer r.mu.Unlock()
		return r.err
	}
	if len(r.waiters) == 0 && r.fits(n) {
		r.take(n)
		r.mu.Unlock()
		return nil
	}
	if err := r.refusal(n, time.Now()); err != nil {
		r.refused++
		r.refusing = true
		r.mu.Unlock()
		return err
	}
	w := &waiter{n: n, got: make(chan error, 1)}
	r.waiters = append(r.waiters, w)
	r.mu.Unlock()

	select {
	case err := <-w.got:
		return err
	case <-ctx.Done():
		return r.leave(w, mq.Wrapf(ctx.Err(), "wait for room in the log"))
	}
}

// leave takes back a waiter's wish, unless it was granted in the meantime.
func (r *room) leave(w *waiter, reason error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case err := <-w.got:
		return err
	default:
	}
	w.gone = true
	r.grant()
	return reason
}

// sweep refuses those that have waited long enough for a log that stays full.
func (r *room) sweep() {
	r.mu.Lock()
	r.grant()
	r.mu.Unlock()
}

func (r *room) fits(n int64) bool {
	return (r.queued == 0 || r.queued+n <= r.limit) && r.fitsDisk(n)
}

// fitsDisk leaves out what the end of each segment but the last may waste.
func (r *room) fitsDisk(n int64) bool {
	space, waste := r.active, max(r.largest, n)
	for _, b := range r.ready {
		space = max(0, space-waste) + b
	}
	return r.claimed+n+r.headroom <= space
}

// refusal is the error for a reservation that the disk has no room for, when
// there is no hope that it soon will have.
func (r *room) refusal(n int64, now time.Time) error {
	if r.full == nil || r.fitsDisk(n) || !r.atOnce && now.Before(r.since.Add(r.fullDelay)) {
		return nil
	}
	return mq.Errorf(mq.StorageFull, "no room in the log for %d bytes: %w", n, r.full)
}

func (r *room) take(n int64) {
	if r.claimed == 0 {
		r.largest = 0
	}
	r.queued += n
	r.claimed += n
	r.largest = max(r.largest, n)
}

// grant serves the waiters in order, as far as there is room. The caller
// holds the mutex.
func (r *room) grant() {
	var now time.Time
	kept := r.waiters[:0]
	for i, w := range r.waiters {
		if w.gone {
			continue
		}
		if r.err != nil {
			w.got <- r.err
			continue
		}
		if len(kept) == 0 && r.fits(w.n) {
			r.take(w.n)
			w.got <- nil
			continue
		}
		if r.full == nil {
			kept = append(kept, r.waiters[i:]...)
			break
		}
		if now.IsZero() {
			now = time.Now()
		}
		if err := r.refusal(w.n, now); err != nil {
			r.refused++
			r.refusing = true
			w.got <- err
			continue
		}
		kept = append(kept, w)
	}
	clear(r.waiters[len(kept):])
	r.waiters = kept
}

// giveBack undoes a reservation that will not be appended.
func (r *room) giveBack(n int64) {
	r.mu.Lock()
	r.queued = max(0, r.queued-n)
	r.claimed = max(0, r.claimed-n)
	r.grant()
	r.mu.Unlock()
}

// written says that n bytes of reservations went into the active segment,
// in which active bytes are left.
func (r *room) written(n, active int64) {
	r.mu.Lock()
	r.queued = max(0, r.queued-n)
	r.claimed = max(0, r.claimed-n)
	r.active = active
	r.grant()
	r.mu.Unlock()
}

// add says that one more segment is ready.
func (r *room) add(usable int64) {
	r.mu.Lock()
	r.ready = append(r.ready, usable)
	r.clearFull()
	r.grant()
	r.mu.Unlock()
}

// next says that the first ready segment is the active one now.
func (r *room) next(active int64) {
	r.mu.Lock()
	if len(r.ready) > 0 {
		r.ready = append(r.ready[:0], r.ready[1:]...)
	}
	r.active = active
	r.grant()
	r.mu.Unlock()
}

// setFull says that no segment can be prepared for the time being (reason), or
// that one will be (nil).
func (r *room) setFull(reason error, atOnce bool) {
	r.mu.Lock()
	switch {
	case reason == nil:
		r.clearFull()
	case r.full == nil:
		r.since = time.Now()
		if !atOnce {
			r.sweeper = time.AfterFunc(r.fullDelay, r.sweep)
		}
		fallthrough
	default:
		r.full, r.atOnce = reason, atOnce
	}
	r.grant()
	r.mu.Unlock()
}

// fail ends all waiting.
func (r *room) fail(err error) {
	r.mu.Lock()
	if r.err == nil {
		r.err = err
	}
	r.clearFull()
	r.grant()
	r.mu.Unlock()
}

func (r *room) clearFull() {
	r.full, r.refusing = nil, false
	if r.sweeper != nil {
		r.sweeper.Stop()
		r.sweeper = nil
	}
}
