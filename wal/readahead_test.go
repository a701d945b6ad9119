package wal_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/rustmq/rustmq/wal"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// TestRecoveryReadsFramesAcrossItsPieces: a recovery reads files in pieces, and
// frames lie in one, in two, or are longer than any.
func TestRecoveryReadsFramesAcrossItsPieces(t *testing.T) {
	base := crashfs.New(1)
	o := options(base)
	o.SegmentBytes = 2 << 20
	l := mustOpen(t, o)
	random := rand.New(rand.NewPCG(1, 2))
	var sizes [2][]int
	for i := range 30 {
		size := []int{1 + random.IntN(2000), 60_000 + random.IntN(140_000), 300_000 + random.IntN(600_000)}[i%3]
		s := i % 2
		mustAdd(t, l, data(s, uint64(len(sizes[s])), uint64(len(sizes[s])+1), size))
		sizes[s] = append(sizes[s], size)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	open := func(fs *crashfs.FS) (*wal.Recovery, int) {
		t.Helper()
		seen := 0
		o.FS = fs
		l, r, err := wal.Open(o, func(e wal.Entry) error {
			s := int(e.Stream[3])
			if want := body(s, e.First, sizes[s][e.First]); !bytes.Equal(e.Payload, want) {
				t.Errorf("stream %d at %d: %d bytes that are not what was appended", s, e.First, len(e.Payload))
			}
			seen++
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return r, seen
	}
	if r, seen := open(base.Clone(1)); seen != 30 || len(r.Damage) > 0 || r.TornBytes > 0 {
		t.Fatalf("%d entries, %+v", seen, r)
	}
	n := 0
	for _, f := range frames(t, base) {
		if f.kind != "data" {
			continue
		}
		n++
		at := []int64{f.pos + 20, f.pos + 64, f.end - 1}[n%3] // header, payload, its end
		fs := base.Clone(1)
		if err := fs.Flip(f.path, at*8); err != nil {
			t.Fatal(err)
		}
		r, _ := open(fs)
		if len(r.Damage) != 1 || r.Damage[0].Path != f.path || r.Damage[0].Position != f.pos || len(r.Suspect) != 1 {
			t.Errorf("a flip at %d in the frame at %d of %s: %+v", at, f.pos, f.path, r)
		}
	}
}
