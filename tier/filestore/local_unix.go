//go:build linux || darwin

package filestore

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Local implements [File].
func (f osFile) Local() (bool, error) {
	var st unix.Statfs_t
	if err := f.control(func(fd int) error { return unix.Fstatfs(fd, &st) }); err != nil {
		return false, fmt.Errorf("what %s is on: %w", f.Name(), err)
	}
	return isLocal(&st), nil
}
