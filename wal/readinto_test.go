package wal_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/rustmq/rustmq/directio"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// interleaved is a log of streams 1 to 3 with entries of all sizes, of one offset each, and how many each has.
func interleaved(t *testing.T, fs wal.FS, sizes ...int) (*wal.Log, uint64) {
	t.Helper()
	o := options(fs)
	o.SegmentBytes = 4 << 20
	l := mustOpen(t, o)
	rng := rand.New(rand.NewPCG(1, 2))
	const n = 60
	var last result
	for i := range uint64(n) {
		for s := 1; s <= 3; s++ {
			last = add(t, l, data(s, i, i+1, 1+rng.IntN(sizes[rng.IntN(len(sizes))])))
		}
	}
	if err := last.wait(t); err != nil {
		t.Fatal(err)
	}
	return l, n
}

func TestReadIntoIsReadWithoutTheCopy(t *testing.T) {
	l, n := interleaved(t, crashfs.New(1), 100, 5000, 70_000, 300_000)
	rng := rand.New(rand.NewPCG(3, 4))
	var buf, other wal.ReadBuffer
	for range 300 {
		stream, from, most := 1+rng.IntN(3), rng.Uint64N(n+1), 1<<rng.IntN(21)
		want, next, err := l.Read(id(stream), from, most, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := l.ReadInto(id(stream), from, most, &buf)
		if err != nil || got != next || len(buf.Pieces) > int(next-from) {
			t.Fatalf("stream %d at %d, %d bytes: %d pieces, next %d, %v; want %d", stream, from, most, len(buf.Pieces), got, err, next)
		}
		// What one reader has is not touched by what others do, nor by what it appends to it.
		if _, err := l.ReadInto(id(1+rng.IntN(3)), rng.Uint64N(n), most, &other); err != nil {
			t.Fatal(err)
		}
		for _, p := range buf.Pieces {
			_ = append(p, "overwritten"...)
		}
		if !bytes.Equal(bytes.Join(buf.Pieces, nil), want) {
			t.Fatalf("stream %d at %d, %d bytes: other bytes than those of Read", stream, from, most)
		}
		if len(want) > most && next != from+1 {
			t.Fatalf("stream %d at %d: %d bytes in %d entries, at most %d were asked for", stream, from, len(want), next-from, most)
		}
		if cap(buf.Bytes) > 4<<20 {
			t.Fatalf("%d bytes are kept", cap(buf.Bytes))
		}
	}
}

// countingFS counts the bytes that are read.
type countingFS struct {
	wal.FS
	read, past     atomic.Int64 // all, and those past the page cache
	requests, each atomic.Int64 // that read past the page cache, and of them those for several pieces
}

type countingFile struct {
	wal.File
	fs *countingFS
}

func (f *countingFS) counted(file wal.File, err error) (wal.File, error) {
	return &countingFile{file, f}, err
}
func (f *countingFS) Create(path string) (wal.File, error) { return f.counted(f.FS.Create(path)) }
func (f *countingFS) Open(path string) (wal.File, error)   { return f.counted(f.FS.Open(path)) }

func (f *countingFile) ReadAt(p []byte, at int64) (int, error) {
	f.fs.read.Add(int64(len(p)))
	return f.File.ReadAt(p, at)
}

func (f *countingFile) ReadPast(p []byte, at int64) (int, error) {
	f.fs.read.Add(int64(len(p)))
	f.fs.past.Add(int64(len(p)))
	f.fs.requests.Add(1)
	return f.File.ReadPast(p, at)
}

func (f *countingFile) ReadEach(q *directio.Queue, pieces []directio.Piece) bool {
	for _, p := range pieces {
		f.fs.read.Add(int64(len(p.Bytes)))
		f.fs.past.Add(int64(len(p.Bytes)))
	}
	f.fs.requests.Add(1)
	f.fs.each.Add(1)
	return f.File.ReadEach(q, pieces)
}

func TestReadLooksAtLittleMoreThanItGives(t *testing.T) {
	for _, size := range []int{130_352, 60_000, 20_000, 1000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			fs := &countingFS{FS: crashfs.New(1)}
			o := options(fs)
			o.SegmentBytes = 64 << 20
			l := mustOpen(t, o)
			const n = 64
			var last result
			for i := range uint64(n) {
				for s := 1; s <= 3; s++ {
					last = add(t, l, data(s, i, i+1, size))
				}
			}
			if err := last.wait(t); err != nil {
				t.Fatal(err)
			}
			for _, atOnce := range []int{128 << 10, 512 << 10} {
				fs.read.Store(0)
				fs.past.Store(0)
				var buf wal.ReadBuffer
				var given, reads int64
				for at := uint64(0); at < n; reads++ {
					var err error
					if at, err = l.ReadInto(id(1), at, atOnce, &buf); err != nil {
						t.Fatal(err)
					}
					for _, p := range buf.Pieces {
						given += int64(len(p))
					}
				}
				// Entries of others lie between those that are small, and each read may begin and end inside a stretch of them.
				most := given + given/8
				if size < 64<<10 {
					most = 3*given + reads*(64<<10)
				}
				if got := fs.read.Load(); got > most {
					t.Errorf("%d bytes were read to give %d in %d reads", got, given, reads)
				}
				// Those who share a stretch share the page cache, too.
				if got, want := fs.past.Load(), fs.read.Load(); size >= 60_000 && got != want || size < 60_000 && got != 0 {
					t.Errorf("%d of %d bytes were read past the page cache", got, want)
				}
			}
		})
	}
}

