package wal

import (
	"fmt"
	"sync"

	"github.com/rustmq/rustmq/mq"
)

const (
	readBytes = 256 << 10 // of one read from a segment: they stay in the processor's cache until they are checked and copied
	keepBytes = 4 << 20   // largest buffer that is kept for the next reader
	readSteps = 32        // extents that are looked up at once
	keepSlack = 32 << 10  // of memory beside the bytes asked for: headers, blocks at both ends, what lies between
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
	next, err = l.scan(stream, from, maxBytes, func(_ *frameReader, _ *header, payload []byte) error {
		dst = append(dst, payload...)
		return nil
	})
	return dst, next, err
}

// ReadBuffer is a reader's memory, used again from read to read. The zero value is ready.
type ReadBuffer struct {
	Bytes  []byte   // where what was found lies, with what lay around it; may be nil
	Pieces [][]byte // found by the last ReadInto: the payload of one entry each, or of several
}

// ReadInto is Read that copies nothing if most of what it looks at is the
// stream's: buf.Pieces lie in buf.Bytes or, where that was too short, in memory
// that nobody has but them. They are valid until buf is used again.
func (l *Log) ReadInto(stream StreamID, from uint64, maxBytes int, buf *ReadBuffer) (next uint64, err error) {
	r := l.frames.Get().(*frameReader)
	defer func() { l.frames.Put(r.release()) }()
	keep := frameReader{buf: buf.Bytes[:cap(buf.Bytes)], keep: true, room: maxBytes + keepSlack}
	c := copies{to: buf, last: -1}
	buf.Pieces = buf.Pieces[:0]
	next, err = l.scanBy(r, &keep, stream, from, maxBytes, func(by *frameReader, _ *header, payload []byte) error {
		if by.keep {
			buf.Pieces = append(buf.Pieces, payload)
			return nil
		}
		if c.bytes == nil && keep.used == 0 {
			c.bytes, keep.buf = keep.buf[:0], nil // either the one or the other reads into it
		}
		c.add(payload)
		return nil
	})
	if buf.Bytes = keep.release().buf; buf.Bytes == nil && cap(c.bytes) <= keepBytes {
		buf.Bytes = c.bytes
	}
	return next, err
}

// copies makes pieces of a buffer by copying. What follows on each other is one piece.
type copies struct {
	to    *ReadBuffer
	bytes []byte
	begin int // of the last piece, in bytes
	last  int // its index, -1 if there is none
}

func (c *copies) add(payload []byte) {
	if n := len(c.to.Pieces); c.last < 0 || c.last != n-1 {
		c.begin, c.last = len(c.bytes), n
		c.to.Pieces = append(c.to.Pieces, nil)
	}
	c.bytes = append(c.bytes, payload...)
	c.to.Pieces[c.last] = c.bytes[c.begin:len(c.bytes):len(c.bytes)]
}

// ReadEntries is Read that keeps the entries apart. Their payloads are valid
// during the call only. An error of visit ends it and is returned as it is.
func (l *Log) ReadEntries(stream StreamID, from uint64, maxBytes int, visit func(Entry) error) (next uint64, err error) {
	return l.scan(stream, from, maxBytes, func(_ *frameReader, h *header, payload []byte) error {
		return visit(Entry{Stream: stream, Type: EntryData, First: h.first, End: h.end(), Payload: payload})
	})
}

// step is one extent to read, its segment kept from being freed meanwhile.
type step struct {
	extent
	limit uint64
	in    *segment
	until int64 // what follows it up to here is wanted too
	own   int64 // bytes of that, this included, that are the stream's
	past  bool  // the page cache: most of that is the stream's own. What lies between may be wanted by others, and is best left to the cache
}

// emit is given what a scan finds. An error ends it.
type emit func(by *frameReader, h *header, payload []byte) error

func (l *Log) scan(stream StreamID, from uint64, maxBytes int, found emit) (uint64, error) {
	r := l.frames.Get().(*frameReader)
	defer func() { l.frames.Put(r.release()) }()
	return l.scanBy(r, nil, stream, from, maxBytes, found)
}

