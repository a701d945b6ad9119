//go:build outside && linux

package nodetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/node"
	"github.com/rustmq/rustmq/wal"
)

// TestSmallFileSystem fills a real file system under a whole node, objects and metadata included, to the last byte. Needs root:
//
//	go test -tags outside -run TestSmallFileSystem ./node/nodetest
func TestSmallFileSystem(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	t.Run("tmpfs", func(t *testing.T) {
		dir := t.TempDir()
		command(t, "mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", dir)
		fillSmallDisk(t, dir)
	})
	t.Run("ext4", func(t *testing.T) {
		dir, image := t.TempDir(), filepath.Join(t.TempDir(), "image")
		if err := os.WriteFile(image, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(image, 80<<20); err != nil {
			t.Fatal(err)
		}
		command(t, "mkfs.ext4", "-q", image)
		command(t, "mount", "-o", "loop", image, dir)
		fillSmallDisk(t, dir)
	})
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
}

func fillSmallDisk(t *testing.T, dir string) {
	t.Cleanup(func() { command(t, "umount", dir) })
	cfg := Config(filepath.Join(dir, "data"))
	cfg.WAL = node.WALConfig{SegmentSize: 4 << 20, MaxSize: 1 << 30, QueueSize: 4 << 20}
	cfg.ObjectStore.FlushAge, cfg.ObjectStore.FlushSize = time.Second, 8<<20
	scratch := filepath.Join(dir, "scratch")
	if err := os.Mkdir(scratch, 0o700); err != nil {
		t.Fatal(err)
	}
	n, err := StartLive(t.Context(), cfg, Seams{FS: wal.OS(), Scratch: scratch})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close(t.Context())
	l := &Ledger{Topic: "orders", Partitions: 3}
	patient := dial(t, n)
	defer patient.Close()
	if err := l.CreateTopic(soon(t), patient); err != nil {
		t.Fatal(err)
	}
	l.Produce(soon(t), patient, 100, 1000)
	l.Wait()
	ballast := fillUp(t, dir)
	hasty := dial(t, n, client.DeliveryTimeout(2*time.Second))
	defer hasty.Close()
	for l.lastErr == nil {
		l.Produce(soon(t), hasty, 500, 8000)
		l.Wait()
	}
	if !strings.Contains(l.lastErr.Error(), mq.StorageFull.String()) {
		t.Errorf("a full disk is told as %v", l.lastErr)
	}
	// The database grows by this. Whether it still finds room depends on the file system; the node must live either way.
	created := make(chan error, 1)
	go func() {
		_, err := patient.CreateTopic(soon(t), client.NewTopic{Name: "wide", Partitions: 5000, Replicas: 1})
		created <- err
	}()
	time.Sleep(time.Second)
	if err := l.Check(soon(t), patient); err != nil {
		t.Errorf("while the disk is full: %v", err)
	}
	l.Produce(soon(t), patient, 50, 1000)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	l.Wait()
	if err := <-created; err != nil {
		t.Errorf("create a topic over a full disk that got room: %v", err)
	}
	if status, body, err := n.Get(soon(t), "/readyz"); status != 200 {
		t.Errorf("the node is not ready any more: %s %v", body, err)
	}
	if err := l.Check(soon(t), patient); err != nil {
		t.Errorf("after it healed: %v", err)
	}
	if err := n.Close(t.Context()); err != nil && mq.CodeOf(err) != mq.RequestTimedOut {
		t.Fatal(err)
	}
	again, err := StartLive(t.Context(), cfg, Seams{FS: wal.OS(), Scratch: scratch})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close(t.Context())
	c := dial(t, again)
	defer c.Close()
	if err := l.Check(soon(t), c); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	t.Logf("log of the node:\n%s", n.Log)
}

// fillUp leaves no byte on a file system, and gives the file that takes them.
func fillUp(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; size /= 2 {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
	}
	return path
}
