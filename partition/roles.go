package partition

import (
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
)

// Lead makes this node the partition's leader in epoch with this in-sync set. The epoch must be newer than every one that this
// replica took part in: neither may a leader go on in an epoch after a restart (what it had not synced may live on at a follower
// under the same offsets), nor take over one that another leads. The error is FencedLeaderEpoch then.
//
// Lead again with the epoch that it leads in tells it of another in-sync set, or that a proposed one was decided.
func (p *Partition) Lead(epoch mq.Epoch, isr []Replica) error {
	p.mu.Lock()
	defer p.unlock()
	if err := p.mustRun(); err != nil {
		return err
	}
	if State(p.state.Load()) == StateLeader && epoch == p.epoch {
		p.progress.decide(isr)
		p.advance()
		return nil
	}
	if epoch <= p.epoch {
		return mq.Errorf(mq.FencedLeaderEpoch, "partition %s: lead in epoch %d, but it took part in epoch %d already", p.name(), epoch, p.epoch)
	}
	epochs, err := p.epochs.Assign(epoch, p.marks.logEnd())
	if err != nil {
		return mq.Wrapf(err, "partition %s: lead", p.name())
	}
	p.leave(mq.Errorf(mq.NotLeaderOrFollower, "partition %s: epoch %d began", p.name(), epoch))
	p.epoch, p.epochs, p.epochStart = epoch, epochs, p.marks.logEnd()
	p.leader, p.stopped = p.cfg.Node, nil
	p.progress = newProgress(p.cfg.Node, isr)
	p.state.Store(uint32(StateLeader))
	p.leadingEpoch.Store(int32(epoch))
	p.remember(&epochDone{p, epoch})
	p.advance()
	if p.cfg.Committed != nil {
		p.cfg.Committed(p)
	}
	return nil
}

// ProposeISR says that another in-sync set was asked of the controllers. Until Lead tells what was decided, or ProposeISR(nil)
// that it was refused, the watermark only passes what both sets have.
func (p *Partition) ProposeISR(isr []Replica) error {
	p.mu.Lock()
	defer p.unlock()
	if err := p.mustLead(); err != nil {
		return err
	}
	p.progress.propose(isr)
	p.advance()
	return nil
}

// Acked notes that a follower holds everything below end on its disk, as it said in this epoch. Errors: FencedLeaderEpoch and
// UnknownLeaderEpoch, StaleBrokerEpoch for an incarnation that is over, InvalidRequest for an end beyond the log.
func (p *Partition) Acked(from Replica, epoch mq.Epoch, end mq.Offset) error {
	p.mu.Lock()
	defer p.unlock()
	if err := p.mustLead(); err != nil {
		return err
	}
	if err := p.checkEpoch(epoch); err != nil {
		return err
	}
	if end < 0 || end > p.marks.logEnd() {
		return mq.Errorf(mq.InvalidRequest, "partition %s: node %d acknowledges up to %d, the log ends at %d", p.name(), from.Node, end, p.marks.logEnd())
	}
	if err := p.progress.acked(from, end); err != nil {
		return mq.Wrapf(err, "partition %s", p.name())
	}
	p.advance()
	return nil
}

// Followers is how far each follower has come in this epoch; nil when this node does not lead.
func (p *Partition) Followers() []FollowerProgress {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.progress == nil {
		return nil
	}
	return append([]FollowerProgress(nil), p.progress.followers...)
}

// Follow makes this node a follower of leader in epoch. What waits to be acknowledged fails with NotLeaderOrFollower. An epoch
// older than one that this replica took part in is FencedLeaderEpoch, and so is one that it leads itself.
func (p *Partition) Follow(epoch mq.Epoch, leader mq.NodeID) error {
	p.mu.Lock()
	defer p.unlock()
	if err := p.mustRun(); err != nil {
		return err
	}
	if epoch < p.epoch || epoch == p.epoch && State(p.state.Load()) == StateLeader {
		return mq.Errorf(mq.FencedLeaderEpoch, "partition %s: follow node %d in epoch %d, but it took part in epoch %d already", p.name(), leader, epoch, p.epoch)
	}
	if epoch == p.epoch && State(p.state.Load()) == StateFollower && leader == p.leader {
		return nil
	}
	p.leave(mq.Errorf(mq.NotLeaderOrFollower, "partition %s: node %d leads it from epoch %d on", p.name(), leader, epoch))
	// An epoch that was begun here and wrote nothing is not part of the log.
	p.epochs = p.epochs.TruncateEnd(p.marks.logEnd())
	p.epoch, p.leader, p.stopped = epoch, leader, nil
	p.state.Store(uint32(StateFollower))
	p.remember(&epochDone{p, epoch})
	return nil
}

