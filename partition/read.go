package partition

import (
	"context"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
)

// ReadBuffer is a reader's scratch memory, used again from read to read. The zero value is ready.
type ReadBuffer struct {
	Bytes  []byte   // what was read from the log
	Slices [][]byte // for ReadResult.Batches
}

// ReadResult is what a read found.
type ReadResult struct {
	// Batches are whole batches in offset order, one or more per slice, from the one that holds the offset asked for: the first may
	// begin below it. They are immutable. What lies in ReadBuffer.Bytes is valid until that is used again, everything else for ever.
	Batches       [][]byte
	Next          mq.Offset // behind the last record; the offset asked for when there is none
	End           mq.Offset // where the reader's isolation ended: Next == End means caught up
	HighWatermark mq.Offset
	LogStart      mq.Offset
	LogEnd        mq.Offset

	source Source // of the batches
}

// Read returns the batches from the one that holds from on, up to where iso ends: about maxBytes of them, at least one. It comes
// from the hot tail (without a copy and without a lock), from the log, or from the object store, whichever is nearest and has
// from. Nothing to read yet is an empty result and no error.
//
// Errors: OffsetOutOfRange below the log start and beyond the log end, NotLeaderOrFollower and other reasons not to lead,
// PartitionQuarantined unless the object store has from, Corrupt (with the place), ObjectStoreUnavailable, those of ctx.
func (p *Partition) Read(ctx context.Context, from mq.Offset, maxBytes int, iso mq.Isolation, buf *ReadBuffer) (ReadResult, error) {
	res, err := p.read(ctx, from, maxBytes, iso, buf)
	if err == nil {
		p.count(func(c *Counters) { c.bytesFrom(res.source).Add(size(res.Batches)) })
	}
	return res, err
}

func (p *Partition) read(ctx context.Context, from mq.Offset, maxBytes int, iso mq.Isolation, buf *ReadBuffer) (ReadResult, error) {
	if buf == nil {
		buf = &ReadBuffer{}
	}
	state := State(p.state.Load())
	res := ReadResult{Next: from, LogStart: p.marks.logStart(), End: p.marks.visible(iso)}
	if p.cfg.Planted.ReadsUncommitted {
		res.End = p.marks.logEnd()
	}
	res.HighWatermark = max(p.marks.high(), res.End)
	res.LogEnd = max(p.marks.logEnd(), res.HighWatermark)
	switch {
	case state == StateQuarantined && from >= res.LogStart && from < min(p.marks.object(), res.End):
		return p.readCold(ctx, res, maxBytes, buf)
	case state != StateLeader:
		return res, p.notServing()
	case from < res.LogStart || from > res.LogEnd || from > res.End && p.cfg.Planted.ReadRefused:
		return res, mq.Errorf(mq.OffsetOutOfRange, "partition %s: read at %d, the log is [%d, %d)", p.name(), from, res.LogStart, res.LogEnd)
	case from >= res.End:
		return res, nil
	}
	if p.readTail(&res, res.End, maxBytes, buf) {
		return res, nil
	}
	return p.readLog(ctx, res, maxBytes, buf)
}

// Source is what a Read is answered from.
type Source uint8

// The sources, nearest first.
const (
	FromMemory Source = iota // without waiting
	FromLog                  // this node's disk
	FromStore                // the object store
)

// Source says what a Read at from would be answered from now.
func (p *Partition) Source(from mq.Offset) Source {
	if from >= p.marks.high() {
		return FromMemory
	}
	if _, ok := p.tail.find(from); ok {
		return FromMemory
	}
	if first, _, ok := p.cfg.Log.Bounds(p.stream); ok && from >= mq.Offset(first) || from >= p.marks.object() {
		return FromLog
	}
	return FromStore
}

// ReadReplica reads for a follower of epoch: up to the log end, whether synced, replicated or not. Errors as for Read, and
// FencedLeaderEpoch and UnknownLeaderEpoch.
func (p *Partition) ReadReplica(ctx context.Context, epoch mq.Epoch, from mq.Offset, maxBytes int, buf *ReadBuffer) (ReadResult, error) {
	p.mu.Lock()
	err := p.mustLead()
	if err == nil {
		err = p.checkEpoch(epoch)
	}
	res := ReadResult{Next: from, LogStart: p.marks.logStart(), HighWatermark: p.marks.high(), End: p.marks.logEnd(), LogEnd: p.marks.logEnd()}
	first := p.firstHeld()
	if p.cfg.KeepLocal {
		first = min(first, p.firstInLog())
	}
	p.mu.Unlock()
	switch {
	case err != nil:
		return res, err
	case from < first || from > res.LogEnd:
		return res, mq.Errorf(mq.OffsetOutOfRange, "partition %s: replicate from %d, the log is [%d, %d)", p.name(), from, first, res.LogEnd)
	case from == res.LogEnd:
		return res, nil
	}
	if p.readTail(&res, res.LogEnd, maxBytes, buf) {
		return res, nil
	}
	return p.readLog(ctx, res, maxBytes, buf)
}

// firstInLog is where what the log has begins. The caller holds mu.
func (p *Partition) firstInLog() mq.Offset {
	if first, _, ok := p.cfg.Log.Bounds(p.stream); ok {
		return mq.Offset(first)
	}
	return p.marks.logEnd()
}

// notServing is why reads are refused.
func (p *Partition) notServing() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.mustLead(); err != nil {
		return err
	}
	// It has begun to lead just now.
	return mq.Errorf(mq.NotLeaderOrFollower, "partition %s: is becoming the leader", p.name())
}

