package filestore

import (
	"os"

	"github.com/rustmq/rustmq/directio"
)

const (
	// directBytes is from how many bytes on direct I/O pays: below it the copy costs less than waiting for the device.
	directBytes = 256 << 10
	// directPiece is how many bytes are given to the device at once: it works off what it has before anything that comes later, and
	// that may be the log's next sync.
	directPiece = 1 << 20
)

// directFile is a file whose large, aligned pieces go past the page cache: an object is written once, maybe read back once to be verified, and mostly not
// read again for long, and what is read often is in the block cache. Everything else, and everything where the file system knows no
// direct I/O, goes through the page cache.
//
// It is for one goroutine, as a writer or a reader of gocloud is.
type directFile struct {
	*os.File
	open     func() (*os.File, error) // what has its name now, for direct I/O
	direct   *os.File                 // nil: not open, or refused
	refused  bool
	position int64 // where the next Write goes
}

// large is the part of p, from its beginning, that is to go directly.
func large(p []byte, at int64) []byte {
	whole := p[:len(p)&^(directio.Align-1)]
	if len(whole) < directBytes || !directio.Aligned(whole, at) {
		return nil
	}
	return whole
}

// ready says whether the file is open for direct I/O.
func (f *directFile) ready() bool {
	if f.direct != nil || f.refused {
		return f.direct != nil
	}
	if direct, err := f.open(); err == nil {
		if sameFile(f.File, direct) {
			f.direct = direct
		} else {
			_ = direct.Close() // the name was given to another one since
		}
	}
	f.refused = f.direct == nil
	return !f.refused
}

func sameFile(a, b *os.File) bool {
	x, errA := a.Stat()
	y, errB := b.Stat()
	return errA == nil && errB == nil && os.SameFile(x, y)
}

// refuse says whether an error means only that there is no direct I/O here, and gives it up.
func (f *directFile) refuse(err error) bool {
	if !directio.Refused(err) {
		return false
	}
	f.refused = true
	_ = f.direct.Close() // what it wrote is with the device
	f.direct = nil
	return true
}

// Write implements [File].
func (f *directFile) Write(p []byte) (int, error) {
	written := 0
	for whole := large(p, f.position); written < len(whole) && f.ready(); {
		n, err := f.direct.WriteAt(whole[written:min(len(whole), written+directPiece)], f.position)
		f.position += int64(n)
		written += n
		if err != nil && !f.refuse(err) {
			return written, err
		}
	}
	n, err := f.WriteAt(p[written:], f.position)
	f.position += int64(n)
	return written + n, err
}

// ReadAt implements [File].
func (f *directFile) ReadAt(p []byte, at int64) (int, error) {
	if len(large(p, at)) == len(p) && len(p) > 0 && f.ready() {
		n, err := f.direct.ReadAt(p, at)
		if err == nil || !f.refuse(err) {
			return n, err
		}
	}
	return f.File.ReadAt(p, at)
}

// Close implements [File].
func (f *directFile) Close() error {
	if f.direct != nil {
		_ = f.direct.Close() // what was written by it is synced, or given up, already
	}
	return f.File.Close()
}
