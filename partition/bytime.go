package partition

import (
	"context"

	"github.com/rustmq/rustmq/mq"
)

// OffsetByTime finds the first visible record whose timestamp is ts (milliseconds since 1970) or later: its offset and timestamp,
// or -1 and -1 when there is none. Errors as for Read and VisibleEnd.
func (p *Partition) OffsetByTime(ctx context.Context, ts int64) (offset mq.Offset, timestamp int64, err error) {
	end, err := p.VisibleEnd(mq.IsolationCommitted)
	if err != nil {
		return -1, -1, err
	}
	for from := p.marks.logStart(); from < end; {
		// What is tiered is looked up there, even if the log still has it: the index of the log begins at the tiered end.
		if tiered := p.marks.object(); from < tiered && p.cfg.Cold != nil {
			offset, at, ok, err := p.cfg.Cold.OffsetByTime(ctx, p.cfg.ID, from, ts)
			if err != nil {
				return -1, -1, mq.Wrapf(err, "partition %s: find time %d in the object store", p.name(), ts)
			}
			if ok && offset < end {
				return offset, at, nil
			}
			from = tiered
		}
		p.mu.Lock()
		moved := p.firstHeld() > from
		next, ok := p.index.afterTime(from, ts)
		p.mu.Unlock()
		if moved && p.cfg.Cold != nil {
			continue // more was tiered meanwhile
		}
		if !ok || next >= end {
			break
		}
		offset, at, after, err := p.scanForTime(ctx, next, end, ts)
		if err != nil || offset >= 0 {
			return offset, at, err
		}
		from = after
	}
	return -1, -1, nil
}

// scanForTime looks at the batches from about from on, as many as one point of the index stands for, and returns where it
// stopped when the record is not among them.
func (p *Partition) scanForTime(ctx context.Context, from, end mq.Offset, ts int64) (offset mq.Offset, timestamp int64, after mq.Offset, err error) {
	res, err := p.Read(ctx, from, indexStride, mq.IsolationCommitted, nil)
	if err != nil {
		return -1, -1, from, err
	}
	if res.Next == from {
		return -1, -1, end, nil
	}
	for _, data := range res.Batches {
		for len(data) > 0 {
			b, rest, err := mq.NextBatch(data)
			if err != nil {
				return -1, -1, from, mq.Wrapf(err, "partition %s: find time %d at %d", p.name(), ts, from)
			}
			data = rest
			if b.MaxTimestamp() < ts {
				continue
			}
			for rec, err := range b.Records(nil) {
				if err != nil {
					return -1, -1, from, mq.Wrapf(err, "partition %s: find time %d at %d", p.name(), ts, b.BaseOffset())
				}
				if rec.Timestamp >= ts && rec.Offset >= from && rec.Offset < end {
					return rec.Offset, rec.Timestamp, rec.Offset, nil
				}
			}
		}
	}
	return -1, -1, res.Next, nil
}

// TimeAt is about when the first committed record at or above an offset was made, in milliseconds since 1970: the timestamp that its batch begins with. It reads one
// batch at most: from memory, or if reads is true from where it lies else. ok is false when there is no such record, and when it would have to be read and may
// not. A follower knows it, too. Errors as for Read, but for leadership.
func (p *Partition) TimeAt(ctx context.Context, offset mq.Offset, reads bool) (ms int64, ok bool, err error) {
	start, end, _, _ := p.Offsets()
	if offset = max(offset, start); offset >= end {
		return 0, false, nil
	}
	var buf ReadBuffer
	res := ReadResult{Next: offset, End: end}
	if !p.readTail(&res, end, 1, &buf) {
		if !reads {
			return 0, false, nil
		}
		if res, err = p.readLog(ctx, res, 1, &buf); err != nil {
			return 0, false, err
		}
	}
	for _, data := range res.Batches {
		if len(data) == 0 {
			continue
		}
		b, _, err := mq.NextBatch(data)
		if err != nil {
			return 0, false, mq.Wrapf(err, "partition %s: the time of offset %d", p.name(), offset)
		}
		if b.TimestampType() == mq.TimestampAppend {
			return b.MaxTimestamp(), true, nil
		}
		return b.BaseTimestamp(), true, nil
	}
	return 0, false, nil
}
