package wal_test

import (
	"bytes"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/rustmq/rustmq/wal"
	"github.com/rustmq/rustmq/wal/crashfs"
)

func TestAppendedIsReadBack(t *testing.T) {
	l := mustOpen(t, options(crashfs.New(1)))
	var end uint64
	for i := range 300 {
		n := uint64(1 + i%3)
		add(t, l, data(1, end, end+n, 40+i))
		add(t, l, data(2, uint64(i), uint64(i+1), 100))
		end += n
	}
	if err := l.Sync(ctx(t)); err != nil {
		t.Fatal(err)
	}
	wantStream(t, l, 1, 0, end)
	wantStream(t, l, 2, 0, 300)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestReopenedLogGoesOn(t *testing.T) {
	fs := crashfs.New(1)
	o := options(fs)
	var end uint64
	for range 5 {
		l := mustOpen(t, o)
		for range 100 {
			add(t, l, data(1, end, end+1, 300))
			end++
		}
		add(t, l, state(1, "state"))
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var seen uint64
	l, r, err := wal.Open(o, func(e wal.Entry) error {
		if e.Type == wal.EntryData {
			if e.First != seen || !bytes.Equal(e.Payload, body(1, e.First, 300)) {
				t.Errorf("visited [%d, %d), want %d", e.First, e.End, seen)
			}
			seen = e.End
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if seen != end || len(r.Damage) != 0 || r.TornBytes != 0 {
		t.Errorf("visited up to %d, want %d; %+v", seen, end, r)
	}
	wantStream(t, l, 1, 0, end)
	if e, ok := l.State(id(1)); !ok || string(e.Payload) != "state" {
		t.Errorf("state %v %t", e, ok)
	}
}

// TestSegmentsLeaveOldestFirstUnderReaders: a reader in the oldest free segment
// holds up those behind it, so that a crash never finds a gap in the files.
func TestSegmentsLeaveOldestFirstUnderReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := crashfs.New(1)
		o := options(fs)
		l := mustOpen(t, o)
		var end uint64
		fill := func(n int) {
			for range n {
				mustAdd(t, l, data(1, end, end+1, 10_000))
				end++
			}
		}
		fill(7) // three segments
		first := filepath.Join(dir, "0000000000000001.wal")
		if _, err := l.ReadEntries(id(1), 0, 1, func(wal.Entry) error {
			l.Release(id(1), end)
			until(t, "segments freed", func() bool { return l.Stats().FreedTotal >= 2 })
			if err := l.Sync(t.Context()); err != nil {
				t.Error(err)
			}
			synctest.Wait() // were it wrong, the second one would be gone by now
			if files := fs.Files(dir); files[0] != first || files[1] != filepath.Join(dir, "0000000000000002.wal") {
				t.Errorf("while the first is read there are %q", files)
			}
			after := fs.Clone(1)
			after.CrashWith(crashfs.Lose())
			if r, err := wal.Check(after, dir); err != nil || len(r.Damage) > 0 {
				t.Errorf("a crash then leaves %+v, %v", r, err)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		until(t, "the first segment is gone", func() bool { return fs.Files(dir)[0] != first })
	})
}
