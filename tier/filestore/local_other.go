//go:build !linux && !darwin

package filestore

// Local implements [File]: what is not known is no.
func (osFile) Local() (bool, error) { return false, nil }
