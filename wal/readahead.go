package wal

import (
	"io"
	"sync"
)

const (
	aheadBytes  = 2 << 20   // of one read of a recovery
	aheadChunks = 4         // that are read before they are wanted
	carryBytes  = 128 << 10 // room before a chunk for the rest of the one before
)

// stretch is a part of a segment that a recovery reads.
type stretch struct {
	seg *segment
	end int64
}

// chunk is a piece of a stretch: the bytes of buf from carryBytes on.
type chunk struct {
	stretch int
	pos     int64
	buf     []byte
}

// readAhead reads the stretches one after the other in a goroutine of its own,
// and shows them to a scan, which goes forward only.
type readAhead struct {
	list   []stretch
	filled chan chunk
	empty  chan []byte
	stop   chan struct{}
	joined sync.WaitGroup

	stretch int    // that is shown
	next    chunk  // of a later stretch, if it came
	has     bool   // next is one
	buf     []byte // of the chunk that is shown; nil: win is memory of its own
	win     []byte // what is shown
	base    int64  // position of win
	ended   bool   // there is nothing more of this stretch
}

func newReadAhead(list []stretch) *readAhead {
	r := &readAhead{
		list:   list,
		filled: make(chan chunk, aheadChunks),
		empty:  make(chan []byte, aheadChunks+2),
		stop:   make(chan struct{}),
	}
	r.joined.Go(r.read)
	return r
}

func (r *readAhead) close() {
	close(r.stop)
	r.joined.Wait()
}

func (r *readAhead) read() {
	defer close(r.filled)
	made, size := 0, int64(0)
	for _, s := range r.list {
		size = max(size, min(aheadBytes, s.end))
	}
	for i, s := range r.list {
		for pos := int64(0); pos < s.end; {
			var buf []byte
			if made < aheadChunks {
				made++
				buf = make([]byte, carryBytes+size)
			} else {
				select {
				case buf = <-r.empty:
				case <-r.stop:
					return
				}
			}
			n := int(min(aheadBytes, s.end-pos))
			buf = buf[:carryBytes+n]
			_ = readOrZero(s.seg.file, buf[carryBytes:], pos) // a scan looks again where it matters
			select {
			case r.filled <- chunk{stretch: i, pos: pos, buf: buf}:
			case <-r.stop:
				return
			}
			pos += int64(n)
		}
	}
}

// readOrZero fills b from the file. What cannot be read is zero, and damaged
// like anything else if it was promised; the error is for who would cut it off.
func readOrZero(f File, b []byte, pos int64) error {
	n, err := f.ReadAt(b, pos)
	if err == nil {
		return nil
	}
	if err == io.EOF {
		clear(b[n:])
		return nil
	}
	for i := 0; i < len(b); i += blockSize {
		part := b[i:min(i+blockSize, len(b))]
		if n, err := f.ReadAt(part, pos+int64(i)); err != nil {
			if err != io.EOF {
				n = 0
			}
			clear(part[n:])
		}
	}
	return err
}

// start shows the next stretch, from its beginning.
func (r *readAhead) start(i int) {
	r.give()
	r.stretch, r.base, r.win, r.ended = i, 0, nil, false
}

// give hands the shown chunk's memory back to the reader.
func (r *readAhead) give() {
	if r.buf != nil {
		r.empty <- r.buf[:cap(r.buf)]
		r.buf = nil
	}
}

// fetch appends one more chunk to what is shown, of which only what is at pos
// and behind it is kept.
func (r *readAhead) fetch(pos int64) bool {
	for !r.has && !r.ended {
		c, ok := <-r.filled
		if !ok {
			r.ended = true
			break
		}
		if c.stretch < r.stretch {
			r.empty <- c.buf[:cap(c.buf)]
			continue
		}
		r.next, r.has = c, true
	}
	if !r.has || r.next.stretch != r.stretch {
		r.ended = true
		return false
	}
	c := r.next
	r.next, r.has = chunk{}, false
	carry := r.win[min(pos-r.base, int64(len(r.win))):]
	if len(carry) <= carryBytes {
		at := carryBytes - len(carry)
		copy(c.buf[at:], carry)
		r.give()
		r.buf, r.win = c.buf, c.buf[at:]
	} else {
		// A frame longer than what fits before a chunk: it gets its own memory.
		data := c.buf[carryBytes:]
		if r.buf != nil {
			carry = append(make([]byte, 0, 2*(len(carry)+len(data))), carry...)
			r.give()
		}
		r.win = append(carry, data...)
		r.empty <- c.buf[:cap(c.buf)]
	}
	r.base = c.pos - int64(len(carry))
	return true
}

// at shows n bytes at pos, or says that there are not so many. pos must not be
// below that of an earlier call for the stretch. They are valid until the next call.
func (r *readAhead) at(pos int64, n int) ([]byte, bool) {
	for pos+int64(n) > r.base+int64(len(r.win)) {
		if !r.fetch(pos) {
			return nil, false
		}
	}
	return r.win[pos-r.base:][:n], true
}

// window shows all that is there at pos without waiting, at least n bytes.
func (r *readAhead) window(pos int64, n int) ([]byte, bool) {
	if _, ok := r.at(pos, n); !ok {
		return nil, false
	}
	return r.win[pos-r.base:], true
}
