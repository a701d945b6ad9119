package wal

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/rustmq/rustmq/mq"
)

const (
	readBytes = 256 << 10 // of one read from a segment: they stay in the processor's cache until they are checked and copied
	keepBytes = 4 << 20   // largest buffer that is kept for the next reader
	readSteps = 32        // extents that are looked up at once
)

// Read appends to dst the payloads of the stream's data entries, whole and in
// order, from the entry that holds offset from until maxBytes are reached (one
// entry at least). It returns the grown slice and the offset to go on at. At
// the stream's end there is nothing, and no error. Every byte returned was
// verified. What is good before an entry that cannot be read is returned without
// an error: who goes on from there learns of it.
//
// Errors: OffsetOutOfRange outside of [first, end]; Corrupt, with segment and
// position, where the entry at from cannot be read any more; KafkaStorageError,
// with them, where the disk does not give it.
func (l *Log) Read(stream StreamID, from uint64, maxBytes int, dst []byte) (data []byte, next uint64, err error) {
	next, err = l.scan(stream, from, maxBytes, func(_ *header, payload []byte) error {
		dst = append(dst, payload...)
		return nil
	})
	return dst, next, err
}

// ReadEntries is Read that keeps the entries apart. Their payloads are valid
// during the call only. An error of visit ends it and is returned as it is.
func (l *Log) ReadEntries(stream StreamID, from uint64, maxBytes int, visit func(Entry) error) (next uint64, err error) {
	return l.scan(stream, from, maxBytes, func(h *header, payload []byte) error {
		return visit(Entry{Stream: stream, Type: EntryData, First: h.first, End: h.end(), Payload: payload})
	})
}

// step is one extent to read, its segment kept from being freed meanwhile.
type step struct {
	extent
	limit uint64
	in    *segment
	until int64 // what follows it up to here is wanted too
}

func (l *Log) scan(stream StreamID, from uint64, maxBytes int, emit func(*header, []byte) error) (uint64, error) {
	r := l.frames.Get().(*frameReader)
	defer func() { l.frames.Put(r.release()) }()
	var steps [readSteps]step
	total, cur, full := 0, from, false
	var stopped error // by emit
	maxBytes = max(maxBytes, 1)
	for !full {
		n, err := l.plan(stream, cur, maxBytes-total, steps[:])
		if n == 0 || err != nil {
			return cur, unlessRead(err, total)
		}
		before := cur
		for i := 0; i < n && !full && err == nil; i++ {
			cur, err = r.extent(&steps[i], stream, cur, func(h *header, payload []byte) (verdict, error) {
				if total > 0 && total+len(payload) > maxBytes {
					full = true
					return leave, nil
				}
				if stopped = emit(h, payload); stopped != nil {
					return leave, stopped
				}
				total += len(payload)
				if full = total >= maxBytes; full {
					return last, nil
				}
				return more, nil
			})
		}
		l.unpin(steps[:n])
		switch {
		case stopped != nil:
			return cur, stopped
		case err == nil && cur == before && !full:
			err = mq.Errorf(mq.Internal, "read stream %x at %d: the index leads nowhere", stream, cur)
		}
		if err != nil {
			return cur, unlessRead(err, total)
		}
	}
	return cur, nil
}

// unlessRead hides what is wrong behind what could be read: who goes on from there will learn of it.
func unlessRead(err error, total int) error {
	if total > 0 {
		return nil
	}
	return err
}

// plan looks up the extents from the offset on, up to about the given bytes,
// and pins their segments.
func (l *Log) plan(id StreamID, from uint64, bytes int, steps []step) (n int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return 0, errClosed(l.dir)
	}
	s := l.streams[id]
	if s == nil || !s.known || !s.started {
		return 0, mq.Errorf(mq.OffsetOutOfRange, "read stream %x: the log does not know it", id)
	}
	if from < s.first || from > s.end {
		return 0, mq.Errorf(mq.OffsetOutOfRange, "read stream %x at %d: the log holds [%d, %d)", id, from, s.first, s.end)
	}
	q, end := s.bad.Load(), s.end
	if q != nil {
		if from >= q.from {
			return 0, l.quarantineError(id, q)
		}
		end = q.from
	}
	i := s.find(from)
	for ; i >= 0 && i < len(s.extents) && n < len(steps) && from < end && bytes > 0; i++ {
		e := s.extents[i]
		seg := l.seg(e.seg)
		if seg == nil {
			break
		}
		steps[n] = step{extent: e, limit: min(end, s.limit(i)), in: seg, until: int64(e.pos) + int64(e.span)}
		seg.readers++
		bytes -= int(e.own)
		from = steps[n].limit
		n++
	}
	if n == 0 && from < end && bytes > 0 {
		return 0, mq.Errorf(mq.Corrupt, "read stream %x at %d: it is not in the log", id, from)
	}
	// Neighbours in one segment are read together.
	for i := n - 2; i >= 0; i-- {
		a, b := &steps[i], &steps[i+1]
		if a.in == b.in && b.pos >= a.pos+a.span && b.pos-(a.pos+a.span) <= extentSpan {
			a.until = b.until
		}
	}
	return n, nil
}

