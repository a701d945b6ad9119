//go:build !linux

package control

import (
	"sync/atomic"
	"time"
)

// BootClock is a clock that counts the time in which the machine sleeps, and never goes back: the greater of what the monotonic clock and
// the wall clock say has passed. A wall clock that is set forward ends leases early. Its origin means nothing.
func BootClock() func() time.Duration {
	origin, latest := time.Now(), new(atomic.Int64)
	return func() time.Duration {
		now := time.Now()
		passed := int64(max(now.Sub(origin), now.Round(0).Sub(origin.Round(0))))
		for {
			before := latest.Load()
			if passed <= before {
				return time.Duration(before)
			}
			if latest.CompareAndSwap(before, passed) {
				return time.Duration(passed)
			}
		}
	}
}
