package partition

import (
	"context"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
)

// Truncate cuts the log by what the leader of epoch answered to EndOffsetForEpoch(LastEpoch()). again says that the leader had no such epoch
// and this log not the one that it named: ask for the new LastEpoch. Only epoch histories decide where to cut, never a
// watermark.
//
// When it returns the cut is queued in the log, what was cut is gone from memory, and producers and epochs are as they were
// before it was appended. Errors: those of Replicate; InvalidRequest for an answer to another question; OffsetOutOfRange when the
// histories have nothing in common above what is committed: then Reset.
func (p *Partition) Truncate(epoch, leaderEpoch mq.Epoch, leaderEnd mq.Offset) (again bool, err error) {
	p.mu.Lock()
	defer p.unlock()
	if err := p.mustFollow(epoch); err != nil {
		return false, err
	}
	if p.blank {
		return false, mq.Errorf(mq.OffsetOutOfRange, "partition %s: the log was damaged and has to be fetched again", p.name())
	}
	to, again, err := p.partingPoint(leaderEpoch, leaderEnd)
	if err != nil {
		return false, err
	}
	if floor := max(p.marks.high(), p.marks.object()); to < floor {
		return false, mq.Errorf(mq.OffsetOutOfRange, "partition %s: by its history the leader of epoch %d parted at %d, but below %d all is committed",
			p.name(), epoch, to, floor)
	}
	if to < p.marks.logEnd() {
		p.truncate(to)
	}
	p.aligned = !again || p.marks.logEnd() == p.firstHeld()
	return again, nil
}

// partingPoint is where this log and the leader's surely are the same up to, given the leader's answer. again says that more may have to
// be cut. The caller holds mu.
func (p *Partition) partingPoint(leaderEpoch mq.Epoch, leaderEnd mq.Offset) (to mq.Offset, again bool, err error) {
	logEnd := p.marks.logEnd()
	if logEnd == p.firstHeld() {
		return logEnd, false, nil // nothing to cut
	}
	asked := p.epochs.At(logEnd - 1)
	switch {
	case leaderEpoch == mq.NoEpoch:
		return 0, false, mq.Errorf(mq.OffsetOutOfRange, "partition %s: the leader knows nothing of epoch %d", p.name(), asked)
	case leaderEpoch > asked || leaderEnd < 0:
		return 0, false, mq.Errorf(mq.InvalidRequest, "partition %s: answer for epoch %d, asked for %d", p.name(), leaderEpoch, asked)
	}
	ours, end := p.epochs.EndOffset(leaderEpoch, logEnd)
	switch ours {
	case leaderEpoch:
		return min(end, leaderEnd), false, nil
	case mq.NoEpoch:
		return p.firstHeld(), false, nil // all that is here is of epochs that the leader never had
	}
	return end, true, nil
}

// firstHeld is the offset from which on this log must hold everything: what is not tiered yet, be it below the log start, is
// still needed for the object store. The caller holds mu.
func (p *Partition) firstHeld() mq.Offset {
	if p.cfg.Cold == nil {
		return max(p.marks.object(), p.marks.logStart())
	}
	return p.marks.object()
}

// truncate cuts the log at to, a boundary of batches. The caller holds mu.
func (p *Partition) truncate(to mq.Offset) {
	p.logger().Info("truncate", "to", to, "log_end", p.marks.logEnd(), "leader_epoch", p.epoch)
	p.cut(wal.EntryTruncate, to)
	p.epochs = p.epochs.TruncateEnd(to)
	if p.producers != nil && !p.cfg.Planted.SenderNotCut {
		p.producers.rollback(to)
	}
	p.index.truncate(to)
	freed, began := p.tail.truncate(to)
	p.cfg.Tail.used.Add(-freed)
	for range began {
		p.cfg.Tail.begun(p)
	}
	p.marks.setLocal(min(p.marks.local(), to))
	p.marks.setLogEnd(to)
	p.count(func(c *Counters) { c.Truncations.Add(1) })
}