// scanBy uses keep, if there is one, for what goes past the page cache, and r for the rest.
func (l *Log) scanBy(r, keep *frameReader, stream StreamID, from uint64, maxBytes int, found emit) (uint64, error) {
	var steps [readSteps]step
	cur, room := from, newBudget(maxBytes)
	var stopped error // by found
	show := func(by *frameReader, h *header, payload []byte) error {
		stopped = found(by, h, payload)
		return stopped
	}
	for !room.full {
		n, err := l.plan(stream, cur, room, steps[:])
		if n == 0 || err != nil {
			return cur, unlessRead(err, room.any)
		}
		before := cur
		for i := 0; i < n && !room.full && err == nil; i++ {
			by := r
			if keep != nil && (i == 0 || steps[i].in != steps[i-1].in) {
				l.fetch(keep, steps[i:n])
			}
			if steps[i].past && keep != nil {
				by = keep
			}
			cur, err = by.extent(&steps[i], stream, cur, &room, show)
		}
		l.unpin(steps[:n])
		switch {
		case stopped != nil:
			return cur, stopped
		case err == nil && cur == before && !room.full:
			err = mq.Errorf(mq.Internal, "read stream %x at %d: the index leads nowhere", stream, cur)
		}
		if err != nil {
			return cur, unlessRead(err, room.any)
		}
	}
	return cur, nil
}

// unlessRead hides what is wrong behind what could be read: who goes on from there will learn of it.
func unlessRead(err error, some bool) error {
	if some {
		return nil
	}
	return err
}

