package wal_test

import (
	"bufio"
	"bytes"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// frameAt is a frame of a closed log, as Dump has it.
type frameAt struct {
	path   string
	pos    int64
	end    int64 // of the payload
	kind   string
	stream string // hex; empty for the log's own
	last   bool   // of its segment, or the promise before it
}

// frames lists the frames of a log.
func frames(t testing.TB, fs wal.FS) (list []frameAt) {
	t.Helper()
	var text bytes.Buffer
	if err := dumpTo(fs, dir, &text); err != nil {
		t.Fatal(err)
	}
	var path string
	for lines := bufio.NewScanner(&text); lines.Scan(); {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "/"):
			path, _, _ = strings.Cut(line, ":")
		case strings.HasPrefix(line, "end at"):
			for i := len(list) - 1; i >= 0 && list[i].path == path && (i == len(list)-1 || list[i].kind == "promise"); i-- {
				list[i].last = true
			}
		default:
			f := frameAt{path: path}
			var bytes int64
			fields := strings.Fields(line)
			if _, err := fmt.Sscan(fields[0], &f.pos); err != nil {
				t.Fatalf("line %q: %v", line, err)
			}
			f.kind = fields[1]
			if len(fields[2]) == 40 {
				f.stream = fields[2]
			}
			if _, err := fmt.Sscan(fields[slices.Index(fields, "bytes")-1], &bytes); err != nil {
				t.Fatalf("line %q: %v", line, err)
			}
			f.end = f.pos + 64 + bytes
			list = append(list, f)
		}
	}
	return list
}

// everything is all that can be read of a log, by stream.
func everything(l *wal.Log) (map[wal.StreamID][]wal.Entry, map[wal.StreamID]error) {
	all, errs := map[wal.StreamID][]wal.Entry{}, map[wal.StreamID]error{}
	for _, s := range l.Streams() {
		list, err := contents(l, s)
		if e, ok := l.State(s); ok {
			list = append([]wal.Entry{e}, list...)
		}
		all[s] = list
		if err != nil {
			errs[s] = err
		}
	}
	return all, errs
}

// smallLog has a bit of everything in one segment, and is closed.
func smallLog(t testing.TB) *crashfs.FS {
	fs := crashfs.New(1)
	l := mustOpen(t, options(fs))
	for i := range uint64(6) {
		mustAdd(t, l, data(1, 2*i, 2*i+2, 50+int(i)))
		mustAdd(t, l, data(2, i, i+1, 120))
	}
	mustAdd(t, l, state(1, "vote"))
	mustAdd(t, l, truncate(2, 4))
	mustAdd(t, l, data(2, 4, 5, 70))
	mustAdd(t, l, reset(3, 30))
	mustAdd(t, l, data(3, 30, 33, 64))
	mustAdd(t, l, state(1, "vote again"))
	mustAdd(t, l, data(1, 12, 13, 33))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return fs
}

// bigLog is the log that lifeOfALog leaves: several segments, with frames of
// all the log's own kinds. Which segments are freed before it ends is up to the
// scheduler, so it is made again until they are there.
func bigLog(t testing.TB) *crashfs.FS {
	t.Helper()
	for range 200 {
		fs := liveOnce(t)
		kinds := map[string]bool{}
		for _, f := range frames(t, fs) {
			kinds[f.kind] = true
		}
		if kinds["seal"] && kinds["free"] && kinds["data+copy"] {
			return fs
		}
	}
	t.Fatal("no log with a seal, a free frame and a copy")
	return nil
}

func liveOnce(t testing.TB) *crashfs.FS {
	fs := crashfs.New(1)
	l := mustOpen(t, options(fs))
	w := newWorkload(t, l)
	lifeOfALog(w)
	if w.failed {
		t.Fatal("the log failed")
	}
	return fs
}

