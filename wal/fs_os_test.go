package wal

import (
	"bytes"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/rustmq/rustmq/directio"
)

// Whole blocks go past the page cache and all else through it: whatever the mixture, a reader sees the last bytes written, at once.
func TestDirectAndOtherWritesMakeOneFile(t *testing.T) {
	for _, refused := range []bool{false, true} {
		name := map[bool]string{false: "direct", true: "refused"}[refused]
		t.Run(name, func(t *testing.T) {
			f, err := OS().Create(filepath.Join(t.TempDir(), "f"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			o := f.(*osFile)
			if directio.Flag != 0 && o.direct == nil {
				t.Log("the file system of the test has no direct I/O")
			}
			if refused {
				o.noWrites = true
				o.noReads.Store(true)
			}
			const size = 1 << 20
			if err := f.Allocate(size); err != nil {
				t.Fatal(err)
			}
			rng := rand.New(rand.NewPCG(1, 2))
			var queue directio.Queue
			want, got, past, buf := make([]byte, size), make([]byte, size), make([]byte, size), make([]byte, 128<<10)
			for i := range 400 {
				at, n := rng.IntN(size-len(buf)), 1+rng.IntN(len(buf))
				if i%2 == 0 {
					at, n = at&^(directio.Align-1), max(1, n/directio.Align)*directio.Align
				}
				for j := range buf[:n] {
					buf[j] = byte(rng.Uint32())
				}
				if m, err := f.WriteAt(buf[:n], int64(at)); err != nil || m != n {
					t.Fatalf("write %d at %d: %d, %v", n, at, m, err)
				}
				copy(want[at:], buf[:n])
				if _, err := f.ReadAt(got[at:at+n], int64(at)); err != nil || !bytes.Equal(got[at:at+n], want[at:at+n]) {
					t.Fatalf("after the write of %d at %d others are read: %v", n, at, err)
				}
				from := at &^ (directio.Align - 1)
				to := min(size, from+max(directRead, n)+directio.Align)
				if m, err := f.ReadPast(past[:to-from], int64(from)); err != nil || m != to-from || !bytes.Equal(past[:m], want[from:to]) {
					t.Fatalf("after the write of %d at %d others are read past the page cache: %d, %v", n, at, m, err)
				}
				half := (to - from) / 2 &^ (directio.Align - 1)
				pieces := []directio.Piece{{Bytes: past[half : to-from], At: int64(from + half)}, {Bytes: past[:half], At: int64(from)}}
				clear(past)
				if f.ReadEach(&queue, pieces) {
					if pieces[0].N != to-from-half || pieces[1].N != half || !bytes.Equal(past[:to-from], want[from:to]) {
						t.Fatalf("after the write of %d at %d others are read together: %d and %d of %d bytes", n, at, pieces[1].N, pieces[0].N, to-from)
					}
				} else if o.direct != nil && !refused && !queue.Refused() && to%directio.Align == 0 {
					t.Fatal("nothing was read together")
				}
				if i%16 == 0 {
					if err := f.Sync(); err != nil {
						t.Fatal(err)
					}
				}
			}
			if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("the file is not what was written: %v", err)
			}
		})
	}
}
