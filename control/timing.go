package control

import (
	"time"

	"github.com/rustmq/rustmq/mq"
)

// Timing is how long things take between brokers and controllers. Zero fields mean the defaults. All nodes of a cluster should have the
// same; what a lease is worth is decided by the controller that grants it alone.
type Timing struct {
	// Heartbeat is the time between two heartbeats of a broker. 0: 250 ms.
	Heartbeat time.Duration
	// Lease is how long an answered heartbeat lets a broker act as a leader, from when it was sent. 0: 1.25 s.
	Lease time.Duration
	// Session is how long a broker may be silent before it is fenced. Longer than a lease, by more than clocks may drift. It and an
	// election of the controllers are what the silence of a machine costs: less than 3 s. 0: 1.5 s.
	Session time.Duration
	// KeepAlive is the time after which a watcher is sent something even if nothing changed. 0: 500 ms.
	KeepAlive time.Duration
	// Answer is how long a broker waits for something to come before it looks for another controller. Longer than Heartbeat and KeepAlive, shorter than a
	// lease. 0: 800 ms.
	Answer time.Duration
	// Tick is the time between two looks at who is silent. 0: 50 ms.
	Tick time.Duration
	// Confirm is the time between two proofs that a controller still leads: a lease is shorter by what has passed since the last. 0: 100 ms.
	Confirm time.Duration
	// Redial is the time between two attempts to reach a broker without a stream, but for the first few; an attempt takes as long at most. 0: 250 ms.
	Redial time.Duration
}

// DefaultLease is how long an answered heartbeat lets a broker act as a leader.
const DefaultLease = 1250 * time.Millisecond

// maxClockDriftPercent is by how much a node's clock may be wrong about how much time has passed, in percent. Real ones are wrong by 0.05.
const maxClockDriftPercent = 5

// withDefaults fills in what is zero. InvalidConfig when the times do not go together.
func (t Timing) withDefaults() (Timing, error) {
	for _, f := range []struct {
		field    *time.Duration
		fallback time.Duration
	}{
		{&t.Heartbeat, 250 * time.Millisecond},
		{&t.Lease, DefaultLease},
		{&t.Session, 1500 * time.Millisecond},
		{&t.KeepAlive, 500 * time.Millisecond},
		{&t.Answer, 800 * time.Millisecond},
		{&t.Tick, 50 * time.Millisecond},
		{&t.Confirm, 100 * time.Millisecond},
		{&t.Redial, 250 * time.Millisecond},
	} {
		switch {
		case *f.field == 0:
			*f.field = f.fallback
		case *f.field < 0:
			return t, mq.Errorf(mq.InvalidConfig, "a time between brokers and controllers is negative: %v", *f.field)
		}
	}
	switch {
	case t.Lease*(100+maxClockDriftPercent) > t.Session*(100-maxClockDriftPercent):
		return t, mq.Errorf(mq.InvalidConfig, "a lease of %v is not over before a session of %v is, with clocks that drift by %d percent", t.Lease, t.Session,
			maxClockDriftPercent)
	case t.Answer <= t.Heartbeat || t.Answer <= t.KeepAlive || t.Answer >= t.Lease:
		return t, mq.Errorf(mq.InvalidConfig, "waiting %v for an answer must be longer than the %v and %v between two, and shorter than a lease of %v", t.Answer,
			t.Heartbeat, t.KeepAlive, t.Lease)
	}
	return t, nil
}
