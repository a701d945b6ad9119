package nodetest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gocloud.dev/blob/memblob"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/node"
	"github.com/rustmq/rustmq/wal"
)

// made is a data directory that a node has lived in; its database lies in scratch.
func made(t *testing.T) (cfg node.Config, scratch string) {
	t.Helper()
	scratch = t.TempDir()
	cfg = Config(filepath.Join(scratch, "data"))
	n, err := start(t, cfg, scratch)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return cfg, scratch
}

func start(t *testing.T, cfg node.Config, scratch string) (*node.Node, error) {
	t.Helper()
	bucket := memblob.OpenBucket(nil)
	t.Cleanup(func() { bucket.Close() })
	return Start(t.Context(), cfg, wal.OS(), bucket, scratch)
}

func TestWrongDataDirectoryIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, cfg *node.Config, scratch string)
		says  string
	}{
		"another node's": {func(_ *testing.T, cfg *node.Config, _ string) { cfg.Node.ID = 2 }, "belongs to node 1"},
		"a newer one": {func(t *testing.T, cfg *node.Config, _ string) {
			edit(t, filepath.Join(cfg.Node.DataDir, "node.toml"), "format = 1", "format = 2")
		}, "newer version"},
		"no identity any more": {func(t *testing.T, cfg *node.Config, _ string) {
			remove(t, filepath.Join(cfg.Node.DataDir, "node.toml"))
		}, "half a copy"},
		"an identity that is none": {func(t *testing.T, cfg *node.Config, _ string) {
			write(t, filepath.Join(cfg.Node.DataDir, "node.toml"), "\x00\x01\x02")
		}, "node.toml"},
		"without its log":        {func(t *testing.T, cfg *node.Config, _ string) { remove(t, filepath.Join(cfg.Node.DataDir, "wal")) }, "half a copy"},
		"without the controller": {func(t *testing.T, cfg *node.Config, _ string) { remove(t, filepath.Join(cfg.Node.DataDir, "raft")) }, "half a copy"},
		"with another's log": {func(t *testing.T, cfg *node.Config, _ string) {
			other, _ := made(t)
			remove(t, filepath.Join(cfg.Node.DataDir, "wal"))
			if err := os.Rename(filepath.Join(other.Node.DataDir, "wal"), filepath.Join(cfg.Node.DataDir, "wal")); err != nil {
				t.Fatal(err)
			}
		}, "another data directory"},
		"with another's metadata": {func(t *testing.T, cfg *node.Config, scratch string) {
			other, otherScratch := made(t)
			remove(t, filepath.Join(cfg.Node.DataDir, "raft"))
			if err := os.Rename(filepath.Join(other.Node.DataDir, "raft"), filepath.Join(cfg.Node.DataDir, "raft")); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(filepath.Join(otherScratch, "metadata.db"), filepath.Join(scratch, "metadata.db")); err != nil {
				t.Fatal(err)
			}
		}, "two copies"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, scratch := made(t)
			c.spoil(t, &cfg, scratch)
			n, err := start(t, cfg, scratch)
			if err == nil {
				n.Close(t.Context())
			}
			if mq.CodeOf(err) != mq.WrongDataDir || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("got %v, want WRONG_DATA_DIR that says %q", err, c.says)
			}
		})
	}
}

func TestSecondProcessIsKeptOut(t *testing.T) {
	scratch := t.TempDir()
	cfg := Config(filepath.Join(scratch, "data"))
	n, err := start(t, cfg, scratch)
	if err != nil {
		t.Fatal(err)
	}
	second, err := start(t, cfg, t.TempDir())
	if err == nil {
		second.Close(t.Context())
	}
	if mq.CodeOf(err) != mq.WrongDataDir || !strings.Contains(err.Error(), "in use") {
		t.Errorf("got %v, want WRONG_DATA_DIR that says it is in use", err)
	}
	if err := n.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err = start(t, cfg, scratch); err != nil {
		t.Fatalf("after the first has ended: %v", err)
	}
	if err := n.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func edit(t *testing.T, path, from, to string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(text), from) {
		t.Fatalf("%s: %v, or nothing to edit in %q", path, err, text)
	}
	write(t, path, strings.Replace(string(text), from, to, 1))
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}
