package kafkaproto

import (
	"math"
	"sync"
	"time"
)

// quotaBurst is what may be used at once of a quota that was not used before: as much as for so long a time.
const quotaBurst = time.Second

// quotaLook is how often a connection that is held back looks whether its quota is another one by now.
const quotaLook = time.Second

// quotas are what clients have used of their quotas, for as long as they have used more than comes back meanwhile. Time is the caller's.
//
// What is used is owed, and paid at the quota's rate. Who owes is told for how long, and is not read from in that time (KIP-219): so whatever the sizes of his requests, on average he gets
// his rate.
type quotas struct {
	mu    sync.Mutex
	used  map[quotaUse]*usage
	sweep int // how many there may be before those are looked for that owe nothing
}

// quotaUse is who uses what.
type quotaUse struct {
	who  QuotaEntity
	kind QuotaKind
}

// usage is what is owed, in bytes: from below zero, where the burst is not used.
type usage struct {
	owed float64
	rate int64
	at   time.Time
}

const leastSweep = 1024

// pay takes off what was paid since.
func (u *usage) pay(rate int64, now time.Time) {
	if passed := now.Sub(u.at); passed > 0 {
		u.owed -= float64(u.rate) * passed.Seconds()
		u.at = now
	}
	u.rate = rate
	u.owed = max(u.owed, -float64(rate)*quotaBurst.Seconds())
}

// left is how long it takes until nothing is owed.
func (u *usage) left() time.Duration {
	seconds := u.owed / float64(u.rate)
	switch most := float64(math.MaxInt32) / 1000; { // milliseconds, in Kafka's protocol
	case seconds <= 0:
		return 0
	case seconds >= most:
		return math.MaxInt32 * time.Millisecond
	}
	return time.Duration(seconds * float64(time.Second))
}

// take notes that bytes were used, and gives the time until they are paid.
func (q *quotas) take(use quotaUse, rate int64, bytes int, now time.Time) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	u := q.used[use]
	if u == nil {
		q.makeRoom(now)
		u = &usage{owed: -float64(rate) * quotaBurst.Seconds(), at: now}
		q.used[use] = u
	}
	u.pay(rate, now)
	u.owed += float64(bytes)
	return u.left()
}

// makeRoom forgets those that have paid all, when there are many: they are as new.
func (q *quotas) makeRoom(now time.Time) {
	if q.used == nil {
		q.used = make(map[quotaUse]*usage)
	}
	if len(q.used) < max(q.sweep, leastSweep) {
		return
	}
	for use, u := range q.used {
		if u.pay(u.rate, now); u.owed <= -float64(u.rate)*quotaBurst.Seconds() {
			delete(q.used, use)
		}
	}
	q.sweep = 2 * len(q.used)
}

// left is how long it takes until nothing is owed, at this rate.
func (q *quotas) left(use quotaUse, rate int64, now time.Time) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	u := q.used[use]
	if u == nil || rate == 0 {
		return 0
	}
	u.pay(rate, now)
	return u.left()
}

// muted is why a connection is not read from, and until when.
type muted struct {
	session *Session
	kind    QuotaKind
	until   time.Time
}

// charge notes what the request has used of its client's quota, if there is one, and gives for how long the client is held back for that.
func (c *call) charge(kind QuotaKind, bytes int) time.Duration {
	rate, who := c.broker().Quota(c.session, kind)
	if rate == 0 || bytes == 0 {
		return 0
	}
	now := time.Now()
	left := c.conn.srv.quotas.take(quotaUse{who, kind}, rate, bytes, now)
	if left == 0 {
		return 0
	}
	c.conn.srv.throttled.Add(1)
	c.conn.mute(&muted{c.session, kind, now.Add(left)})
	return left
}

// mute has the connection not be read from until then. The goroutines that read and write call it.
func (c *conn) mute(m *muted) {
	for {
		before := c.muted.Load()
		if before != nil && before.until.After(m.until) || c.muted.CompareAndSwap(before, m) {
			return
		}
	}
}

// unmute waits until the connection may be read from: the time is over, or the quota changed so that nothing is owed any more.
func (c *conn) unmute() error {
	for {
		m := c.muted.Load()
		if m == nil {
			return nil
		}
		now := time.Now()
		rate, who := c.srv.cfg.Broker.Quota(m.session, m.kind)
		left := min(m.until.Sub(now), c.srv.quotas.left(quotaUse{who, m.kind}, rate, now))
		if left <= 0 {
			c.muted.CompareAndSwap(m, nil)
			continue
		}
		timer := time.NewTimer(min(left, quotaLook))
		select {
		case <-timer.C:
		case <-c.srv.open.Done():
			timer.Stop()
			return errDrained
		case <-c.ctx.Done():
			timer.Stop()
			return c.ctx.Err()
		}
	}
}

// throttleMillis is a time as responses have it, rounded up: a client that waits for so long finds that it is over.
func throttleMillis(d time.Duration) int32 {
	return int32((d + time.Millisecond - 1) / time.Millisecond)
}
