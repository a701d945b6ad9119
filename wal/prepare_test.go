package wal_test

import (
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
	"github.com/rustmq/rustmq/wal/crashfs"
)

const (
	mib  = 1 << 20
	tick = 100 * time.Millisecond // the longest pause between two pieces
)

// prepared counts what a log does to segments that are being prepared.
type prepared struct {
	size   int64 // of the one under way; 0: none
	zeroed int64 // of it
	all    int64 // zeroed in all
	syncs  int
	named  []int64 // sizes of those that were finished
	gone   int     // that were given up
}

// look adds the calls since the last look, made when nothing moves any more.
func (p *prepared) look(t *testing.T, fs *crashfs.FS) {
	t.Helper()
	synctest.Wait()
	for _, c := range fs.Trace() {
		if !strings.HasSuffix(c.Path, ".tmp") {
			continue
		}
		switch c.Op {
		case crashfs.OpAllocate:
			p.size, p.zeroed = c.Bytes, 0
		case crashfs.OpWrite:
			if c.Offset != p.zeroed {
				t.Errorf("zeros at %d, want %d", c.Offset, p.zeroed)
			}
			p.zeroed += c.Bytes
			p.all += c.Bytes
		case crashfs.OpSync:
			p.syncs++
		case crashfs.OpRename:
			p.named = append(p.named, p.size)
			p.size = 0
		case crashfs.OpRemove:
			p.gone++
			p.size = 0
		}
	}
	fs.StartTrace()
}

// paced opens a new log whose segments are long enough to be prepared in pieces.
func paced(t *testing.T, segment int64) (*wal.Log, *crashfs.FS, *prepared) {
	t.Helper()
	fs := crashfs.New(1)
	fs.StartTrace()
	o := options(fs)
	o.SegmentBytes = segment
	return mustOpen(t, o), fs, &prepared{}
}

// TestFirstEntryOfAYoungLogWaitsForLittle: not for a segment of full length, nor behind the zeros of the next one.
func TestFirstEntryOfAYoungLogWaitsForLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		l, fs, p := paced(t, 128*mib)
		mustAdd(t, l, data(1, 0, 1, 100))
		p.look(t, fs)
		if p.all != 4*mib || len(p.named) != 1 || time.Since(start) != 0 {
			t.Errorf("%+v after %v", p, time.Since(start))
		}
		// Then the next one is prepared in small pieces, each synced, with pauses; and none after that.
		for i := range int64(8) {
			before := *p
			time.Sleep(tick - time.Nanosecond)
			if p.look(t, fs); p.all != before.all {
				t.Errorf("piece %d came early: %+v", i, p)
			}
			time.Sleep(time.Nanosecond)
			if p.look(t, fs); p.all != before.all+mib || p.syncs != before.syncs+1 {
				t.Errorf("piece %d: %+v", i, p)
			}
		}
		time.Sleep(time.Hour)
		if p.look(t, fs); !slices.Equal(p.named, []int64{4 * mib, 8 * mib}) || p.all != 12*mib || p.gone != 0 {
			t.Errorf("%+v", p)
		}
	})
}

// TestSegmentIsPreparedAsTheOneBeforeIsUsed: neither so early that it competes with what is written, nor so late that it has to be
// waited for. No time passes, so nothing of this is a pause's end.
func TestSegmentIsPreparedAsTheOneBeforeIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const segment, entry = 32 * mib, 64 << 10
		start := time.Now()
		l, fs, p := paced(t, segment)
		var end uint64
		used, active := int64(0), int64(4*mib)
		for l.Stats().RotationsTotal < 6 {
			rotations := l.Stats().RotationsTotal
			mustAdd(t, l, data(1, end, end+1, entry))
			end++
			p.look(t, fs)
			if used += entry; l.Stats().RotationsTotal != rotations {
				active, used = p.named[len(p.named)-1], entry
				if int(l.Stats().RotationsTotal) != len(p.named) {
					t.Fatalf("%d segments were prepared for %d", len(p.named), rotations+1)
				}
			}
			// A quarter is spared, and an eighth is the log's own; a piece more or less.
			share := float64(used) / (float64(active) * 7 / 8 * 3 / 4)
			if early := float64(p.zeroed) - share*float64(max(p.size, 1)); p.size > 0 && early > 2*mib {
				t.Fatalf("%d of %d bytes used, and %d of %d are prepared already", used, active, p.zeroed, p.size)
			}
			if late := share*float64(p.size) - float64(p.zeroed); p.size > 0 && late > 2*mib {
				t.Fatalf("%d of %d bytes used, and only %d of %d are prepared", used, active, p.zeroed, p.size)
			}
		}
		if s := l.Stats(); s.LateTotal > 1 || time.Since(start) != 0 { // the first one is always waited for
			t.Errorf("%d segments were late, and %v passed", s.LateTotal, time.Since(start))
		}
		if want := []int64{4 * mib, 8 * mib, 16 * mib, segment, segment, segment}; !slices.Equal(p.named, want) {
			t.Errorf("segments of %d bytes, want %d", p.named, want)
		}
		wantStream(t, l, 1, 0, end)
	})
}

// TestNobodyWaitsForAPause: neither a reservation for which no segment of a young log is long enough, nor a writer that ran ahead.
func TestNobodyWaitsForAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		l, fs, p := paced(t, 32*mib)
		var end uint64
		for _, size := range []int{100, 3 * mib, 16 * mib, 16 * mib, 5 * mib, 16 * mib, 16 * mib, 100} {
			mustAdd(t, l, data(1, end, end+1, size))
			end++
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("waited for %v", d)
		}
		p.look(t, fs)
		if n := len(p.named); n < 4 || p.named[n-1] != 32*mib {
			t.Errorf("%+v", p)
		}
		wantStream(t, l, 1, 0, end)
		// States need no reservation: the writer is the one who waits.
		var all []result
		for range 600 {
			all = append(all, add(t, l, state(2, strings.Repeat("s", wal.MaxState))))
		}
		for _, r := range all {
			if err := r.wait(t); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("waited for %v", d)
		}
	})
}

