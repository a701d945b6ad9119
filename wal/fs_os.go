package wal

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rustmq/rustmq/directio"
)

// osFS is the operating system's file system. What differs between platforms
// (allocation and syncing) is in fs_linux.go and fs_darwin.go.
type osFS struct{}

func (osFS) MkdirAll(dir string) error {
	dir = filepath.Clean(dir)
	switch st, err := os.Stat(dir); {
	case err == nil && st.IsDir():
		return nil
	case err == nil:
		return &os.PathError{Op: "mkdir", Path: dir, Err: syscall.ENOTDIR}
	case !errors.Is(err, os.ErrNotExist):
		return err
	}
	parent := filepath.Dir(dir)
	if err := (osFS{}).MkdirAll(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o750); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return osFS{}.SyncDir(parent)
}

func (osFS) Create(path string) (File, error) {
	return openOS(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
}
func (osFS) Open(path string) (File, error)     { return openOS(path, os.O_RDWR) }
func (osFS) OpenRead(path string) (File, error) { return openOS(path, os.O_RDONLY) }
func (osFS) Remove(path string) error           { return os.Remove(path) }
func (osFS) Rename(from, to string) error       { return os.Rename(from, to) }

func (osFS) ReadDir(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		if !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func (osFS) SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (osFS) Lock(path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, err
	}
	err = restart(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
	if err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrLocked
		}
		return nil, errors.Join(&os.PathError{Op: "lock", Path: path, Err: err}, f.Close())
	}
	return f, nil
}

// osFile is an open file of the operating system. Whole blocks are written past the page cache: what was just written is read from memory, if at
// all, and a sync that finds nothing in the cache to write is quicker. One goroutine at a time writes.
type osFile struct {
	*os.File
	fd       int
	direct   *os.File // the same file, for direct I/O; nil where there is none
	directFD uintptr
	noWrites bool // of them directly: they were refused
	noReads  atomic.Bool
}

// directRead is from how many bytes on a read goes past the page cache: below it what the kernel reads ahead on its own is worth more than the
// copy that is saved.
const directRead = 64 << 10

func openOS(path string, flags int) (File, error) {
	f, err := os.OpenFile(path, flags, 0o640)
	if err != nil {
		return nil, err
	}
	o := &osFile{File: f, fd: int(f.Fd())}
	if flags&os.O_RDWR != 0 && directio.Flag != 0 {
		// Not every file system has it. One that only fails to open the file twice has it the next time.
		if o.direct, _ = os.OpenFile(path, os.O_RDWR|directio.Flag, 0); o.direct != nil {
			o.directFD = o.direct.Fd()
		}
	}
	return o, nil
}

// WriteAt implements [File].
func (f *osFile) WriteAt(p []byte, at int64) (int, error) {
	if f.direct == nil || f.noWrites || !directio.Aligned(p, at) {
		return f.File.WriteAt(p, at)
	}
	n, err := f.direct.WriteAt(p, at)
	if err == nil || !directio.Refused(err) {
		return n, err
	}
	f.noWrites = true // nothing that was written is lost: a write is over when it returns
	m, err := f.File.WriteAt(p[n:], at+int64(n))
	return n + m, err
}

// ReadPast implements [File].
func (f *osFile) ReadPast(p []byte, at int64) (int, error) {
	if f.direct == nil || len(p) < directRead || f.noReads.Load() || !directio.Aligned(p, at) {
		return f.ReadAt(p, at)
	}
	n, err := f.direct.ReadAt(p, at)
	if err == nil || !directio.Refused(err) {
		return n, err
	}
	f.noReads.Store(true)
	return f.ReadAt(p, at)
}

// ReadEach implements [File].
func (f *osFile) ReadEach(q *directio.Queue, pieces []directio.Piece) bool {
	if f.direct == nil || f.noReads.Load() {
		return false
	}
	for i := range pieces {
		if !directio.Aligned(pieces[i].Bytes, pieces[i].At) {
			return false
		}
	}
	done := q.Read(f.directFD, pieces)
	runtime.KeepAlive(f)
	return done
}

// Close implements [File].
func (f *osFile) Close() error {
	err := f.File.Close()
	if f.direct != nil {
		err = errors.Join(err, f.direct.Close())
	}
	return err
}

func (f *osFile) Allocate(size int64) error {
	if err := restart(func() error { return allocate(f.fd, size) }); err != nil {
		return &os.PathError{Op: "allocate", Path: f.Name(), Err: err}
	}
	return nil
}

func (f *osFile) Sync() error {
	if err := restart(func() error { return syncData(f.fd) }); err != nil {
		return &os.PathError{Op: "sync", Path: f.Name(), Err: err}
	}
	return nil
}

func (f *osFile) Size() (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

// restart repeats a system call that a signal interrupted.
func restart(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
