package wal

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// room keeps the accounts of two bounds: what may wait in the queue, and what
// still fits in the segments that are ready on the disk. A reservation counts
// against both until its entry is durable, or given back.
type room struct {
	limit     int64 // of the queue, bytes
	fullDelay time.Duration
	kick      chan struct{} // wakes the keeper

	credit atomic.Int64 // taken in advance (it is part of queued and claimed): reservations up to creditEach may have it without the mutex

	mu       sync.Mutex // by lock and unlock
	queued   int64      // reserved and not yet durable
	claimed  int64      // reserved and not yet written; part of queued
	largest  int64      // of the reservations in claimed: what the end of a segment may waste
	active   int64      // bytes that fit in the active segment
	whole    int64      // that could be reserved in it when it was begun
	ready    []int64
	headroom int64 // of the disk, left to the log's own needs when there is no more
	waited   bool  // the keeper knows that a reservation waits for the disk
	mark     int64 // the keeper wants to know when no more than this can be reserved in the active segment
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

// noMark is a mark that is never reached.
const noMark = math.MinInt64

func newRoom(limit int64, fullDelay time.Duration, kick chan struct{}) *room {
	return &room{limit: limit, fullDelay: fullDelay, kick: kick, mark: noMark}
}

// lock takes the mutex, and the credit back: what follows sees what is really reserved.
func (r *room) lock() {
	r.mu.Lock()
	unused := r.credit.Swap(0)
	r.queued -= unused
	r.claimed -= unused
}

// unlock gives credit again when there is plenty of room and nobody waits, and lets go of the mutex.
func (r *room) unlock() {
	if n := min(creditBytes, r.limit-r.queued); len(r.waiters) == 0 && r.err == nil && n > creditEach && r.left() > 2*n {
		r.queued += n
		r.claimed += n
		r.largest = max(r.largest, creditEach)
		r.credit.Store(n)
	}
	r.mu.Unlock()
}

// quick reserves n bytes out of the credit.
func (r *room) quick(n int64) bool {
	if n > creditEach {
		return false
	}
	for {
		c := r.credit.Load()
		if c < n {
			return false
		}
		if r.credit.CompareAndSwap(c, c-n) {
			return true
		}
	}
}

// reserve waits until n bytes fit.
func (r *room) reserve(ctx context.Context, n int64) error {
	if r.quick(n) {
		return nil
	}
	r.lock()
	if r.err != nil {
		defer r.unlock()
		return r.err
	}
	if len(r.waiters) == 0 && r.fits(n) {
		r.take(n)
		r.unlock()
		return nil
	}
	if err := r.refusal(n, time.Now()); err != nil {
		r.refused++
		r.refusing = true
		r.unlock()
		return err
	}
	w := &waiter{n: n, got: make(chan error, 1)}
	r.waiters = append(r.waiters, w)
	r.hurry()
	r.unlock()

	select {
	case err := <-w.got:
		return err
	case <-ctx.Done():
		return r.leave(w, mq.Wrapf(ctx.Err(), "wait for room in the log"))
	}
}

// leave takes back a waiter's wish, unless it was granted in the meantime.
func (r *room) leave(w *waiter, reason error) error {
	r.lock()
	defer r.unlock()
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
	r.lock()
	r.grant()
	r.unlock()
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
	r.hurry()
}

// left is what can still be reserved in the active segment, without another one.
func (r *room) left() int64 { return r.active - r.claimed - r.headroom }

// waits says whether a reservation waits for the disk. The caller holds the mutex.
func (r *room) waits() bool { return len(r.waiters) > 0 && !r.fitsDisk(r.waiters[0].n) }

// short is the length of a reservation that waits for the disk; 0: none does.
func (r *room) short() int64 {
	r.lock()
	defer r.unlock()
	if !r.waits() {
		return 0
	}
	return r.waiters[0].n
}

// hurry wakes the keeper when it should not pause any longer. The caller holds the mutex.
func (r *room) hurry() {
	waits := r.waits()
	if waits && !r.waited || r.mark != noMark && r.left() <= r.mark {
		r.mark = noMark
		signal(r.kick)
	}
	r.waited = waits
}

// due says whether the next piece of a segment that is being prepared, done of size bytes so far, is to be made by now: in
// proportion to what is used of the active segment, so that it is ready when a quarter of that is left. If not, the keeper is woken when it is.
func (r *room) due(done, size int64) bool {
	if size <= zeroBytes {
		return true
	}
	r.lock()
	defer r.unlock()
	used := float64(done+writeBytes) / float64(size+writeBytes)
	r.mark = r.whole - int64(used*float64(r.whole)*3/4)
	if r.left() > r.mark && !r.waits() {
		return false
	}
	r.mark = noMark
	return true
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
	r.hurry()
}

// giveBack undoes a reservation that will not be appended.
func (r *room) giveBack(n int64) {
	r.lock()
	r.queued = max(0, r.queued-n)
	r.claimed = max(0, r.claimed-n)
	r.grant()
	r.unlock()
}

// written says that n bytes of reservations went into the active segment,
// in which active bytes are left.
func (r *room) written(n, active int64) {
	r.lock()
	r.queued = max(0, r.queued-n)
	r.claimed = max(0, r.claimed-n)
	r.active = active
	r.grant()
	r.unlock()
}

// add says that one more segment is ready, and what of it is left to the log's own needs if it is the last one.
func (r *room) add(usable, headroom int64) {
	r.lock()
	r.ready = append(r.ready, usable)
	r.headroom = headroom
	r.clearFull()
	r.grant()
	r.unlock()
}

// next says that the first ready segment is the active one now.
func (r *room) next(active int64) {
	r.lock()
	if len(r.ready) > 0 {
		r.ready = append(r.ready[:0], r.ready[1:]...)
	}
	r.active, r.whole = active, max(0, active-r.headroom)
	r.grant()
	r.unlock()
}

// resume says that the log goes on in a segment that was begun earlier, whole bytes of which could be used.
func (r *room) resume(active, whole, headroom int64) {
	r.lock()
	if len(r.ready) == 0 {
		r.headroom = headroom
	}
	r.active, r.whole = active, max(0, whole-r.headroom)
	r.unlock()
}

// setFull says that no segment can be prepared for the time being (reason), or
// that one will be (nil).
func (r *room) setFull(reason error, atOnce bool) {
	r.lock()
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
	r.unlock()
}

// fail ends all waiting.
func (r *room) fail(err error) {
	r.lock()
	if r.err == nil {
		r.err = err
	}
	r.clearFull()
	r.grant()
	r.unlock()
}

func (r *room) clearFull() {
	r.full, r.refusing = nil, false
	if r.sweeper != nil {
		r.sweeper.Stop()
		r.sweeper = nil
	}
}
