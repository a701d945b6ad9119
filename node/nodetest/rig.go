package nodetest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"

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

	scratch string
	mu      sync.Mutex
	kept    int // copies of the database: the last is what a cut leaves
}

// NewRig makes a machine. The database, which is no part of the disk in memory, lives in scratch.
func NewRig(seed uint64, scratch string) *Rig {
	return &Rig{FS: crashfs.New(seed), Bucket: memblob.OpenBucket(nil), Config: Config("/data"), scratch: scratch}
}

// Start starts the machine's node.
func (r *Rig) Start(ctx context.Context) (*node.Node, error) {
	return node.StartWith(ctx, r.Config, slog.New(slog.DiscardHandler), node.Seams{
		FS: r.FS, Bucket: r.Bucket, Headless: true,
		Metadata: metadata.Options{Path: r.database(), NoSync: true, AfterCommit: r.keep},
	})
}

func (r *Rig) database() string { return filepath.Join(r.scratch, "metadata.db") }
func (r *Rig) copied() string   { return filepath.Join(r.scratch, "kept.db") }

// keep copies the database at each of its synced commits, unless the power is gone already.
func (r *Rig) keep(path string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.FS.Cut() {
		return
	}
	if err := copyFile(path, r.copied()); err != nil {
		panic(fmt.Sprintf("nodetest: copy the database: %v", err))
	}
	r.kept++
}

// PowerCut leaves of the disk what was synced and some of what was not, and of
// the database its last commit. The node must have been closed: what it did after the cut is lost.
func (r *Rig) PowerCut() error {
	r.FS.Crash()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kept == 0 {
		if err := os.Remove(r.database()); err != nil && !os.IsNotExist(err) {
			return err
		}
		return nil
	}
	return copyFile(r.copied(), r.database())
}

// Close frees what the machine holds.
func (r *Rig) Close() error { return r.Bucket.Close() }

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
