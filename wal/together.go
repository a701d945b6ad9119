package wal

import "github.com/rustmq/rustmq/directio"

// window is a part of a segment that was read into a reader's memory.
type window struct {
	in   *segment
	base int64 // the segment's bytes from here on
	off  int   // are in the reader's buf from here on
	n    int
}

// fetch reads what the steps are about past the page cache into r, all by one request, if that is in several places. What it does not read is read when it is
// looked at.
func (l *Log) fetch(r *frameReader, steps []step) {
	windows, end := r.apart(steps)
	if len(windows) < 2 {
		return
	}
	var q *directio.Queue
	select {
	case q = <-l.queues:
		if q == nil {
			q = new(directio.Queue)
		}
	default:
		return
	}
	defer func() { l.queues <- q }()
	if end > len(r.buf) {
		first := windows[0].off
		for i := range windows {
			windows[i].off -= first
		}
		end -= first
		r.buf, r.used, r.n, r.fetched = make([]byte, end), 0, 0, nil
	}
	pieces := make([]directio.Piece, len(windows))
	for i, w := range windows {
		pieces[i] = directio.Piece{Bytes: r.buf[w.off:][:w.n:w.n], At: w.base}
	}
	if !windows[0].in.file.ReadEach(q, pieces) {
		return
	}
	for i := range windows {
		windows[i].n = pieces[i].N
	}
	r.fetched, r.used, r.n = windows, end, 0
}

// apart lists the places of one segment that the steps are about, as far as they are read past the page cache, and where in r's memory they fit; they end at end.
func (r *frameReader) apart(steps []step) (windows []window, end int) {
	end = int(roundUp(int64(r.used), blockSize))
	for i := range steps {
		s := &steps[i]
		if !s.past || i > 0 && steps[i-1].in == s.in && steps[i-1].until == s.until {
			continue
		}
		base := int64(s.pos) &^ (blockSize - 1)
		n := int(roundUp(s.until, blockSize) - base)
		if n < directRead {
			continue
		}
		if len(windows) > 0 && s.in != windows[0].in || end+n > keepBytes {
			break
		}
		windows = append(windows, window{in: s.in, base: base, off: end, n: n})
		end += n
	}
	return windows, end
}

// turnTo has r look at what was fetched, if the n bytes at pos are in it.
func (r *frameReader) turnTo(in *segment, pos int64, n int) bool {
	for i := range r.fetched {
		w := &r.fetched[i]
		if w.in == in && pos >= w.base && pos+int64(n) <= w.base+int64(w.n) {
			r.in, r.base, r.off, r.n = w.in, w.base, w.off, w.n
			return true
		}
	}
	return false
}
