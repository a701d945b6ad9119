package kafkaproto

import (
	"encoding/binary"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// quotaBurst is what may be used at once of a quota that was not used before: as much as for so long a time.
	quotaBurst = time.Second
	// quotaDebt is the most that is owed: a request counts for so long a time of its quota, whatever its size.
	quotaDebt = time.Minute
	// quotaLook is how often who is held back looks whether his quota is another one by now.
	quotaLook = time.Second
	// quotaSweep is how often those are forgotten that owe nothing, and quotaUsers how many are remembered: those beyond share one place.
	quotaSweep = 10 * time.Second
	quotaUsers = 50_000
)

// quotas are what clients have used of their quotas, for as long as that is not what they had after a second without using anything. Time is the caller's.
//
// What is used is owed, and paid at the quota's rate. As long as something is owed nobody who shares the quota uses more, whichever connection he comes by, and whether he waits for as long as he is told or not: so on average
// the rate is kept to, by requests that are worth less than quotaDebt. Of what is produced there is never more owed than by one request. Fetches of several connections that wait for the same records are
// answered at once, each with a second's worth at most.
type quotas struct {
	mu    sync.Mutex
	used  map[quotaUse]*usage
	swept time.Time
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

// pay takes off what was paid since, and bounds what is left by the rate that holds now.
func (u *usage) pay(rate int64, now time.Time) {
	if passed := now.Sub(u.at); passed > 0 {
		u.owed -= float64(u.rate) * passed.Seconds()
		u.at = now
	}
	u.rate = rate
	u.owed = min(max(u.owed, u.most(-quotaBurst)), u.most(quotaDebt))
}

// most is what is paid in a time.
func (u *usage) most(d time.Duration) float64 { return float64(u.rate) * d.Seconds() }

// left is how long it takes until nothing is owed: no longer than quotaDebt.
func (u *usage) left() time.Duration {
	return time.Duration(max(0, u.owed) / float64(u.rate) * float64(time.Second))
}

// of is the usage of a quota with this rate as of now. The caller holds the mutex.
func (q *quotas) of(use quotaUse, rate int64, now time.Time) *usage {
	if q.used == nil {
		q.used = make(map[quotaUse]*usage)
	}
	if now.Sub(q.swept) >= quotaSweep {
		q.swept = now
		for use, u := range q.used {
			if u.pay(u.rate, now); u.owed <= u.most(-quotaBurst) {
				delete(q.used, use)
			}
		}
	}
	u := q.used[use]
	if u == nil && len(q.used) >= quotaUsers {
		use.who = QuotaEntity{}
		u = q.used[use]
	}
	if u == nil {
		u = &usage{rate: rate, at: now}
		u.owed = u.most(-quotaBurst)
		q.used[use] = u
	}
	u.pay(rate, now)
	return u
}

// charge notes that bytes were used, and gives the time until they are paid.
func (u *usage) charge(bytes int) time.Duration {
	u.owed = min(u.owed+float64(bytes), u.most(quotaDebt))
	return u.left()
}

// take notes that bytes were used, and gives the time until they are paid.
func (q *quotas) take(use quotaUse, rate int64, bytes int, now time.Time) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.of(use, rate, now).charge(bytes)
}

// admit is take if nothing is owed; else it gives the time until nothing is.
func (q *quotas) admit(use quotaUse, rate int64, bytes int, now time.Time) (left, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	u := q.of(use, rate, now)
	if wait := u.left(); wait > 0 {
		return 0, wait
	}
	return u.charge(bytes), 0
}

// left is how long it takes until nothing is owed.
func (q *quotas) left(use quotaUse, rate int64, now time.Time) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.of(use, rate, now).left()
}

// quotaOf is the quota that a session is under: a rate of 0 for none.
func (s *Server) quotaOf(session *Session, kind QuotaKind) (rate int64, use quotaUse) {
	rate, who := s.cfg.Broker.Quota(session, kind)
	return rate, quotaUse{who, kind}
}

// throttled is what became of a request whose client is under a quota.
type throttled struct {
	told time.Duration // for how long its client is to wait after it
	held bool          // it had to wait before it was read
}

// admit waits until the client owes nothing of the quota that a request is under, if it is under one, before anything more is read of it; what is produced it charges at once. It waits no longer than for the
// idle timeout, so that nobody who is gone stays for longer.
func (c *conn) admit(h head) (t throttled, err error) {
	kind, bytes := ProduceQuota, h.length
	switch kmsg.Key(h.key) {
	case kmsg.Produce:
	case kmsg.Fetch:
		kind, bytes = ConsumeQuota, 0 // charged when it is known what there is
	default:
		return t, nil
	}
	session := c.session.Load()
	if id, known := c.peekClientID(h); known && string(id) != session.ClientID {
		renamed := *session
		renamed.ClientID = string(id)
		session = &renamed
	}
	for begun := time.Now(); ; t.held = true {
		rate, use := c.srv.quotaOf(session, kind)
		if rate == 0 {
			return t, nil
		}
		now := time.Now()
		var wait time.Duration
		if t.told, wait = c.srv.quotas.admit(use, rate, bytes, now); wait == 0 {
			return t, nil
		}
		if now.Sub(begun) > c.srv.limits.IdleTimeout {
			return t, errIdle
		}
		timer := time.NewTimer(min(wait, quotaLook))
		select {
		case <-timer.C:
		case <-c.srv.open.Done():
			timer.Stop()
			return t, errDrained
		case <-c.ctx.Done():
			timer.Stop()
			return t, c.ctx.Err()
		}
	}
}

// peekClientID is what the client calls itself in the request that comes, of which only the head was read. It is not known when nothing more comes. One that does not fit into the buffer is longer than the names that
// quotas may have, and as good as none.
func (c *conn) peekClientID(h head) (id []byte, known bool) {
	b, err := c.in.Peek(2)
	if err != nil || h.length < 2 {
		return nil, false
	}
	n := int(int16(binary.BigEndian.Uint16(b)))
	if n <= 0 || n > readBuffer-2 || n > h.length-2 {
		return nil, true
	}
	if b, err = c.in.Peek(2 + n); err != nil {
		return nil, false
	}
	return b[2:], true
}

// throttleMillis is a time as responses have it, rounded up: a client that waits for so long finds that it is over.
func throttleMillis(d time.Duration) int32 {
	return int32((d + time.Millisecond - 1) / time.Millisecond)
}
