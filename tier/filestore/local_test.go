package filestore

import (
	"errors"
	"testing"

	"gocloud.dev/blob/driver"
)

// TestStoreVouchesForFilesOnDevicesOfThisMachine is of a store whose files move to something else, or to what nobody knows, and back.
func TestStoreVouchesForFilesOnDevicesOfThisMachine(t *testing.T) {
	for _, c := range []struct {
		what          string
		opts          Options
		turn          func(*crashFS)
		before, after bool
	}{
		{"a device", Options{}, func(*crashFS) {}, true, true},
		{"another machine", Options{}, func(fs *crashFS) { fs.foreign = true }, true, false},
		{"not known", Options{}, func(fs *crashFS) { fs.untold = errors.New("no statfs") }, true, false},
		{"read back", Options{ReadBack: true}, func(*crashFS) {}, false, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			fs := newCrashFS()
			c.opts.FS = fs
			s, err := Open("", c.opts)
			if err != nil {
				t.Fatal(err)
			}
			put := func(key string, want bool) {
				t.Helper()
				w, err := s.NewTypedWriter(t.Context(), key, "", &driver.WriterOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				if s.Vouches() != want {
					t.Errorf("after %s: it vouches: %v", key, !want)
				}
			}
			put("a", c.before)
			c.turn(fs)
			put("b", c.after)
			fs.foreign, fs.untold = false, nil
			put("c", c.after)
		})
	}
}
