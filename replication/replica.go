package replication

import (
	"context"
	"sync/atomic"

	replicationpb "github.com/rustmq/rustmq/api/replication/v1"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
)

// replica is one round about one partition that follows on a session. Each Open makes a new one.
type replica struct {
	session   *session
	handle    uint32
	round     uint32
	epoch     mq.Epoch
	partition *partition.Partition // nil: does not run here
	watching  bool                 // the receiver's own
	tiered    mq.Offset            // what the leader confirmed last; the receiver's own

	ready  atomic.Bool // the log is the beginning of the leader's
	over   atomic.Bool // the round failed, or another began
	queued atomic.Bool // on the session's list
	acked  mq.Offset   // last; the answering goroutine's own
}

// News implements partition.Watcher. It takes the session's mutex under the partition's.
func (r *replica) News(n partition.News) {
	if n == partition.NewsDurable && r.ready.Load() || n == partition.NewsRole {
		r.session.push(r)
	}
}

// close ends the round.
func (r *replica) close() {
	r.over.Store(true)
	if r.watching {
		r.partition.Unwatch(r)
		r.watching = false
	}
}

// fail ends the round and says why.
func (r *replica) fail(err error) {
	r.over.Store(true)
	r.session.follower.cfg.Logger.Debug("a round of replication is over", "leader", r.session.leader, "leader_epoch", int32(r.epoch), "err", err)
	r.session.say(&replicationpb.State{Handle: r.handle, Round: r.round, Code: int32(mq.CodeOf(err)), Message: err.Error()})
}

// state says where the log ends, and where its last epoch ended is asked, unless the log is known to be the beginning of the leader's.
func (r *replica) state() {
	aligned, err := r.follows()
	if err != nil {
		r.fail(err)
		return
	}
	_, _, end, _ := r.partition.Offsets()
	s := &replicationpb.State{Handle: r.handle, Round: r.round, LogEnd: int64(end)}
	if !aligned {
		s.Asks, s.LastEpoch = true, int32(r.partition.LastEpoch())
	}
	r.session.say(s)
	if aligned {
		r.ready.Store(true)
		r.session.push(r) // what it has had for long is to be acknowledged, too
	}
}

// follows says why the partition does not follow in this round, or whether its log is known to be the beginning of the leader's.
func (r *replica) follows() (aligned bool, err error) {
	epoch, leader, aligned, ok, err := r.partition.Following()
	switch {
	case err != nil:
		return false, err
	case epoch > r.epoch:
		return false, mq.Errorf(mq.FencedLeaderEpoch, "leader epoch %d, but epoch %d has begun", r.epoch, epoch)
	case epoch < r.epoch || !ok:
		return false, mq.Errorf(mq.UnknownLeaderEpoch, "leader epoch %d, but epoch %d is the newest known here", r.epoch, epoch)
	case leader != r.session.leader:
		return false, mq.Errorf(mq.NotLeaderOrFollower, "node %d leads in epoch %d, not node %d", leader, epoch, r.session.leader)
	}
	return aligned, nil
}

// resign ends the round if the partition has stopped to follow in it, as by damage or a log that failed: what the leader has sent of it is not
// acknowledged any more, and would take up its window for good.
func (r *replica) resign() {
	if r.over.Load() {
		return
	}
	if _, err := r.follows(); err != nil {
		r.fail(err)
	}
}

// truncate takes the leader's answer.
func (r *replica) truncate(epoch mq.Epoch, end mq.Offset) {
	_, err := r.partition.Truncate(r.epoch, epoch, end)
	if mq.CodeOf(err) == mq.OffsetOutOfRange {
		// They have nothing in common above what is committed: all of it again.
		r.session.follower.cfg.Logger.Warn("the log parts from the leader's below what is committed", "topic", r.partition.Topic(),
			"partition", r.partition.ID().Index, "leader", r.session.leader, "leader_epoch", int32(r.epoch), "err", err)
		_, _, _, tiered := r.partition.Offsets()
		r.session.reset(reset{r, r.round, tiered, 0})
		return
	}
	if err != nil {
		r.fail(err)
		return
	}
	r.state()
}

// reset has the log go on at the tiered end. It may wait for the metadata.
func (r *replica) reset(ctx context.Context, to reset) {
	if r.over.Load() {
		return
	}
	if err := r.partition.ResetToTiered(ctx, r.epoch, to.tieredEnd, to.logStart); err != nil {
		r.fail(err)
		return
	}
	r.state()
}

// replicate takes batches and marks.
func (r *replica) replicate(ctx context.Context, part *replicationpb.Part, batches [][]byte) {
	high, start := mq.Offset(part.GetHighWatermark()), mq.Offset(part.GetLogStart())
	var err error
	if tiered := mq.Offset(part.GetTieredEnd()); tiered > r.tiered {
		// Before the batches: a full log has room for them only once it need not hold what the object store has.
		if err = r.partition.Confirmed(r.epoch, tiered); err == nil {
			r.tiered = tiered
		}
	}
	for i := 0; err == nil && i < len(batches); i++ {
		// The marks come with the last ones: before these they could not be honoured.
		err = r.partition.Replicate(ctx, r.epoch, batches[i], 0, 0)
	}
	if err == nil {
		err = r.partition.Replicate(ctx, r.epoch, nil, high, start)
	}
	if err != nil {
		r.fail(err)
	}
}

// durable is what there is to acknowledge anew.
func (r *replica) durable() (end mq.Offset, ok bool) {
	epoch, end, ok := r.partition.Durable()
	if !ok || epoch != r.epoch || r.over.Load() || end == r.acked {
		return 0, false
	}
	r.acked = end
	return end, true
}
