package wal

import (
	"errors"

	"golang.org/x/sys/unix"
)

// allocate reserves the file's blocks and sets its length. On a file system
// that cannot reserve, writing the zeros finds out whether there is room.
func allocate(fd int, size int64) error {
	err := unix.Fallocate(fd, 0, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return unix.Ftruncate(fd, size)
	}
	return err
}

// syncData needs no journal commit for a file that was zeroed in advance: only
// its data is dirty.
func syncData(fd int) error { return unix.Fdatasync(fd) }

// adviseHuge asks for huge pages, for what is in memory already, too. It is as well without them.
func adviseHuge(memory []byte) {
	_ = unix.Madvise(memory, unix.MADV_HUGEPAGE)
	_ = unix.Madvise(memory, unix.MADV_COLLAPSE)
}