// plan looks up the extents from the offset on for which there is room, and
// pins their segments.
func (l *Log) plan(id StreamID, from uint64, room budget, steps []step) (n int, err error) {
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
	full := false
	i := s.find(from)
	for ; i >= 0 && i < len(s.extents) && n < len(steps) && from < end && room.left > 0; i++ {
		e := s.extents[i]
		if (n > 0 || room.any) && !room.worth(int(e.own)) {
			full = true
			break
		}
		seg := l.seg(e.seg)
		if seg == nil {
			break
		}
		steps[n] = step{extent: e, limit: min(end, s.limit(i)), in: seg, until: int64(e.pos) + int64(e.span), own: int64(e.own)}
		seg.readers++
		room.left -= int(e.own)
		from = steps[n].limit
		n++
	}
	if n == 0 && from < end && room.left > 0 && !full {
		return 0, mq.Errorf(mq.Corrupt, "read stream %x at %d: it is not in the log", id, from)
	}
	// Neighbours in one segment are read together.
	for i := n - 2; i >= 0; i-- {
		a, b := &steps[i], &steps[i+1]
		if a.in == b.in && b.pos >= a.pos+a.span && b.pos-(a.pos+a.span) <= extentSpan {
			a.until, a.own = b.until, a.own+b.own
		}
	}
	for i := range n {
		s := &steps[i]
		if i > 0 && steps[i-1].in == s.in && steps[i-1].until == s.until {
			s.past = steps[i-1].past // it was read together with that
		} else {
			s.past = 4*s.own >= 3*(s.until-int64(s.pos))
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
	base int64 // buf[off:][:n] are the segment's bytes from here on
	off  int
	n    int    // 0: none
	head header // of the frame being looked at: it is shown to others

	keep bool // what was found stays valid while the reader reads on
	used int  // so this much of buf is not written to any more
	room int  // for how many bytes memory is made when there is none

	fetched []window // of buf, below used
}

func newFramePool() *sync.Pool { return &sync.Pool{New: func() any { return &frameReader{} }} }

// release makes the reader forget what it holds.
func (r *frameReader) release() *frameReader {
	r.in, r.n, r.fetched = nil, 0, nil
	if len(r.buf) > keepBytes {
		r.buf = nil
	}
	return r
}

// at returns the n bytes at pos, and reads on up to until while it is there,
// through the page cache or past it: what cannot be read around them is of no
// concern yet. They are valid until the next call; with keep for longer if hold
// is called before that.
func (r *frameReader) at(in *segment, pos int64, n int, until int64, past bool) ([]byte, error) {
	if r.in == in && pos >= r.base && pos+int64(n) <= r.base+int64(r.n) {
		return r.buf[r.off+int(pos-r.base):][:n:n], nil
	}
	if r.turnTo(in, pos, n) {
		return r.buf[r.off+int(pos-r.base):][:n:n], nil
	}
	// Whole blocks, so that they can be read directly.
	base := pos &^ (blockSize - 1)
	want := int(roundUp(pos+max(int64(n), min(until-pos, readBytes)), blockSize) - base)
	r.n = 0
	r.off = int(roundUp(int64(r.used), blockSize))
	if r.off+want > len(r.buf) {
		r.buf = make([]byte, max(want, min(int(roundUp(int64(r.room), blockSize)), readBytes, 2*want)))
		r.off, r.used, r.fetched = 0, 0, nil
	}
	read := in.file.ReadAt
	if past {
		read = in.file.ReadPast
	}
	skip := int(pos - base)
	got, _ := read(r.buf[r.off:][:want], base)
	if got < skip+n { // perhaps because of what lies around it
		var err error
		if got, err = in.file.ReadAt(r.buf[r.off+skip:][:n], pos); got < n {
			return nil, mq.Errorf(mq.KafkaStorageError, "read %s at %d: %w", in.path, pos, err)
		}
		r.off, base, skip = r.off+skip, pos, 0
	}
	r.in, r.base, r.n = in, base, got
	return r.buf[r.off+skip:][:n:n], nil
}

// hold keeps what the last at returned.
func (r *frameReader) hold() {
	if r.keep {
		r.used = max(r.used, r.off+r.n)
	}
}

// budget is how many bytes of payloads a read still takes. The first entry is
// taken whatever its size.
type budget struct {
	most, left int
	any        bool // something was taken
	full       bool // nothing more is
}

func newBudget(bytes int) budget { return budget{most: max(bytes, 1), left: max(bytes, 1)} }

// takes says whether an entry is taken whose payload has n bytes.
func (b *budget) takes(n int) bool {
	b.full = b.full || b.any && n > b.left
	return !b.full
}

// took notes that it was.
func (b *budget) took(n int) {
	b.any, b.left = true, b.left-n
	b.full = b.left <= 0
}

// worth says whether a further n bytes are worth looking at: when they do not
// fit as a whole, only if without them there is little.
func (b *budget) worth(n int) bool { return n <= b.left || b.left > b.most/2 }

// extent gives found the stream's entries from the one that holds cur on, and
// returns the offset up to which they were taken: the extent's limit, unless
// there was no room for more.
func (r *frameReader) extent(s *step, id StreamID, cur uint64, room *budget, found emit) (uint64, error) {
	pos, stop, bad := int64(s.pos), int64(s.pos)+int64(s.span), int64(-1)
	var unread error
	for cur < s.limit && pos+headerSize <= stop && !room.full {
		// Somebody's header cannot be read or is damaged: perhaps not one that is wanted.
		until := s.until
		if room.any { // what will not be taken is not read
			until = min(until, pos+int64(min(room.left, readBytes))+headerSize)
		}
		b, err := r.at(s.in, pos, headerSize, until, s.past)
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
			if !room.takes(int(h.length)) {
				return cur, nil
			}
			payload, err := r.at(s.in, pos+headerSize, int(h.length), until, s.past)
			if err != nil {
				return cur, err
			}
			if payloadCRC(s.in.seed, pos, payload) != h.payloadCRC {
				return cur, corruptAt(s.in, pos, id, cur, "checksum of the payload")
			}
			r.hold()
			room.took(int(h.length))
			if err := found(r, h, payload); err != nil {
				return cur, err
			}
			cur = h.end()
		}
		pos += h.size()
	}
	if cur < s.limit && !room.full {
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
