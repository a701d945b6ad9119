package replication

import (
	"slices"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
)

// Change is an in-sync set that is to be asked of the controllers: a compare-and-set on the partition epoch.
type Change struct {
	Partition      mq.PartitionID
	LeaderEpoch    mq.Epoch
	PartitionEpoch int32
	ISR            []partition.Replica // incarnation 0: not heard of
}

// Outcome is what is known of a Change that was proposed.
type Outcome uint8

const (
	// OutcomeUnknown says that it may be decided already, later or never. Only a newer partition epoch ends that.
	OutcomeUnknown Outcome = iota
	// OutcomeDecided says that it is so. The image will tell.
	OutcomeDecided
	// OutcomeRefused says that it is not so, and will not be.
	OutcomeRefused
)

// standing is how a follower stands otherwise.
type standing struct {
	connected bool
	since     time.Time // of that
	fenced    bool
}

// lag is since when a follower has not had all of the log. Pure: time is an argument.
type lag struct {
	incarnation uint64
	caughtUp    time.Time // when the log last ended where the follower has come to by now
	target      mq.Offset // where the log ended
	at          time.Time // at this time
	near        bool      // it has reached what was the target until now
	ahead       time.Time // since when it has had more than is below the watermark, which does not wait for it; zero: it has not
}

// observe notes how far the follower has come.
func (l *lag) observe(now time.Time, f partition.FollowerProgress, pr *partition.Progress) {
	logEnd := pr.LogEnd
	l.near = f.End >= l.target && f.Incarnation == l.incarnation && !l.caughtUp.IsZero()
	switch {
	case l.caughtUp.IsZero() || f.Incarnation != l.incarnation:
		// It is given the time to show what it has.
		*l = lag{incarnation: f.Incarnation, caughtUp: now, target: logEnd, at: now}
	case f.End >= logEnd:
		l.caughtUp, l.target, l.at = now, logEnd, now
	case l.near:
		l.caughtUp, l.target, l.at = l.at, logEnd, now
	}
	switch isAhead := f.End > pr.HighWatermark && !slices.Contains(pr.ISR, f.Node); {
	case !isAhead:
		l.ahead = time.Time{}
	case l.ahead.IsZero():
		l.ahead = now
	}
}

// insync judges the in-sync set of one partition within one leader epoch.
type insync struct {
	epoch   mq.Epoch
	lags    map[mq.NodeID]*lag
	planted planted
}

// limits are how long a follower may lag.
type lagLimits struct{ lag, broken time.Duration }

// judge looks at a leader's progress and says which set should be asked for; nil: none. Otherwise it says which followers the watermark should wait for meanwhile. It
// keeps who lags since when.
//
//   - Out goes who is behind the log end, and has not reached for too long where it ended then: sooner if there is no stream to it.
//   - In comes who has everything below the watermark and the beginning of the leader's epoch, is connected and not fenced, and would not go out at once: with less replicas in sync than
//     there must be the watermark stands, and who is stuck at it has all below it for ever. Who has had more for as long as it may lag comes in all the same: the watermark moves by that.
//   - Who is near, for it has what the log had when it was looked at last, is expected: of a log that grows all the time it never has everything below a watermark
//     that does not wait for it.
//   - An answer that was lost is made up for by asking for something, be it the present set: the partition epoch moves, and with that it
//     is known what became of it.
func (j *insync) judge(
	now time.Time, self partition.Replica, pr partition.Progress, standings map[mq.NodeID]standing, limits lagLimits,
) (wanted []partition.Replica, expected []mq.NodeID) {
	if pr.Epoch != j.epoch || j.lags == nil {
		j.epoch, j.lags = pr.Epoch, make(map[mq.NodeID]*lag)
	}
	known := make(map[mq.NodeID]partition.FollowerProgress, len(pr.Followers))
	for _, f := range pr.Followers {
		known[f.Node] = f
		l := j.lags[f.Node]
		if l == nil {
			l = &lag{}
			j.lags[f.Node] = l
		}
		l.observe(now, f, &pr)
	}
	if pr.Asked {
		return nil, nil
	}
	wanted = make([]partition.Replica, 0, len(pr.ISR)+1)
	changed := pr.Doubt
	for _, node := range pr.ISR {
		switch f, heard := known[node]; {
		case node == self.Node:
			wanted = append(wanted, self)
		case heard && f.End < pr.LogEnd && j.lags[node].out(now, standings[node], limits):
			changed = true
		default:
			wanted = append(wanted, partition.Replica{Node: node, Incarnation: f.Incarnation})
		}
	}
	for _, f := range pr.Followers {
		s, assigned := standings[f.Node]
		switch {
		case !assigned || !s.connected || s.fenced || slices.Contains(pr.ISR, f.Node):
		case f.End >= j.proof(pr) && (f.End >= pr.LogEnd || !j.lags[f.Node].out(now, s, limits) || j.lags[f.Node].waits(now, limits)):
			wanted = append(wanted, f.Replica)
			changed = true
		case j.lags[f.Node].near:
			expected = append(expected, f.Node)
		}
	}
	if !changed {
		return nil, expected
	}
	return wanted, nil
}

// proof is what a follower must have to be in sync: all that may have been committed.
func (j *insync) proof(pr partition.Progress) mq.Offset {
	if j.planted.joinsUnproven {
		return 0
	}
	return max(pr.HighWatermark, pr.EpochStart)
}

// waits says whether a follower has had more than is below the watermark for long.
func (l *lag) waits(now time.Time, limits lagLimits) bool {
	return !l.ahead.IsZero() && now.Sub(l.ahead) > limits.lag
}

// out says whether a follower that is behind has been so for too long.
func (l *lag) out(now time.Time, s standing, limits lagLimits) bool {
	behind := now.Sub(l.caughtUp)
	return behind > limits.lag || !s.connected && behind > limits.broken && now.Sub(s.since) > limits.broken
}
