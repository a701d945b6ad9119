package gateway

import (
	"testing"
	"time"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
)

// TestFailedAutoCommitIsRepeated, though nothing more is sent: after pauses that grow, not while it is on its way, and not when the partition is lost.
func TestFailedAutoCommitIsRepeated(t *testing.T) {
	const interval = time.Second
	now := time.Unix(1000, 0)
	trouble := &client.PartitionError{Topic: "t", Err: mq.Errorf(mq.CoordinatorNotAvailable, "it is away")}
	p := newProgress()
	// hand is what stream.commit does.
	hand := func(offset mq.Offset) {
		p.asked = max(p.asked, offset)
		p.failed.Store(-1)
	}
	turn := func(want mq.Offset) {
		t.Helper()
		if got := p.turn(now, interval); got != want {
			t.Fatalf("at %v %d is committed, want %d", now.Unix(), got, want)
		}
		now = now.Add(interval)
	}
	turn(-1)
	p.sent = 5
	turn(-1)
	turn(5)
	hand(5)
	turn(-1) // it is on its way
	p.unsettled(5, trouble)
	var pauses []time.Duration
	for last, turns := now, 0; len(pauses) < 8; now = now.Add(interval) {
		if turns++; turns > 200 {
			t.Fatalf("it was repeated after %v, and not again", pauses)
		}
		if got := p.turn(now, interval); got < 0 {
			continue
		} else if got != 5 {
			t.Fatalf("%d is committed again, want 5", got)
		}
		hand(5)
		p.unsettled(5, trouble)
		pauses = append(pauses, now.Sub(last))
		last = now
	}
	for i, want := range []float64{0, 1, 2, 4, 8, 16, 30, 30} {
		if pauses[i].Seconds() != want {
			t.Fatalf("it was repeated after %v, want pauses that double to 30 s", pauses)
		}
	}

	// What is sent meanwhile does not wait for that, and a failure of what was handed in before it is no matter.
	p.sent = 7
	turn(-1)
	turn(7)
	hand(7)
	p.unsettled(5, trouble)
	turn(-1)
	// An ack of less is an ack of what was handed in, for that may be committed.
	hand(6)
	p.unsettled(7, trouble)
	turn(7)
	hand(7)
	for _, code := range []mq.Code{mq.FencedMemberEpoch, mq.UnknownMemberID, mq.FencedInstanceID, mq.InvalidRequest} {
		p.unsettled(7, &client.PartitionError{Topic: "t", Err: mq.Errorf(code, "it is lost")})
	}
	now = now.Add(time.Hour)
	turn(-1)
}
