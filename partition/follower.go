package partition

import (
	"context"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
)

// Replicate appends batches that the leader of epoch sent: whole ones, stamped, in order, beginning at this log's end. It then moves the
// watermark up to leaderHigh and the log start up to leaderStart, as far as this log goes. The memory belongs to the partition from
// here on. It waits for room in the log; when it returns the batches are queued, and Durable tells when they may be acknowledged.
//
// Errors: FencedLeaderEpoch, UnknownLeaderEpoch, NotLeaderOrFollower; CorruptMessage and what else mq.NextBatch
// gives; OffsetOutOfRange when the batches do not continue the log, or their epochs the history: ask the leader where to truncate.
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
	if err := p.mustFollow(epoch); err != nil {
		return err
	}
	if high := min(leaderHigh, p.marks.logEnd()); high > p.marks.high() {
		p.marks.setHigh(high)
	}
	if start := min(leaderStart, p.marks.high()); start > p.marks.logStart() {
		p.raiseLogStart(start)
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
	err := p.mustFollow(epoch)
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
	if b.ProducerID() >= 0 {
		p.dedup().apply(sequenceOf(b), base, p.marks.high(), now)
	}
	e := p.publish(b, base, now)
	p.cfg.Log.Append(wal.Entry{
		Stream: p.stream, Type: wal.EntryData, First: uint64(base), End: uint64(e.end), Payload: b,
	}, e)
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

// Durable is what a follower may acknowledge: everything below end is synced here, and so is the epoch, which this replica
// will therefore never betray to an older one. ok is false when there is nothing to say.
func (p *Partition) Durable() (epoch mq.Epoch, end mq.Offset, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if State(p.state.Load()) != StateFollower || p.durableEpoch < p.epoch {
		return mq.NoEpoch, -1, false
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
