//go:build !linux

package directio

// Queue reads many pieces of a file by one request to the system, where it can: not here.
type Queue struct{}

// Read is false: nothing was read.
func (*Queue) Read(uintptr, []Piece) bool { return false }

// Refused is true.
func (*Queue) Refused() bool { return true }
