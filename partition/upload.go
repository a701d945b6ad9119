package partition

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/tier"
)

var _ tier.Source = (*Partition)(nil)

// uploads has the state of the producers at the places where uploads end. The partition's own state is at the log end, and a tier
// commit needs it as it was at the end of its range. So it is kept a second time, while something is to be uploaded: it begins
// with the checkpoint of the last commit and takes up what ReadUpload passes by. Between uploads only that checkpoint, encoded, is
// held.
//
// Its mutex is taken with or without the partition's, and the partition's never under it.
type uploads struct {
	mu sync.Mutex
	// base is the last commit's checkpoint, if known.
	base  Checkpoint
	known bool
	// work is the state at next: base and all batches up to there. It can be asked for any place from the tiered end on. nil: as base.
	work *producers
	next mq.Offset
	// made are the checkpoints given out whose verdict is outstanding.
	made []Checkpoint
}

// rebase starts over at a checkpoint.
func (u *uploads) rebase(c Checkpoint) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.base, u.known, u.work, u.made = c, true, nil, nil
}

// forget drops what was worked out, because this node leads no more. The base stays: it is a fact.
func (u *uploads) forget() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.work, u.made = nil, nil
}

// failed notes that an upload up to end came to nothing. lost says that it does not continue the tiered end: this is not where the base
// says, and the metadata must be asked again.
func (u *uploads) failed(end mq.Offset, lost bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.refused(end)
	if lost {
		u.known, u.work, u.made = false, nil, nil
	}
}

// ready says whether the checkpoint at the tiered end is known, and has work begin there.
func (u *uploads) ready(p *Partition) (bool, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.known || u.base.End != p.marks.object() {
		return false, nil
	}
	if u.work != nil {
		return true, nil
	}
	work, err := decodeProducers(u.base.Producers, p.cfg.ProducerTTL, p.cfg.MaxProducers)
	if err != nil {
		return false, mq.Wrapf(err, "partition %s: checkpoint at %d", p.name(), u.base.End)
	}
	u.work, u.next = work, u.base.End
	return true, nil
}

// pass takes up batches that continue what was seen so far; others it leaves alone. stable is the tiered end.
func (u *uploads) pass(batches []byte, stable mq.Offset, now int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.work == nil {
		return
	}
	for len(batches) > 0 {
		b, rest, err := mq.NextBatch(batches)
		if err != nil {
			return // whoever reads it next will say so
		}
		batches = rest
		if b.BaseOffset() != u.next {
			continue
		}
		if b.ProducerID() >= 0 {
			u.work.apply(sequenceOf(b), b.BaseOffset(), stable, now)
		}
		u.next = b.NextOffset()
	}
}

// at is the state at end; ok is false when work has not come so far yet, and next is where it is.
func (u *uploads) at(end mq.Offset) (state []byte, next mq.Offset, ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.work == nil || u.next < end {
		return nil, u.next, false
	}
	state = u.work.encode(end, maxProducersBytes)
	u.refused(end)
	u.made = append(u.made, Checkpoint{End: end, Producers: state})
	return state, u.next, true
}

// refused forgets the checkpoints from end on: they are made again with the next try. The caller holds the mutex.
func (u *uploads) refused(end mq.Offset) {
	u.made = slices.DeleteFunc(u.made, func(c Checkpoint) bool { return c.End >= end })
}

// committed makes the checkpoint at end, if it was made here, the base. idle says that there is nothing more to upload.
func (u *uploads) committed(end mq.Offset, idle bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	kept := u.made[:0]
	u.known = u.known && u.base.End == end
	for _, c := range u.made {
		switch {
		case c.End == end:
			u.base, u.known = c, true
		case c.End > end:
			kept = append(kept, c)
		}
	}
	clear(u.made[len(kept):])
	u.made = kept
	if idle || !u.known {
		u.work, u.made = nil, nil
	}
}

// Pending is what is committed and not in the object store yet. It is empty when this node does not lead.
func (p *Partition) Pending() tier.Pending {
	if State(p.state.Load()) != StateLeader || p.marks.object() >= p.marks.high() {
		end := p.marks.object()
		return tier.Pending{First: end, End: end}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	first, end := p.marks.object(), p.marks.high()
	pending := tier.Pending{First: first, End: end, Bytes: p.index.bytesBelow(end) - p.index.bytesBelow(first)}
	if ms := p.index.appendedAt(first); ms > 0 {
		pending.Since = time.UnixMilli(ms)
	}
	pending.Awaited = !p.waiting[mq.MarkObject].empty()
	return pending
}

// ReadUpload reads what tier.Source asks for. It never reads at or above the high watermark, so that every object is a true part of the
// log, whatever becomes of its commit and of this node.
func (p *Partition) ReadUpload(ctx context.Context, first, end mq.Offset, maxBytes int, dst []byte) (batches []byte, next mq.Offset, err error) {
	if err := p.uploadable(first, end); err != nil {
		return nil, first, err
	}
	if err := p.readyUploads(ctx); err != nil {
		return nil, first, err
	}
	batches, next, err = p.readUpload(first, end, maxBytes, dst)
	if err != nil {
		return nil, first, err
	}
	p.uploads.pass(batches, p.marks.object(), p.cfg.Now().UnixMilli())
	return batches, next, nil
}

// uploadable says why [first, end) can not be read for an upload.
func (p *Partition) uploadable(first, end mq.Offset) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.mustLead(); err != nil {
		return err
	}
	if first < p.marks.object() || first >= end || end > p.marks.high() {
		return mq.Errorf(mq.OffsetOutOfRange, "partition %s: upload [%d, %d), but [%d, %d) is to be uploaded",
			p.name(), first, end, p.marks.object(), p.marks.high())
	}
	return nil
}