// Reset throws this replica's log away and has it go on at the tiered end, with the producers and epochs of that place: for a follower
// that is behind it, or shares nothing with its leader. tiered is as the metadata has it now.
func (p *Partition) Reset(epoch mq.Epoch, tiered Checkpoint) error {
	restored, err := decodeProducers(tiered.Producers, p.cfg.ProducerTTL, p.cfg.MaxProducers)
	if err != nil {
		return mq.Wrapf(err, "partition %s: reset to %d", p.name(), tiered.End)
	}
	if err := tiered.Epochs.Valid(); err != nil {
		return mq.Wrapf(err, "partition %s: reset to %d", p.name(), tiered.End)
	}
	p.mu.Lock()
	defer p.unlock()
	if err := p.mustFollow(epoch); err != nil {
		return err
	}
	if tiered.End < p.marks.object() && !p.cfg.KeepLocal {
		return mq.Errorf(mq.InvalidRequest, "partition %s: reset to %d, but it is tiered up to %d", p.name(), tiered.End, p.marks.object())
	}
	p.logger().Warn("reset to the tiered end", "to", tiered.End, "log_end", p.marks.logEnd(), "leader_epoch", p.epoch)
	// What lies below the log start and is not tiered is fetched, too: the object store has no holes. The start comes with it again.
	p.marks.setLogStart(min(p.marks.logStart(), tiered.End))
	p.restart(tiered, restored)
	p.aligned, p.blank = true, false
	return nil
}

// Rebase is Reset for a replica that is about to lead, as after an unclean election or the loss of a disk: a leader's log end is never below the tiered end, nor is its
// log another one than what was tiered. It changes nothing where that is so already, or where this node leads. from is where this log parted from what was tiered: what
// it had from there on is gone.
func (p *Partition) Rebase(tiered Checkpoint) (from mq.Offset, rebased bool, err error) {
	restored, err := decodeProducers(tiered.Producers, p.cfg.ProducerTTL, p.cfg.MaxProducers)
	if err == nil {
		err = tiered.Epochs.Valid()
	}
	if err != nil {
		return 0, false, mq.Wrapf(err, "partition %s: go on at the tiered end %d", p.name(), tiered.End)
	}
	p.mu.Lock()
	defer p.unlock()
	if err := p.mustRun(); err != nil {
		return 0, false, err
	}
	end := p.marks.logEnd()
	if State(p.state.Load()) == StateLeader || tiered.End <= p.marks.object() {
		return end, false, nil
	}
	if tiered.End <= end && p.epochs.At(tiered.End-1) == tiered.Epochs.At(tiered.End-1) {
		return end, false, nil
	}
	from = max(p.marks.object(), parting(p.epochs, tiered.Epochs, min(end, tiered.End)))
	p.logger().Warn("goes on at the tiered end to lead", "to", tiered.End, "parted_at", from, "log_end", end, "leader_epoch", p.epoch)
	p.restart(tiered, restored)
	p.aligned, p.blank = false, false
	return from, true, nil
}

// parting is the offset up to which two logs with these histories are the same, at most end: one epoch has one leader, so the same epochs are the same batches.
func parting(a, b mq.EpochHistory, end mq.Offset) mq.Offset {
	began := func(h mq.EpochHistory, at mq.Offset) (start mq.Offset) {
		for _, e := range h {
			if e.Start <= at {
				start = e.Start
			}
		}
		return start
	}
	for end > 0 && a.At(end-1) != b.At(end-1) {
		end = max(began(a, end-1), began(b, end-1))
	}
	return end
}

// ResetToTiered is Reset to what the metadata says now, which it fetches. tieredEnd and logStart are the leader's, the latter by its ResetStart: with metadata that is behind that
// tiered end it fails with OffsetNotAvailable, and may be tried again. Without an object store, and with KeepLocal where the tiered end is
// beyond it, the log goes on at the leader's log start, with nothing known of what lies below.
func (p *Partition) ResetToTiered(ctx context.Context, epoch mq.Epoch, tieredEnd, logStart mq.Offset) error {
	var tiered Checkpoint
	if p.cfg.Checkpoint != nil {
		var err error
		if tiered, err = p.cfg.Checkpoint(ctx, p.cfg.ID); err != nil {
			return mq.Wrapf(err, "partition %s: fetch the checkpoint to reset to", p.name())
		}
	}
	switch {
	case tiered.End < tieredEnd:
		return mq.Errorf(mq.OffsetNotAvailable, "partition %s: the leader's tiered end is %d, the metadata here is at %d", p.name(), tieredEnd, tiered.End)
	case p.cfg.Cold == nil && tiered.End < logStart, p.cfg.KeepLocal && tiered.End > logStart:
		tiered = Checkpoint{End: logStart}
	}
	return p.Reset(epoch, tiered)
}

// ResetStart is the log start that this leader tells to a follower that is to begin anew, for its ResetToTiered. With KeepLocal it is where this node's own log begins if that is later, as
// after a Rebase: from further below nothing can be replicated.
func (p *Partition) ResetStart() mq.Offset {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cfg.KeepLocal {
		return max(p.marks.logStart(), p.firstInLog())
	}
	return p.marks.logStart()
}