// What a reader wants lies between what others want: the device is told of all of it at once, and not when the piece before has come.
func TestDistantPiecesAreReadTogether(t *testing.T) {
	fs := &countingFS{FS: crashfs.New(1)}
	o := options(fs)
	o.SegmentBytes = 64 << 20
	l := mustOpen(t, o)
	const n, size = 32, 100_000
	var last result
	for i := range uint64(n) {
		for s := 1; s <= 3; s++ {
			last = add(t, l, data(s, i, i+1, size))
		}
	}
	if err := last.wait(t); err != nil {
		t.Fatal(err)
	}
	var buf wal.ReadBuffer
	var requests int64
	for at := uint64(0); at < n; at += 8 {
		before, each := fs.requests.Load(), fs.each.Load()
		next, err := l.ReadInto(id(2), at, 8*size+size/2, &buf)
		if err != nil || next != at+8 || len(buf.Pieces) != 8 {
			t.Fatalf("%d pieces up to %d, %v", len(buf.Pieces), next, err)
		}
		got, together := fs.requests.Load()-before, fs.each.Load()-each
		if got > 2 || together == 0 { // for each segment one
			t.Errorf("8 entries at %d were read by %d requests, %d of them for several", at, got, together)
		}
		requests += got
	}
	if requests > n/8+3 {
		t.Errorf("%d entries were read by %d requests", n, requests)
	}
}

func TestEntryDamagedWhileTheLogIsOpenIsNotServed(t *testing.T) {
	fs := crashfs.New(1)
	l := mustOpen(t, options(fs))
	for i := range uint64(4) {
		mustAdd(t, l, data(1, i, i+1, 3000))
	}
	f := frames(t, fs)
	for i := range f {
		if f[i].kind != "data" {
			continue
		}
		if err := fs.Flip(f[i].path, (f[i].pos+64+1000)*8); err != nil {
			t.Fatal(err)
		}
		break
	}
	for name, read := range map[string]func(most int) (uint64, error){
		"Read":     func(most int) (uint64, error) { _, next, err := l.Read(id(1), 0, most, nil); return next, err },
		"ReadInto": func(most int) (uint64, error) { return l.ReadInto(id(1), 0, most, &wal.ReadBuffer{}) },
	} {
		for _, most := range []int{1, 3000, 1 << 20} {
			if next, err := read(most); !isCode(err, mq.Corrupt) || !strings.Contains(err.Error(), f[0].path) || next != 0 {
				t.Errorf("%s of %d bytes: %d, %v", name, most, next, err)
			}
		}
	}
	if _, next, err := l.Read(id(1), 1, 1<<20, nil); next != 4 || err != nil {
		t.Errorf("behind it: %d, %v", next, err)
	}
}

func TestUnreadableNeighbourDoesNotHideAnEntry(t *testing.T) {
	fs := crashfs.New(1)
	l := mustOpen(t, options(fs))
	for i := range uint64(4) {
		mustAdd(t, l, data(1, i, i+1, 3000))
	}
	for _, f := range frames(t, fs) {
		if f.kind == "data" && strings.HasPrefix(f.stream, "00000001") {
			fs.Unreadable(f.path, f.pos-100, f.pos) // in the same block
			break
		}
	}
	if _, next, err := l.Read(id(1), 0, 1, nil); next != 1 || err != nil {
		t.Errorf("%d, %v", next, err)
	}
}
