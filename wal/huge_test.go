package wal_test

import (
	"testing"

	"github.com/rustmq/rustmq/wal"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// TestLogThatWritesMuchGathersInAHugePage has segments that are longer than what is written at once. What it wrote is there, from before and after.
func TestLogThatWritesMuchGathersInAHugePage(t *testing.T) {
	for _, c := range []struct {
		name  string
		size  int
		count uint64
		huge  bool
	}{
		{"much", 100 << 10, 60, true},
		{"little", 1 << 10, 3000, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := options(crashfs.New(1))
			o.SegmentBytes = 2 << 20
			l := mustOpen(t, o)
			for first := range c.count {
				mustAdd(t, l, data(1, first, first+1, c.size))
			}
			if s := l.Stats(); s.Segments < 2 {
				t.Fatalf("%d segments", s.Segments)
			}
			wantStream(t, l, 1, 0, c.count)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if huge := wal.GathersInHugePage(l); huge != c.huge {
				t.Errorf("%d entries of %d bytes: gathered in a huge page: %v", c.count, c.size, huge)
			}
			wantStream(t, mustOpen(t, o), 1, 0, c.count)
		})
	}
}
