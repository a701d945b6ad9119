package replication

import (
	"sync/atomic"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
)

// phase is what a cursor does next, or waits for.
type phase uint8

const (
	phaseOpen     phase = iota // say which partition this is
	phaseWait                  // the follower's state is awaited
	phaseTruncate              // answer where the epoch ended that the follower asked for
	phaseReset                 // the follower is behind what the log still has
	phaseStream                // batches and marks, as they come
	phasePause                 // something failed: open another round at the time notBefore
	phaseOver                  // this node does not lead in that epoch any more, or the follower knows of a newer one
)

// cursor is a place in a led partition's log: what the peer gets next. It watches the partition, and is on one of the peer's lists while
// there is something to do. All but what is said otherwise is guarded by the peer's mutex.
type cursor struct {
	peer      *peer
	partition *partition.Partition
	epoch     mq.Epoch
	handle    uint32

	queued atomic.Bool // on the list of what is to be done; set without the mutex
	lazy   atomic.Bool // on the list of those whose marks moved

	phase     phase
	round     uint32
	asked     mq.Epoch  // by the follower
	next      mq.Offset // what the follower gets next
	sent      []piece   // and has not acknowledged, in order
	told      marks     // last
	retry     time.Duration
	notBefore time.Time
	gone      bool // not assigned any more
}

// piece is what went in one message.
type piece struct {
	end   mq.Offset
	bytes int64
}

// marks travel with batches, or alone.
type marks struct{ high, start, tiered mq.Offset }

// News implements partition.Watcher. It takes the peer's mutex under the partition's, and only if the cursor is on no list yet.
func (c *cursor) News(n partition.News) {
	switch n {
	case partition.NewsAppended:
		c.peer.push(c)
	case partition.NewsMarks:
		c.peer.pushLazy(c)
	case partition.NewsDurable, partition.NewsRole: // Set tells what comes of the latter
	}
}

// restart begins another round when the next stream opens. The caller holds the mutex.
func (c *cursor) restart() {
	c.forgetSent()
	if c.phase != phaseOver {
		c.phase = phaseOpen
	}
	c.retry = 0
}

// forgetSent gives back what is under way. The caller holds the mutex.
func (c *cursor) forgetSent() {
	for _, s := range c.sent {
		c.peer.inFlight -= s.bytes
	}
	c.sent = c.sent[:0]
	c.peer.unblock()
}

// pause has another round begin after a while that grows with each failure. The caller holds the mutex.
func (c *cursor) pause(now time.Time) {
	c.forgetSent()
	c.retry = min(max(2*c.retry, firstRetry), lastRetry)
	c.phase, c.notBefore = phasePause, now.Add(c.retry)
	c.peer.paused = append(c.peer.paused, c)
}

// acked gives back what the follower has on its disk now. The caller holds the mutex.
func (c *cursor) acked(end mq.Offset) {
	n := 0
	for n < len(c.sent) && c.sent[n].end <= end {
		c.peer.inFlight -= c.sent[n].bytes
		n++
	}
	if n > 0 {
		c.sent = append(c.sent[:0], c.sent[n:]...)
		c.retry = 0
		c.peer.unblock()
	}
}