// TestFreedSegmentMakesNoHurryOfOneBeingPrepared: it is finished at leisure, for there was one too few; and then nothing is prepared
// any more as long as segments come back as quickly. An end in the middle of it leaves nothing behind.
func TestFreedSegmentMakesNoHurryOfOneBeingPrepared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, fs, p := paced(t, 8*mib)
		var end uint64
		fill := func(rotations uint64) {
			for l.Stats().RotationsTotal < rotations {
				mustAdd(t, l, data(1, end, end+1, 256<<10))
				end++
			}
		}
		fill(3)
		time.Sleep(2 * tick)
		if p.look(t, fs); p.size != 8*mib || p.zeroed == 0 || p.zeroed == p.size {
			t.Fatalf("%+v", p)
		}
		zeroed := p.all
		l.Release(id(1), end-1)
		if p.look(t, fs); p.gone != 0 || p.all != zeroed || l.Stats().RecycledTotal != 1 || l.Stats().Prepared != 1 {
			t.Errorf("%+v, %+v", p, l.Stats())
		}
		time.Sleep(time.Minute)
		if p.look(t, fs); p.size != 0 || l.Stats().Prepared != 2 {
			t.Errorf("%+v, %+v", p, l.Stats())
		}
		zeroed = p.all
		for r := range uint64(6) {
			fill(4 + r)
			l.Release(id(1), end-1)
			time.Sleep(time.Minute)
		}
		if p.look(t, fs); p.all != zeroed || l.Stats().LateTotal > 1 {
			t.Errorf("%+v, %+v", p, l.Stats())
		}
		fill(12)
		time.Sleep(2 * tick)
		if p.look(t, fs); p.zeroed == 0 || p.size == 0 {
			t.Errorf("%+v", p)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if slices.Contains(fs.Files(dir), filepath.Join(dir, "prepare.tmp")) {
			t.Error("it is still there after Close")
		}
	})
}

// TestYoungLogGrowsOnAfterARestart: what was prepared is used, and the next one is twice as long again.
func TestYoungLogGrowsOnAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, fs, p := paced(t, 32*mib)
		mustAdd(t, l, data(1, 0, 1, 100))
		time.Sleep(time.Minute)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		o := options(fs)
		o.SegmentBytes = 32 * mib
		l = mustOpen(t, o)
		end := uint64(1)
		for l.Stats().RotationsTotal < 1 {
			mustAdd(t, l, data(1, end, end+1, 256<<10))
			end++
		}
		time.Sleep(time.Minute)
		if p.look(t, fs); !slices.Equal(p.named, []int64{4 * mib, 8 * mib, 16 * mib}) || p.gone != 0 || l.Stats().LateTotal != 0 {
			t.Errorf("%+v; %+v", p, l.Stats())
		}
		wantStream(t, l, 1, 0, end)
	})
}

// A disk that fills up while a segment is prepared in pieces refuses, and heals.
func TestFullDiskEndsWhatIsBeingPrepared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, fs, p := paced(t, 8*mib)
		mustAdd(t, l, data(1, 0, 1, 100))
		fs.SetSpace(6 * mib)
		until(t, "what was being prepared is gone", func() bool {
			p.look(t, fs)
			return len(p.named) == 1 && len(fs.Files(dir)) == 1
		})
		var end uint64 = 1
		var err error
		for end < 100 {
			if err = add(t, l, data(1, end, end+1, 256<<10)).wait(t); err != nil {
				break
			}
			end++
		}
		if !isCode(err, mq.StorageFull) || end < 8 {
			t.Errorf("%v after %d entries", err, end)
		}
		fs.SetSpace(-1)
		until(t, "room after the disk was freed", func() bool { return l.Reserve(t.Context(), 256<<10) == nil })
		l.Unreserve(256 << 10)
		wantStream(t, l, 1, 0, end)
	})
}

// fullAtFirst is a file system without room for the first file; like some, it returns a file that is none beside the error.
type fullAtFirst struct {
	*crashfs.FS
	full bool
}

type noFile struct{ wal.File }

func (f *fullAtFirst) Create(path string) (wal.File, error) {
	if f.full {
		f.full = false
		return (*noFile)(nil), syscall.ENOSPC
	}
	return f.FS.Create(path)
}

func TestSegmentThatCannotBeCreatedIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := mustOpen(t, options(&fullAtFirst{FS: crashfs.New(1), full: true}))
		until(t, "room", func() bool { return l.Reserve(t.Context(), 10) == nil })
		l.Unreserve(10)
	})
}

// The writer takes a prepared segment that is large enough as soon as it looks, and writes to it.
func TestSegmentThatTheWriterMayTakeIsNotMadeBigger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _, _ := paced(t, 32*mib)
		synctest.Wait()
		for _, tc := range []struct {
			size, least int64
			want        bool
		}{{4 * mib, mib, false}, {4 * mib, 4 * mib, false}, {mib, 4 * mib, true}} {
			if got := wal.Enlarges(l, tc.size, tc.least, 8*mib); got != tc.want {
				t.Errorf("one of %d bytes for a writer that waits for %d: made bigger: %t", tc.size, tc.least, got)
			}
		}
	})
}
