package wal

// tail appends bytes to one segment, in whole blocks: what does not fill its
// last block is written again with what follows, padded with zeros. Those that
// were written before are the same bytes, so tearing the write cannot harm them.
type tail struct {
	seg     *segment
	buf     []byte // not yet written, or (the first part of a block) to be written again
	n       int
	base    int64 // position of buf[0], a multiple of blockSize
	clean   int   // bytes of buf that were written before
	written func(bytes int)
}

// open makes seg the tail, to be continued at pos; block is what is in the
// file from the start of pos's block up to pos.
func (t *tail) open(seg *segment, pos int64, block []byte) {
	if n := min(writeBytes, seg.size); int64(len(t.buf)) < n {
		t.buf = make([]byte, n)
	}
	t.seg = seg
	t.n = copy(t.buf, block)
	t.clean = t.n
	t.base = pos - int64(t.n)
}

func (t *tail) pos() int64 { return t.base + int64(t.n) }

// append gathers bytes, and writes when the buffer is full.
func (t *tail) append(b []byte) error {
	for len(b) > 0 {
		n := copy(t.buf[t.n:], b)
		t.n += n
		b = b[n:]
		if t.n == len(t.buf) {
			if err := t.write(t.n); err != nil {
				return err
			}
			t.base += int64(t.n)
			t.n, t.clean = 0, 0
		}
	}
	return nil
}

// flush writes what was gathered. It is not durable before the file is synced.
func (t *tail) flush() error {
	if t.n == t.clean {
		return nil
	}
	whole := int(roundUp(int64(t.n), blockSize))
	clear(t.buf[t.n:whole])
	if err := t.write(whole); err != nil {
		return err
	}
	rest := t.n % blockSize
	copy(t.buf, t.buf[t.n-rest:t.n])
	t.base += int64(t.n - rest)
	t.n, t.clean = rest, rest
	return nil
}

func (t *tail) write(n int) error {
	_, err := t.seg.file.WriteAt(t.buf[:n], t.base)
	t.written(n)
	return err
}
