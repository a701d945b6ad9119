package partition

import (
	"slices"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
)

// Lead makes this node the partition's leader in epoch with this in-sync set. The epoch must be newer than every one that this
// replica took part in: neither may a leader go on in an epoch after a restart (what it had not synced may live on at a follower
// under the same offsets), nor take over one that another leads. The error is FencedLeaderEpoch then.
//
// partitionEpoch is the one of the in-sync set. Lead again in the same epoch with a newer partition epoch tells of another in-sync set, whoever
// asked for it: whatever was proposed before is over. With the same or an older one it changes nothing.
func (p *Partition) Lead(epoch mq.Epoch, partitionEpoch int32, isr []Replica) error {
	p.mu.Lock()
	defer p.unlock()
	if err := p.mustRun(); err != nil {
		return err
	}
	if State(p.state.Load()) == StateLeader && epoch == p.epoch {
		p.progress.decide(partitionEpoch, isr)
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
	p.progress = newProgress(p.cfg.Node, partitionEpoch, isr, p.cfg.Planted)
	p.state.Store(uint32(StateLeader))
	p.leadingEpoch.Store(int32(epoch))
	p.remember(&epochDone{p, epoch})
	p.advance()
	if p.cfg.Committed != nil {
		p.cfg.Committed(p)
	}
	return nil
}

// ProposeISR says that another in-sync set is about to be asked of the controllers, by compare-and-set on partitionEpoch. Until Lead tells of a
// newer partition epoch, or ISRRefused that it was refused, the watermark only passes what both sets have. Errors, and then nothing may be asked:
// those of a replica that does not lead; FencedLeaderEpoch when the partition epoch is another one; InvalidRequest for a set without this node;
// TooManyRequests when the answers to too many earlier ones were lost: the present set may still be asked for, which ends their doubt.
func (p *Partition) ProposeISR(partitionEpoch int32, isr []Replica) error {
	p.mu.Lock()
	defer p.unlock()
	if err := p.mustLead(); err != nil {
		return err
	}
	if err := p.progress.propose(partitionEpoch, isr); err != nil {
		return mq.Wrapf(err, "partition %s", p.name())
	}
	p.advance()
	return nil
}

// Expect has the watermark wait for these followers, too, until the next call, proposal or in-sync set of another partition epoch than this one: they are about to
// be proposed. Records that never stop are with each follower later than with the leader, so that one which is not waited for never has all below the watermark.
func (p *Partition) Expect(partitionEpoch int32, followers []mq.NodeID) {
	p.answered(partitionEpoch, func(g *progress) { g.expected = followers })
}

// ISRRefused says that the controllers decided against what was proposed last, at partitionEpoch: it will never be.
func (p *Partition) ISRRefused(partitionEpoch int32) {
	p.answered(partitionEpoch, (*progress).refused)
}

// ISRUnsettled says that it will not be known whether what was proposed last, at partitionEpoch, was decided or still will be, but by a newer
// partition epoch: until then it counts.
func (p *Partition) ISRUnsettled(partitionEpoch int32) {
	p.answered(partitionEpoch, (*progress).unsettled)
}

func (p *Partition) answered(partitionEpoch int32, note func(*progress)) {
	p.mu.Lock()
	defer p.unlock()
	if p.mustLead() == nil && p.progress.partitionEpoch == partitionEpoch {
		note(p.progress)
		p.advance()
	}
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

// Progress is how far each follower has come in this epoch; ok is false when this node does not lead.
func (p *Partition) Progress() (now Progress, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.progress
	if g == nil {
		return now, false
	}
	return Progress{
		Epoch: p.epoch, PartitionEpoch: g.partitionEpoch, EpochStart: p.epochStart, HighWatermark: p.marks.high(), LogEnd: p.marks.logEnd(),
		ISR: g.isr, Followers: slices.Clone(g.followers), Expected: g.expected, Asked: g.proposed != nil, Doubt: len(g.doubted) > 0,
	}, true
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
	// Nothing to compare where there is nothing; but a log that was found damaged takes nothing before its Reset.
	p.aligned, p.confirmed = !p.blank && p.marks.logEnd() == p.firstHeld(), 0
	if p.cfg.Planted.CutByWatermark {
		if high := max(p.marks.high(), p.firstHeld()); high < p.marks.logEnd() {
			p.truncate(high)
		}
		p.aligned = true
	}
	if p.cfg.Planted.NotCompared {
		p.aligned = true
	}
	p.state.Store(uint32(StateFollower))
	p.remember(&epochDone{p, epoch})
	return nil
}

// Refetch is Follow for a replica that is quarantined because of what Open found, once the controllers have taken it out of the in-sync set and
// the eligible replicas for that: it goes on as a follower that has everything to fetch again, which Reset begins. Nobody may count on anything
// that this replica acknowledged; that is so for one that damage was found in by Open, as its node says so when it registers, and not for one
// that is damaged later, which is InvalidRequest: that waits for the next start.
func (p *Partition) Refetch(epoch mq.Epoch, leader mq.NodeID) error {
	p.mu.Lock()
	defer p.unlock()
	switch {
	case State(p.state.Load()) != StateQuarantined || !p.damaged:
		return mq.Errorf(mq.InvalidRequest, "partition %s: refetch, but it is not damaged since the start", p.name())
	case epoch < p.epoch:
		return mq.Errorf(mq.FencedLeaderEpoch, "partition %s: follow node %d in epoch %d, but it took part in epoch %d already", p.name(), leader, epoch, p.epoch)
	}
	p.logger().Warn("the log is damaged: everything above the tiered end is fetched again", "leader", leader, "leader_epoch", epoch, "err", p.stopped)
	p.damaged = false
	p.epoch, p.leader, p.stopped = epoch, leader, nil
	p.aligned, p.confirmed, p.blank = false, 0, true
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
	p.progress, p.aligned = nil, false
	p.tell(NewsRole)
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
