package server

import (
	"context"
	"sync"

	"github.com/rustmq/rustmq/mq"
)

// coldReads runs a subscription's reads from the object store beside its pushing goroutine, a few at a time, so that a
// slow store holds up only the partitions that need it.
type coldReads struct {
	limit int
	wg    sync.WaitGroup

	mu      sync.Mutex
	running int
	waiting []*coldRead
}

// coldRead is one read. Until it has finished its reader is used by nobody else.
type coldRead struct {
	a      *assignment
	ctx    context.Context
	cancel context.CancelFunc
	from   mq.Offset

	got Fetched // when finished
	err error

	done      bool // guarded by coldReads.mu
	abandoned bool // likewise: the one who finishes closes the reader
}

// startCold reads from an offset when it is this partition's turn, and wakes a when that is done.
func (a *assignment) startCold(from mq.Offset) {
	c := &coldRead{a: a, from: from}
	c.ctx, c.cancel = context.WithCancel(a.sub.ctx)
	a.cold = c
	cr := &a.sub.cold
	cr.mu.Lock()
	defer cr.mu.Unlock()
	if cr.running >= cr.limit {
		cr.waiting = append(cr.waiting, c)
		return
	}
	cr.running++
	cr.wg.Go(func() { cr.run(c) })
}

// run does c and then those that wait.
func (cr *coldReads) run(c *coldRead) {
	for c != nil {
		if c.err = c.ctx.Err(); c.err == nil {
			c.got, c.err = c.a.reader.Read(c.ctx, c.from, c.a.sub.max, nil)
		}
		c.cancel()
		c = cr.finish(c)
	}
}

// finish marks c as done and picks the next one, nil if none waits.
func (cr *coldReads) finish(c *coldRead) *coldRead {
	cr.mu.Lock()
	c.done = true
	abandoned := c.abandoned
	var next *coldRead
	if len(cr.waiting) > 0 {
		next, cr.waiting = cr.waiting[0], cr.waiting[1:]
	} else {
		cr.running--
	}
	cr.mu.Unlock()
	if abandoned {
		c.a.reader.Close()
	} else {
		c.a.Wake()
	}
	return next
}

// finished reports whether c's result may be used, and its reader again.
func (cr *coldReads) finished(c *coldRead) bool {
	cr.mu.Lock()
	defer cr.mu.Unlock()
	return c.done
}

// giveUp reports whether c is done. If not, it closes the reader when it is.
func (cr *coldReads) giveUp(c *coldRead) bool {
	cr.mu.Lock()
	defer cr.mu.Unlock()
	c.abandoned = !c.done
	return c.done
}
