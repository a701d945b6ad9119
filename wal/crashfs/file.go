package crashfs

import (
	"io"
	"os"
	"slices"
	"syscall"

	"github.com/rustmq/rustmq/directio"
)

// handle is an open file.
type handle struct {
	fs     *FS
	node   *inode
	life   int
	write  bool
	closed bool
}

// usable says why not. The caller holds the mutex.
func (h *handle) usable(op string) error {
	var err error
	switch {
	case h.life != h.fs.life:
		err = ErrStale
	case h.closed:
		err = os.ErrClosed
	case h.fs.cut:
		err = ErrCut
	default:
		return nil
	}
	return &os.PathError{Op: op, Path: h.node.name, Err: err}
}

func (h *handle) ReadAt(p []byte, off int64) (int, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.usable("read"); err != nil {
		return 0, err
	}
	h.fs.reads++
	if err := h.fs.readFails[h.fs.reads]; err != nil {
		return 0, &os.PathError{Op: "read", Path: h.node.name, Err: err}
	}
	for _, s := range h.node.bad {
		if off < int64(s.To) && int64(s.From) < off+int64(len(p)) {
			return 0, &os.PathError{Op: "read", Path: h.node.name, Err: syscall.EIO}
		}
	}
	if off >= int64(len(h.node.live)) {
		return 0, io.EOF
	}
	n := copy(p, h.node.live[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// ReadPast is ReadAt: there is no cache.
func (h *handle) ReadPast(p []byte, off int64) (int, error) { return h.ReadAt(p, off) }

// ReadEach is ReadAt of each.
func (h *handle) ReadEach(_ *directio.Queue, pieces []directio.Piece) bool {
	for i := range pieces {
		pieces[i].N, _ = h.ReadAt(pieces[i].Bytes, pieces[i].At)
	}
	return true
}

// WriteAt, when it is made to fail, has written some of the bytes, and when
// the power is cut in it, any of them.
func (h *handle) WriteAt(p []byte, off int64) (n int, err error) {
	err = h.do(Call{Op: OpWrite, Offset: off, Bytes: int64(len(p))}, func() error {
		if !h.write {
			return os.ErrPermission
		}
		if grow := off + int64(len(p)) - int64(len(h.node.live)); grow > 0 && !h.fs.room(grow) {
			return syscall.ENOSPC
		}
		h.node.writeAt(p, off)
		n = len(p)
		return nil
	}, func() error {
		n = h.fs.rand.IntN(len(p) + 1)
		if h.fs.cut {
			n = len(p)
		}
		h.node.writeAt(p[:n], off)
		return nil
	})
	return n, err
}

func (h *handle) Allocate(size int64) error {
	allocate := func() error {
		if grow := size - int64(len(h.node.live)); grow > 0 && !h.fs.room(grow) {
			return syscall.ENOSPC
		}
		h.node.resize(size)
		return nil
	}
	return h.do(Call{Op: OpAllocate, Bytes: size}, allocate, allocate)
}

func (h *handle) Sync() error {
	return h.do(Call{Op: OpSync}, func() error {
		h.node.crash(Keep())
		return nil
	}, func() error {
		if !h.fs.cut {
			// The kernel gave up on the pages: they are clean now, and some never reached the disk.
			h.node.crash(h.fs.random())
		}
		return nil
	})
}

func (h *handle) Size() (int64, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	return int64(len(h.node.live)), h.usable("stat")
}

func (h *handle) Close() error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if h.closed {
		return &os.PathError{Op: "close", Path: h.node.name, Err: os.ErrClosed}
	}
	h.closed = true
	return nil
}

// do is FS.do for a call on a file.
func (h *handle) do(c Call, call, failing func() error) error {
	h.fs.mu.Lock()
	c.Path = h.node.name
	err := h.usable(string(c.Op))
	h.fs.mu.Unlock()
	if err != nil {
		return err
	}
	return h.fs.do(c, func() error {
		if err := h.usable(string(c.Op)); err != nil {
			return err
		}
		return call()
	}, failing)
}

func (n *inode) writeAt(p []byte, off int64) {
	n.pending = append(n.pending, change{off: off, data: slices.Clone(p)})
	n.live = writeAt(n.live, p, off)
}

func (n *inode) resize(size int64) {
	n.pending = append(n.pending, change{size: size, resize: true})
	n.live = resize(n.live, size)
}

func writeAt(b, p []byte, off int64) []byte {
	if end := off + int64(len(p)); end > int64(len(b)) {
		b = resize(b, end)
	}
	copy(b[off:], p)
	return b
}

func resize(b []byte, size int64) []byte {
	if size <= int64(len(b)) {
		return b[:size:size]
	}
	return append(b, make([]byte, size-int64(len(b)))...)
}
