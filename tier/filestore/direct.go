package filestore

import (
	"errors"
	"os"
	"syscall"
	"unsafe"
)

const (
	// directAlign is what direct I/O wants of memory, position and length, bytes: no device in use wants more.
	directAlign = 4 << 10
	// directBytes is from how many bytes on it pays: below it the copy costs less than waiting for the device.
	directBytes = 256 << 10
	// directPiece is how many bytes are given to the device at once: it works off what it has before anything that comes later, and
	// that may be the log's next sync.
	directPiece = 1 << 20
)

// directFile is a file whose large, aligned pieces go between the caller's memory and the device, without a stay in
// the page cache: an object is written once, read back once to be verified, and mostly not read again for long, and what is read
// often is in the block cache. It saves a copy each way, and the pages that other files have better use for. Where the
// file system knows no direct I/O everything goes through the page cache.
//
// It is for one goroutine, as a writer or a reader of gocloud is.
type directFile struct {
	*os.File
	position int64 // where the next Write goes
	on       bool  // the file is in direct mode
	refused  bool  // direct mode does not work here
}

// directPart is how many bytes of p can go directly at a position: 0, or many.
func directPart(p []byte, at int64) int {
	n := len(p) &^ (directAlign - 1)
	if n < directBytes || at%directAlign != 0 || uintptr(unsafe.Pointer(unsafe.SliceData(p)))%directAlign != 0 {
		return 0
	}
	return n
}

// mode puts the file into direct mode or out of it, and says whether it is as wanted.
func (f *directFile) mode(direct bool) bool {
	if f.on == direct {
		return true
	}
	if f.refused {
		return false
	}
	if err := setDirect(f.File, direct); err != nil {
		f.refused = true
		return false
	}
	f.on = direct
	return true
}

// Write implements [File].
func (f *directFile) Write(p []byte) (int, error) {
	written, err := f.writeDirect(p[:directPart(p, f.position)])
	if err != nil || written == len(p) {
		return written, err
	}
	if !f.mode(false) {
		return written, errors.New("the file does not leave direct I/O")
	}
	n, err := f.File.Write(p[written:])
	f.position += int64(n)
	return written + n, err
}

// writeDirect writes what it can of p, which is aligned, directly.
func (f *directFile) writeDirect(p []byte) (written int, err error) {
	for written < len(p) && f.mode(true) {
		n, err := f.File.Write(p[written:min(len(p), written+directPiece)])
		f.position += int64(n)
		written += n
		if err != nil {
			if f.refuse(err) {
				err = nil
			}
			return written, err
		}
	}
	return written, nil
}

// ReadAt implements [File].
func (f *directFile) ReadAt(p []byte, at int64) (int, error) {
	if n := directPart(p, at); n == len(p) && n > 0 && f.mode(true) {
		n, err := f.File.ReadAt(p, at)
		if err == nil || !f.refuse(err) {
			return n, err
		}
	}
	if !f.mode(false) {
		return 0, errors.New("the file does not leave direct I/O")
	}
	return f.File.ReadAt(p, at)
}

// refuse says whether an error means only that this file system, or device, takes no direct I/O of this kind, and leaves it.
func (f *directFile) refuse(err error) bool {
	if !errors.Is(err, syscall.EINVAL) || !f.mode(false) {
		return false
	}
	f.refused = true
	return true
}
