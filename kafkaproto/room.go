package kafkaproto

import (
	"context"
	"slices"
	"sync"
)

// room is memory, in bytes, that requests share. A request takes it piece by piece while it comes, so all that there is may be taken by requests that need more, none of which would ever be whole:
// therefore the first of them to wait goes on without, one at a time. Those that have begun are before those that have not.
//
// A request takes each piece of its address's room first, and then of the server's. Who goes beyond the server's takes nothing any more of either, so it waits for nobody, and comes to its end; who goes beyond its
// address's waits for the server's room only.
type room struct {
	mu       sync.Mutex
	free     int64
	begun    []*wanted // by requests that hold something
	fresh    []*wanted // by others
	finisher bool      // a request takes beyond what there is
}

// share is what a request has taken of a room.
type share struct {
	taken  int64
	beyond bool // and it goes beyond that
}

// take has the request have so much of it, or waits until it can, or ctx ends.
func (s *share) take(ctx context.Context, r *room, weight int) error {
	more := int64(weight) - s.taken
	if s.beyond || more <= 0 {
		return nil
	}
	beyond, err := r.take(ctx, more, s.taken > 0)
	if s.beyond = beyond; err == nil && !beyond {
		s.taken += more
	}
	return err
}

func (s *share) give(r *room) { r.give(s.taken, s.beyond) }

// wanted is a piece that is waited for.
type wanted struct {
	n      int64         // 0 once it is there and beyond
	beyond bool          // it did not come out of the room: the request is the finisher
	ready  chan struct{} // closed when the piece is there
}

// try takes n bytes if they are there and nobody waits.
func (r *room) try(n int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tryLocked(n)
}

func (r *room) tryLocked(n int64) bool {
	if len(r.begun) > 0 || len(r.fresh) > 0 || r.free < n {
		return false
	}
	r.free -= n
	return true
}

// take takes n bytes, or waits for them until ctx ends. begun says that the request holds something already. If it gets beyond it has taken nothing, and needs to take nothing more.
func (r *room) take(ctx context.Context, n int64, begun bool) (beyond bool, err error) {
	r.mu.Lock()
	if r.tryLocked(n) {
		r.mu.Unlock()
		return false, nil
	}
	w, queue := &wanted{n: n, ready: make(chan struct{})}, &r.fresh
	if begun {
		queue = &r.begun
	}
	*queue = append(*queue, w)
	r.grant()
	r.mu.Unlock()
	select {
	case <-w.ready:
		return w.beyond, nil
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-w.ready: // at the same time
		r.giveLocked(w.n, w.beyond)
	default:
		*queue = slices.DeleteFunc(*queue, func(x *wanted) bool { return x == w })
		r.grant()
	}
	return false, ctx.Err()
}

// give gives back what a request took, and whether it went beyond.
func (r *room) give(n int64, beyond bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.giveLocked(n, beyond)
}

func (r *room) giveLocked(n int64, beyond bool) {
	r.free += n
	if beyond {
		r.finisher = false
	}
	r.grant()
}

// grant gives those that wait what there is, in order.
func (r *room) grant() {
	for len(r.begun) > 0 {
		w := r.begun[0]
		switch {
		case r.free >= w.n:
			r.free -= w.n
		case !r.finisher:
			r.finisher, w.beyond, w.n = true, true, 0
		default:
			return
		}
		close(w.ready)
		r.begun[0], r.begun = nil, r.begun[1:]
	}
	for len(r.fresh) > 0 && r.free >= r.fresh[0].n {
		r.free -= r.fresh[0].n
		close(r.fresh[0].ready)
		r.fresh[0], r.fresh = nil, r.fresh[1:]
	}
}
