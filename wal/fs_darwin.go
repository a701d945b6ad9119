package wal

import (
	"errors"

	"golang.org/x/sys/unix"
)

// allocate reserves the file's blocks, where the file system can, and sets its
// length.
func allocate(fd int, size int64) error {
	store := unix.Fstore_t{Flags: unix.F_ALLOCATEALL, Posmode: unix.F_PEOFPOSMODE, Length: size}
	err := unix.FcntlFstore(uintptr(fd), unix.F_PREALLOCATE, &store)
	if err != nil && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return unix.Ftruncate(fd, size)
}

// syncData empties the drive's cache too, which fsync does not do here. File
// systems without F_FULLFSYNC (network shares) get the fsync that they have.
func syncData(fd int) error {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_FULLFSYNC, 0)
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTTY) {
		return unix.Fsync(fd)
	}
	return err
}

// adviseHuge does nothing: the system decides.
func adviseHuge([]byte) {}
