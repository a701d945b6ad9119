package bench

import (
	"time"

	"golang.org/x/sys/unix"
)

// stopwatch takes wall time and the CPU time of this process.
type stopwatch struct {
	wall time.Time
	cpu  time.Duration
}

func startWatch() stopwatch { return stopwatch{wall: time.Now(), cpu: cpuTime()} }

func (w stopwatch) elapsed() (wall, cpu time.Duration) {
	return time.Since(w.wall), cpuTime() - w.cpu
}

// cpuTime is user plus system time of this process so far; 0 where the kernel does not say.
func cpuTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// rate is n per second.
func rate(n int64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}

func perRecord(cpu time.Duration, n int64) float64 {
	if n == 0 {
		return 0
	}
	return float64(cpu) / float64(n) / float64(time.Microsecond)
}
