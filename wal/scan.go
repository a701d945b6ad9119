package wal

import (
	"github.com/rustmq/rustmq/mq"
)

// sink is told what a scan finds, in the order of the log. Headers and payloads
// are valid during the call only.
type sink interface {
	// frame is a frame that is whole.
	frame(seg *segment, pos int64, h *header, payload []byte) error
	// rotten is a frame below the promised position whose payload is damaged.
	rotten(seg *segment, pos int64, h *header) error
	// hole is a stretch below the promised position without a header that can
	// be read; next is the header behind it, nil at the end of the segment.
	hole(seg *segment, from, to int64, next *header)
}

// extentOfUse is how a segment's frames ended.
type extentOfUse struct {
	end      int64 // behind the last frame
	promised int64 // all below is known to have been synced
	sealed   bool
	torn     int64 // how far beyond end something was found that was never promised
	bytes    int64 // of frames
	last     header
}

// scanSegment reads the frames of a segment and tells the sink. A segment that
// another one follows was synced as a whole: everything amiss in it is damage,
// and end, if it is not 0, is where it ended. In the last one only what some frame promised is
// damage when it is amiss; the first thing amiss above that ends it.
func scanSegment(r *readAhead, seg *segment, end int64, last bool, to sink) (u extentOfUse, err error) {
	pos := int64(firstFrame)
	limit := seg.size
	if end != 0 {
		limit = end
	}
	if !last {
		u.promised = limit
	}
	var own header // shown to the sink: one for all frames
	for pos+headerSize <= limit && !u.sealed {
		h, payload := r.frame(pos)
		ok := h != nil
		whole := ok
		if !ok {
			h = &own
			ok = headerAt(r, seg, pos, h)
		}
		if ok {
			// Nothing but the log itself knows the salt: what is sealed by it was written by it.
			if !h.supported() {
				return u, mq.Errorf(mq.UnsupportedVersion, "%s at %d: frame of type %d with flags %#x, which this version does not know", seg.path, pos, h.kind, h.flags)
			}
			if !whole {
				payload, whole = r.at(pos+headerSize, int(h.length))
				whole = whole && payloadCRC(seg.seed, pos, payload) == h.payloadCRC
			}
			if whole {
				u.note(h)
				if err := to.frame(seg, pos, h, payload); err != nil {
					return u, err
				}
				pos += h.size()
				continue
			}
		}
		if pos >= u.promised {
			ahead, err := lookAhead(seg, pos)
			if u.promised = max(u.promised, ahead.promised); pos >= u.promised {
				if err == nil && r.failed.before > pos {
					// It may be whole, and have been shown as zeros: another read of it is no proof.
					err = unreadableEnd(seg, pos, r.failed.err)
				}
				if err != nil {
					return u, err
				}
				u.torn = max(ahead.end-pos, 0)
				break
			}
		}
		if ok {
			u.note(h)
			if err := to.rotten(seg, pos, h); err != nil {
				return u, err
			}
			pos += h.size()
			continue
		}
		next, behind, ok := resync(r, seg, pos+frameAlign, limit)
		if !ok {
			to.hole(seg, pos, limit, nil)
			pos = limit
			break
		}
		to.hole(seg, pos, next, &behind)
		pos = next
	}
	u.end = pos
	return u, nil
}

func (u *extentOfUse) note(h *header) {
	u.promised = max(u.promised, int64(h.promised))
	u.bytes += h.size()
	u.last = *h
	if h.kind == typeSeal {
		u.sealed = h.first+1 == uint64(h.count)
	}
}

// headerAt reads the header at pos; one that would reach beyond the segment is none.
func headerAt(r *readAhead, seg *segment, pos int64, h *header) bool {
	b, ok := r.at(pos, headerSize)
	return ok && h.decode(b, seg.seed, pos) && pos+h.size() <= seg.size
}

// resync looks for the next header from pos on.
func resync(r *readAhead, seg *segment, pos, limit int64) (int64, header, bool) {
	for pos+headerSize <= limit {
		b, ok := r.window(pos, headerSize)
		if !ok {
			break
		}
		b = b[:min(int64(len(b)), limit-pos)]
		i, h, ok := findHeader(b, seg.seed, pos)
		pos += int64(i)
		if ok && pos+h.size() <= seg.size {
			return pos, h, true
		}
		if ok {
			pos += frameAlign
		}
	}
	return limit, header{}, false
}

// beyond is what is found in a segment behind the place where its frames seem to end.
type beyond struct {
	promised int64 // the highest promise
	end      int64 // behind the last frame whose header is whole; 0: there is none
}

// lookAhead reads the rest of a segment from pos on. With an error, for a part
// that cannot be read, what it found is true and there may be more: nothing
// must be cut off then.
func lookAhead(seg *segment, pos int64) (b beyond, failed error) {
	buf := make([]byte, min(1<<20, seg.size))
	for pos+headerSize <= seg.size {
		part := buf[:min(int64(len(buf)), seg.size-pos)]
		if _, err := readOrZero(seg.file, part, pos); err != nil && failed == nil {
			failed = unreadableEnd(seg, pos, err)
		}
		for len(part) >= headerSize {
			i, h, ok := findHeader(part, seg.seed, pos)
			if ok {
				b.promised = max(b.promised, int64(h.promised))
				b.end = min(pos+int64(i)+h.size(), seg.size)
				i += frameAlign
			}
			part = part[i:]
			pos += int64(i)
		}
	}
	return b, failed
}

func unreadableEnd(seg *segment, pos int64, err error) error {
	return mq.Errorf(mq.KafkaStorageError, "read %s at %d or behind, to see whether the log ends there: %w", seg.path, pos, err)
}