// readyUploads sees to it that the checkpoint at the tiered end is known: a leader that has not made that commit itself fetches it.
func (p *Partition) readyUploads(ctx context.Context) error {
	ready, err := p.uploads.ready(p)
	if ready || err != nil {
		return err
	}
	if p.cfg.Checkpoint == nil {
		return mq.Errorf(mq.Internal, "partition %s: the checkpoint at the tiered end %d is not known", p.name(), p.marks.object())
	}
	c, err := p.cfg.Checkpoint(ctx, p.cfg.ID)
	if err != nil {
		return mq.Wrapf(err, "partition %s: fetch the checkpoint at the tiered end", p.name())
	}
	if err := p.tieredHere(c); err != nil {
		return err
	}
	if c.End != p.marks.object() {
		return mq.Errorf(mq.OffsetNotAvailable, "partition %s: tiered up to %d, the checkpoint fetched is at %d", p.name(), p.marks.object(), c.End)
	}
	p.uploads.rebase(c)
	_, err = p.uploads.ready(p)
	return err
}

// tieredHere is TieredTo for a leader, unless another one tiered c since: this node has been replaced then, and its log may be another one.
func (p *Partition) tieredHere(c Checkpoint) error {
	p.mu.Lock()
	defer p.unlock()
	if err := p.mustLead(); err != nil {
		return err
	}
	if last := c.End - 1; !p.epochs.Agrees(c.Epochs, last) { // what one of them has forgotten lies below the log start, and is committed
		return mq.Errorf(mq.NotLeaderOrFollower, "partition %s: below %d the leader of epoch %d tiered, this log has epoch %d there", p.name(), c.End, c.Epochs.At(last), p.epochs.At(last))
	}
	p.tieredUpTo(c.End)
	return nil
}

// readUpload reads the log's own bytes in [first, end).
func (p *Partition) readUpload(first, end mq.Offset, maxBytes int, dst []byte) ([]byte, mq.Offset, error) {
	var buf ReadBuffer
	res := ReadResult{Next: first, End: end}
	dst = dst[:0]
	if p.readTail(&res, end, maxBytes, &buf) && res.Next > first {
		for _, b := range res.Batches {
			dst = append(dst, b...)
		}
		return dst, res.Next, nil
	}
	data, _, err := p.cfg.Log.Read(p.stream, uint64(first), maxBytes, dst)
	if err != nil {
		return nil, first, p.logError(err, first)
	}
	if res, err = res.trimmed([][]byte{data}); err != nil {
		return nil, first, mq.Errorf(mq.Corrupt, "partition %s: log at %d: %w", p.name(), first, err)
	}
	return res.Batches[0], res.Next, nil
}

// uploadStride is how much Checkpoint reads at a time when it has to catch up.
const uploadStride = 1 << 20

// Checkpoint is the state of the producers and the epoch history exactly at end, a boundary that ReadUpload returned.
func (p *Partition) Checkpoint(end mq.Offset) (state []byte, epochs []mq.EpochStart, err error) {
	p.mu.Lock()
	err = p.mustLead()
	if err == nil && (end < p.marks.object() || end > p.marks.high()) {
		err = mq.Errorf(mq.OffsetOutOfRange, "partition %s: checkpoint at %d, but [%d, %d) is to be uploaded", p.name(), end, p.marks.object(), p.marks.high())
	}
	history := p.epochs
	p.mu.Unlock()
	if err != nil {
		return nil, nil, err
	}
	if err := p.readyUploads(context.Background()); err != nil {
		return nil, nil, err
	}
	for {
		state, next, ok := p.uploads.at(end)
		if ok {
			return state, history.TruncateEnd(end), nil
		}
		// Uploads were read out of order, or after a failure not again from the tiered end on.
		batches, after, err := p.readUpload(next, end, uploadStride, nil)
		if err != nil {
			return nil, nil, mq.Wrapf(err, "partition %s: checkpoint at %d", p.name(), end)
		}
		p.uploads.pass(batches, p.marks.object(), p.cfg.Now().UnixMilli())
		if after == next {
			return nil, nil, mq.Errorf(mq.Internal, "partition %s: checkpoint at %d stuck at %d", p.name(), end, next)
		}
	}
}

// Tiered takes the verdict on the upload that ends at end.
func (p *Partition) Tiered(end mq.Offset, verdict error) {
	if verdict != nil {
		p.logger().Warn("upload refused", "end", end, "err", verdict)
		p.uploads.failed(end, mq.CodeOf(verdict) == mq.OffsetOutOfRange)
		return
	}
	p.mu.Lock()
	defer p.unlock()
	if p.mustLead() != nil || end <= p.marks.object() || end > p.marks.high() {
		return // what this node's role is now, somebody will tell it by TieredTo
	}
	p.tieredTo(end)
}