// readTail adds the batches in the hot tail from res.Next up to limit, and is false when the tail does not reach down so far.
func (p *Partition) readTail(res *ReadResult, limit mq.Offset, maxBytes int, buf *ReadBuffer) bool {
	cursor, ok := p.tail.find(res.Next)
	if !ok {
		return false
	}
	buf.Slices = buf.Slices[:0]
	size := 0
	for e := cursor.next(); e != nil && e.end <= limit; e = cursor.next() {
		if size > 0 && size+len(e.batch) > maxBytes {
			break
		}
		buf.Slices = append(buf.Slices, e.batch)
		size += len(e.batch)
		res.Next = e.end
	}
	res.Batches, res.source = buf.Slices, FromMemory
	return true
}

// readLog reads from the log, and when that has let go of res.Next, from the object store.
func (p *Partition) readLog(ctx context.Context, res ReadResult, maxBytes int, buf *ReadBuffer) (ReadResult, error) {
	if err := ctx.Err(); err != nil {
		return res, err
	}
	if int64(res.Next) < p.thrown.Load() {
		return p.readCold(ctx, res, maxBytes, buf)
	}
	mem := wal.ReadBuffer{Bytes: buf.Bytes, Pieces: buf.Slices}
	_, err := p.cfg.Log.ReadInto(p.stream, uint64(res.Next), maxBytes, &mem)
	buf.Bytes, buf.Slices = mem.Bytes, mem.Pieces
	if err != nil {
		// The object mark moves before the log lets go: whoever misses it there finds it here.
		if res.Next < p.marks.object() {
			if mq.CodeOf(err) == mq.Corrupt {
				p.logger().Warn("damage in the log, reading from the object store instead", "offset", res.Next, "err", err)
			}
			return p.readCold(ctx, res, maxBytes, buf)
		}
		return res, p.logError(err, res.Next)
	}
	res, err = res.trimmed(buf.Slices)
	if err != nil {
		return res, mq.Errorf(mq.Corrupt, "partition %s: log at %d: %w", p.name(), res.Next, err)
	}
	res.source = FromLog
	return res, nil
}

// logError is what a failed read of the log means: damage stops the partition.
func (p *Partition) logError(err error, from mq.Offset) error {
	if mq.CodeOf(err) == mq.Corrupt {
		p.Quarantine(err)
	}
	return mq.Wrapf(err, "partition %s: read at %d", p.name(), from)
}

func (p *Partition) readCold(ctx context.Context, res ReadResult, maxBytes int, buf *ReadBuffer) (ReadResult, error) {
	if p.cfg.Cold == nil {
		return res, mq.Errorf(mq.ObjectStoreUnavailable, "partition %s: read at %d: no object store is configured", p.name(), res.Next)
	}
	res, err := res.readCold(ctx, p.cfg.Cold, p.cfg.ID, p.marks.logStart, maxBytes, buf)
	if err != nil {
		return res, mq.Wrapf(err, "partition %s", p.name())
	}
	res.source = FromStore
	return res, nil
}

// readCold adds what the object store has from res.Next up to res.End.
func (res ReadResult) readCold(ctx context.Context, cold Cold, id mq.PartitionID, logStart func() mq.Offset, maxBytes int, buf *ReadBuffer) (ReadResult, error) {
	data, _, err := cold.Read(ctx, id, res.Next, maxBytes)
	if mq.CodeOf(err) == mq.OffsetOutOfRange && res.Next >= logStart() {
		// It was committed, so it is there: a reader that heard it was out of range would go on elsewhere, and skip it.
		err = mq.Errorf(mq.ObjectStoreUnavailable, "it was committed, and the index does not have it: %w", err)
	}
	if err != nil {
		return res, mq.Wrapf(err, "read at %d from the object store", res.Next)
	}
	buf.Slices = append(buf.Slices[:0], data)
	res, err = res.trimmed(buf.Slices)
	if err != nil {
		return res, mq.Errorf(mq.Corrupt, "object store at %d: %w", res.Next, err)
	}
	return res, nil
}

// ReadTiered reads from the object store what it has of a partition in [logStart, tieredEnd), from the batch that holds from on, without the partition: any node can
// that knows these bounds. Errors are those of Read; OffsetOutOfRange is none of them, for who does not have the partition cannot know.
func ReadTiered(ctx context.Context, cold Cold, id mq.PartitionID, from, logStart, tieredEnd mq.Offset, maxBytes int, buf *ReadBuffer) (ReadResult, error) {
	res := ReadResult{Next: from, End: tieredEnd, HighWatermark: tieredEnd, LogStart: logStart, LogEnd: tieredEnd}
	res, err := res.readCold(ctx, cold, id, func() mq.Offset { return logStart }, maxBytes, buf)
	return res, mq.Wrapf(err, "partition %s", id)
}

// trimmed is res with the batches of pieces up to res.End; what lies beyond is cut off from pieces. They must begin with the one that holds res.Next
// and go on from there.
func (res ReadResult) trimmed(pieces [][]byte) (ReadResult, error) {
	next := res.Next
	for i, piece := range pieces {
		end := 0
		for end < len(piece) {
			b, _, err := mq.NextBatch(piece[end:])
			if err != nil {
				return res, err
			}
			if b.NextOffset() > res.End {
				break
			}
			if b.NextOffset() <= next || b.BaseOffset() > next {
				return res, mq.Errorf(mq.Corrupt, "%s where the batch of %d must be", b, next)
			}
			end, next = end+len(b), b.NextOffset()
		}
		if end < len(piece) {
			if pieces = pieces[:i]; end > 0 {
				pieces = append(pieces, piece[:end])
			}
			break
		}
	}
	if next == res.Next {
		return res, mq.Errorf(mq.Corrupt, "no batch where the one of %d must be", next)
	}
	res.Batches, res.Next = pieces, next
	return res, nil
}

func size(slices [][]byte) (n int64) {
	for _, s := range slices {
		n += int64(len(s))
	}
	return n
}