// restart empties the log and has it go on at the checkpoint. The caller holds mu.
func (p *Partition) restart(tiered Checkpoint, restored *producers) {
	p.thrown.Store(int64(tiered.End))
	p.cut(wal.EntryReset, tiered.End)
	p.cfg.Tail.used.Add(-p.tail.clear())
	p.index.restart(tiered.End)
	p.epochs, p.producers = tiered.Epochs, restored
	p.uploads.rebase(tiered)
	p.marks.setObject(tiered.End)
	p.marks.setLogEnd(tiered.End)
	p.marks.setLocal(tiered.End)
	p.marks.setHigh(tiered.End)
	p.remember(nil)
}

// cut writes the log entry that ends the stream at to. The caller holds mu.
func (p *Partition) cut(kind wal.EntryType, to mq.Offset) {
	if p.cuts == 0 || to < p.cutTo {
		p.cutTo = to
	}
	p.cuts++
	p.cfg.Log.Append(wal.Entry{Stream: p.stream, Type: kind, First: uint64(to), End: uint64(to)}, &cutDone{p, to})
}

// cutDone is the wal.Done of a cut.
type cutDone struct {
	owner *Partition
	to    mq.Offset
}

// Appended notes that the cut is synced. With the last cut all that was appended before is settled: what lay below is
// synced, what lay above is gone.
func (d *cutDone) Appended(err error) {
	p := d.owner
	p.mu.Lock()
	defer p.unlock()
	if err != nil {
		p.logFailed(err)
		return
	}
	p.cuts--
	if p.cuts == 0 {
		p.thrown.Store(0)
		p.persisted(d.to)
	}
}

// raiseLogStart moves the log start up to a place at or below the watermark. The caller holds mu.
func (p *Partition) raiseLogStart(to mq.Offset) {
	p.marks.setLogStart(to)
	p.epochs = p.epochs.TruncateStart(p.historyStart())
	p.remember(nil)
	p.releaseLog()
	p.tell(NewsMarks)
}

// historyStart is from where on the epochs are kept: from the log start, and not without that of the last record that is in the object store or will be there next. By that a log is compared
// with what is tiered. The caller holds mu.
func (p *Partition) historyStart() mq.Offset {
	if p.cfg.Cold == nil {
		return p.marks.logStart()
	}
	return min(p.marks.logStart(), p.marks.object()-1)
}

// releaseLog lets the log free what this replica needs no more. The caller holds mu.
func (p *Partition) releaseLog() {
	p.index.release(p.firstHeld())
	p.cfg.Log.Release(p.stream, uint64(p.firstKept()))
}

// firstKept is the offset from which on the log is not let go of, as far as it has it. The caller holds mu.
func (p *Partition) firstKept() mq.Offset {
	if p.cfg.KeepLocal {
		return min(p.firstHeld(), p.marks.logStart())
	}
	return p.firstHeld()
}

// SetLogStart raises the log start (retention, deletion of records): what lies below can not be read any more. It never goes
// back; above the high watermark is OffsetOutOfRange. What is not tiered yet stays in the log until it is: the object store's
// ranges have no holes.
func (p *Partition) SetLogStart(to mq.Offset) error {
	p.mu.Lock()
	defer p.unlock()
	if err := p.mustRun(); err != nil {
		return err
	}
	if to > p.marks.high() {
		return mq.Errorf(mq.OffsetOutOfRange, "partition %s: log start %d, but the high watermark is %d", p.name(), to, p.marks.high())
	}
	if to > p.marks.logStart() {
		p.raiseLogStart(to)
	}
	return nil
}

// TieredTo notes how far the partition is committed to the object store, as the metadata says: for a leader that missed its own commit's
// answer. A follower waits for its leader's word: see Confirmed. What lies beyond this replica's log is left to Reset.
func (p *Partition) TieredTo(end mq.Offset) {
	p.mu.Lock()
	defer p.unlock()
	if p.mustRun() == nil {
		p.tieredUpTo(end)
	}
}

// tieredUpTo moves the object mark up to end, if this log goes so far. The caller holds mu.
func (p *Partition) tieredUpTo(end mq.Offset) {
	if end > p.marks.object() && end <= min(p.marks.logEnd(), p.marks.local()) {
		p.tieredTo(end)
	}
}

// tieredTo moves the object mark up. The caller holds mu.
func (p *Partition) tieredTo(end mq.Offset) {
	if end > p.marks.high() { // nothing is uploaded that is not committed
		p.marks.setHigh(end)
	}
	p.marks.setObject(end)
	p.uploads.committed(end, end == p.marks.high())
	p.remember(nil)
	p.releaseLog()
	p.wake(false)
	p.tell(NewsMarks)
	p.complete()
}
