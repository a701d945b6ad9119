package wal

import (
	"cmp"
	"slices"
	"sort"
	"sync/atomic"
)

// index knows where the entries of each stream are. Positions exist nowhere
// else. It is guarded by its owner's mutex, which is never held across I/O.
type index struct {
	streams map[StreamID]*stream
	segs    []*segment // in use, ascending and the active one last
}

// stream is what the log knows of one stream. All of it is durable except
// where it says otherwise.
type stream struct {
	id  StreamID
	tag uint32

	// The writer's: what the stream will be when all that was gathered is durable.
	tailSeq     uint32
	tailEnd     uint64
	tailStarted bool
	dropped     bool
	touched     uint64 // last segment that it was written in

	first, end uint64
	known      bool     // something of it is durable
	started    bool     // first and end mean something
	seq        uint32   // number of its last entry
	extents    []extent // cover [first, end) in order
	freed      uint64   // first as the log's frames have it: what a recovery would find
	state      *Entry   // nil: none; owned by the stream
	cutSeg     uint32   // where it was last truncated or reset: extents do not
	cutPos     uint32   // reach across that

	bad atomic.Pointer[quarantine]
}

// extent is a stretch of a segment with entries of a stream, from first up to
// where the next extent begins. Other streams' frames may lie between, and
// also frames of this stream that do not count any more; their offsets tell.
type extent struct {
	first uint64
	seg   uint32 // 0: lost
	pos   uint32
	span  uint32 // bytes, from the first frame to the end of the last
	own   uint32 // bytes of the stream's own frames in it, about
}

// quarantine is why a stream must not be continued, nor read from an offset
// on. A reset lifts it, a truncation to from or below, and a release of what
// was lost.
type quarantine struct {
	segment   uint64 // place of the damage
	pos       int64
	from, to  uint64 // offsets lost; to 0: not known which, all from from on are in doubt
	stateLost bool   // what was lost is a state: a newer one lifts it too
	reason    string
}

func newIndex() *index { return &index{streams: map[StreamID]*stream{}} }

func newStream(id StreamID) *stream { return &stream{id: id, tag: streamTag(id)} }

// seg finds a segment in use.
func (x *index) seg(id uint32) *segment {
	if len(x.segs) == 0 {
		return nil
	}
	if i := uint64(id) - x.segs[0].id; i < uint64(len(x.segs)) && x.segs[i].id == uint64(id) {
		return x.segs[i]
	}
	// Only damage leaves gaps in the numbers.
	i, ok := slices.BinarySearchFunc(x.segs, uint64(id), func(s *segment, id uint64) int { return cmp.Compare(s.id, id) })
	if !ok {
		return nil
	}
	return x.segs[i]
}

// count adjusts the accounts of an extent's segment.
func (x *index) count(e extent, by int) {
	if s := x.seg(e.seg); s != nil {
		s.extents += by
		s.live += int64(by) * int64(e.own)
	}
}

// find is the index of the extent that covers the offset, or -1.
func (s *stream) find(offset uint64) int {
	return sort.Search(len(s.extents), func(i int) bool { return s.extents[i].first > offset }) - 1
}

// limit is the offset at which extent i ends.
func (s *stream) limit(i int) uint64 {
	if i+1 < len(s.extents) {
		return s.extents[i+1].first
	}
	return s.end
}

// joins says whether a frame can become part of the extent.
func (s *stream) joins(e *extent, seg uint64, pos, size int64) bool {
	return uint64(e.seg) == seg && pos+size-int64(e.pos) <= extentSpan &&
		!(uint64(s.cutSeg) == seg && e.pos < s.cutPos)
}

// place adds a frame of [s.end, end) at the stream's end.
func (x *index) place(s *stream, seg uint64, pos, size int64, end uint64) {
	if n := len(s.extents); n > 0 && s.joins(&s.extents[n-1], seg, pos, size) {
		x.grow(&s.extents[n-1], pos, size)
	} else {
		e := extent{first: s.end, seg: uint32(seg), pos: uint32(pos), span: uint32(size), own: uint32(size)}
		s.extents = append(s.extents, e)
		x.count(e, 1)
	}
	s.end = end
}

// start is where a stream without offsets begins.
func (s *stream) start(at uint64) {
	if !s.started {
		s.started, s.first, s.end, s.freed = true, at, at, at
	}
}

func (x *index) grow(e *extent, pos, size int64) {
	e.span = uint32(pos+size) - e.pos
	e.own += uint32(size)
	if g := x.seg(e.seg); g != nil {
		g.live += size
	}
}

// lose notes that [s.end, end) is not there.
func (x *index) lose(s *stream, end uint64) {
	if end > s.end {
		s.extents = append(s.extents, extent{first: s.end})
		s.end = end
	}
}

