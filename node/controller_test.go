package node

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"gocloud.dev/blob/memblob"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// The controller's log is cut long before it reaches its bound, however small that is: full, it could never be cut again.
func TestControllersLogIsCutBelowItsBound(t *testing.T) {
	cfg := Default()
	cfg.Node.DataDir = "/data"
	cfg.WAL.SegmentSize = MiB
	cfg.Raft.SegmentSize, cfg.Raft.MaxSize = MiB, 4*MiB // the smallest that is allowed
	bucket := memblob.OpenBucket(nil)
	defer bucket.Close()
	n, err := StartWith(t.Context(), cfg, slog.New(slog.DiscardHandler), Seams{
		FS: crashfs.New(1), Bucket: bucket, Headless: true,
		Metadata: metadata.Options{Path: filepath.Join(t.TempDir(), "metadata.db"), NoSync: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close(t.Context())
	id := mq.TopicID{1}
	create := &metadatapb.CreateTopic{Name: "orders", Id: id[:], Assignments: []*metadatapb.ReplicaAssignment{{Replicas: []int32{1}}}}
	if _, err := n.cluster.decide(t.Context(), &metadatapb.Command{Kind: &metadatapb.Command_CreateTopic{CreateTopic: create}}); err != nil {
		t.Fatal(err)
	}
	create.Id = bytes.Repeat([]byte{2}, len(id)) // another one of that name
	for range mq.MaxPartitionsPerTopic - 1 {
		create.Assignments = append(create.Assignments, create.Assignments[0])
	}
	var written int64
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for command := (&metadatapb.Command{Kind: &metadatapb.Command_CreateTopic{CreateTopic: create}}); written < 2*int64(cfg.Raft.MaxSize); {
		_, err := n.cluster.decide(ctx, command)
		if mq.CodeOf(err) != mq.TopicAlreadyExists {
			t.Fatalf("after %d bytes of commands: %v", written, err)
		}
		written = int64(n.raftLog.Stats().PayloadBytesTotal)
	}
}
