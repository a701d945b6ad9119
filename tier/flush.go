package tier

import (
	"context"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// flush is a call of Flush, or what pressure made.
type flush struct {
	ctx    context.Context
	done   chan struct{}
	wanted map[*sourceState]mq.Offset // to be in the object store
	err    error                      // the first source that failed
}

// begin notes what is to be flushed: everything that is pending now.
func (u *Uploader) begin(f *flush) {
	u.markAll()
	u.look()
	f.wanted = make(map[*sourceState]mq.Offset)
	for _, s := range u.states {
		s.pending = s.source.Pending()
		if s.pending.First < s.pending.End {
			f.wanted[s] = s.pending.End
			if !s.broken {
				s.holdUntil, s.lastErr = time.Time{}, nil // one try now
			}
		}
	}
	u.active = append(u.active, f)
}

// pressed begins a flush that nobody waits for, unless one is under way.
func (u *Uploader) pressed() {
	for _, f := range u.active {
		if f.ctx == u.ctx {
			return
		}
	}
	u.begin(&flush{ctx: u.ctx, done: make(chan struct{})})
}

// settleFlushes ends the flushes that have all they wanted, or cannot get it.
func (u *Uploader) settleFlushes() {
	kept := u.active[:0]
	for _, f := range u.active {
		for s, end := range f.wanted {
			switch {
			case s.inFlight > 0:
			case s.pending.First >= end || s.remaining() == 0:
				delete(f.wanted, s)
			case s.lastErr != nil:
				if f.err == nil {
					f.err = mq.Wrapf(s.lastErr, "partition %s", s.id)
				}
				delete(f.wanted, s)
			}
		}
		if len(f.wanted) > 0 && f.ctx.Err() == nil {
			kept = append(kept, f)
			continue
		}
		close(f.done)
	}
	clear(u.active[len(kept):])
	u.active = kept
}
