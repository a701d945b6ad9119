package metadata

import (
	"path/filepath"
	"testing"
)

// The tests of power cuts copy the database at each commit, as if all of it were on the disk then: that is so only if
// bbolt syncs, which they leave out.
func TestDatabaseSyncsUnlessToldNotTo(t *testing.T) {
	for _, noSync := range []bool{false, true} {
		s, err := Open(Options{Path: filepath.Join(t.TempDir(), "metadata.db"), NoSync: noSync})
		if err != nil {
			t.Fatal(err)
		}
		b := s.bolt.Load()
		if b.NoSync != noSync || b.NoGrowSync {
			t.Errorf("asked for NoSync %t: bbolt has NoSync %t, NoGrowSync %t", noSync, b.NoSync, b.NoGrowSync)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
