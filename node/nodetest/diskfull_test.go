package nodetest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gocloud.dev/blob/memblob"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/node"
	"github.com/rustmq/rustmq/tier/faultstore"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// live starts a node with listeners that is closed at the end of the test.
func live(t *testing.T, r *Rig, s Seams) *Live {
	t.Helper()
	s.Scratch = t.TempDir()
	n, err := StartLive(t.Context(), r.Config, s)
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, n)
	return n
}

// closeAtEnd has a node close at the end of the test, and shows its log if the test failed.
func closeAtEnd(t *testing.T, n *Live) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := n.Close(ctx); err != nil && mq.CodeOf(err) != mq.RequestTimedOut {
			t.Errorf("close the node: %v", err)
		}
		if t.Failed() {
			t.Logf("the node's log:\n%s", n.Log)
		}
	})
}

// dial makes a client whose batches fit into the small segments of Config.
func dial(t *testing.T, n *Live, opts ...client.Option) *client.Client {
	t.Helper()
	c, err := n.Client(append([]client.Option{client.BatchBytes(8 << 10)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// until waits for something that is to become true. It counts how often it looks, and not the time: a process that was stopped for a while has
// not hung.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for looks := 0; !ok(); time.Sleep(5 * time.Millisecond) {
		if looks++; looks > 12_000 { // at least a minute
			t.Fatalf("it never came to this: %s", what)
		}
	}
}

// soon is a context for what must not hang.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// TestFullDiskIsToldAndHeals fills the disk while the object store is away too, so that nothing can be freed. Who does not wait long is
// told why; who waits sees it heal; nothing that was acknowledged is lost, and the node is the same one throughout.
func TestFullDiskIsToldAndHeals(t *testing.T) {
	t.Parallel()
	store := faultstore.New()
	var away atomic.Bool
	store.SetHook(func(op faultstore.Op) (f faultstore.Fault) {
		if away.Load() && op.Kind == faultstore.Write {
			f.Before = faultstore.ErrConnection
		}
		return f
	})
	r := &Rig{FS: crashfs.New(1), Config: Config("/data")}
	n := live(t, r, Seams{FS: r.FS, Bucket: store.Bucket()})
	l := &Ledger{Topic: "orders", Partitions: 3}
	patient := dial(t, n)
	if err := l.CreateTopic(soon(t), patient); err != nil {
		t.Fatal(err)
	}
	l.Produce(soon(t), patient, 200, 1000)
	l.Wait()
	away.Store(true)
	r.FS.SetSpace(r.FS.Used() + 200<<10)

	hasty := dial(t, n, client.DeliveryTimeout(1500*time.Millisecond))
	var told error
	for range 60 {
		l.Produce(soon(t), hasty, 100, 1000)
		l.Wait()
		// A slow machine has no time for a record here and there.
		if told = l.lastErr; told != nil && strings.Contains(told.Error(), mq.StorageFull.String()) {
			break
		}
	}
	if mq.CodeOf(told) != mq.RequestTimedOut || !strings.Contains(told.Error(), mq.StorageFull.String()) {
		t.Errorf("on a full disk a producer that does not wait gets %v", told)
	}
	if _, body, err := n.Get(soon(t), "/metrics"); err != nil || !strings.Contains(body, `rustmq_wal_full{log="data"} 1`) {
		t.Errorf("the metrics do not say that the log is full: %v", err)
	}
	acked, sent, _ := l.Acked()
	l.Produce(soon(t), patient, 50, 1000)
	time.Sleep(100 * time.Millisecond)
	if err := l.Check(soon(t), patient); err != nil {
		t.Errorf("while the disk is full: %v", err)
	}

	r.FS.SetSpace(-1)
	l.Wait()
	after, _, _ := l.Acked()
	if after < acked+50 {
		t.Errorf("%d records were acknowledged before there was room and %d after, 50 had waited; the last error is %v", acked, after, l.lastErr)
	}
	t.Logf("%d of %d records acknowledged before the disk had room again", acked, sent)
	away.Store(false)
	l.Produce(soon(t), patient, 100, 1000)
	l.Wait()
	if err := l.Check(soon(t), patient); err != nil {
		t.Errorf("after it healed: %v", err)
	}
	if status, body, err := n.Get(soon(t), "/readyz"); err != nil || status != 200 {
		t.Errorf("the node is not the one it was: %d %s %v", status, body, err)
	}
}

// TestFullDiskIsRelievedByTheObjectStore fills the disk while the object store works: what is freed there is room enough to go on.
func TestFullDiskIsRelievedByTheObjectStore(t *testing.T) {
	t.Parallel()
	r := &Rig{FS: crashfs.New(1), Config: Config("/data")}
	r.Config.ObjectStore.FlushAge = time.Hour // only want of room moves anything
	r.Config.ObjectStore.FlushSize = 1 << 20
	bucket := memblob.OpenBucket(nil)
	defer bucket.Close()
	n := live(t, r, Seams{FS: r.FS, Bucket: bucket})
	l := &Ledger{Topic: "orders", Partitions: 3}
	c := dial(t, n)
	if err := l.CreateTopic(soon(t), c); err != nil {
		t.Fatal(err)
	}
	l.Produce(soon(t), c, 100, 1000)
	l.Wait()
	r.FS.SetSpace(r.FS.Used() + 200<<10)
	l.Produce(soon(t), c, 400, 1000)
	l.Wait()
	if acked, sent, err := l.Acked(); acked != sent {
		t.Errorf("%d of %d records were acknowledged: %v", acked, sent, err)
	}
	if err := l.Check(soon(t), c); err != nil {
		t.Error(err)
	}
}

// TestFullMetadataHoldsBackAndHeals has no room for the metadata: in the raft log, and in the database. Producing goes on; what
// changes the cluster is refused and says why, and works again when there is room, on the same node.
func TestFullMetadataHoldsBackAndHeals(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"raft log", "database"} {
		t.Run(where, func(t *testing.T) {
			var full atomic.Bool
			noRoom := func(op, path string) error {
				if full.Load() {
					return &fs.PathError{Op: op, Path: path, Err: syscall.ENOSPC}
				}
				return nil
			}
			r := &Rig{FS: crashfs.New(1), Config: Config("/data")}
			r.Config.Raft.SegmentSize = 64 << 10
			bucket := memblob.OpenBucket(nil)
			defer bucket.Close()
			seams := Seams{FS: r.FS, Bucket: bucket}
			if where == "database" {
				seams.Metadata = metadata.Options{BeforeCommit: func(path string) error { return noRoom("write", path) }}
			} else {
				r.FS.Hook(func(c crashfs.Call) error {
					if c.Op == crashfs.OpAllocate && strings.HasPrefix(c.Path, "/data/raft/") {
						return noRoom("allocate", c.Path)
					}
					return nil
				})
			}
			n := live(t, r, seams)
			l := &Ledger{Topic: "orders", Partitions: 2}
			c := dial(t, n)
			if err := l.CreateTopic(soon(t), c); err != nil {
				t.Fatal(err)
			}
			l.Produce(soon(t), c, 10, 500) // gets a producer id, for which there will be no room
			l.Wait()
			full.Store(true)
			refused := fillMetadata(t, c, where)
			if mq.CodeOf(refused) != mq.StorageFull && !strings.Contains(refused.Error(), mq.StorageFull.String()) {
				t.Errorf("without room a topic is altered with %v", refused)
			}
			l.Produce(soon(t), c, 200, 500)
			l.Wait()
			if acked, sent, err := l.Acked(); acked != sent {
				t.Errorf("%d of %d records were acknowledged: %v", acked, sent, err)
			}
			if status, body, err := n.Get(soon(t), "/readyz"); err != nil || status != 200 || !strings.Contains(body, mq.StorageFull.String()) {
				t.Errorf("without room /readyz says %d %q, %v", status, body, err)
			}
			full.Store(false)
			if _, err := c.CreateTopic(soon(t), client.NewTopic{Name: "later", Partitions: 1, Replicas: 1}); err != nil {
				t.Errorf("create a topic when there is room again: %v", err)
			}
			until(t, "everything is in the object store", func() bool { return tiered(t, c, l.Topic) })
			if err := l.Check(soon(t), c); err != nil {
				t.Error(err)
			}
			if status, body, err := n.Get(soon(t), "/readyz"); err != nil || status != 200 || body != "ok\n" {
				t.Errorf("with room again /readyz says %d %q, %v", status, body, err)
			}
		})
	}
}

// fillMetadata alters a topic until there is no room for it, and gives the error.
func fillMetadata(t *testing.T, c *client.Client, where string) error {
	t.Helper()
	for i := range 5000 {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		err := c.AlterTopicConfigs(ctx, "orders", client.ConfigChanges{Set: map[string]string{"max.message.bytes": fmt.Sprint(100_000 + i)}})
		cancel()
		// What was under way when the room ended is not known to have failed; what comes next is refused.
		if err != nil && (mq.CodeOf(err) != mq.RequestTimedOut || strings.Contains(err.Error(), mq.StorageFull.String())) {
			return err
		}
	}
	return errors.New("the " + where + " never was full")
}

// tiered says whether all of a topic is in the object store.
func tiered(t *testing.T, c *client.Client, topic string) bool {
	t.Helper()
	d, err := c.DescribeTopic(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range d.Partitions {
		if p.ObjectEnd < p.HighWatermark {
			return false
		}
	}
	return true
}

// TestFirstStartOnAFullDiskIsRefused has room for less and less of what a first start writes: it says that the disk is full, and succeeds in
// the same directory when there is room.
func TestFirstStartOnAFullDiskIsRefused(t *testing.T) {
	for _, space := range []int64{0, 100, 70 << 10, 260 << 10, 300 << 10} {
		t.Run(fmt.Sprint(space), func(t *testing.T) {
			t.Parallel()
			r := NewRig(1, scratchDir(t))
			defer r.Close()
			r.FS.SetSpace(space)
			start := func() error {
				n, err := r.Start(soon(t))
				if err != nil {
					return err
				}
				return n.Close(soon(t))
			}
			if err := start(); err == nil || !errors.Is(err, syscall.ENOSPC) || mq.CodeOf(err) != mq.StorageFull {
				t.Errorf("started with %d bytes: %v", space, err)
			}
			r.FS.SetSpace(-1)
			if err := start(); err != nil {
				t.Errorf("with room: %v", err)
			}
		})
	}
}

// TestFirstStartWithoutRoomForTheDatabaseIsRefused is the same for the metadata, at each of its commits.
func TestFirstStartWithoutRoomForTheDatabaseIsRefused(t *testing.T) {
	for commits := range int64(4) {
		t.Run(fmt.Sprint(commits), func(t *testing.T) {
			t.Parallel()
			r := NewRig(1, "")
			defer r.Bucket.Close()
			scratch := scratchDir(t)
			var left atomic.Int64
			start := func(room int64) error {
				left.Store(room)
				n, err := node.StartWith(soon(t), r.Config, slog.New(slog.DiscardHandler), node.Seams{
					FS: r.FS, Bucket: r.Bucket, Headless: true,
					Metadata: metadata.Options{Path: filepath.Join(scratch, "metadata.db"), NoSync: true, BeforeCommit: func(path string) error {
						if left.Add(-1) < 0 {
							return &fs.PathError{Op: "write", Path: path, Err: syscall.ENOSPC}
						}
						return nil
					}},
				})
				if err != nil {
					return err
				}
				return n.Close(soon(t))
			}
			if err := start(commits); !errors.Is(err, syscall.ENOSPC) || mq.CodeOf(err) != mq.StorageFull {
				t.Errorf("started with room for %d commits: %v", commits, err)
			}
			if err := start(1 << 30); err != nil {
				t.Errorf("with room: %v", err)
			}
		})
	}
}
