package nodetest

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/node"
	"github.com/rustmq/rustmq/tier/faultstore"
	"github.com/rustmq/rustmq/wal"
)

// keepingOn is a node whose housekeeping never rests, on an object store.
func keepingOn(t *testing.T, store *faultstore.Store) (*Live, *client.Client) {
	t.Helper()
	n := live(t, &Rig{Config: keepingConfig(filepath.Join(t.TempDir(), "data"))}, Seams{FS: wal.OS(), Bucket: store.Bucket()})
	return n, dial(t, n)
}

func keepingConfig(dir string) node.Config {
	cfg := Config(dir)
	cfg.WAL = node.WALConfig{SegmentSize: 8 << 20, MaxSize: 64 << 20, QueueSize: 8 << 20}
	cfg.ObjectStore.RetentionInterval, cfg.ObjectStore.CheckpointInterval = 10*time.Millisecond, 10*time.Millisecond
	cfg.ObjectStore.DeleteDelay = 50 * time.Millisecond
	return cfg
}

// objectsIn are the keys of objects, and of nothing else.
func objectsIn(store *faultstore.Store) []string {
	return slices.DeleteFunc(store.Keys(), func(key string) bool { return !strings.HasSuffix(key, ".rmq") })
}

// Rule 14: an object is deleted only after a copy of the metadata in the bucket does not name it any more. While none can be written nothing is deleted, however long
// it has been garbage.
func TestNothingIsDeletedBeforeACheckpointSaysSo(t *testing.T) {
	t.Parallel()
	store := faultstore.New()
	var away, deletes atomic.Bool
	store.SetHook(func(op faultstore.Op) (f faultstore.Fault) {
		switch {
		case away.Load() && op.Kind == faultstore.Write && strings.Contains(op.Key, "/meta/"):
			f.Before = errors.New("away")
		case away.Load() && op.Kind == faultstore.Delete && strings.HasSuffix(op.Key, ".rmq"):
			deletes.Store(true)
		}
		return f
	})
	n, cl := keepingOn(t, store)
	ctx := soon(t)
	createTopic(ctx, t, cl, "orders", nil)
	put(ctx, t, cl, "orders", 10, time.Now())
	until(t, "a checkpoint is written", func() bool { return n.metric(t, "rustmq_metadata_checkpoints_total") > 0 })
	away.Store(true)
	if _, err := cl.DeleteRecords(ctx, "orders", 0, -1); err != nil {
		t.Fatal(err)
	}
	failed := n.metric(t, "rustmq_housekeeping_failures_total")
	until(t, "checkpoints fail for longer than the grace", func() bool { return n.metric(t, "rustmq_housekeeping_failures_total") > failed+2 })
	time.Sleep(200 * time.Millisecond) // four times the grace: nothing may happen in it
	if deletes.Load() || len(objectsIn(store)) == 0 {
		t.Errorf("an object was deleted that the newest copy of the metadata names: left %v", store.Keys())
	}
	away.Store(false)
	until(t, "the garbage is gone", func() bool { return len(objectsIn(store)) == 0 })
}

