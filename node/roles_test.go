package node

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gocloud.dev/blob/memblob"

	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/pki"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// A node may be a controller and no broker: it has no address for clients.
func TestControllerOnlyNodeStarts(t *testing.T) {
	dir := t.TempDir()
	authority, err := pki.NewAuthority(filepath.Join(dir, "ca"), mq.ClusterID{1}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := authority.Issue(filepath.Join(dir, "pki"), 1, []string{"127.0.0.1"}, false, time.Now()); err != nil {
		t.Fatal(err)
	}
	cfg := Default()
	cfg.Node.ID, cfg.Node.Roles, cfg.Node.DataDir = 1, []string{RoleController}, "/data"
	cfg.PKI.Dir, cfg.RPC.Listen, cfg.Admin.Listen = filepath.Join(dir, "pki"), "127.0.0.1:0", "127.0.0.1:0"
	bucket := memblob.OpenBucket(nil)
	defer bucket.Close()
	n, err := StartWith(t.Context(), cfg, slog.New(slog.DiscardHandler), Seams{
		FS: crashfs.New(1), Bucket: bucket, Metadata: metadata.Options{Path: filepath.Join(dir, "metadata.db"), NoSync: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	if n.Addr() != nil {
		t.Errorf("clients are told of %v", n.Addr())
	}
	text := strings.Join(n.notes(), "\n")
	if err := n.ready(); err != nil || text != "" {
		t.Errorf("not ready: %v, %s", err, text)
	}
	if err := n.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
