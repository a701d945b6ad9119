package directio

import (
	"errors"
	"syscall"
	"unsafe"
)

// Align is what memory, position and length must be multiples of, bytes: no device in use wants more.
const Align = 4 << 10

// Aligned says whether p can be transferred directly to or from a position of a file. Memory of 32 KiB or more that was made by itself is.
func Aligned(p []byte, at int64) bool {
	return Flag != 0 && len(p) > 0 && len(p)%Align == 0 && at%Align == 0 && uintptr(unsafe.Pointer(unsafe.SliceData(p)))%Align == 0
}

// Refused says whether an error means only that this file system, or its device, takes no direct I/O of this kind.
func Refused(err error) bool {
	return errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported)
}
