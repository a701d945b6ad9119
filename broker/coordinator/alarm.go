package coordinator

import (
	"sync/atomic"
	"time"
)

// alarm is when the loop looks again by itself. Whoever makes something due while the loop looks at others moves it, too, so that nothing waits for the look after the next.
type alarm struct {
	at    atomic.Int64  // Unix ns
	moved chan struct{} // cap 1: at is sooner than it was
}

func newAlarm() *alarm { return &alarm{moved: make(chan struct{}, 1)} }

// set is for the loop, before it looks at everything.
func (a *alarm) set(at time.Time) { a.at.Store(at.UnixNano()) }

// sooner has the loop look no later than at. Any goroutine may call it.
func (a *alarm) sooner(at time.Time) {
	if a.lower(at) {
		signal(a.moved)
	}
}

// lower moves it to at if that is sooner, and says whether it was.
func (a *alarm) lower(at time.Time) bool {
	for ns, is := at.UnixNano(), a.at.Load(); ns < is; is = a.at.Load() {
		if a.at.CompareAndSwap(is, ns) {
			return true
		}
	}
	return false
}

func (a *alarm) when() time.Time { return time.Unix(0, a.at.Load()) }
