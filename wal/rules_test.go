package wal_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// These are the clauses of the design's rules of the log that no other test
// here falls over when they are broken.

// fill writes entries of stream 9 until so many more segments have been begun,
// and releases them.
func fill(t *testing.T, l *wal.Log, segments uint64) {
	t.Helper()
	_, at, _ := l.Bounds(id(9))
	for goal := l.Stats().RotationsTotal + segments; l.Stats().RotationsTotal < goal; at++ {
		mustAdd(t, l, data(9, at, at+1, 2000))
	}
	l.Release(id(9), at)
}

// crashed opens what a power cut leaves of a log, where nothing but the
// last write can be torn.
func crashed(t *testing.T, fs *crashfs.FS, o wal.Options) (*wal.Log, *wal.Recovery) {
	t.Helper()
	fs = fs.Clone(1)
	fs.CrashWith(crashfs.Keep())
	o.FS = fs
	l, r, err := wal.Open(o, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, r
}

// Rule 1: what is copied forward was read a while ago. When it was cut
// meanwhile, and something else lies at its offsets, it must stay where it is.
func TestCopyOfWhatWasCutMeanwhileIsNotMade(t *testing.T) {
	fs := crashfs.New(1)
	o := options(fs)
	o.CopyBehind = 100
	l := mustOpen(t, o)
	old, other := data(1, 0, 1, 100), data(2, 0, 1, 100)
	mustAdd(t, l, old)
	mustAdd(t, l, other)
	fill(t, l, 2)
	mustAdd(t, l, truncate(1, 0))
	mustAdd(t, l, data(1, 0, 1, 50))
	l.Release(id(2), 1)
	for _, e := range []wal.Entry{old, other} {
		done := make(result, 1)
		wal.PutCopy(l, e.Stream, e.First, e.End, e.Payload, 1, done)
		if err := done.wait(t); err != nil {
			t.Fatal(err)
		}
	}
	check := func(l *wal.Log) {
		t.Helper()
		list, err := contents(l, id(1))
		if err != nil || len(list) != 1 || len(list[0].Payload) != 50 {
			t.Errorf("what was cut is back: %d entries, %v", len(list), err)
		}
	}
	check(l)
	if s := l.Stats(); s.CopiedBytesTotal != 0 {
		t.Errorf("%d bytes were copied", s.CopiedBytesTotal)
	}
	again, _ := crashed(t, fs, o)
	check(again)
}

// Rule 1: a checkpoint carries what is quarantined, and why. Else a vote that was
// lost to damage would be forgotten with the segment that it was lost in, and an
// older one take its place.
func TestLostStateStaysLostWhenItsSegmentIsGone(t *testing.T) {
	fs := crashfs.New(1)
	o := options(fs)
	l := mustOpen(t, o)
	mustAdd(t, l, state(1, "voted for 2"))
	mustAdd(t, l, state(1, "voted for 3"))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	list := slices.DeleteFunc(frames(t, fs), func(f frameAt) bool { return f.kind != "state" })
	if err := fs.Flip(list[1].path, (list[1].end-1)*8); err != nil {
		t.Fatal(err)
	}
	l, _, err := wal.Open(o, nil)
	if err != nil {
		t.Fatal(err)
	}
	for gone := false; !gone; {
		fill(t, l, 1)
		_, err := fs.ReadFile(list[1].path)
		gone = err != nil
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l, _, err = wal.Open(o, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if l.Quarantined(id(1)) == nil {
		e, _ := l.State(id(1))
		t.Errorf("nobody knows any more that a state was lost; the state is %q", e.Payload)
	}
	mustAdd(t, l, state(1, "voted for 4"))
	if err := l.Quarantined(id(1)); err != nil {
		t.Error(err)
	}
}

// Rule 1: where headers cannot be read every stream is suspect that is not proven
// continuous, and no other: by its own next entry, by the seal of its
// segment, or by the checkpoint of the next one.
func TestHoleMakesOnlyThoseSuspectThatAreNotProvenWhole(t *testing.T) {
	for name, c := range map[string]struct {
		sealed  bool
		alone   bool // the segment behind it is not there yet
		suspect []wal.StreamID
	}{
		"next entry":          {suspect: []wal.StreamID{id(1), id(3)}},
		"seal":                {sealed: true, alone: true, suspect: []wal.StreamID{id(1)}},
		"seal and checkpoint": {sealed: true, suspect: []wal.StreamID{id(1)}},
	} {
		t.Run(name, func(t *testing.T) {
			fs := crashfs.New(1)
			o := options(fs)
			o.CopyBehind = 100
			l := mustOpen(t, o)
			for i := range uint64(3) {
				for s := 1; s <= 3; s++ {
					mustAdd(t, l, data(s, i, i+1, 100))
				}
			}
			mustAdd(t, l, data(1, 3, 4, 100))
			mustAdd(t, l, data(1, 4, 5, 100))
			mustAdd(t, l, data(2, 3, 4, 100))
			if c.sealed {
				_, at, _ := l.Bounds(id(9))
				for ; l.Stats().RotationsTotal < 2; at++ { // the first is that of the first segment
					mustAdd(t, l, data(9, at, at+1, 2000))
				}
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			list := frames(t, fs)
			var lost []frameAt
			for _, f := range list {
				if strings.HasPrefix(f.stream, "00000001") {
					lost = append(lost, f)
				}
			}
			fs = spoil(t, fs, list[0].path, func(b []byte) []byte {
				clear(b[lost[3].pos:lost[4].end]) // two frames: nobody can say whose
				return b
			})
			for _, path := range fs.Files(dir) {
				if c.alone && filepath.Base(path) > filepath.Base(list[0].path) {
					if err := fs.Remove(path); err != nil {
						t.Fatal(err)
					}
				}
			}
			o.FS = fs
			l, r, err := wal.Open(o, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			if !slices.Equal(r.Suspect, c.suspect) || len(r.Damage) == 0 {
				t.Errorf("suspect are %x, want %x; damage %v", r.Suspect, c.suspect, r.Damage)
			}
		})
	}
}

// Rule 2: what was torn off is zeroed. Else what was written behind it, in the same
// group and never acknowledged, is found again as soon as the log ends right before
// it another time.
func TestTornEndIsNotContinuedByWhatLayBehindIt(t *testing.T) {
	fs := crashfs.New(1)
	o := options(fs)
	o.PromiseDelay = time.Hour
	l := mustOpen(t, o)
	mustAdd(t, l, data(1, 0, 1, 512))
	probe := frames(t, fs)
	last := probe[len(probe)-1]
	// The torn entry ends with a block, so that writing another in its place leaves the next block alone.
	size := 3*4096 - int(last.end)%4096 - 64
	held := make(chan struct{})
	var holding atomic.Bool
	fs.Hook(func(c crashfs.Call) error {
		if c.Op == crashfs.OpSync && holding.CompareAndSwap(false, true) {
			<-held
		}
		return nil
	})
	const busy = "it keeps the writer busy" // whole units of a frame's alignment
	pending := []result{add(t, l, state(2, busy))}
	until(t, "a sync", holding.Load)
	size -= 64 + len(busy) // the state's frame lies before it
	pending = append(pending, add(t, l, data(1, 1, 2, size)), add(t, l, data(1, 2, 3, 100)))
	close(held)
	for _, r := range pending {
		if err := r.wait(t); err != nil {
			t.Fatal(err)
		}
	}
	fs.Hook(nil)
	list := frames(t, fs)
	torn, behind := list[len(list)-2], list[len(list)-1]
	if torn.end%4096 != 0 || behind.pos != torn.end {
		t.Fatalf("the entries lie at [%d, %d) and %d: the test wants them to meet at a block's end", torn.pos, torn.end, behind.pos)
	}

	disk := spoil(t, fs, torn.path, func(b []byte) []byte {
		clear(b[torn.pos:torn.end])
		return b
	})
	o.FS = disk
	l, r, err := wal.Open(o, nil)
	if err != nil || r.TornBytes == 0 || len(r.Damage) != 0 {
		t.Fatalf("torn %d bytes, damage %v, %v", r.TornBytes, r.Damage, err)
	}
	wantStream(t, l, 1, 0, 1)
	mustAdd(t, l, data(1, 1, 2, size))
	l, _ = crashed(t, disk, o)
	wantStream(t, l, 1, 0, 2)
}

// Rule 3: a disk that is full while a free segment is renamed is full, and no more.
func TestFullDiskWhileASegmentIsRecycledHeals(t *testing.T) {
	fs := crashfs.New(1)
	var full atomic.Bool
	var met atomic.Int64
	full.Store(true)
	fs.Hook(func(c crashfs.Call) error {
		recycles := c.Op == crashfs.OpRename && !strings.Contains(c.Path, "prepare")
		if full.Load() && (recycles || c.Op == crashfs.OpAllocate && met.Load() > 0) {
			met.Add(1)
			return syscall.ENOSPC
		}
		return nil
	})
	l := mustOpen(t, options(fs))
	var err error
	for at := uint64(0); err == nil; at++ {
		if err = add(t, l, data(1, at, at+1, 2000)).wait(t); err == nil {
			l.Release(id(1), at+1)
		}
	}
	if got := met.Load(); got == 0 || !isCode(err, mq.StorageFull) || l.Err() != nil {
		t.Fatalf("%d renames met a full disk: %v; the log: %v", got, err, l.Err())
	}
	full.Store(false)
	until(t, "room", func() bool { return l.Reserve(t.Context(), 2000) == nil })
	l.Unreserve(2000)
	_, end, _ := l.Bounds(id(1))
	mustAdd(t, l, data(1, end, end+1, 2000))
	if got, _, err := l.Read(id(1), end, 1<<20, nil); err != nil || !bytes.Equal(got, body(1, end, 2000)) {
		t.Errorf("%.40q, %v", got, err)
	}
}

// Rule 3: a segment that is prepared has all its bytes. Whatever goes wrong in it, a full disk above all, is not
// known to have left the bytes before it alone: it poisons.
func TestFullDiskInsideAPreparedSegmentPoisons(t *testing.T) {
	for _, op := range []crashfs.Op{crashfs.OpWrite, crashfs.OpSync} {
		calls := int64(0)
		for k := int64(0); k <= calls; k++ { // the first run only counts
			fs := crashfs.New(1)
			l := mustOpen(t, options(fs))
			// The first segment's own preparing is over when something is durable in it.
			mustAdd(t, l, data(1, 0, 1, 100))
			var seen atomic.Int64
			fs.Hook(func(c crashfs.Call) error {
				if c.Op == op && strings.HasSuffix(c.Path, ".wal") && seen.Add(1) == k {
					return syscall.ENOSPC
				}
				return nil
			})
			var pending []result
			for at := uint64(1); at < 30; at++ {
				pending = append(pending, add(t, l, data(1, at, at+1, 2000)))
			}
			var last error
			for _, r := range pending {
				if err := r.wait(t); err == nil && last != nil {
					t.Fatalf("%s %d: acknowledged behind an error", op, k)
				} else if err != nil {
					last = err
				}
			}
			if k > 0 && seen.Load() >= k {
				until(t, fmt.Sprintf("%s %d of %d meets a full disk, and poisons the log", op, k, calls), func() bool { return l.Err() != nil })
			}
			fs.Hook(nil)
			if k == 0 {
				calls = seen.Load()
			}
		}
		if calls < 5 { // a segment's head, and groups
			t.Errorf("only %d calls of %s", calls, op)
		}
	}
}

// Rule 1: segments go oldest first, and a checkpoint says which is the oldest: a missing one is named, also when nothing
// was ever freed.
func TestMissingFirstSegmentIsNamed(t *testing.T) {
	fs := crashfs.New(1)
	o := options(fs)
	o.CopyBehind = 100
	l := mustOpen(t, o)
	for at := uint64(0); l.Stats().RotationsTotal < 3; at++ {
		mustAdd(t, l, data(1, at, at+1, 2000))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	first := frames(t, fs)[0].path
	if err := fs.Remove(first); err != nil {
		t.Fatal(err)
	}
	r, err := wal.Check(fs, dir)
	if err != nil || !slices.ContainsFunc(r.Damage, func(d wal.Damage) bool { return d.Path == first }) {
		t.Errorf("%s is missing: %v, %v", filepath.Base(first), r.Damage, err)
	}
}
