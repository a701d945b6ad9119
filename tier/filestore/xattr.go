//go:build linux || darwin

package filestore

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// maxAttrBytes bounds what is read back: file systems take 4 to 64 KiB.
const maxAttrBytes = 64 << 10

// SetAttr implements [File].
func (f osFile) SetAttr(value []byte) error {
	err := f.control(func(fd int) error { return unix.Fsetxattr(fd, attrName, value, 0) })
	if errors.Is(err, unix.ENOTSUP) {
		return fmt.Errorf("keep attributes of %s: %w", f.Name(), errors.ErrUnsupported)
	}
	return err
}

// Attr implements [File].
func (f osFile) Attr() (value []byte, err error) {
	buf := make([]byte, 1024)
	for {
		var n int
		err := f.control(func(fd int) (err error) {
			n, err = unix.Fgetxattr(fd, attrName, buf)
			return err
		})
		switch {
		case err == nil:
			return buf[:n], nil
		case errors.Is(err, errNoAttr), errors.Is(err, unix.ENOTSUP):
			return nil, nil
		case errors.Is(err, unix.ERANGE) && len(buf) < maxAttrBytes:
			buf = make([]byte, maxAttrBytes)
		default:
			return nil, fmt.Errorf("read attributes of %s: %w", f.Name(), err)
		}
	}
}

// control runs a system call on the file's descriptor.
func (f osFile) control(call func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var callErr error
	if err := conn.Control(func(fd uintptr) { callErr = call(int(fd)) }); err != nil {
		return err
	}
	return callErr
}
