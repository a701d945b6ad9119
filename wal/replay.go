package wal

import (
	"slices"
)

// replay builds the index from what a scan finds, and decides what damage
// means to each stream. All entries of a stream are numbered. A stream whose
// next entry, or whose number in the next checkpoint or seal, follows on what
// was read is proven whole; what is not is quarantined.
type replay struct {
	index  *index
	visit  func(Entry) error
	report *Recovery
	recent [StreamSlots]*stream // by their slots: mostly the next entry is of one of them
	copied map[StreamID]bool
	// maybeCopies are streams of which a copy cannot be read, or may be among what cannot: what is missing at their fronts was perhaps not released.
	maybeCopies map[StreamID]bool
	anyCopies   bool   // the same of all streams
	oldest      uint64 // segment, as the latest checkpoint or free frame has it
	first       uint64 // segment of the scan
	head        int64  // where the checkpoint of the segment being read ends
	doubt       map[*stream]int
	unknown     int // damage that may have held a stream's first entries; 0: none, else its number + 1

	// freeLost says that a free frame may be among what was lost, and nothing
	// else with it: then what is missing at a stream's front was released.
	freeLost bool

	checkpoint struct {
		segment   uint64
		seen      map[uint64]bool
		mentioned map[StreamID]bool
	}
}

func newReplay(visit func(Entry) error, report *Recovery) *replay {
	return &replay{index: newIndex(), visit: visit, report: report, copied: map[StreamID]bool{}, maybeCopies: map[StreamID]bool{}, doubt: map[*stream]int{}}
}

// damage adds to the report and returns its number.
func (r *replay) damage(seg *segment, pos, bytes int64, reason string) int {
	seg.bad = true
	r.report.Damage = append(r.report.Damage, Damage{Segment: seg.id, Path: seg.path, Position: pos, Bytes: bytes, Reason: reason})
	return len(r.report.Damage) - 1
}

// blame says in the report that a stream lost something by a damage.
func (r *replay) blame(n int, s *stream, first, end uint64) {
	d := &r.report.Damage[n]
	if d.Known && d.Stream != s.id {
		r.report.Damage = append(r.report.Damage, *d)
		d = &r.report.Damage[len(r.report.Damage)-1]
	}
	d.Stream, d.Known, d.First, d.End = s.id, true, first, end
}

// lost quarantines a stream for a damage: [from, to), or all from from on if to is 0.
func (r *replay) lost(n int, s *stream, q quarantine) {
	d := &r.report.Damage[n]
	q.segment, q.pos, q.reason = d.Segment, d.Position, d.Reason
	s.quarantine(q)
	r.blame(n, s, q.from, max(q.from, q.to))
}

// heard says whether the visitor is to be given an entry of a stream.
func (r *replay) heard(s *stream, kind EntryType, first uint64) bool {
	if r.visit == nil || len(r.copied) > 0 && r.copied[s.id] {
		return false
	}
	if kind == EntryData {
		if q := s.bad.Load(); q != nil && first >= q.from {
			return false
		}
	}
	return true
}

// tell gives an entry to the visitor.
func (r *replay) tell(s *stream, e Entry) error {
	if !r.heard(s, e.Type, e.First) {
		return nil
	}
	return r.visit(e)
}

// stream finds or adds a stream; fresh is true for one that was not known.
func (r *replay) stream(id *StreamID) (s *stream, fresh bool) {
	recent := &r.recent[id.Slot()]
	if *recent != nil && (*recent).id == *id {
		return *recent, false
	}
	s = r.index.streams[*id]
	if s == nil {
		s, fresh = newStream(*id), true
		s.known = true
		r.index.streams[*id] = s
	}
	*recent = s
	return s, fresh
}