func (l *Log) unpin(steps []step) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range steps {
		l.unpinOne(steps[i].in)
	}
}

// unpinOne lets go of a segment that was pinned. The caller holds the mutex.
func (l *Log) unpinOne(s *segment) {
	s.readers--
	if s.readers > 0 {
		return
	}
	if s.freed {
		l.retire()
	}
	if l.ended {
		_ = s.file.Close() // only read from: there is nothing to lose
	}
}

// frameReader reads frames of segments, many at a time.
type frameReader struct {
	buf  []byte
	in   *segment
	base int64
	n    int
	head header // of the frame being looked at: it is shown to others
}

func newFramePool() *sync.Pool { return &sync.Pool{New: func() any { return &frameReader{} }} }

// release makes the reader forget what it holds.
func (r *frameReader) release() *frameReader {
	r.in, r.n = nil, 0
	if len(r.buf) > keepBytes {
		r.buf = nil
	}
	return r
}

// at returns the n bytes at pos, and reads on up to until while it is there: what cannot be read behind
// them is of no concern yet. They are valid until the next call.
func (r *frameReader) at(in *segment, pos int64, n int, until int64) ([]byte, error) {
	if r.in == in && pos >= r.base && pos+int64(n) <= r.base+int64(r.n) {
		return r.buf[pos-r.base:][:n], nil
	}
	want := max(n, int(min(until-pos, readBytes)))
	if want > len(r.buf) {
		r.buf = make([]byte, max(want, min(readBytes, 2*want)))
	}
	got, err := in.file.ReadAt(r.buf[:want], pos)
	if got < n && want > n && !errors.Is(err, io.EOF) {
		got, err = in.file.ReadAt(r.buf[:n], pos)
	}
	r.in, r.base, r.n = in, pos, got
	if err != nil && got < n {
		r.n = 0
		return nil, mq.Errorf(mq.KafkaStorageError, "read %s at %d: %w", in.path, pos, err)
	}
	return r.buf[:n], nil
}

// verdict is what to do about an entry that was found.
type verdict int

const (
	more  verdict = iota // take it, and go on
	last                 // take it, and stop
	leave                // stop before it
)

// extent gives emit the stream's entries from the one that holds cur on, and
// returns the offset up to which they were taken: the extent's limit, unless
// emit wanted no more.
func (r *frameReader) extent(s *step, id StreamID, cur uint64, emit func(*header, []byte) (verdict, error)) (uint64, error) {
	pos, stop, bad := int64(s.pos), int64(s.pos)+int64(s.span), int64(-1)
	var unread error
	for cur < s.limit && pos+headerSize <= stop {
		// Somebody's header cannot be read or is damaged: perhaps not one that is wanted.
		b, err := r.at(s.in, pos, headerSize, s.until)
		if err != nil {
			if unread == nil {
				unread = err
			}
			pos = roundUp(pos+1, blockSize)
			continue
		}
		h := &r.head
		if !h.decode(b, s.in.seed, pos) || pos+h.size() > stop {
			if bad < 0 {
				bad = pos
			}
			pos += frameAlign
			continue
		}
		if h.kind == EntryData && h.first <= cur && cur < h.end() && h.end() <= s.limit && h.stream == id {
			payload, err := r.at(s.in, pos+headerSize, int(h.length), s.until)
			if err != nil {
				return cur, err
			}
			if payloadCRC(s.in.seed, pos, payload) != h.payloadCRC {
				return cur, corruptAt(s.in, pos, id, cur, "checksum of the payload")
			}
			what, err := emit(h, payload)
			if err != nil || what == leave {
				return cur, err
			}
			if cur = h.end(); what == last {
				return cur, nil
			}
		}
		pos += h.size()
	}
	if cur < s.limit {
		if unread != nil {
			return cur, unread
		}
		if bad < 0 {
			bad = int64(s.pos)
		}
		return cur, corruptAt(s.in, bad, id, cur, "no frame that can be read")
	}
	return cur, nil
}

// corruptAt is the error for an entry that was durable and cannot be read.
func corruptAt(in *segment, pos int64, id StreamID, offset uint64, reason string) error {
	return mq.Errorf(mq.Corrupt, "%s at %d: entry of stream %x at offset %d: %s", in.path, pos, id, offset, reason)
}

func (l *Log) quarantineError(id StreamID, q *quarantine) error {
	place := fmt.Sprintf("%s at %d", segmentPath(l.dir, q.segment), q.pos)
	if q.to != 0 {
		return mq.Errorf(mq.Corrupt, "%s: stream %x lost [%d, %d): %s", place, id, q.from, q.to, q.reason)
	}
	return mq.Errorf(mq.Corrupt, "%s: stream %x is in doubt from %d: %s", place, id, q.from, q.reason)
}
