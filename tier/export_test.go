package tier

import "testing"

// What the tests of the tag outside share with those in here: they use package clouds, which uses this one.
var Conform = conform

// UploadAndRead goes a node's whole way.
func UploadAndRead(t *testing.T, store *Store) { uploadAndRead(t, store) }

// MustPut puts n bytes.
func MustPut(t *testing.T, s *Store, key string, n int) { mustPut(t, s, key, testData(n)) }

// Checksum is CRC-32C.
func Checksum(data []byte) uint32 { return checksum(data) }

// BenchUpload and BenchRead measure a store.
func BenchUpload(b *testing.B, s *Store) { benchUpload(b, s) }

func BenchRead(b *testing.B, s *Store) { benchRead(b, s) }