// Offline ends leading and following without another role: for a partition without a leader, or when this node gives its
// leaderships up. err is what requests get.
func (p *Partition) Offline(err error) {
	p.mu.Lock()
	defer p.unlock()
	if p.mustRun() == nil {
		p.stop(StateOffline, err)
	}
}

// Quarantine stops the partition because damage was found. What the object store holds is still served; everything else gets
// PartitionQuarantined with err's text.
func (p *Partition) Quarantine(err error) {
	p.mu.Lock()
	defer p.unlock()
	p.quarantine(err)
}

// quarantine is Quarantine for one who holds mu.
func (p *Partition) quarantine(err error) {
	if p.mustRun() != nil {
		return
	}
	p.stop(StateQuarantined, mq.Errorf(mq.PartitionQuarantined, "partition %s is quarantined: %w", p.name(), err))
	p.count(func(c *Counters) { c.Quarantines.Add(1) })
	p.logger().Error("partition quarantined", "err", err, "log_end", p.marks.logEnd(), "tiered_end", p.marks.object())
}

// Close ends the partition on this node. What waits fails with ShuttingDown. The log keeps its records. Close again is nothing.
func (p *Partition) Close() {
	p.mu.Lock()
	defer p.unlock()
	p.close(mq.Errorf(mq.ShuttingDown, "partition %s: this node is closing it", p.name()))
}

// Delete ends the partition because its topic is gone: what waits fails with UnknownTopicOrPartition, and the log forgets it.
func (p *Partition) Delete() {
	p.mu.Lock()
	defer p.unlock()
	if p.close(mq.Errorf(mq.UnknownTopicOrPartition, "partition %s: the topic was deleted", p.name())) {
		p.cfg.Log.Append(wal.Entry{Stream: p.stream, Type: wal.EntryDrop}, nil)
	}
}

// close does what Close does and says whether it was open. The caller holds mu.
func (p *Partition) close(err error) bool {
	if State(p.state.Load()) == StateClosed {
		return false
	}
	p.stop(StateClosed, err)
	p.cfg.Tail.used.Add(-p.tail.clear())
	p.cfg.Tail.forget(p)
	p.producers, p.index = nil, index{}
	return true
}

// stop leaves the role for a state without one. The caller holds mu.
func (p *Partition) stop(s State, err error) {
	p.state.Store(uint32(s))
	p.stopped = err
	p.leave(err)
}

// leave ends leadership, if there is one: what waits fails with err, and all waiters are woken. The caller holds mu, and has the
// next state set before or in the same critical section.
func (p *Partition) leave(err error) {
	p.leadingEpoch.Store(int32(mq.NoEpoch))
	p.progress = nil
	p.abandon(err)
	p.wake(true)
	p.uploads.forget()
}

// mustRun is nil unless the partition is closed or quarantined. The caller holds mu.
func (p *Partition) mustRun() error {
	switch State(p.state.Load()) {
	case StateClosed, StateQuarantined:
		return p.stopped
	}
	return nil
}

// checkEpoch compares a request's leader epoch with ours. The caller holds mu.
func (p *Partition) checkEpoch(epoch mq.Epoch) error {
	switch {
	case epoch < p.epoch:
		return mq.Errorf(mq.FencedLeaderEpoch, "partition %s: leader epoch %d, but epoch %d has begun", p.name(), epoch, p.epoch)
	case epoch > p.epoch:
		return mq.Errorf(mq.UnknownLeaderEpoch, "partition %s: leader epoch %d, but epoch %d is the newest known here", p.name(), epoch, p.epoch)
	}
	return nil
}

func (p *Partition) count(add func(*Counters)) {
	if p.cfg.Counters != nil {
		add(p.cfg.Counters)
	}
}