func (r *replay) frame(seg *segment, pos int64, h *header, payload []byte) error {
	switch h.kind {
	case typePromise:
		return nil
	case typeCheckpoint:
		return r.checkpointChunk(seg, h, payload)
	case typeSeal:
		return r.seal(seg, pos, payload)
	case typeFree:
		return r.free(h, payload)
	}
	r.report.Entries++
	if h.copied() {
		return r.copyFrame(seg, pos, h)
	}
	s := r.follow(seg, pos, h)
	switch h.kind {
	case EntryData:
		if h.first == s.end && h.count > 0 {
			r.index.place(s, seg.id, pos, h.size(), h.end())
		}
	case EntryTruncate:
		r.index.cut(s, h.first, seg.id, pos, h.flags&flagEmpty != 0)
	case EntryReset:
		r.index.reset(s, h.first, seg.id, pos)
	case EntryState:
		s.setState(&Entry{Stream: s.id, Type: EntryState, First: h.first, End: h.end(), Payload: slices.Clone(payload)})
	case EntryDrop:
		r.forget(s)
	}
	if !r.heard(s, h.kind, h.first) {
		return nil
	}
	return r.visit(Entry{Stream: h.stream, Type: h.kind, First: h.first, End: h.end(), Payload: payload})
}

func (r *replay) rotten(seg *segment, pos int64, h *header) error {
	n := r.damage(seg, pos, h.size(), "checksum of the payload of a "+h.kind.String()+" frame")
	switch {
	case h.kind == typeFree:
		r.freeLost = true
		return nil
	case h.kind.internal():
		r.baseLost(seg, pos, n)
		return nil
	case h.copied():
		r.blame(n, &stream{id: h.stream}, h.first, h.end())
		r.maybeCopies[h.stream] = true
		return nil // if it was needed, it will be found missing
	}
	s := r.follow(seg, pos, h)
	switch h.kind {
	case EntryData:
		r.index.lose(s, h.end())
		r.lost(n, s, quarantine{from: h.first, to: h.end()})
		return nil
	case EntryTruncate:
		r.index.cut(s, h.first, seg.id, pos, h.flags&flagEmpty != 0)
	case EntryReset:
		r.index.reset(s, h.first, seg.id, pos)
	case EntryDrop:
		r.forget(s)
		return r.tell(s, Entry{Stream: h.stream, Type: EntryDrop})
	}
	r.lost(n, s, quarantine{from: s.first, stateLost: h.kind == EntryState})
	return nil
}

func (r *replay) hole(seg *segment, from, to int64, next *header) {
	n := r.damage(seg, from, to-from, "no frame header that can be read")
	if next != nil && int64(next.prevSize) == to-from {
		// It was one frame, and the one behind it says whose.
		if next.prevTag == 0 {
			r.freeLost = r.freeLost || from >= r.head
			r.baseLost(seg, from, n)
			return
		}
		found := false
		for _, s := range r.index.streams {
			if s.tag == next.prevTag {
				r.doubt[s] = n
				r.blame(n, s, 0, 0)
				r.maybeCopies[s.id] = true
				found = true
			}
		}
		if !found {
			r.unknown = n + 1
		}
		return
	}
	r.everything(n)
}

// baseLost notes that a part of the first checkpoint cannot be read: unless
// its other copy can, there may be streams that nobody knows.
func (r *replay) baseLost(seg *segment, pos int64, n int) {
	if seg.id == r.first && pos < r.head && len(r.index.streams) == 0 && seg.id > 1 {
		r.unknown = n + 1
	}
}

// everything puts all streams in doubt, until they prove whole.
func (r *replay) everything(n int) {
	for _, s := range r.index.streams {
		if _, ok := r.doubt[s]; !ok {
			r.doubt[s] = n
		}
	}
	r.unknown = n + 1
	r.anyCopies = true
}

// follow checks that an entry is the next of its stream, and makes of it what
// it can when it is not.
func (r *replay) follow(seg *segment, pos int64, h *header) *stream {
	s, fresh := r.stream(&h.stream)
	s.touched = seg.id
	switch {
	case h.seq == s.seq+1 && (h.kind != EntryData || h.count > 0 && (!s.started || h.first == s.end)):
		if len(r.doubt) > 0 {
			delete(r.doubt, s)
		}
	default:
		r.gap(seg, pos, s, h, fresh)
	}
	s.seq = h.seq
	if h.kind == EntryData || h.kind == EntryTruncate {
		s.start(h.first)
	}
	return s
}

