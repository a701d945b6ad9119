package partition

import (
	"context"

	"github.com/rustmq/rustmq/mq"
)

// Replicate appends batches that the leader of epoch sent: whole ones, stamped, in order, beginning at this log's end. It then moves the
// watermark up to leaderHigh and the log start up to leaderStart, as far as this log goes. The memory belongs to the partition from
// here on. It waits for room in the log; when it returns the batches are queued, and Durable tells when they may be acknowledged.
//
// Errors: FencedLeaderEpoch, UnknownLeaderEpoch, NotLeaderOrFollower; CorruptMessage and what else mq.NextBatch
// gives; OffsetOutOfRange when the batches do not continue the log, or their epochs the history, or the log has not been compared with that
// leader's yet: ask it where to truncate.
// Batches before the one at fault have been appended.
func (p *Partition) Replicate(ctx context.Context, epoch mq.Epoch, batches []byte, leaderHigh, leaderStart mq.Offset) error {
	for rest := batches; len(rest) > 0; {
		b, after, err := mq.NextBatch(rest)
		if err == nil {
			err = mq.VerifyCRC(b)
		}
		if err != nil {
			return mq.Wrapf(err, "partition %s: replicate from leader epoch %d", p.name(), epoch)
		}
		if err := p.replicateOne(ctx, epoch, b); err != nil {
			return err
		}
		rest = after
		p.cfg.Tail.reclaim()
	}
	p.mu.Lock()
	defer p.unlock()
	if err := p.mustBeAligned(epoch); err != nil {
		return err
	}
	if high := min(leaderHigh, p.marks.logEnd()); high > p.marks.high() {
		p.marks.setHigh(high)
	}
	if start := min(leaderStart, p.marks.high()); start > p.marks.logStart() {
		p.raiseLogStart(start)
	}
	if p.cfg.Planted.AckedTooEarly {
		p.tell(NewsDurable)
	}
	return nil
}

// replicateOne makes each batch an entry of its own: a truncation may cut between any two.
func (p *Partition) replicateOne(ctx context.Context, epoch mq.Epoch, b mq.Batch) error {
	if err := p.cfg.Log.Reserve(ctx, LogBytes(b)); err != nil {
		return mq.Wrapf(err, "partition %s: replicate", p.name())
	}
	now := p.cfg.Now().UnixMilli()
	p.mu.Lock()
	defer p.unlock()
	base := b.BaseOffset()
	err := p.mustBeAligned(epoch)
	if err == nil && base != p.marks.logEnd() {
		err = mq.Errorf(mq.OffsetOutOfRange, "partition %s: replicate from %d, but the log ends at %d", p.name(), base, p.marks.logEnd())
	}
	if err == nil && b.LeaderEpoch() > epoch {
		err = mq.Errorf(mq.OffsetOutOfRange, "partition %s: batch at %d of epoch %d came from the leader of epoch %d", p.name(), base, b.LeaderEpoch(), epoch)
	}
	if err == nil {
		err = p.assignEpoch(b.LeaderEpoch(), base)
	}
	if err != nil {
		p.cfg.Log.Unreserve(LogBytes(b))
		return err
	}
	if b.ProducerID() >= 0 && !p.cfg.Planted.SenderNotKept {
		p.dedup().apply(sequenceOf(b), base, p.marks.high(), now)
	}
	e := p.publish(b, base, now)
	p.cfg.Log.Append(p.entry(b, e), e)
	if c := p.cfg.Counters; c != nil {
		c.ReplicatedBatches.Add(1)
		c.ReplicatedBytes.Add(int64(len(b)))
	}
	return nil
}

// assignEpoch notes the epoch of the batch at base. The caller holds mu.
func (p *Partition) assignEpoch(epoch mq.Epoch, base mq.Offset) error {
	if latest, ok := p.epochs.Latest(); ok && latest.Epoch == epoch {
		return nil
	}
	epochs, err := p.epochs.Assign(epoch, base)
	if err != nil {
		return mq.Errorf(mq.OffsetOutOfRange, "partition %s: replicate: %w", p.name(), err)
	}
	p.epochs = epochs
	return nil
}

// mustFollow is nil when this node follows in epoch. The caller holds mu.
func (p *Partition) mustFollow(epoch mq.Epoch) error {
	if err := p.mustRun(); err != nil {
		return err
	}
	if err := p.checkEpoch(epoch); err != nil {
		return err
	}
	if State(p.state.Load()) != StateFollower {
		return mq.Errorf(mq.NotLeaderOrFollower, "partition %s: does not follow in epoch %d", p.name(), epoch)
	}
	return nil
}

// mustBeAligned is nil when this node follows in epoch and its log was found to be the beginning of the leader's. The caller holds mu.
func (p *Partition) mustBeAligned(epoch mq.Epoch) error {
	if err := p.mustFollow(epoch); err != nil {
		return err
	}
	if !p.aligned {
		return mq.Errorf(mq.OffsetOutOfRange, "partition %s: the log has not been compared with that of the leader of epoch %d", p.name(), epoch)
	}
	return nil
}

// Following is the epoch in which this node follows, and whom. ok is false when it does not, and err says why if it can not: quarantined,
// closed. aligned says that the log is known to be the beginning of that leader's: nothing has to be truncated.
func (p *Partition) Following() (epoch mq.Epoch, leader mq.NodeID, aligned, ok bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.mustRun(); err != nil {
		return p.epoch, mq.NoNode, false, false, err
	}
	return p.epoch, p.leader, p.aligned, State(p.state.Load()) == StateFollower, nil
}

// Confirmed notes that the leader of epoch has everything below end in the object store as of the metadata. As this log was found to be the
// same as the leader's, it need not hold that any more once it has it all. Errors: those of Replicate.
func (p *Partition) Confirmed(epoch mq.Epoch, end mq.Offset) error {
	p.mu.Lock()
	defer p.unlock()
	if err := p.mustBeAligned(epoch); err != nil {
		return err
	}
	p.confirmed = max(p.confirmed, end)
	p.release()
	return nil
}

// release moves a follower's tiered end to what its leader confirmed, once this node has synced so far. The caller holds mu.
func (p *Partition) release() {
	if p.confirmed > p.marks.object() && p.confirmed <= min(p.marks.local(), p.marks.logEnd()) {
		p.tieredTo(p.confirmed)
	}
}

// Durable is what a follower may acknowledge: everything below end is synced here (or, where the log was reset, in the object store) and the same
// as with the leader of epoch; and so is the epoch, which this replica will therefore never betray to an older one. ok is false when
// there is nothing to say.
func (p *Partition) Durable() (epoch mq.Epoch, end mq.Offset, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if State(p.state.Load()) != StateFollower || p.durableEpoch < p.epoch || !p.aligned {
		return mq.NoEpoch, -1, false
	}
	if p.cfg.Planted.AckedTooEarly {
		return p.epoch, p.marks.logEnd(), true
	}
	return p.epoch, p.marks.local(), true
}

// LastEpoch is the epoch of this log's last batch: what a follower asks the leader's EndOffsetForEpoch for before it replicates.
// mq.NoEpoch for a log that is empty: there is nothing to truncate.
func (p *Partition) LastEpoch() mq.Epoch {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.epochs.At(p.marks.logEnd() - 1)
}
