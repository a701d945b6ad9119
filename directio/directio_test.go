package directio

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
)

func TestOnlyWholeBlocksAreAligned(t *testing.T) {
	if Flag == 0 {
		if Aligned(make([]byte, 64<<10), 0) {
			t.Fatal("aligned, on a system without direct I/O")
		}
		return
	}
	p := make([]byte, 128<<10) // too large for a stack, so it begins at a page
	for _, c := range []struct {
		p    []byte
		at   int64
		want bool
	}{
		{p, 0, true},
		{p, Align, true},
		{p[:Align], 7 * Align, true},
		{p[Align : 3*Align], 0, true},
		{p, 1, false},
		{p, Align / 2, false},
		{p[1:], 0, false},
		{p[:Align-1], 0, false},
		{p[512:], 0, false},
		{nil, 0, false},
	} {
		if got := Aligned(c.p, c.at); got != c.want {
			t.Errorf("%d bytes at %d: %v", len(c.p), c.at, got)
		}
	}
}

func TestOnlyARefusalIsRefused(t *testing.T) {
	for err, want := range map[error]bool{
		&os.PathError{Op: "write", Path: "x", Err: syscall.EINVAL}: true,
		fmt.Errorf("open: %w", errors.ErrUnsupported):              true,
		&os.PathError{Op: "write", Path: "x", Err: syscall.EIO}:    false,
		&os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}: false,
		os.ErrClosed: false,
	} {
		if Refused(err) != want {
			t.Errorf("%v: %v, want %v", err, !want, want)
		}
	}
}
