package tier

import (
	"bytes"
	"testing"
)

// TestDirectoryIsReadBackWhereNobodyVouches is of objects in a directory on a disk of this machine: what a write has put there is believed as a sync of the log is. What was there before is
// looked at, and everything is with read_back.
func TestDirectoryIsReadBackWhereNobodyVouches(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 100_000)
	for what, set := range map[string]string{"as it is": "", "below a prefix": "?prefix=a/b/", "read back": "?read_back=true", "not read back": "?read_back=false"} {
		t.Run(what, func(t *testing.T) {
			s := must[*Store](t)(OpenStore(t.Context(), "file://"+t.TempDir()+set, Limits{}))
			defer s.Close()
			read := func() int64 { return s.Stats().Classes[ClassBackground].Downloaded }
			if err := s.Put(t.Context(), "k", data, checksum(data)); err != nil {
				t.Fatal(err)
			}
			first, want := read(), int64(0)
			if what == "read back" || !directoryOf(s.bucket).Vouches() { // the directory of the test may be on anything
				want = int64(len(data))
			}
			if err := s.Put(t.Context(), "k", data, checksum(data)); err != nil {
				t.Fatal(err)
			}
			if again := read() - first; first != want || again != int64(len(data)) {
				t.Errorf("%d and %d bytes were read back, want %d and %d", first, again, want, len(data))
			}
		})
	}
	if _, err := OpenStore(t.Context(), "file://"+t.TempDir()+"?read_back=maybe", Limits{}); err == nil {
		t.Error("read_back=maybe is taken")
	}
}
