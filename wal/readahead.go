package wal

import (
	"errors"
	"io"
	"sync"
)

const (
	aheadBytes  = 512 << 10 // of one read of a recovery: they are still in the processor's cache when they are checked
	aheadChunks = 8         // that are read before they are wanted
	carryBytes  = 160 << 10 // room before a chunk for the rest of the one before
	searchBytes = 160 << 10 // of a chunk in which its first frame is looked for
)

// stretch is a part of a segment that a recovery reads.
type stretch struct {
	seg *segment
	end int64
}

// chunk is a piece of a stretch: the bytes of buf from carryBytes on.
type chunk struct {
	number  int // of all chunks, from 0
	stretch int
	pos     int64
	buf     []byte
	whole   []placed // frames in it that were checked and are whole, ascending; perhaps not all
	failed  failedRead
}

// failedRead is what could not be read of a piece although it was tried block by block.
type failedRead struct {
	before int64 // the last such block ends here; 0: all could be read
	err    error
}

// placed is a header with its position in the segment.
type placed struct {
	pos int64
	header
}

// readAhead reads the stretches one after the other, checks the frames in
// them, and shows them to a scan, which goes forward only. Two goroutines do
// this: one of its own and, whenever it would have to wait, the scan's. What the bytes
// of a frame say of themselves does not depend on who looks, or when.
type readAhead struct {
	list   []stretch
	joined sync.WaitGroup

	mu      sync.Mutex
	changed sync.Cond
	stopped bool
	stretch int                 // of the next chunk to be read
	pos     int64               // of that
	claimed int                 // chunks that somebody reads or has read
	taken   int                 // chunks that the scan has seen
	filled  [aheadChunks]*chunk // by number, those from taken on that are read
	empty   []*chunk

	// The scan's.
	wanted int        // stretch that is shown
	next   *chunk     // of a later stretch, if it came
	shown  *chunk     // nil: win is memory of its own
	win    []byte     // what is shown
	base   int64      // position of win
	whole  []placed   // what is known of the frames in it
	passed int        // of whole
	ended  bool       // there is nothing more of this stretch
	failed failedRead // the last one of this stretch, as far as it was shown
}

func newReadAhead(list []stretch) *readAhead {
	r := &readAhead{list: list}
	r.changed.L = &r.mu
	r.joined.Go(r.read)
	return r
}

func (r *readAhead) close() {
	r.mu.Lock()
	r.stopped = true
	r.mu.Unlock()
	r.changed.Broadcast()
	r.joined.Wait()
}

// read is the reader's own goroutine.
func (r *readAhead) read() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for !r.stopped && !r.allClaimed() {
		if c := r.claim(); c != nil {
			r.fill(c)
		} else {
			r.changed.Wait()
		}
	}
}

// allClaimed says that there is nothing left to be read. The caller holds the mutex.
func (r *readAhead) allClaimed() bool {
	for r.stretch < len(r.list) && r.pos >= r.list[r.stretch].end {
		r.stretch, r.pos = r.stretch+1, 0
	}
	return r.stretch == len(r.list)
}

// claim is the next chunk, for the caller to fill; nil when there are enough of
// them. The caller holds the mutex.
func (r *readAhead) claim() *chunk {
	if r.allClaimed() || r.claimed-r.taken == aheadChunks {
		return nil
	}
	c := &chunk{}
	if n := len(r.empty); n > 0 {
		c, r.empty = r.empty[n-1], r.empty[:n-1]
	}
	n := min(aheadBytes, r.list[r.stretch].end-r.pos)
	if int64(cap(c.buf)) < carryBytes+n {
		c.buf = make([]byte, carryBytes+n)
	}
	c.number, c.stretch, c.pos, c.buf, c.whole = r.claimed, r.stretch, r.pos, c.buf[:carryBytes+n], c.whole[:0]
	r.claimed++
	r.pos += n
	return c
}

// fill reads a chunk. The caller holds the mutex, which is let go meanwhile.
func (r *readAhead) fill(c *chunk) {
	seg := r.list[c.stretch].seg
	r.mu.Unlock()
	b := c.buf[carryBytes:]
	c.failed, _ = readOrZero(seg.file, b, c.pos) // what could be read after all is as good
	c.whole = wholeFrames(c.whole, b, seg.seed, c.pos)
	r.mu.Lock()
	r.filled[c.number%aheadChunks] = c
	r.changed.Broadcast()
}