// gap is for an entry that does not follow on what was read of its stream.
func (r *replay) gap(seg *segment, pos int64, s *stream, h *header, fresh bool) {
	n, ok := r.doubt[s]
	switch {
	case ok:
		delete(r.doubt, s)
	case fresh && r.unknown != 0:
		n = r.unknown - 1
	default:
		n = r.damage(seg, pos, 0, "entries of the stream before this one are missing")
	}
	data := h.kind == EntryData
	if data && s.started && h.seq == s.seq+2 && h.first > s.end {
		// One entry is missing, and it cannot have been a truncation.
		from := s.end
		r.index.lose(s, h.first)
		r.lost(n, s, quarantine{from: from, to: h.first})
		return
	}
	if data {
		r.adopt(s, h.first, seg.id, pos)
	}
	r.lost(n, s, quarantine{from: min(s.first, s.end)})
}

// adopt makes a stream end where it must have ended.
func (r *replay) adopt(s *stream, end uint64, seg uint64, pos int64) {
	switch {
	case !s.started:
		s.start(end)
	case end < s.end:
		r.index.cut(s, end, seg, pos, false)
	default:
		r.index.lose(s, end)
	}
}

func (r *replay) copyFrame(seg *segment, pos int64, h *header) error {
	s := r.index.streams[h.stream]
	if s == nil {
		return nil // dropped since
	}
	if r.visit != nil && !r.copied[s.id] {
		// What the visitor saw of it was out of order: it comes again at the end.
		if err := r.visit(Entry{Stream: s.id, Type: EntryDrop}); err != nil {
			return err
		}
	}
	r.copied[s.id] = true
	r.index.replace(s, h.first, h.end(), seg.id, pos, h.size())
	return nil
}

func (r *replay) forget(s *stream) {
	r.index.drop(s)
	delete(r.doubt, s)
	delete(r.copied, s.id)
	r.recent[s.id.Slot()] = nil
}

func (r *replay) free(h *header, payload []byte) error {
	records, err := decodeFree(payload)
	if err != nil {
		return err
	}
	r.oldest = max(r.oldest, uint64(h.seq))
	for _, f := range records {
		if s := r.index.streams[f.id]; s != nil {
			r.index.release(s, f.first)
			s.freed = max(s.freed, f.first)
		}
	}
	return nil
}

func (r *replay) seal(seg *segment, pos int64, payload []byte) error {
	records, err := decodeSeal(payload)
	if err != nil {
		return err
	}
	for i := range records {
		f := &records[i]
		s, fresh := r.stream(&f.id)
		if !fresh && s.seq == f.seq {
			delete(r.doubt, s)
			continue
		}
		n := r.missing(seg, pos, s, fresh)
		one := !fresh && s.started && f.seq == s.seq+1 && f.end > s.end
		q := quarantine{from: s.end, to: f.end} // one data entry is missing, and nothing else
		r.adopt(s, f.end, seg.id, pos)
		if s.seq = f.seq; !one {
			q = quarantine{from: min(s.first, s.end)}
		}
		r.lost(n, s, q)
	}
	return nil
}

// missing is the damage to blame when a seal or checkpoint knows more of a
// stream than could be read.
func (r *replay) missing(seg *segment, pos int64, s *stream, fresh bool) int {
	if n, ok := r.doubt[s]; ok {
		delete(r.doubt, s)
		return n
	}
	if fresh && r.unknown != 0 {
		return r.unknown - 1
	}
	return r.damage(seg, pos, 0, "entries of the stream before this are missing")
}

