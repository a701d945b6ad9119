package nodetest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"gocloud.dev/blob"

	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/node"
	"github.com/rustmq/rustmq/wal"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// Config is a small node's: small segments, so that a short run rotates, frees and recycles them.
func Config(dir string) node.Config {
	cfg := node.Default()
	cfg.Node.DataDir = dir
	cfg.WAL = node.WALConfig{SegmentSize: 64 << 10, MaxSize: 4 << 20, QueueSize: 1 << 20}
	cfg.Raft = node.RaftConfig{Tick: 10 * time.Millisecond, SegmentSize: 256 << 10, MaxSize: 8 << 20}
	cfg.Memory = node.MemoryConfig{TailSize: 64 << 10, CacheSize: 4 << 20}
	cfg.ObjectStore.FlushSize = 64 << 10
	cfg.ObjectStore.FlushAge = 5 * time.Millisecond
	return cfg
}

// Start starts a node without listeners on a file system and a bucket. The
// metadata database lies in scratch, a directory of the machine.
func Start(ctx context.Context, cfg node.Config, fsys wal.FS, bucket *blob.Bucket, scratch string) (*node.Node, error) {
	return node.StartWith(ctx, cfg, slog.New(slog.DiscardHandler), node.Seams{
		FS: fsys, Bucket: bucket, Headless: true,
		Metadata: metadata.Options{Path: filepath.Join(scratch, "metadata.db"), NoSync: true},
	})
}

// Rig is one machine whose power can be cut: a disk in memory, the metadata's
// database, and a bucket elsewhere that keeps what it has.
type Rig struct {
	FS     *crashfs.FS
	Bucket *blob.Bucket
	Config node.Config

	// Under puts something between the node and the disk, and Stale makes a cut leave the database as it was so many
	// commits before: for bugs to be planted. Nil and 0: nothing.
	Under func(wal.FS) wal.FS
	Stale int

	scratch string
	path    string // of the database of the node that was started last
	store   *store
	moment  func(what string) // called at each change of bucket and database, unless nil

	mu   sync.Mutex // held while the machine is copied: bucket and database stand still then
	kept [][]byte   // the database as of its last commits, the newest last: one of them is what a cut leaves
}

// NewRig makes a machine. The database, which is no part of the disk in memory, lives in scratch.
func NewRig(seed uint64, scratch string) *Rig {
	r := &Rig{FS: crashfs.New(seed), Config: Config("/data"), scratch: scratch}
	r.attach(newStore(seed))
	return r
}

func (r *Rig) attach(s *store) {
	s.rig = r
	r.store, r.Bucket = s, blob.NewBucket(s)
}

// Clone is a second machine in the state that the first is in at this moment, with another seed. Nothing runs on it: a node
// on the first one goes on there.
func (r *Rig) Clone(seed uint64) *Rig {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &Rig{FS: r.FS.Clone(seed), Config: r.Config, Under: r.Under, Stale: r.Stale, scratch: r.scratch, kept: r.kept}
	c.attach(r.store.clone(seed))
	return c
}

// Start starts the machine's node. One at a time.
func (r *Rig) Start(ctx context.Context) (*node.Node, error) {
	path, err := r.database()
	if err != nil {
		return nil, err
	}
	var disk wal.FS = r.FS
	if r.Under != nil {
		disk = r.Under(disk)
	}
	return node.StartWith(ctx, r.Config, slog.New(slog.DiscardHandler), node.Seams{
		FS: disk, Bucket: r.Bucket, Headless: true,
		Metadata: metadata.Options{Path: path, NoSync: true, AfterCommit: r.keep},
	})
}

// database makes a file of what is left of the database. (A new one: a file that is emptied and written again is
// flushed to the machine's disk when it is closed.)
func (r *Rig) database() (path string, err error) {
	f, err := os.CreateTemp(r.scratch, "metadata-*.db")
	if err != nil {
		return "", err
	}
	if err := r.removeDatabase(); err != nil {
		return "", err
	}
	r.path = f.Name()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.kept) > 0 {
		if err := writeDatabase(f, r.kept[0]); err != nil {
			return "", err
		}
	}
	r.kept = r.kept[:min(1, len(r.kept))]
	return r.path, f.Close()
}

func (r *Rig) removeDatabase() error {
	if r.path == "" {
		return nil
	}
	return os.Remove(r.path)
}

// keep copies the database at each of its synced commits, unless the power is gone already.
func (r *Rig) keep(path string) {
	r.happens("database committing")
	r.mu.Lock()
	if !r.FS.Cut() {
		data, err := readDatabase(path)
		if err != nil {
			panic(fmt.Sprintf("nodetest: copy the database: %v", err))
		}
		r.kept = append(r.kept[max(0, len(r.kept)-r.Stale):len(r.kept):len(r.kept)], data)
	}
	r.mu.Unlock()
	r.happens("database committed")
}

func (r *Rig) happens(what string) {
	if r.moment != nil {
		r.moment(what)
	}
}

// PowerCut leaves of the disk what was synced and some of what was not, and of
// the database its last commit. The node must have been closed: what it did after the cut is lost.
func (r *Rig) PowerCut() {
	r.FS.Crash()
	r.store.forget()
}

// Close frees what the machine holds.
func (r *Rig) Close() error { return errors.Join(r.removeDatabase(), r.Bucket.Close()) }
