//go:build !linux

package directio

// Flag is what a file is opened with for direct I/O, 0 where there is none.
const Flag = 0
