package cli

import (
	"fmt"
	"math/bits"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// tally counts what a producer sends and what becomes of it. Promises of several
// connections call it at once.
type tally struct {
	started time.Time
	sent    atomic.Int64
	bytes   atomic.Int64
	done    atomic.Int64
	reached atomic.Int32 // the lowest mark of any record delivered
	ended   atomic.Int64 // when the last outcome came, ns after started

	mu      sync.Mutex
	failed  int64
	first   error // of the failures
	stop    atomic.Bool
	latency latencies
}

func newTally() *tally {
	t := &tally{started: time.Now()}
	t.reached.Store(int32(mq.MarkObject) + 1)
	return t
}

// The first records are all timed, later ones by sample.
const (
	timedFirst = 4096
	timedEvery = 64
)

// begin counts a record that is about to be sent, and says whether to time it.
func (t *tally) begin(bytes int64) bool {
	n := t.sent.Add(1)
	t.bytes.Add(bytes)
	return n <= timedFirst || n%timedEvery == 0
}

// end counts an outcome.
func (t *tally) end(reached mq.Mark, err error) {
	if err != nil {
		t.mu.Lock()
		t.failed++
		if t.first == nil {
			t.first = err
		}
		t.mu.Unlock()
		switch mq.CodeOf(err) {
		case mq.MessageTooLarge, mq.RecordListTooLarge, mq.InvalidRecord, mq.InvalidTimestamp:
			// others may do better
		default:
			t.stop.Store(true)
		}
	} else {
		for {
			low := t.reached.Load()
			if int32(reached) >= low || t.reached.CompareAndSwap(low, int32(reached)) {
				break
			}
		}
	}
	if t.done.Add(1)%timedEvery == 0 || t.done.Load() == t.sent.Load() {
		t.ended.Store(int64(time.Since(t.started)))
	}
}

func (t *tally) took(d time.Duration) {
	t.mu.Lock()
	t.latency.add(d)
	t.mu.Unlock()
}

// hopeless says that a record failed in a way that all others would.
func (t *tally) hopeless() bool { return t.stop.Load() }

func (t *tally) failures() (int64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failed, t.first
}

func (t *tally) pending() int64 { return t.sent.Load() - t.done.Load() }

func (t *tally) progress() string {
	elapsed := time.Since(t.started)
	return fmt.Sprintf("%s records sent, %s delivered, %s, %s/s",
		grouped(t.sent.Load()), grouped(t.done.Load()), humanSize(float64(t.bytes.Load())), humanSize(perSecond(t.bytes.Load(), elapsed)))
}

// summary is one line for people, of words that stay.
func (t *tally) summary() string {
	failed, _ := t.failures()
	delivered := t.done.Load() - failed
	elapsed := time.Duration(t.ended.Load())
	if elapsed == 0 {
		elapsed = time.Since(t.started)
	}
	text := fmt.Sprintf("%s records delivered", grouped(delivered))
	if missing := t.sent.Load() - delivered; missing > 0 {
		text += fmt.Sprintf(", %s not", grouped(missing))
	}
	text += fmt.Sprintf(", %s in %s: %s records/s, %s/s", humanSize(float64(t.bytes.Load())), elapsed.Round(time.Millisecond),
		grouped(int64(perSecond(t.sent.Load(), elapsed))), humanSize(perSecond(t.bytes.Load(), elapsed)))
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.latency.total > 0 {
		text += fmt.Sprintf("; ack p50 %s, p99 %s", millis(t.latency.quantile(0.5)), millis(t.latency.quantile(0.99)))
	}
	if delivered > 0 {
		text += fmt.Sprintf("; durability reached: %s", mq.Mark(t.reached.Load()))
	}
	return text
}

func perSecond(n int64, d time.Duration) float64 { return float64(n) / max(d.Seconds(), 1e-9) }

func millis(d time.Duration) string {
	return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', 2, 64) + " ms"
}

// grouped is n with commas: 1,234,567.
func grouped(n int64) string {
	digits := strconv.FormatInt(n, 10)
	if n < 0 {
		return digits
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// latencies is a histogram of durations with buckets about 3 % wide.
type latencies struct {
	counts [64 << latencyBits]uint64
	total  uint64
}

const latencyBits = 5

func (l *latencies) add(d time.Duration) {
	l.counts[latencyBucket(uint64(max(d, 0)))]++
	l.total++
}

func latencyBucket(ns uint64) int {
	if ns < 1<<latencyBits {
		return int(ns)
	}
	shift := bits.Len64(ns) - latencyBits - 1
	return (shift+1)<<latencyBits + int(ns>>shift)&(1<<latencyBits-1)
}

// latencyOf is the middle of a bucket.
func latencyOf(bucket int) time.Duration {
	if bucket < 1<<latencyBits {
		return time.Duration(bucket)
	}
	shift := bucket>>latencyBits - 1
	low := uint64(1<<latencyBits+bucket&(1<<latencyBits-1)) << shift
	return time.Duration(low + 1<<shift/2)
}

// quantile is a duration that the fraction q of all stayed below, about.
func (l *latencies) quantile(q float64) time.Duration {
	rank, seen := uint64(q*float64(l.total)), uint64(0)
	for bucket, n := range l.counts {
		if seen += n; seen > rank || n > 0 && seen == l.total {
			return latencyOf(bucket)
		}
	}
	return 0
}
