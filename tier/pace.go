package tier

import (
	"context"
	"slices"
	"sync"
	"time"
)

// paceBurst is for how long an unused pace is saved up.
const paceBurst = 250 * time.Millisecond

// pace bounds bytes per second in one direction. Whoever finds it used up waits,
// and those that wait go on by class, then in turn. What is taken may be more
// than is left: then it is owed, and all that come later wait for that long.
type pace struct {
	perSecond float64 // 0: without bound

	mu      sync.Mutex
	left    float64 // in bytes; negative: owed
	at      time.Time
	waiting [classes][]*paceWaiter
	timer   *time.Timer // set while somebody waits
}

type paceWaiter struct {
	bytes float64
	ready chan struct{} // closed when they were taken
}

func newPace(perSecond int64) *pace {
	return &pace{perSecond: float64(perSecond), left: float64(perSecond) * paceBurst.Seconds()}
}

// take waits until n bytes may be moved. Take small pieces: while a large one is
// owed, a more urgent class waits, too.
func (p *pace) take(ctx context.Context, c Class, n int64) error {
	if p.perSecond == 0 || n == 0 {
		return ctx.Err()
	}
	p.mu.Lock()
	p.refill()
	if p.left > 0 && !p.behind(c) {
		p.left -= float64(n)
		p.mu.Unlock()
		return ctx.Err()
	}
	w := &paceWaiter{float64(n), make(chan struct{})}
	p.waiting[c] = append(p.waiting[c], w)
	p.wake()
	p.mu.Unlock()
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.waiting[c], w); i >= 0 {
		p.waiting[c] = slices.Delete(p.waiting[c], i, i+1)
	} else {
		p.left += w.bytes // not used
	}
	return ctx.Err()
}

// behind says whether somebody of the class, or of one before it, waits. The lock is held.
func (p *pace) behind(c Class) bool {
	for i := range c + 1 {
		if len(p.waiting[i]) > 0 {
			return true
		}
	}
	return false
}

// refill adds what time brought. The lock is held.
func (p *pace) refill() {
	now := time.Now()
	if !p.at.IsZero() {
		p.left = min(p.left+now.Sub(p.at).Seconds()*p.perSecond, p.perSecond*paceBurst.Seconds())
	}
	p.at = now
}

// wake sets the timer to when the next one may go on. The lock is held.
func (p *pace) wake() {
	if p.timer != nil {
		return
	}
	owed := time.Duration(max(0, -p.left) / p.perSecond * float64(time.Second))
	p.timer = time.AfterFunc(owed+time.Millisecond, p.goOn)
}

// goOn lets those that wait take what there is.
func (p *pace) goOn() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = nil
	p.refill()
	for c := range p.waiting {
		for len(p.waiting[c]) > 0 {
			if p.left <= 0 {
				p.wake()
				return
			}
			w := p.waiting[c][0]
			p.waiting[c] = slices.Delete(p.waiting[c], 0, 1)
			p.left -= w.bytes
			close(w.ready)
		}
	}
}

// idle says whether nobody waits and something is left.
func (p *pace) idle() bool {
	if p.perSecond == 0 {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refill()
	return p.left > 0 && !p.behind(classes-1)
}
