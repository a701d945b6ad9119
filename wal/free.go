package wal

import (
	"math"
	"slices"

	"github.com/rustmq/rustmq/mq"
)

// shrink frees the oldest segment when nothing in it is needed, and copies
// forward what little may be left in it. Only the oldest is ever freed: a
// truncation must not go before what it cut. The writer writes that a segment is
// free before its file is touched, and copies come before that, so that
// a crash in between leaves an entry twice rather than nowhere.
func (k *keeper) shrink() bool {
	k.mu.Lock()
	waiting := k.waiting
	k.mu.Unlock()
	if waiting {
		return false
	}
	l := k.l
	l.mu.Lock()
	if l.closed || len(l.segs) < 2 {
		l.mu.Unlock()
		return false
	}
	oldest := l.segs[0]
	free := oldest.extents == 0
	worth := !free && l.worthCopying(oldest)
	l.mu.Unlock()
	switch {
	case free:
		k.ask(nil, item{Entry: Entry{Type: workFree}, origin: oldest.id, done: &freeDone{k: k, seg: oldest}})
		return true
	case worth:
		return k.copyForward(oldest)
	}
	return false
}

// worthCopying decides whether what is left in the oldest segment is copied.
// The caller holds the mutex.
func (l *Log) worthCopying(oldest *segment) bool {
	if oldest.live > min(oldest.size, l.opts.SegmentBytes)/copyFraction {
		return false
	}
	return len(l.segs)-1 > l.opts.CopyBehind || l.blocked != nil
}

// ask gives the writer items, the last of which wakes the keeper when it is done.
func (k *keeper) ask(items []item, last item) {
	k.mu.Lock()
	k.waiting = true
	k.mu.Unlock()
	for _, it := range items {
		k.l.put(it)
	}
	k.l.put(last)
}

func (k *keeper) answered() {
	k.mu.Lock()
	k.waiting = false
	k.mu.Unlock()
	k.l.nudge()
}

// freeDone is told that the oldest segment is free for good.
type freeDone struct {
	k   *keeper
	seg *segment
}

func (d *freeDone) Appended(err error) {
	l := d.k.l
	if err == nil {
		l.mu.Lock()
		l.segs = slices.Delete(l.segs, 0, 1)
		d.seg.freed = true
		l.leaving = append(l.leaving, d.seg)
		l.retire()
		l.mu.Unlock()
		l.counters.freed.Add(1)
	}
	d.k.answered()
}

// copyDone is told that a batch of copies is durable.
type copyDone struct{ k *keeper }

func (d copyDone) Appended(error) { d.k.answered() }

// copyForward reads some of what is live in the oldest segment and gives it
// to the writer, which looks again whether it still is.
func (k *keeper) copyForward(oldest *segment) bool {
	l := k.l
	type part struct {
		step
		stream *stream
		from   uint64
	}
	var parts []part
	l.mu.Lock()
	bytes := 0
	for _, s := range l.sorted() {
		for i, e := range s.extents {
			if uint64(e.seg) == oldest.id && bytes < copyBatchBytes {
				p := part{stream: s, from: max(e.first, s.first)}
				p.step = step{extent: e, limit: s.limit(i), in: oldest, until: int64(e.pos) + int64(e.span)}
				parts = append(parts, p)
				bytes += int(e.own)
			}
		}
	}
	oldest.readers++
	l.mu.Unlock()

	var items []item
	room := newBudget(math.MaxInt)
	for i := range parts {
		p := &parts[i]
		next, err := k.r.extent(&p.step, p.stream.id, p.from, &room, func(_ *frameReader, h *header, payload []byte) error {
			e := Entry{Stream: p.stream.id, Type: workCopy, First: h.first, End: h.end(), Payload: slices.Clone(payload)}
			items = append(items, item{Entry: e, origin: oldest.id})
			return nil
		})
		if mq.CodeOf(err) == mq.Corrupt {
			l.loseCopy(p.stream, oldest, &p.extent, next, p.limit, err)
		} else if err != nil {
			_ = l.fail(err)
		}
	}
	k.r.release()
	l.mu.Lock()
	l.unpinOne(oldest)
	l.mu.Unlock()
	k.ask(items, item{Entry: Entry{Type: workSync}, done: copyDone{k}})
	return true
}

// loseCopy notes that entries were damaged since they were written: the stream
// is quarantined, and the segment does not have to be kept for them.
func (l *Log) loseCopy(s *stream, in *segment, e *extent, from, to uint64, reason error) {
	l.log.Error("entries cannot be copied forward: they are damaged", "stream", s.id, "from", from, "to", to, "err", reason)
	l.mu.Lock()
	defer l.mu.Unlock()
	in.bad = true
	if i := s.find(from); i < 0 || uint64(s.extents[i].seg) != in.id || from >= s.end || from < s.first {
		return // cut or released meanwhile
	}
	s.quarantine(quarantine{segment: in.id, pos: int64(e.pos), from: from, to: min(to, s.end), reason: "damaged since it was written"})
	l.replace(s, from, to, 0, 0, 0)
}