// Deletes that fail, and deletes that are done but are said to have failed, are tried until the metadata has forgotten the object; what is not garbage stays.
func TestGarbageIsDeletedThoughTheStoreFails(t *testing.T) {
	t.Parallel()
	store := faultstore.New()
	var calls atomic.Int64
	store.SetHook(func(op faultstore.Op) (f faultstore.Fault) {
		if op.Kind == faultstore.Delete {
			switch calls.Add(1) % 3 {
			case 0:
				f.Before = errors.New("503")
			case 1:
				f.After = errors.New("the reply was lost")
			}
		}
		return f
	})
	n, cl := keepingOn(t, store)
	ctx := soon(t)
	kept := 0 // objects
	for _, topic := range []string{"kept", "trimmed", "deleted"} {
		createTopic(ctx, t, cl, topic, nil)
		for range 5 {
			put(ctx, t, cl, topic, 2, time.Now())
		}
		if kept == 0 {
			kept = len(objectsIn(store))
		}
	}
	all := len(objectsIn(store))
	if _, err := cl.DeleteRecords(ctx, "trimmed", 0, -1); err != nil {
		t.Fatal(err)
	}
	if err := cl.DeleteTopic(ctx, "deleted"); err != nil {
		t.Fatal(err)
	}
	until(t, "what the kept topic needs is left", func() bool { return len(objectsIn(store)) == kept })
	until(t, "that is counted", func() bool { return n.metric(t, "rustmq_tier_deleted_objects_total") == float64(all-kept) })
	put(ctx, t, cl, "kept", 1, time.Now())
	consumer, err := cl.NewConsumer(client.Assign("kept", 0, client.Start()))
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	for got := 0; got < 11; {
		recs, err := consumer.Poll(ctx)
		if err != nil {
			t.Fatal(err)
		}
		got += len(recs)
	}
}

// checkScrub scrubs and looks how many orphans and how many missing objects there are.
func checkScrub(t *testing.T, cl *client.Client, remove bool, orphans, missing int) *adminpb.ScrubObjectsResponse {
	t.Helper()
	resp := operate(soon(t), t, cl, &adminpb.Request{Kind: &adminpb.Request_ScrubObjects{ScrubObjects: &adminpb.ScrubObjectsRequest{Delete: remove}}}).GetScrubObjects()
	if len(resp.GetOrphans()) != orphans || len(resp.GetMissing()) != missing || resp.GetNextPage() != "" {
		t.Errorf("%v, want %d orphans and %d missing", resp, orphans, missing)
	}
	return resp
}

// An object that was uploaded and never committed is found, and deleted only when that is asked for; one that is missing is told.
func TestOrphansAreFoundAndDeletedWhenAsked(t *testing.T) {
	t.Parallel()
	store := faultstore.New()
	n, cl := keepingOn(t, store)
	ctx := soon(t)
	createTopic(ctx, t, cl, "orders", nil)
	for range 3 {
		put(ctx, t, cl, "orders", 2, time.Now())
	}
	committed := objectsIn(store)
	bucket := store.Bucket()
	// One with an id that belongs to another, and one with an id that nobody ever used though it was leased.
	taken := strings.Replace(committed[0], ".rmq", "x.rmq", 1)
	last := committed[len(committed)-1]
	lost := strings.Replace(last, last[strings.LastIndex(last, "/")+1:strings.LastIndex(last, "-")], "000000000000000f", 1)
	for _, key := range []string{taken, lost} {
		if err := bucket.WriteAll(ctx, key, []byte("orphan"), nil); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "they are old enough", func() bool {
		resp := operate(ctx, t, cl, &adminpb.Request{Kind: &adminpb.Request_ScrubObjects{ScrubObjects: &adminpb.ScrubObjectsRequest{}}}).GetScrubObjects()
		return len(resp.GetOrphans()) == 2 && len(resp.GetMissing()) == 0 && resp.GetObjects() == int64(len(committed)+2)
	})
	if now := objectsIn(store); len(now) != len(committed)+2 {
		t.Errorf("a look has deleted something: %v", now)
	}
	for _, o := range checkScrub(t, cl, true, 2, 0).GetOrphans() {
		if !o.GetDeleted() {
			t.Errorf("%v", o)
		}
	}
	until(t, "the orphans are gone", func() bool { return slices.Equal(objectsIn(store), committed) })
	store.Remove(committed[1])
	if resp := checkScrub(t, cl, false, 0, 1); len(resp.GetMissing()) == 1 && resp.GetMissing()[0] != committed[1] {
		t.Errorf("missing is %v", resp.GetMissing())
	}
	if failures := n.metric(t, "rustmq_housekeeping_failures_total"); failures != 0 {
		t.Errorf("%v failures", failures)
	}
}
