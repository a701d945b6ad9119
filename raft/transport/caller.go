package transport

import (
	"context"
	"errors"
	"syscall"
	"time"
)

// caller is a member whose messages come in.
type caller struct {
	streams int  // of it that are open
	looking bool // somebody looks whether it is still there
}

// lookPauses go before each of the dials that follow when the last stream of a member has ended. A process that ends closes its listener and its connections within
// moments, in any order, so the first dial may come too early. A member that lives takes one of them.
var lookPauses = [...]time.Duration{0, 10 * time.Millisecond, 40 * time.Millisecond, 150 * time.Millisecond}

// lookTimeout bounds one dial.
const lookTimeout = 500 * time.Millisecond

// called notes that a stream of a member has begun. The function that it returns is called when it ends.
func (t *Transport) called(from uint64) (ended func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.callers[from]
	if c == nil {
		c = &caller{}
		t.callers[from] = c
	}
	c.streams++
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if c.streams--; c.streams > 0 || c.looking {
			return
		}
		if t.closed || t.cfg.Dial == nil {
			delete(t.callers, from)
			return
		}
		c.looking = true
		t.wait.Go(func() { t.look(from, c) })
	}
}

// look finds out whether the process of a member whose stream has ended is gone, and reports it: the one sign of a death that is not silence.
func (t *Transport) look(id uint64, c *caller) {
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if c.looking = false; c.streams == 0 {
			delete(t.callers, id)
		}
	}()
	for _, pause := range lookPauses {
		if t.nap(pause) != nil || t.speaks(c) {
			return
		}
		m, ok := t.member(id)
		if !ok {
			return
		}
		ctx, cancel := context.WithTimeout(t.ctx, lookTimeout)
		err := t.cfg.Dial(ctx, m.Node)
		cancel()
		if errors.Is(err, syscall.ECONNREFUSED) && !t.speaks(c) {
			t.log.Warn("a member's process has ended: its stream broke, and nothing listens where it did", "member", id, "node", m.Node)
			if r := t.receiver.Load(); r != nil {
				(*r).ReportGone(id)
			}
			return
		}
	}
}

// speaks says whether a stream of a member is open.
func (t *Transport) speaks(c *caller) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return c.streams > 0
}

// nap waits, or until the transport is closed.
func (t *Transport) nap(pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.ctx.Done():
	}
	return t.ctx.Err()
}
