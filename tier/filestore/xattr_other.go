//go:build !linux && !darwin

package filestore

import "errors"

// SetAttr implements [File].
func (f osFile) SetAttr([]byte) error { return errors.ErrUnsupported }

// Attr implements [File].
func (f osFile) Attr() ([]byte, error) { return nil, nil }