// cut drops the stream's entries from to on, all of them if empty. The frame
// that says so is at pos.
func (x *index) cut(s *stream, to uint64, seg uint64, pos int64, empty bool) {
	s.cutSeg, s.cutPos = uint32(seg), uint32(pos)
	n := sort.Search(len(s.extents), func(i int) bool { return s.extents[i].first >= to })
	for _, e := range s.extents[n:] {
		x.count(e, -1)
	}
	s.extents = s.extents[:n]
	s.end = to
	if q := s.bad.Load(); q != nil && to <= q.from {
		s.bad.Store(nil)
	}
	if empty || to <= s.first {
		x.clear(s, to)
		s.freed = min(s.freed, to)
	}
}

// reset empties the stream, which goes on at the offset. The frame that says
// so is at pos. Whatever was lost of the stream is of no interest any more.
func (x *index) reset(s *stream, at uint64, seg uint64, pos int64) {
	s.cutSeg, s.cutPos = uint32(seg), uint32(pos)
	x.clear(s, at)
	s.freed = at
	s.bad.Store(nil)
}

func (x *index) clear(s *stream, at uint64) {
	for _, e := range s.extents {
		x.count(e, -1)
	}
	s.extents, s.first, s.end, s.started = nil, at, at, true
}

// release drops what lies below the offset.
func (x *index) release(s *stream, upTo uint64) {
	if upTo = min(upTo, s.end); upTo <= s.first {
		return
	}
	s.first = upTo
	if q := s.bad.Load(); q != nil && q.to != 0 && q.to <= upTo {
		s.bad.Store(nil)
	}
	n := 0
	for n < len(s.extents) && s.limit(n) <= upTo {
		x.count(s.extents[n], -1)
		n++
	}
	switch {
	case n == len(s.extents):
		s.extents = nil
	case n > 0:
		// The front's memory goes with the next growth; a long front goes now.
		s.extents = s.extents[n:]
		if n > len(s.extents) {
			s.extents = slices.Clone(s.extents)
		}
	}
}

// drop forgets the stream.
func (x *index) drop(s *stream) {
	x.clear(s, s.end)
	delete(x.streams, s.id)
}

// replace says that [first, end) of the stream is found somewhere else from
// now on: copied forward, or (seg 0) lost. What is not live of it is left out.
func (x *index) replace(s *stream, first, end uint64, seg uint64, pos, size int64) {
	first, end = max(first, s.first), min(end, s.end)
	if first >= end {
		return
	}
	i := s.find(first)
	j := s.find(end - 1)
	if i < 0 {
		return
	}
	var with [3]extent
	list := with[:0]
	if s.extents[i].first < first && s.first < first {
		list = append(list, s.extents[i])
	}
	fresh := extent{first: first, seg: uint32(seg), pos: uint32(pos), span: uint32(size), own: uint32(size)}
	joined := len(list) == 0 && i > 0 && seg != 0 && s.joins(&s.extents[i-1], seg, pos, size)
	if joined {
		x.grow(&s.extents[i-1], pos, size)
	} else {
		list = append(list, fresh)
	}
	if s.limit(j) > end {
		rest := s.extents[j]
		rest.first = end
		list = append(list, rest)
	}
	for _, e := range list {
		x.count(e, 1)
	}
	for _, e := range s.extents[i : j+1] {
		x.count(e, -1)
	}
	s.extents = slices.Replace(s.extents, i, j+1, list...)
}

// quarantine adds to what is wrong with the stream.
func (s *stream) quarantine(q quarantine) {
	if old := s.bad.Load(); old != nil {
		q.from = min(q.from, old.from)
		q.stateLost = q.stateLost && old.stateLost
		if q.to == 0 || old.to == 0 {
			q.to = 0
		} else {
			q.to = max(q.to, old.to)
		}
		q.segment, q.pos, q.reason = old.segment, old.pos, old.reason
	}
	s.bad.Store(&q)
}

// trust bounds what is in doubt by a checkpoint that was written when all was
// well: it knows the stream's bounds, and what lies behind them comes from later.
func (s *stream) trust(end uint64) {
	q := s.bad.Load()
	if q == nil || q.to != 0 {
		return
	}
	if end <= max(q.from, s.first) {
		s.bad.Store(nil)
		return
	}
	bounded := *q
	bounded.to = end
	s.bad.Store(&bounded)
}

// setState remembers the stream's latest state.
func (s *stream) setState(e *Entry) {
	s.state = e
	if q := s.bad.Load(); q != nil && q.stateLost {
		s.bad.Store(nil)
	}
}

// sorted returns the streams in the order of their ids.
func (x *index) sorted() []*stream {
	list := make([]*stream, 0, len(x.streams))
	for _, s := range x.streams {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b *stream) int { return slices.Compare(a.id[:], b.id[:]) })
	return list
}
