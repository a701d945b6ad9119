package gateway

import (
	"sync/atomic"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// maxCommitPause is the longest pause before what the server could not commit by itself is committed again.
const maxCommitPause = 30 * time.Second

// progress is how far a member is in a partition. All but failed is guarded by its stream's mutex.
type progress struct {
	sent  mq.Offset // behind what was sent, -1: nothing was
	old   mq.Offset // likewise, at the last turn of committing by itself
	asked mq.Offset // the highest that was handed in to be committed, -1: none
	done  mq.Offset // the highest that is committed, -1: none

	failed atomic.Int64  // what was handed in last and not committed, though it may be yet; -1: none
	again  time.Time     // when that may be committed by itself again
	pause  time.Duration // and how long that was waited for
}

func newProgress() *progress {
	p := &progress{sent: -1, old: -1, asked: -1, done: -1}
	p.failed.Store(-1)
	return p
}

// turn is what to commit by itself now, -1 for nothing, when turns come at each interval: what was sent before the last turn, or what could not be committed before.
// It is never less than what was handed in: that may be committed though nobody said so.
func (p *progress) turn(now time.Time, interval time.Duration) mq.Offset {
	old, failed := p.old, mq.Offset(p.failed.Load()) == p.asked && p.done < p.asked
	p.old = p.sent
	switch {
	case old > p.asked:
		p.again, p.pause = time.Time{}, 0
		return old
	case !failed || now.Before(p.again):
		return -1
	}
	p.pause = min(max(2*p.pause, interval), max(maxCommitPause, interval))
	p.again = now.Add(p.pause)
	return p.asked
}

// unsettled notes that a commit has failed. The stream's mutex may be held or not.
func (p *progress) unsettled(offset mq.Offset, err error) {
	switch mq.CodeOf(err) {
	case mq.FencedMemberEpoch, mq.FencedInstanceID, mq.UnknownMemberID, mq.InvalidRequest: // the partition is the member's no more
	default:
		p.failed.Store(int64(offset))
	}
}
