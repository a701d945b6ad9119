package partition

import (
	"log/slog"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
)

// Open makes a partition of what recovery found of it (nil: nothing) and the checkpoint of its last tier commit (the zero value: none). The
// state is that of the checkpoint, then what the log has beyond it. A log that ends below the tiered end goes on there: everything
// in it is in the object store. So does one that has other records than were tiered, of a leader that was replaced: it would pass for the beginning of the new leader's.
//
// The partition is offline until Lead or Follow. When the log of it is damaged, or has a hole above the tiered end, it is
// quarantined (see State), and that is no error here. The error is about cfg only.
func Open(cfg Config, found *Recovered, tiered Checkpoint) (*Partition, error) {
	if cfg.Log == nil || cfg.Tail == nil || cfg.Settings == nil || cfg.Now == nil {
		return nil, mq.Errorf(mq.Internal, "partition %s: open: Log, Tail, Settings and Now must be set", partitionName(&cfg))
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if found == nil {
		found = &Recovered{state: replicaState{epoch: mq.NoEpoch}}
	}
	p := &Partition{cfg: cfg, stream: wal.StreamID(cfg.ID.Key()), epoch: found.state.epoch, durableEpoch: found.state.epoch, leader: mq.NoNode}
	p.leadingEpoch.Store(int32(mq.NoEpoch))
	parted := found.parted(tiered)
	if cfg.KeepLocal {
		tiered = found.below(tiered)
	}
	p.mu.Lock()
	defer p.unlock()
	p.epochs, p.producers, p.index = found.epochs, found.producers, found.index
	p.setMarks(found, tiered)
	if err := p.resume(found, tiered, parted); err != nil {
		p.quarantine(err)
		p.damaged = true
		return p, nil
	}
	if n := len(p.epochs); n > 0 {
		p.epoch = max(p.epoch, p.epochs[n-1].Epoch)
	}
	return p, nil
}

// below is the checkpoint as far as the log goes: what is tiered beyond that, or is another log, is had from the leader.
func (s *Recovered) below(tiered Checkpoint) Checkpoint {
	switch {
	case s.parted(tiered):
		return Checkpoint{}
	case s.end < tiered.End:
		return Checkpoint{End: s.end, Epochs: tiered.Epochs.TruncateEnd(s.end)} // nobody is a producer there whose state could be missed
	}
	return tiered
}

// setMarks sets what can be known before the log is judged. The caller holds mu.
func (p *Partition) setMarks(found *Recovered, tiered Checkpoint) {
	p.marks.setObject(tiered.End)
	p.marks.setLogStart(found.state.logStart)
	p.setEnds(max(found.end, tiered.End))
	p.marks.setHigh(min(max(found.state.high, tiered.End, found.state.logStart), p.marks.logEnd()))
}

// setEnds sets where the log ends: all of it is synced.
func (p *Partition) setEnds(end mq.Offset) {
	p.marks.setLogEnd(end)
	p.marks.setLocal(end)
	p.marks.setHigh(min(p.marks.high(), end))
}

// resume puts checkpoint and log together, and says why that can not be done. parted says that they do not fit. The caller holds mu.
func (p *Partition) resume(found *Recovered, tiered Checkpoint, parted bool) error {
	restored, err := decodeProducers(tiered.Producers, p.cfg.ProducerTTL, p.cfg.MaxProducers)
	if err != nil {
		return mq.Wrapf(err, "checkpoint at %d", tiered.End)
	}
	if err := tiered.Epochs.Valid(); err != nil {
		return mq.Wrapf(err, "checkpoint at %d", tiered.End)
	}
	if tiered.End < found.state.tieredEnd {
		// What the log has let go of since is missed below; if it still has all, the rest is uploaded again.
		p.logger().Warn("the metadata is behind the log", "tiered_end", tiered.End, "tiered_end_in_log", found.state.tieredEnd)
	}
	p.uploads.rebase(tiered)
	first := p.firstHeld()
	if !parted {
		// Whatever is wrong below this is in the object store, or not wanted any more.
		p.cfg.Log.Release(p.stream, uint64(p.firstKept()))
	}
	switch {
	case found.doubt:
		return mq.Errorf(mq.Corrupt, "the log is damaged, and may have held all there was of the partition")
	case found.err != nil:
		return found.err
	case p.cfg.Log.Quarantined(p.stream) != nil:
		return p.cfg.Log.Quarantined(p.stream)
	case parted:
		p.logger().Warn("the log is another one than was tiered, where it goes on", "log_end", found.end, "tiered_end", tiered.End)
		p.marks.setLogStart(min(p.marks.logStart(), tiered.End))
		p.restart(tiered, restored)
		return nil
	case !found.begun || found.end < first:
		return p.startAt(first, tiered, restored)
	case found.first > first:
		return mq.Errorf(mq.Corrupt, "the log begins at %d, but all from %d on must be there", found.first, first)
	case found.holeEnd > first:
		return mq.Errorf(mq.Corrupt, "the log has a hole below %d, and is tiered up to %d only", found.holeEnd, first)
	}
	return p.join(found, tiered, restored)
}

// parted says that the last record here of what was tiered is of another epoch than there: of a leader that was replaced before the others had it. Then all behind it is of no use either, for
// the log of who follows is cut before it grows; and where the last one is the same, all before it are.
func (s *Recovered) parted(tiered Checkpoint) bool {
	last := min(s.end, tiered.End) - 1
	return s.begun && last >= max(s.first, s.holeEnd) && !s.epochs.Agrees(tiered.Epochs, last)
}

// startAt has the log, which has nothing from first on, go on there. The caller holds mu.
func (p *Partition) startAt(first mq.Offset, tiered Checkpoint, restored *producers) error {
	_, end, ok := p.cfg.Log.Bounds(p.stream)
	switch {
	case ok && mq.Offset(end) > first:
		return mq.Errorf(mq.Corrupt, "the log ends at %d, but has nothing from %d on", end, first)
	case ok && mq.Offset(end) == first || !ok && first == 0:
		p.epochs, p.producers = tiered.Epochs, restored
		p.index.restart(first)
		p.setEnds(first)
		return nil
	}
	p.logger().Warn("the log ends below the tiered end, where it goes on", "log_end", end, "tiered_end", tiered.End)
	tiered.End = first
	p.restart(tiered, restored)
	return nil
}

// join lays the checkpoint under what the log has. The caller holds mu.
func (p *Partition) join(found *Recovered, tiered Checkpoint, restored *producers) error {
	epochs := tiered.Epochs.TruncateEnd(found.first)
	for _, e := range found.epochs {
		next, err := epochs.Assign(e.Epoch, e.Start)
		if err != nil {
			return mq.Errorf(mq.Corrupt, "epochs of the checkpoint at %d and of the log do not fit: %w", tiered.End, err)
		}
		epochs = next
	}
	p.epochs = epochs.TruncateStart(p.historyStart())
	switch {
	case found.producers == nil && len(restored.byID) == 0:
	case found.producers == nil:
		p.producers = restored
	default:
		found.producers.ttl, found.producers.max = restored.ttl, restored.max
		found.producers.underlay(restored, found.first, p.marks.high())
		found.producers.expire(p.cfg.Now().UnixMilli(), nil)
	}
	p.index.release(p.firstHeld())
	p.remembered = p.index.total
	return nil
}
