package group

import "time"

type timerKind uint8

const (
	timerSession timerKind = iota // a member has been silent
	timerRevoke                   // a member has not given up partitions
	timerJoin                     // the next generation of a classic group is due
	timerSync                     // the leader of a classic group has not assigned, or a member not asked
	timerPending                  // a member that was given an id has not come back with it
	timerTopics                   // topics have changed
	timerSweep                    // offsets may have to be forgotten
)

// timer is a moment at which something is to be looked at. What happens then is decided by the state, never by the timer: a deadline that moved
// on leaves its timer where it was, and one more is set when that fires.
type timer struct {
	at     time.Time
	seq    uint64 // of two at the same moment, the one set first fires first
	kind   timerKind
	group  *group
	member string
}

func (t timer) before(other timer) bool {
	if t.at.Equal(other.at) {
		return t.seq < other.seq
	}
	return t.at.Before(other.at)
}

// timers is a heap. A timer's number tells it from one that took its place.
type timers struct {
	heap []timer
	seq  uint64
}

func (t *timers) set(one timer) (seq uint64) {
	t.seq++
	one.seq = t.seq
	t.heap = append(t.heap, one)
	for i := len(t.heap) - 1; i > 0; {
		up := (i - 1) / 2
		if !t.heap[i].before(t.heap[up]) {
			break
		}
		t.heap[i], t.heap[up] = t.heap[up], t.heap[i]
		i = up
	}
	return one.seq
}

// due takes the first timer when its moment has come.
func (t *timers) due(now time.Time) (timer, bool) {
	if len(t.heap) == 0 || t.heap[0].at.After(now) {
		return timer{}, false
	}
	first, last := t.heap[0], len(t.heap)-1
	t.heap[0] = t.heap[last]
	t.heap[last] = timer{}
	t.heap = t.heap[:last]
	for i := 0; ; {
		down := 2*i + 1
		if down >= last {
			break
		}
		if down+1 < last && t.heap[down+1].before(t.heap[down]) {
			down++
		}
		if !t.heap[down].before(t.heap[i]) {
			break
		}
		t.heap[i], t.heap[down] = t.heap[down], t.heap[i]
		i = down
	}
	return first, true
}
