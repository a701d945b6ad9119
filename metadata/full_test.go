package metadata

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/iotest"

	"go.etcd.io/bbolt"

	"github.com/rustmq/rustmq/mq"
)

func fullDisk(path string) error { return &fs.PathError{Op: "write", Path: path, Err: syscall.ENOSPC} }

// TestFullDiskAtTheFirstStartLeavesNoHalfDatabase: it is refused, and works when there is room.
func TestFullDiskAtTheFirstStartLeavesNoHalfDatabase(t *testing.T) {
	dir := t.TempDir()
	opts := Options{Path: filepath.Join(dir, "metadata.db"), BeforeCommit: fullDisk}
	if _, err := Open(opts); mq.CodeOf(err) != mq.StorageFull || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("a full disk gives %v", err)
	}
	// A start that is cut short leaves at most a file of another name, whatever is in it.
	if err := os.WriteFile(opts.Path+spoolSuffix+"new", make([]byte, 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(opts.Path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is a database: %v", err)
	}
	opts.BeforeCommit = nil
	s, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left are %v, %v", left, err)
	}
}

// TestSnapshotOnAFullDiskIsForLater: neither receiving nor installing one without room changes anything, and both may be tried again. A sender
// that breaks off is no full disk.
func TestSnapshotOnAFullDiskIsForLater(t *testing.T) {
	from, to := newBench(t), newBench(t)
	from.apply(story(t, 1, 100)...)
	to.apply(story(t, 2, 50)...)
	before := to.store.Position()
	body, at, err := from.store.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(body)
	if err := errors.Join(err, body.Close()); err != nil {
		t.Fatal(err)
	}
	room := to.store.opts.BeforeCommit
	to.store.opts.BeforeCommit = fullDisk
	if _, err := to.store.Stage(bytes.NewReader(text)); mq.CodeOf(err) != mq.StorageFull {
		t.Errorf("received without room: %v", err)
	}
	to.store.opts.BeforeCommit = room
	broken := io.MultiReader(bytes.NewReader(text[:len(text)/2]), iotest.ErrReader(errors.New("the sender is gone")))
	if _, err := to.store.Stage(broken); mq.CodeOf(err) != mq.NetworkException {
		t.Errorf("half a snapshot: %v", err)
	}
	staged, err := to.store.Stage(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	to.store.opts.BeforeCommit = fullDisk
	for range 3 {
		if err := staged.Install(); mq.CodeOf(err) != mq.StorageFull {
			t.Fatalf("installed without room: %v", err)
		}
	}
	if got := to.store.Position(); got.Index != before.Index {
		t.Errorf("it stands at %d, want %d", got.Index, before.Index)
	}
	to.store.opts.BeforeCommit = room
	if err := staged.Install(); err != nil {
		t.Fatal(err)
	}
	if got := to.store.Position(); got.Index != at.Index {
		t.Errorf("it stands at %d, want %d", got.Index, at.Index)
	}
	checkReload(t, to.store)
}

func TestWhatIsLackOfRoom(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{&fs.PathError{Op: "write", Err: syscall.ENOSPC}, true},
		{&fs.PathError{Op: "truncate", Err: syscall.EDQUOT}, true},
		{&fs.PathError{Op: "open", Err: syscall.ENOSPC}, true},
		{&os.LinkError{Op: "rename", Err: syscall.ENOSPC}, true},
		{&fs.PathError{Op: "write", Err: syscall.EIO}, false},
		{&fs.PathError{Op: "sync", Err: syscall.ENOSPC}, false}, // what it lost nobody knows
		{syscall.ENOSPC, false},                                 // of fdatasync
		{nil, false},
	} {
		if got := noRoom(c.err); got != c.want {
			t.Errorf("%v: lack of room: %t", c.err, got)
		}
	}
}

// TestFileIsLongEnoughBeforeACommit makes transactions of all kinds: none needs more than what is made ready for it, so bbolt never makes the
// file longer by itself.
func TestFileIsLongEnoughBeforeACommit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bolt.db")
	b, err := openBolt(path, true)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := prepare(b, path); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	key := func() []byte {
		k := make([]byte, 1+random.IntN(40))
		for i := range k {
			k[i] = byte(random.IntN(4))
		}
		return k
	}
	for range 20 {
		var most int64
		err := b.Update(func(tx *bbolt.Tx) error {
			kv := &boltKV{tx: tx}
			for range random.IntN(500) {
				if random.IntN(4) == 0 {
					kv.del(bucketMeta, key())
					continue
				}
				kv.put(bucketMeta, append([]byte("x"), key()...), make([]byte, random.IntN(1<<random.IntN(13))))
			}
			most = kv.most()
			return errors.Join(kv.err, grow(path, most, true))
		})
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.View(func(tx *bbolt.Tx) error {
			if tx.Size() > most || info.Size() < tx.Size() {
				t.Errorf("the database takes %d bytes, at most %d were expected, the file has %d", tx.Size(), most, info.Size())
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
}
