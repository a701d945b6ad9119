//go:build linux || darwin

package filestore

import (
	"os"

	"golang.org/x/sys/unix"
)

// localFile says whether an open file is kept on a device of this machine.
func localFile(f *os.File) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return false, &os.PathError{Op: "statfs", Path: f.Name(), Err: err}
	}
	return isLocal(&st), nil
}