func (r *replay) checkpointChunk(seg *segment, h *header, payload []byte) error {
	c := &r.checkpoint
	if c.segment != seg.id {
		c.segment, c.seen, c.mentioned = seg.id, map[uint64]bool{}, map[StreamID]bool{}
	}
	if c.seen[h.first] {
		return nil
	}
	c.seen[h.first] = true
	oldest, records, err := decodeCheckpoint(payload)
	if err != nil {
		return err
	}
	r.oldest = max(r.oldest, oldest)
	for i := range records {
		c.mentioned[records[i].id] = true
		if err := r.record(seg, &records[i]); err != nil {
			return err
		}
	}
	if len(c.seen) == int(h.count) {
		return r.checkpointDone(seg)
	}
	return nil
}

// record takes in what a checkpoint says of a stream.
func (r *replay) record(seg *segment, rec *streamRecord) error {
	s, fresh := r.stream(&rec.id)
	news := fresh
	switch {
	case fresh && seg.id == r.first:
		s.seq = rec.seq
		if rec.started {
			s.start(rec.first)
			r.index.lose(s, rec.end) // if it lives on, it was copied forward
		}
	case !fresh && s.seq == rec.seq && s.end == rec.end:
		delete(r.doubt, s)
	default:
		news = true
		n := r.missing(seg, firstFrame, s, fresh)
		if rec.started {
			s.start(rec.first)
			r.adopt(s, rec.end, seg.id, firstFrame)
		}
		s.seq = rec.seq
		if !fresh || rec.first != rec.end {
			r.lost(n, s, quarantine{from: min(s.first, s.end)})
		}
	}
	r.index.release(s, rec.first)
	s.freed = max(s.freed, rec.first)
	if rec.bad != nil {
		s.quarantine(*rec.bad)
	}
	if rec.bad == nil {
		defer s.trust(rec.end)
	}
	doubted := s.bad.Load() != nil && s.bad.Load().to == 0 && rec.bad == nil
	if rec.state == nil || !news && !doubted {
		return nil
	}
	state := *rec.state
	state.Payload = slices.Clone(state.Payload)
	if rec.bad == nil || !rec.bad.stateLost {
		s.setState(&state)
	} else {
		s.state = &state
	}
	return r.tell(s, state)
}

// checkpointDone drops the streams that a whole checkpoint does not mention:
// only damage can have hidden that they were dropped.
func (r *replay) checkpointDone(seg *segment) error {
	r.unknown = 0
	for id, s := range r.index.streams {
		if r.checkpoint.mentioned[id] {
			continue
		}
		n := r.missing(seg, firstFrame, s, false)
		r.blame(n, s, 0, 0)
		r.forget(s)
		if err := r.tell(s, Entry{Stream: id, Type: EntryDrop}); err != nil {
			return err
		}
	}
	return nil
}

// finish finds what no segment holds, and quarantines what was not proven
// whole.
func (r *replay) finish() {
	list := r.index.sorted()
	for _, s := range list {
		if n, ok := r.doubt[s]; ok {
			r.lost(n, s, quarantine{from: min(s.first, s.end)})
		}
		r.covered(s)
		if s.bad.Load() != nil {
			r.report.Suspect = append(r.report.Suspect, s.id)
		}
		s.tailSeq, s.tailEnd, s.tailStarted = s.seq, s.end, s.started
	}
	r.report.Doubt = r.unknown != 0
}

// covered checks that every live offset of the stream is somewhere.
func (r *replay) covered(s *stream) {
	front := 0
	for front < len(s.extents) && s.extents[front].seg == 0 {
		front++
	}
	if front > 0 && r.freeLost && s.bad.Load() == nil && !r.anyCopies && !r.maybeCopies[s.id] {
		r.index.release(s, s.limit(front-1))
		return
	}
	for i, e := range s.extents {
		first := max(e.first, s.first)
		q := s.bad.Load()
		if e.seg != 0 || q != nil && q.from <= first {
			continue
		}
		n := len(r.report.Damage)
		r.report.Damage = append(r.report.Damage, Damage{Segment: r.first, Reason: "no segment holds it"})
		if g := r.index.seg(uint32(r.first)); g != nil {
			r.report.Damage[n].Path = g.path
		}
		r.lost(n, s, quarantine{from: first, to: s.limit(i)})
	}
}
