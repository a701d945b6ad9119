package server

import (
	"context"
	"slices"
	"sync"

	"github.com/rustmq/rustmq/mq"
)

// asideReads runs a subscription's reads from one slow source beside its pushing goroutine, so that they hold up only the partitions that
// need them, and the next is read while the last is sent. So many at a time are under way or have a result that was not sent yet: with them it
// bounds the memory that a client can take by not reading. Others wait for their turn.
type asideReads struct {
	limit int
	wg    sync.WaitGroup

	mu      sync.Mutex
	held    int
	waiting []*asideRead // in the order in which they came
	dropped int          // of waiting
	spare   [][]byte     // memory of reads that are over; at most limit
}

// asideRead is one read. From its start until it has finished its reader is used by nobody else.
type asideRead struct {
	of     *asideReads
	a      *assignment
	ctx    context.Context
	cancel context.CancelFunc
	from   mq.Offset

	got Fetched // when finished; its memory is the read's until release
	err error

	state asideState // guarded by asideReads.mu
}

// asideState is how far a read is.
type asideState uint8

const (
	asideWaiting   asideState = iota // for its turn
	asideRunning                     //
	asideAbandoned                   // running, and nobody waits for it: it closes the reader
	asideFinished                    // with a result, not released
	asideOver                        // released, or dropped before its turn
)

// readAside reads from a.next when it is this partition's turn, and wakes a when that is done.
func (a *assignment) readAside(from Source) {
	r := &a.sub.logReads
	if from == FromStore {
		r = &a.sub.storeReads
	}
	c := &asideRead{of: r, a: a, from: a.next}
	c.ctx, c.cancel = context.WithCancel(a.sub.ctx)
	a.aside = c
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = append(r.waiting, c)
	r.start()
}

// start begins reads that wait, as many as there may be. The mutex is held.
func (r *asideReads) start() {
	for r.held < r.limit && len(r.waiting) > 0 {
		c := r.waiting[0]
		r.waiting[0] = nil
		r.waiting = r.waiting[1:]
		if c.state != asideWaiting {
			r.dropped--
			continue
		}
		r.held++
		c.state = asideRunning
		var buf []byte
		if n := len(r.spare); n > 0 {
			buf, r.spare[n-1] = r.spare[n-1], nil
			r.spare = r.spare[:n-1]
		}
		r.wg.Go(func() { c.run(buf) })
	}
}

func (c *asideRead) run(buf []byte) {
	if c.err = c.ctx.Err(); c.err == nil {
		c.got, c.err = c.a.reader.Read(c.ctx, c.from, c.a.sub.max, buf)
	}
	c.cancel()
	if c.got.Buf == nil {
		c.got.Buf = buf
	}
	c.of.mu.Lock()
	abandoned := c.state == asideAbandoned
	if abandoned {
		c.got.Buf = nil // nobody comes to forget it
		c.free()
	} else {
		c.state = asideFinished
	}
	c.of.mu.Unlock()
	if abandoned {
		c.a.reader.Close()
	} else {
		c.a.Wake()
	}
}

// free gives the turn, and the memory, to the next. The mutex is held.
func (c *asideRead) free() {
	c.state = asideOver
	c.of.held--
	if c.got.Buf != nil {
		c.of.spare = append(c.of.spare, c.got.Buf)
	}
	c.of.start()
}

// release ends a finished read: what it found is not used any more.
func (c *asideRead) release() {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	c.free()
}

// finished reports whether c's result may be used, and its reader again.
func (c *asideRead) finished() bool {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	return c.state == asideFinished
}

// drop takes c back, whatever it may have found, and reports whether its reader is free. If not, c is still running; with abandon it then closes the
// reader when it ends, else it wakes its assignment as ever.
func (c *asideRead) drop(abandon bool) (free bool) {
	r := c.of
	r.mu.Lock()
	defer r.mu.Unlock()
	c.cancel() // a read that ends with this finds the state that is decided here
	switch c.state {
	case asideRunning:
		if abandon {
			c.state = asideAbandoned
		}
		return false
	case asideFinished:
		c.free()
	case asideWaiting:
		c.state = asideOver
		if r.dropped++; 2*r.dropped > len(r.waiting) { // each is moved at most once per read dropped
			r.waiting = slices.DeleteFunc(r.waiting, func(c *asideRead) bool { return c.state != asideWaiting })
			r.dropped = 0
		}
	}
	return true
}

// forget gives up the memory that no read uses, unless one is under way: then there is about to be something to send, and more to read.
func (r *asideReads) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held == 0 {
		r.spare = nil
	}
}
