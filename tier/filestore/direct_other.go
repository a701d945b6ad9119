//go:build !linux

package filestore

import (
	"errors"
	"os"
)

// setDirect is Linux's.
func setDirect(*os.File, bool) error { return errors.ErrUnsupported }
