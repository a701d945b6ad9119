package wal

import "unsafe"

// tail appends bytes to one segment, in whole blocks: what does not fill its
// last block is written again with what follows, padded with zeros. Those that
// were written before are the same bytes, so tearing the write cannot harm them.
type tail struct {
	seg     *segment
	buf     []byte // not yet written, or (the first part of a block) to be written again
	other   []byte // as long: the disk may have what is in it
	n       int
	base    int64 // position of buf[0], a multiple of blockSize
	clean   int   // bytes of buf that were written before
	large   bool  // there was much to write at once
	huge    bool  // buf and other lie in a huge page
	written func(bytes int)
}

const (
	// hugeBytes is the size of the processor's larger pages, in bytes.
	hugeBytes = 2 << 20
	// largeWrite is from how many bytes on a write gains by a huge page.
	largeWrite = 64 << 10
)

const _ uint = hugeBytes - 2*writeBytes // both buffers lie in one

// open makes seg the tail, to be continued at pos; block is what is in the
// file from the start of pos's block up to pos.
func (t *tail) open(seg *segment, pos int64, block []byte) {
	switch n := min(writeBytes, seg.size); {
	case t.large && !t.huge && n == writeBytes:
		t.buf, t.other = hugeBuffers()
		t.huge = true
	case int64(len(t.buf)) < n:
		t.buf, t.other = make([]byte, n), make([]byte, n)
	}
	t.seg = seg
	t.n = copy(t.buf, block)
	t.clean = t.n
	t.base = pos - int64(t.n)
}

// hugeBuffers are two buffers of writeBytes in one huge page, if the system has one. Of small pages a direct write is as many pieces for the kernel to
// find, to pin and to describe to the device. A log in which little is written does without: a huge page is in memory as a whole.
func hugeBuffers() (one, other []byte) {
	memory := make([]byte, 2*hugeBytes) // what is not touched of it takes no memory
	from := int(-uintptr(unsafe.Pointer(unsafe.SliceData(memory))) & (hugeBytes - 1))
	page := memory[from:][:hugeBytes]
	adviseHuge(page)
	return page[:writeBytes:writeBytes], page[writeBytes : 2*writeBytes : 2*writeBytes]
}

func (t *tail) pos() int64 { return t.base + int64(t.n) }

// append gathers bytes, and writes when the buffer is full.
func (t *tail) append(b []byte) error {
	for len(b) > 0 {
		n := copy(t.buf[t.n:], b)
		t.n += n
		b = b[n:]
		if t.n == len(t.buf) {
			if err := t.write(t.buf, t.base); err != nil {
				return err
			}
			t.base += int64(t.n)
			t.n, t.clean = 0, 0
		}
	}
	return nil
}

// fits says whether n bytes can be gathered without writing.
func (t *tail) fits(n int64) bool { return int64(t.n)+n < int64(len(t.buf)) }

// at is n bytes that were gathered and not written, at a position of the segment.
func (t *tail) at(pos int64, n int) []byte { return t.buf[pos-t.base:][:n] }

// cut ends what was gathered: these blocks are to be written at a position,
// while more is gathered in the other buffer. They must be before the next cut.
func (t *tail) cut() (blocks []byte, at int64) {
	if t.n == t.clean {
		return nil, t.base
	}
	whole := int(roundUp(int64(t.n), blockSize))
	t.large = t.large || whole >= largeWrite
	clear(t.buf[t.n:whole])
	blocks, at = t.buf[:whole], t.base
	rest := t.n % blockSize
	t.buf, t.other = t.other, t.buf
	copy(t.buf, blocks[t.n-rest:t.n])
	t.base += int64(t.n - rest)
	t.n, t.clean = rest, rest
	return blocks, at
}

// flush writes what was gathered. It is not durable before the file is synced.
func (t *tail) flush() error { return t.write(t.cut()) }

func (t *tail) write(blocks []byte, at int64) error {
	if len(blocks) == 0 {
		return nil
	}
	_, err := t.seg.file.WriteAt(blocks, at)
	t.written(len(blocks))
	return err
}
