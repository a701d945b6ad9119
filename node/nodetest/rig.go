package nodetest

import (
	"context"
	"log/slog"
	"path/filepath"
	"time"

	"gocloud.dev/blob"

	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/node"
	"github.com/rustmq/rustmq/wal"
)

// Config is a small node's: segments of a few pages, so that a short run rotates, frees and recycles them.
func Config(dir string) node.Config {
	cfg := node.Default()
	cfg.Node.DataDir = dir
	cfg.WAL = node.WALConfig{SegmentSize: 64 << 10, MaxSize: 4 << 20, QueueSize: 1 << 20}
	cfg.Raft = node.RaftConfig{Tick: 10 * time.Millisecond, SegmentSize: 64 << 10, MaxSize: 4 << 20}
	cfg.Memory = node.MemoryConfig{TailSize: 64 << 10, CacheSize: 4 << 20}
	cfg.ObjectStore.FlushSize = 64 << 10
	cfg.ObjectStore.FlushAge = 20 * time.Millisecond
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