// take is the next chunk for the scan; nil: there is none.
func (r *readAhead) take() *chunk {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.taken < r.claimed || !r.allClaimed() {
		at := r.taken % aheadChunks
		if c := r.filled[at]; c != nil {
			r.filled[at] = nil
			r.taken++
			r.changed.Broadcast()
			return c
		}
		if c := r.claim(); c != nil {
			r.fill(c)
		} else {
			r.changed.Wait()
		}
	}
	return nil
}

// give hands a chunk's memory back.
func (r *readAhead) give(c *chunk) {
	r.mu.Lock()
	r.empty = append(r.empty, c)
	r.mu.Unlock()
}

// wholeFrames appends to list the whole frames that follow on each other in b,
// which begins at pos of a segment.
func wholeFrames(list []placed, b []byte, seed uint32, pos int64) []placed {
	i, h, ok := findHeader(b[:min(searchBytes, len(b))], seed, pos)
	f := placed{header: h}
	for ok {
		f.pos = pos + int64(i)
		payload := b[i+headerSize:]
		if int64(f.length) > int64(len(payload)) || payloadCRC(seed, f.pos, payload[:f.length]) != f.payloadCRC {
			break
		}
		list = append(list, f)
		if i += int(f.size()); i >= len(b) {
			break
		}
		ok = f.decode(b[i:], seed, pos+int64(i))
	}
	return list
}

// readOrZero fills b from the file. What cannot be read is zero, and damaged
// like anything else if it was promised; the error is for who would cut it off.
func readOrZero(f File, b []byte, pos int64) (failed failedRead, err error) {
	n, err := f.ReadAt(b, pos)
	if err == nil {
		return failed, nil
	}
	if errors.Is(err, io.EOF) {
		clear(b[n:])
		return failed, nil
	}
	for i := 0; i < len(b); i += blockSize {
		part := b[i:min(i+blockSize, len(b))]
		if n, err := f.ReadAt(part, pos+int64(i)); err != nil {
			if !errors.Is(err, io.EOF) {
				n, failed = 0, failedRead{before: pos + int64(i+len(part)), err: err}
			}
			clear(part[n:])
		}
	}
	return failed, err
}

// start shows the next stretch, from its beginning.
func (r *readAhead) start(i int) {
	r.hide()
	r.wanted, r.base, r.win, r.whole, r.passed, r.ended, r.failed = i, 0, nil, nil, 0, false, failedRead{}
}

// hide gives back the chunk that is shown.
func (r *readAhead) hide() {
	if r.shown != nil {
		r.give(r.shown)
		r.shown = nil
	}
}

// fetch appends one more chunk to what is shown, of which only what is at pos
// and behind it is kept.
func (r *readAhead) fetch(pos int64) bool {
	for r.next == nil && !r.ended {
		c := r.take()
		if c == nil {
			r.ended = true
			break
		}
		if c.stretch < r.wanted {
			r.give(c)
			continue
		}
		r.next = c
	}
	if r.next == nil || r.next.stretch != r.wanted {
		r.ended = true
		return false
	}
	c := r.next
	r.next, r.whole, r.passed = nil, c.whole, 0
	if c.failed.err != nil {
		r.failed = c.failed
	}
	carry := r.win[min(pos-r.base, int64(len(r.win))):]
	base := c.pos - int64(len(carry)) // c may be another chunk once it was given back
	if len(carry) <= carryBytes {
		at := carryBytes - len(carry)
		copy(c.buf[at:], carry)
		r.hide()
		r.shown, r.win = c, c.buf[at:]
	} else {
		// A frame longer than what fits before a chunk: it gets its own memory.
		data := c.buf[carryBytes:]
		if r.shown != nil {
			carry = append(make([]byte, 0, 2*(len(carry)+len(data))), carry...)
			r.hide()
		}
		r.win, r.whole = append(carry, data...), nil
		r.give(c)
	}
	r.base = base
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

// frame shows the frame at pos, when it was checked already and is whole. pos
// must not be below that of an earlier call for the stretch. Valid until the next call.
func (r *readAhead) frame(pos int64) (h *header, payload []byte) {
	for ; r.passed < len(r.whole); r.passed++ {
		if f := &r.whole[r.passed]; f.pos >= pos {
			if f.pos > pos {
				break
			}
			return &f.header, r.win[pos+headerSize-r.base:][:f.length]
		}
	}
	return nil, nil
}

// window shows all that is there at pos without waiting, at least n bytes.
func (r *readAhead) window(pos int64, n int) ([]byte, bool) {
	if _, ok := r.at(pos, n); !ok {
		return nil, false
	}
	return r.win[pos-r.base:], true
}