// flipped checks that the flip of one bit is noticed where it matters, blamed
// on nobody else, and never read.
func flipped(t *testing.T, base *crashfs.FS, want map[wal.StreamID][]wal.Entry, f frameAt, pos int64, open bool) {
	t.Helper()
	fs := base
	if open {
		fs = base.Clone(1)
	}
	bit := pos*8 + pos%8
	if err := fs.Flip(f.path, bit); err != nil {
		t.Fatal(err)
	}
	what := fmt.Sprintf("%s, bit %d at %d of the %s frame at %d", filepath.Base(f.path), pos%8, pos, f.kind, f.pos)
	var r *wal.Recovery
	if open {
		var l *wal.Log
		var err error
		o := options(fs)
		if l, r, err = wal.Open(o, nil); err != nil {
			t.Fatalf("%s: open: %v", what, err)
		}
		neverServed(t, what, l, r, want)
		if err := l.Close(); err != nil {
			t.Fatalf("%s: close: %v", what, err)
		}
		// Going on must not make anybody believe that all is well.
		var text strings.Builder
		_ = dumpTo(fs, dir, &text) // only to be looked at
		l, again, err := wal.Open(o, nil)
		if err != nil {
			t.Fatalf("%s: open again: %v", what, err)
		}
		if err := l.Close(); err != nil {
			t.Fatalf("%s: close again: %v", what, err)
		}
		if !slices.Equal(r.Suspect, again.Suspect) {
			t.Errorf("%s: suspect %x for %v, and after opening again %x for %v\n%s", what, r.Suspect, r.Damage, again.Suspect, again.Damage, text.String())
		}
	} else {
		var err error
		if r, err = wal.Check(fs, dir); err != nil {
			t.Fatalf("%s: check: %v", what, err)
		}
		if err := fs.Flip(f.path, bit); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range r.Suspect {
		if fmt.Sprintf("%x", s) != f.stream {
			t.Errorf("%s: stream %x is suspect: %v", what, s, r.Damage)
		}
	}
	if f.kind == "promise" && f.last {
		return // what it would say nobody has heard
	}
	found := slices.ContainsFunc(r.Damage, func(d wal.Damage) bool {
		return d.Path == f.path && d.Position == f.pos
	})
	if !found {
		t.Errorf("%s: not reported: %v", what, r.Damage)
	}
}

// neverServed checks that what can be read is what was written, and that what
// cannot is said to be corrupt.
func neverServed(t *testing.T, what string, l *wal.Log, r *wal.Recovery, want map[wal.StreamID][]wal.Entry) {
	t.Helper()
	got, errs := everything(l)
	for s, list := range want {
		suspect := slices.Contains(r.Suspect, s)
		if suspect != (l.Quarantined(s) != nil) {
			t.Errorf("%s: stream %x: suspect %t, quarantined %v", what, s, suspect, l.Quarantined(s))
		}
		if err := errs[s]; err != nil && (!suspect || !isCode(err, mq.Corrupt)) {
			t.Errorf("%s: stream %x: %v", what, s, err)
		}
		if why := different(got[s], list, suspect); why != "" {
			t.Errorf("%s: stream %x, suspect %t: %s", what, s, suspect, why)
		}
	}
}

// different says how what was read is not what was written. A suspect stream may
// have less, or an old state; every stream may have more at its front, of what was released.
func different(got, want []wal.Entry, suspect bool) string {
	for _, e := range got {
		i := slices.IndexFunc(want, func(x wal.Entry) bool { return x.Type == e.Type && (x.First == e.First || x.Type == wal.EntryState) })
		switch {
		case suspect && e.Type == wal.EntryState:
		case i < 0 && len(want) > 0 && e.First < want[len(want)-1].First && e.Type == wal.EntryData:
		case i < 0 || want[i].End != e.End || !bytes.Equal(want[i].Payload, e.Payload):
			return fmt.Sprintf("read %v [%d, %d) %.30q", e.Type, e.First, e.End, e.Payload)
		}
	}
	if len(got) < len(want) && !suspect {
		return fmt.Sprintf("%d entries of %d", len(got), len(want))
	}
	return ""
}

func TestEveryFlippedBitOfASmallLogIsFound(t *testing.T) {
	base := smallLog(t)
	want := originals(t, base)
	list := frames(t, base)
	kinds := map[string]bool{}
	for _, f := range list {
		kinds[f.kind] = true
		for pos := f.pos; pos < f.end; pos++ {
			flipped(t, base, want, f, pos, pos%5 == 0)
			if t.Failed() {
				return
			}
		}
	}
	for _, k := range []string{"checkpoint", "data", "truncate", "state", "reset", "promise"} {
		if !kinds[k] {
			t.Errorf("no %s frame was tried", k)
		}
	}
	// Both copies of the header.
	for pos := range int64(64) {
		flipped(t, base, want, frameAt{path: list[0].path, kind: "header"}, pos, pos%5 == 0)
		flipped(t, base, want, frameAt{path: list[0].path, kind: "header"}, 4096+pos, pos%5 == 0)
	}
}

func TestFlippedBitsOfALongLogAreFound(t *testing.T) {
	base := bigLog(t)
	want := originals(t, base)
	kinds := map[string]int{}
	for i, f := range frames(t, base) {
		kinds[f.kind]++
		for pos := f.pos; pos < f.end; pos += 13 {
			if pos > f.pos+80 {
				pos += 200
			}
			if pos < f.end {
				flipped(t, base, want, f, pos, (i+int(pos))%3 == 0)
			}
			if t.Failed() {
				return
			}
		}
	}
	for _, k := range []string{"checkpoint", "data", "data+copy", "seal", "free"} {
		if kinds[k] == 0 {
			t.Errorf("no %s frame was tried: %v", k, slices.Collect(maps.Keys(kinds)))
		}
	}
}

// originals is what the log holds while it is whole.
func originals(t testing.TB, base *crashfs.FS) map[wal.StreamID][]wal.Entry {
	t.Helper()
	l := mustOpen(t, options(base.Clone(1)))
	want, errs := everything(l)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return want
}
