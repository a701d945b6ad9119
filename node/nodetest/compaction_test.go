package nodetest

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"testing"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/tier"
	"github.com/rustmq/rustmq/wal"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// TestNodeMergesWhatIsSmall flushes crumbs, and deletes from the bucket what the metadata does not refer to any more after they were merged: all is there.
func TestNodeMergesWhatIsSmall(t *testing.T) {
	dir := t.TempDir()
	bucket := memblob.OpenBucket(nil)
	defer bucket.Close()
	cfg := Config(filepath.Join(dir, "data"))
	cfg.ObjectStore.CompactRanges, cfg.ObjectStore.CompactInterval = 4, 10*time.Millisecond
	n, err := Start(t.Context(), cfg, wal.OS(), bucket, dir)
	if err != nil {
		t.Fatal(err)
	}
	w := &Workload{Topic: "crumbs", Partitions: 3, Acks: mq.DurabilityObject}
	if err := w.CreateTopic(t.Context(), n.Broker()); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); !hasMerged(t, bucket); {
		if time.Now().After(deadline) {
			t.Fatal("nothing was merged")
		}
		if err := w.Produce(t.Context(), n.Broker(), 30, 100); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if gone := deleteUnreferenced(t, bucket, filepath.Join(dir, "metadata.db"), w); gone == 0 {
		t.Error("all objects are referred to still")
	}
	if n, err = Start(t.Context(), cfg, wal.OS(), bucket, dir); err != nil {
		t.Fatal(err)
	}
	defer n.Close(t.Context())
	if err := w.Check(t.Context(), n.Broker()); err != nil {
		t.Error(err)
	}
}

// footers reads those of all objects of a bucket.
func footers(t *testing.T, bucket *blob.Bucket) map[string]*tier.Footer {
	t.Helper()
	all := map[string]*tier.Footer{}
	for list := bucket.List(nil); ; {
		entry, err := list.Next(t.Context())
		if err != nil {
			return all
		}
		o, err := tier.OpenObject(t.Context(), tier.NewStore(bucket, tier.Limits{}), entry.Key)
		if err != nil {
			t.Fatal(err)
		}
		if all[entry.Key], err = tier.ReadFooter(o, o.Size()); err != nil {
			t.Fatal(err)
		}
	}
}

// hasMerged says whether offsets of each of three partitions are in two objects.
func hasMerged(t *testing.T, bucket *blob.Bucket) bool {
	twice := map[int32]bool{}
	ends := map[[2]int64]bool{}
	for _, f := range footers(t, bucket) {
		for _, r := range f.Ranges {
			end := [2]int64{int64(r.Partition.Index), int64(r.End)}
			twice[r.Partition.Index] = twice[r.Partition.Index] || ends[end]
			ends[end] = true
		}
	}
	return twice[0] && twice[1] && twice[2]
}

func deleteUnreferenced(t *testing.T, bucket *blob.Bucket, database string, w *Workload) (gone int) {
	t.Helper()
	store, err := metadata.Open(metadata.Options{Path: database, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	wanted := map[string]bool{}
	topic := store.Image().TopicByName(w.Topic)
	for i := range topic.Partitions() {
		ranges, err := store.Ranges(mq.PartitionID{Topic: topic.ID, Index: i}, 0, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range ranges {
			wanted[r.Key] = true
		}
	}
	for key := range footers(t, bucket) {
		if !wanted[key] {
			gone++
			if err := bucket.Delete(context.Background(), key); err != nil {
				t.Fatal(err)
			}
		}
	}
	return gone
}

// TestConsumerSeesTheNewestOfEachKey writes a few keys again and again to a topic that is compacted by key. A consumer that begins at the start comes to know
// the same as one that was there all the time, and reads less for it.
func TestConsumerSeesTheNewestOfEachKey(t *testing.T) {
	t.Parallel()
	r := &Rig{Config: Config("/data")}
	r.Config.ObjectStore.CompactInterval = 10 * time.Millisecond
	bucket := memblob.OpenBucket(nil)
	defer bucket.Close()
	c, ctx := dial(t, live(t, r, Seams{FS: crashfs.New(1), Bucket: bucket})), soon(t)
	if _, err := c.CreateTopic(ctx, client.NewTopic{Name: "latest", Partitions: 1, Configs: map[string]string{
		"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.1", "delete.retention.ms": "0",
	}}); err != nil {
		t.Fatal(err)
	}
	if err := c.ProduceSync(ctx, &client.Record{Topic: "latest", Value: []byte("no key")}).FirstErr(); mq.CodeOf(err) != mq.InvalidRecord {
		t.Errorf("a record without a key: %v", err)
	}
	want, sent := map[string]string{}, 0
	for round, deadline := 1, time.Now().Add(time.Minute); ; round++ {
		for range 50 {
			key, value := fmt.Sprint("key-", sent%7), fmt.Sprintf("%04000d", sent)
			want[key] = value
			if sent++; sent%7 == 6 {
				delete(want, key)
				value = ""
			}
			rec := &client.Record{Topic: "latest", Key: []byte(key)}
			if value != "" {
				rec.Value = []byte(value)
			}
			c.Produce(ctx, rec, nil)
		}
		if err := c.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		got, read := readView(t, c, "latest")
		if !maps.Equal(got, want) {
			t.Fatalf("a consumer comes to know %d keys, and not the %d that there are", len(got), len(want))
		}
		if round > 3 && read < sent/2 {
			t.Logf("%d records were sent, %d are read", sent, read)
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d records were sent, and %d are read", sent, read)
		}
	}
}

// readView reads a partition up to its end, and gives what is known then.
func readView(t *testing.T, c *client.Client, topic string) (view map[string]string, read int) {
	t.Helper()
	k, err := c.NewConsumer(client.Assign(topic, 0, client.Start()))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	ends, err := k.EndOffsets(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	k.StopAt(ends)
	view = map[string]string{}
	for rec, err := range k.Records(soon(t)) {
		if err != nil {
			t.Fatal(err)
		}
		read++
		if rec.Value == nil {
			delete(view, string(rec.Key))
		} else {
			view[string(rec.Key)] = string(rec.Value)
		}
	}
	return view, read
}
