package nodetest

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
)

// liar is a file system that does not do all that it is asked for. It stands for a bug above it: a sync that does nothing is a sync that
// was not called.
type liar struct {
	wal.FS
	sync  func(f wal.File, path string) error
	write func(f wal.File, path string, data []byte, at int64) (int, error)
	list  func(dir string, names []string) []string
}

func (l *liar) Create(path string) (wal.File, error) {
	f, err := l.FS.Create(path)
	return &liarFile{f, l, path}, err
}

func (l *liar) Open(path string) (wal.File, error) {
	f, err := l.FS.Open(path)
	return &liarFile{f, l, path}, err
}

func (l *liar) ReadDir(dir string) ([]string, error) {
	names, err := l.FS.ReadDir(dir)
	if l.list != nil {
		names = l.list(dir, names)
	}
	return names, err
}

type liarFile struct {
	wal.File
	fs   *liar
	path string
}

func (f *liarFile) Sync() error {
	if f.fs.sync != nil {
		return f.fs.sync(f.File, f.path)
	}
	return f.File.Sync()
}

func (f *liarFile) WriteAt(data []byte, at int64) (int, error) {
	if f.fs.write != nil {
		return f.fs.write(f.File, f.path, data, at)
	}
	return f.File.WriteAt(data, at)
}

func in(dir, path string) bool { return filepath.Base(filepath.Dir(path)) == dir }

// lateSync answers before it syncs: the sync is done when the file is written to the next time.
func lateSync(disk wal.FS) wal.FS {
	var mu sync.Mutex
	owed := make(map[wal.File]bool)
	return &liar{
		FS: disk,
		sync: func(f wal.File, path string) error {
			if !in(walName, path) {
				return f.Sync()
			}
			mu.Lock()
			defer mu.Unlock()
			owed[f] = true
			return nil
		},
		write: func(f wal.File, _ string, data []byte, at int64) (int, error) {
			mu.Lock()
			late := owed[f]
			delete(owed, f)
			mu.Unlock()
			if late {
				if err := f.Sync(); err != nil {
					return 0, err
				}
			}
			return f.WriteAt(data, at)
		},
	}
}

const (
	walName  = "wal"
	raftName = "raft"
)

// skipSync leaves out every n-th sync of a directory's segments.
func skipSync(dir string, n int) func(wal.FS) wal.FS {
	return func(disk wal.FS) wal.FS {
		var mu sync.Mutex
		calls := 0
		return &liar{FS: disk, sync: func(f wal.File, path string) error {
			mu.Lock()
			calls++
			skip := in(dir, path) && calls%n == 0
			mu.Unlock()
			if skip {
				return nil
			}
			return f.Sync()
		}}
	}
}

// freeEarly has freed the oldest segment, whatever is in it, as soon as there are several.
func freeEarly(disk wal.FS) wal.FS {
	return &liar{FS: disk, list: func(dir string, names []string) []string {
		segments := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !strings.HasSuffix(n, ".wal") })
		if filepath.Base(dir) != walName || len(segments) < 3 {
			return names
		}
		return slices.DeleteFunc(names, func(n string) bool { return n == slices.Min(segments) })
	}}
}

// TestPlantedBugsAreFound plants a bug in the node, or in what it stands on, and sees that the cuts show it: a check that finds nothing
// where something is proves nothing where nothing is. docs/proof.md lists all that is planted.
func TestPlantedBugsAreFound(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("the race detector has seen all of it in the other tests, and it takes long")
	}
	for name, plant := range map[string]func(*machine){
		"acknowledged before the sync": func(m *machine) { m.Under = lateSync },
		"no sync at all":               func(m *machine) { m.Under = skipSync(walName, 1) },
		"one sync of seven left out":   func(m *machine) { m.Under = skipSync(walName, 7) },
		"a segment freed early":        func(m *machine) { m.Under = freeEarly },
		"freed before the object store has it": func(m *machine) {
			m.store.Forgets = 2
		},
		"metadata not synced": func(m *machine) { m.Under, m.Stale = skipSync(raftName, 1), 3 },
		"producers forgotten": func(m *machine) { m.forgetful = true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := cutEverywhere(t, 3, 0, plant)
			if err == nil {
				t.Fatal("nobody noticed")
			}
			t.Log(err)
		})
	}
	t.Run("what is torn off is left", func(t *testing.T) {
		t.Parallel()
		err := tornEnd(t, func(m *machine) { m.Under = leaveTorn })
		if err == nil {
			t.Fatal("nobody noticed")
		}
		t.Log(err)
	})
}

// TestCheckerKnowsWhatIsWrong shows the checker logs with one thing wrong each.
func TestCheckerKnowsWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		kind string
		log  func(values map[int][]string) []string // of what batches 0 to 3 hold
		read []string
	}{
		{kind: "", log: func(v map[int][]string) []string { return slices.Concat(v[0], v[1], v[3], v[2]) }},
		{kind: "", log: func(v map[int][]string) []string { return slices.Concat(v[0], v[1]) }},
		{kind: "phantom", log: func(v map[int][]string) []string { return slices.Concat(v[0], v[1], []string{"who is this?"}) }},
		{kind: "phantom", log: func(v map[int][]string) []string { return slices.Concat(v[0], v[1], []string{"00000099/000/0"}) }},
		{kind: "misplaced", log: func(v map[int][]string) []string { return slices.Concat(v[0], v[1], v[4]) }},
		{kind: "duplicate", log: func(v map[int][]string) []string { return slices.Concat(v[0], v[1], v[3], v[3]) }},
		{kind: "half batch", log: func(v map[int][]string) []string { return slices.Concat(v[0], v[1], v[2][:1]) }},
		{kind: "half batch", log: func(v map[int][]string) []string { return slices.Concat(v[0], v[1], v[2][1:]) }},
		{kind: "half batch", log: func(v map[int][]string) []string { return slices.Concat(v[0], v[1], v[2][:1], v[3], v[2][1:]) }},
		{kind: "reordered", log: func(v map[int][]string) []string { return slices.Concat(v[0], v[5], v[2]) }},
		{kind: "skipped", log: func(v map[int][]string) []string { return slices.Concat(v[1]) }},
		{kind: "lost", log: func(v map[int][]string) []string { return slices.Concat(v[0]) }},
		{kind: "lost", log: func(v map[int][]string) []string { return slices.Concat(v[3], v[0], v[1]) }},
		{
			kind: "vanished", read: []string{"00000000/000/00", "00000000/001/00"},
			log: func(v map[int][]string) []string { return slices.Concat(v[0], v[1]) },
		},
	} {
		h := &history{topics: []*topic{{name: "orders", partitions: 2, read: [][]string{c.read, nil}}}}
		values := make(map[int][]string)
		// 0, 1, 2 and 5 are one idempotent producer's, of whom 1 is acknowledged; 3 is a loose one and 4 is of the other partition.
		for _, b := range []batch{{producer: 0}, {producer: 0}, {producer: 0}, {producer: loose}, {producer: 0, partition: 1}, {producer: 0}} {
			b.records, b.bytes, b.acks = 2, 20, mq.DurabilityAll
			made := h.add(b)
			values[made.number] = []string{made.value(0), made.value(1)}
		}
		h.batches[1].acked, h.batches[1].base = true, 2
		err := h.compare(0, 0, c.log(values))
		if got := kindOf(err); got != c.kind {
			t.Errorf("got %q (%v), want %q", got, err, c.kind)
		}
	}
}

func kindOf(err error) string {
	if v, ok := errors.AsType[*violation](err); ok {
		return v.kind
	}
	if err != nil {
		return err.Error()
	}
	return ""
}
