package wal

import (
	"slices"

	"github.com/rustmq/rustmq/mq"
)

// rotate ends the active segment, with what was gathered and a seal, and
// begins the next one. On return all that was gathered is durable and
// completed, and a frame of the given size fits. An error that is no failure
// of the disk leaves the log as it was, with no active segment.
func (w *writer) rotate(size int64) error {
	if w.active != nil {
		if err := w.seal(); err != nil {
			return err
		}
	}
	head, records := w.checkpoint()
	chunks := encodeCheckpoint(head, records)
	var bytes int64
	for _, c := range chunks {
		bytes += frameSize(int64(len(c)))
	}
	// The second copy begins in another block than the first one ends in: one
	// bad block must not take both.
	gap := roundUp(firstFrame+bytes+headerSize, blockSize) - firstFrame - bytes
	bytes += gap + bytes
	need := firstFrame + bytes + size + promiseBytes + chunkedSize(1, sealRecordBytes)
	seg, err := w.nextSegment(roundUp(need, blockSize))
	if err != nil {
		return err
	}
	if err := w.begin(seg, chunks, bytes, gap); err != nil {
		w.err = w.l.fail(err)
		return w.err
	}
	w.l.mu.Lock()
	w.l.segs = append(w.l.segs, seg)
	for i := range records {
		if s := w.l.streams[records[i].id]; s != nil {
			s.freed = max(s.freed, records[i].first)
		}
	}
	w.l.mu.Unlock()
	w.l.counters.rotations.Add(1)
	w.l.room.next(w.left())
	w.l.nudge()
	return nil
}

// seal ends the active segment. Its seal and what was gathered are synced
// together, before anything of the next segment is written.
func (w *writer) seal() error {
	var records []sealRecord
	for _, s := range w.touched {
		if !s.dropped {
			records = append(records, sealRecord{id: s.id, seq: s.tailSeq, end: s.tailEnd})
		}
	}
	list := encodeSeal(records)
	for i, b := range list {
		if err := w.put(&header{kind: typeSeal, first: uint64(i), count: uint32(len(list))}, 0, b); err != nil {
			return err
		}
	}
	end := w.tail.pos()
	if w.commit(); w.err != nil {
		return w.err
	}
	w.l.mu.Lock()
	w.active.end = end
	w.l.mu.Unlock()
	w.active, w.prevEnd, w.touched, w.dry, w.reseal = nil, end, nil, false, false
	return nil
}

// checkpoint is what the head of a new segment says of all streams.
func (w *writer) checkpoint() (oldest uint64, records []streamRecord) {
	w.l.mu.Lock()
	defer w.l.mu.Unlock()
	if len(w.l.segs) > 0 {
		oldest = w.l.segs[0].id
	}
	for _, s := range w.l.sorted() {
		if s.known {
			records = append(records, streamRecord{id: s.id, seq: s.seq, first: s.first, end: s.end, started: s.started, state: s.state, bad: s.bad.Load()})
		}
	}
	return oldest, records
}

// nextSegment takes the first prepared segment, and waits for one that has at least
// the given size. It gives up only when the log is being closed and none can be had.
func (w *writer) nextSegment(least int64) (*segment, error) {
	l := w.l
	late := false
	for {
		l.mu.Lock()
		if len(l.ready) > 0 && l.ready[0].size >= least {
			seg := l.ready[0]
			l.ready = slices.Delete(l.ready, 0, 1)
			l.starved = false
			l.mu.Unlock()
			if late {
				l.counters.late.Add(1)
			}
			return seg, nil
		}
		l.starved, l.least, l.wanted = true, least, max(l.wanted, least)
		blocked, closed := l.blocked, l.closed
		l.mu.Unlock()
		if blocked != nil && closed {
			return nil, mq.Errorf(mq.StorageFull, "wal %s was closed while it waited for room: %w", l.dir, blocked)
		}
		late = true
		l.nudge()
		select {
		case <-l.prepared:
		case <-l.failed:
			w.err = l.err
			return nil, l.err
		}
	}
}

// begin writes the head of a segment and syncs it. The very first segment of a
// log has its header synced before anything else is written, so that a
// directory without a readable header is known to be either new or damaged.
func (w *writer) begin(seg *segment, chunks [][]byte, bytes, gap int64) error {
	var block [blockSize]byte
	segmentHead{salt: w.l.salt, id: seg.id, prevEnd: w.prevEnd, checkpointEnd: firstFrame + bytes}.encode(block[:])
	if w.prevEnd == 0 {
		if _, err := seg.file.WriteAt(block[:segmentHeader], 0); err != nil {
			return err
		}
		if err := seg.file.Sync(); err != nil {
			return err
		}
	}
	w.active, w.synced, w.prevTag, w.prevSize = seg, 0, 0, 0
	w.tail.open(seg, 0, nil)
	for range 2 {
		if err := w.tail.append(block[:]); err != nil {
			return err
		}
	}
	for again := range uint32(2) {
		for i, c := range chunks {
			if err := w.put(&header{kind: typeCheckpoint, seq: again, first: uint64(i), count: uint32(len(chunks))}, 0, c); err != nil {
				return err
			}
		}
		if again == 0 {
			if err := w.put(&header{kind: typePromise}, 0, make([]byte, gap-headerSize)); err != nil {
				return err
			}
		}
	}
	if err := w.tail.flush(); err != nil {
		return err
	}
	if err := seg.file.Sync(); err != nil {
		return err
	}
	w.synced, w.bytes, w.dry = w.tail.pos(), 0, false
	w.l.counters.syncs.Add(1)
	return nil
}
