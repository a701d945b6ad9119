package nodetest

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/node"
	"github.com/rustmq/rustmq/tier/faultstore"
	"github.com/rustmq/rustmq/wal"
)

// valuesOf reads a whole topic of one partition.
func valuesOf(ctx context.Context, t *testing.T, cl *client.Client, topic string, records int) (values []string) {
	t.Helper()
	consumer, err := cl.NewConsumer(client.Assign(topic, 0, client.Start()))
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	for len(values) < records {
		recs, err := consumer.Poll(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range recs {
			values = append(values, string(r.Value))
		}
	}
	return values
}

// say produces values one after the other, each in an object of its own before the next one is sent.
func say(ctx context.Context, t *testing.T, cl *client.Client, topic string, values ...string) {
	t.Helper()
	for _, v := range values {
		if err := cl.ProduceSync(ctx, &client.Record{Topic: topic, Value: []byte(v), Acks: client.AcksObject}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// copied waits until all that was decided is in a copy of the metadata, and in the one before it.
func copied(ctx context.Context, t *testing.T, n *Live, cl *client.Client, topic string) {
	t.Helper()
	for range 3 { // one may have been under way
		written := n.metric(t, "rustmq_metadata_checkpoints_total")
		if _, err := cl.DeleteRecords(ctx, topic, 0, 0); err != nil { // a command that changes nothing
			t.Fatal(err)
		}
		until(t, "a copy of the metadata is written", func() bool { return n.metric(t, "rustmq_metadata_checkpoints_total") > written })
	}
}

// A cluster is lost with all its disks. What comes out of the bucket has its topics and settings as of the last copy of the metadata, and the records of all objects,
// those written after that copy, too; it goes on under an id and a prefix of its own, and nothing under the old one is deleted.
func TestClusterIsRestoredFromItsBucketAlone(t *testing.T) {
	t.Parallel()
	store := faultstore.New()
	old, cl := keepingOn(t, store)
	ctx := soon(t)
	createTopic(ctx, t, cl, "orders", map[string]string{"retention.ms": "-1", "max.message.bytes": "65536"})
	createTopic(ctx, t, cl, "trimmed", nil)
	say(ctx, t, cl, "orders", "one", "two")
	say(ctx, t, cl, "trimmed", "gone", "stays")
	if _, err := cl.DeleteRecords(ctx, "trimmed", 0, 1); err != nil {
		t.Fatal(err)
	}
	copied(ctx, t, old, cl, "orders")
	store.SetHook(func(op faultstore.Op) (f faultstore.Fault) {
		if op.Kind == faultstore.Write && strings.Contains(op.Key, "/meta/") {
			f.Before = unavailable // the last copy is of before what follows
		}
		return f
	})
	say(ctx, t, cl, "orders", "three", "four")
	createTopic(ctx, t, cl, "too-late", nil)
	from := old.ClusterID()
	cl.Close()
	if err := old.Close(ctx); err != nil {
		t.Fatal(err)
	}
	store.SetHook(nil)
	before := objectsIn(store)

	cfg := keepingConfig(filepath.Join(t.TempDir(), "data"))
	cfg.PKI.Dir = filepath.Join(t.TempDir(), "pki")
	seams := Seams{FS: wal.OS(), Bucket: store.Bucket(), Scratch: t.TempDir()}
	found, err := restored(ctx, t, cfg, seams)
	if err != nil {
		t.Fatal(err)
	}
	if found.From != from || found.Cluster == from || found.Topics != 2 || found.Partitions != 2 || found.Ranges != 2 || found.Objects != 2 || found.Left != 0 ||
		len(found.Missing)+len(found.Damaged)+len(found.Lowered) != 0 {
		t.Errorf("%+v", found)
	}
	if _, err := restored(ctx, t, cfg, seams); mq.CodeOf(err) != mq.WrongDataDir {
		t.Errorf("restored over what is there: %v", err)
	}

	n := liveIn(t, cfg, seams)
	if n.ClusterID() != found.Cluster {
		t.Errorf("it is cluster %s, not %s", n.ClusterID(), found.Cluster)
	}
	cl = dial(t, n)
	say(ctx, t, cl, "orders", "five")
	if got := strings.Join(valuesOf(ctx, t, cl, "orders", 5), " "); got != "one two three four five" {
		t.Errorf("got %s", got)
	}
	if got := strings.Join(valuesOf(ctx, t, cl, "trimmed", 1), " "); got != "stays" {
		t.Errorf("got %s", got)
	}
	topic, err := cl.DescribeTopic(ctx, "orders")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range topic.Configs {
		if c.Key == "max.message.bytes" && c.Value != "65536" {
			t.Errorf("%+v", c)
		}
	}
	// All of the old objects become garbage, and stay where they are.
	for _, name := range []string{"orders", "trimmed"} {
		if err := cl.DeleteTopic(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "its own object is gone", func() bool { return len(objectsIn(store)) == len(before) })
	for _, key := range objectsIn(store) {
		if !strings.HasPrefix(key, from.String()+"/") {
			t.Errorf("%s is left", key)
		}
	}
}

// What groups have committed comes out of the bucket with the rest: a member goes on where the last one was.
func TestGroupsAreRestoredFromTheBucket(t *testing.T) {
	t.Parallel()
	store := faultstore.New()
	old, cl := keepingOn(t, store)
	ctx := soon(t)
	createTopic(ctx, t, cl, "orders", nil)
	say(ctx, t, cl, "orders", "one", "two", "three", "four", "five")
	member, err := cl.NewConsumer(client.Group("readers"), client.Topics("orders"), client.ResetTo(client.Start()), client.AutoCommit(0))
	must(t, err)
	read := 0
	for rec, err := range member.Records(ctx) {
		must(t, err)
		if read++; read == 3 {
			must(t, member.CommitSync(ctx, client.CommitOffset{Topic: "orders", Offset: rec.Offset + 1}))
			break
		}
	}
	must(t, member.Close())
	must(t, cl.CommitOffsets(ctx, "by hand", "orders", map[int32]mq.Offset{0: 4}))
	until(t, "all that was committed is in the bucket", func() bool {
		all, err := cl.ListOffsets(ctx, mq.OffsetsTopic, client.End(), mq.IsolationCommitted)
		must(t, err)
		stored, err := cl.ListOffsets(ctx, mq.OffsetsTopic, client.End(), mq.IsolationObject)
		must(t, err)
		sum := mq.Offset(0)
		for p, at := range all {
			if stored[p].Offset != at.Offset {
				return false
			}
			sum += at.Offset
		}
		return sum > 0
	})
	copied(ctx, t, old, cl, "orders")
	cl.Close()
	must(t, old.Close(ctx))

	cfg := keepingConfig(filepath.Join(t.TempDir(), "data"))
	cfg.PKI.Dir = filepath.Join(t.TempDir(), "pki")
	seams := Seams{FS: wal.OS(), Bucket: store.Bucket(), Scratch: t.TempDir()}
	if _, err := restored(ctx, t, cfg, seams); err != nil {
		t.Fatal(err)
	}
	cl = dial(t, liveIn(t, cfg, seams))
	if found, err := cl.CommittedOffsets(ctx, "by hand", "orders", 0); err != nil || found[0] != 4 {
		t.Errorf("committed by hand is %v, %v", found, err)
	}
	member, err = cl.NewConsumer(client.Group("readers"), client.Topics("orders"), client.ResetTo(client.Start()), client.AutoCommit(0))
	must(t, err)
	defer member.Close()
	for rec, err := range member.Records(ctx) {
		must(t, err)
		if string(rec.Value) != "four" {
			t.Errorf("it goes on with %q", rec.Value)
		}
		break
	}
}

// restored restores into the data directory of a configuration, with the metadata's database where a live node has it.
func restored(ctx context.Context, t *testing.T, cfg node.Config, s Seams) (*node.Restored, error) {
	t.Helper()
	s.Metadata.Path, s.Metadata.NoSync = filepath.Join(s.Scratch, "metadata.db"), true
	cfg.PKI.Dir = ""
	return node.RestoreCluster(ctx, cfg, mq.ClusterID{}, node.Seams{FS: s.FS, Bucket: s.Bucket, Metadata: s.Metadata}, slog.New(slog.DiscardHandler))
}

// liveIn starts a node on what is there already.
func liveIn(t *testing.T, cfg node.Config, s Seams) *Live {
	t.Helper()
	cfg.Server.Listen, cfg.RPC.Listen, cfg.Admin.Listen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.PKI.Dir = ""
	n, err := startLive(t.Context(), cfg, s)
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, n)
	return n
}

// A copy of the metadata that is damaged is told, and the one before is used; an object that is missing is told, and the rest is there.
func TestRestoreSaysWhatIsDamagedAndMissing(t *testing.T) {
	t.Parallel()
	store := faultstore.New()
	old, cl := keepingOn(t, store)
	ctx := soon(t)
	createTopic(ctx, t, cl, "orders", nil)
	say(ctx, t, cl, "orders", "one", "two", "three")
	copied(ctx, t, old, cl, "orders")
	cl.Close()
	if err := old.Close(ctx); err != nil {
		t.Fatal(err)
	}
	var manifests []string
	for _, key := range store.Keys() {
		if strings.HasSuffix(key, "/manifest") {
			manifests = append(manifests, key)
		}
	}
	newest := manifests[len(manifests)-1]
	store.Flip(newest, 100)
	gone := objectsIn(store)[1]
	store.Remove(gone)
	cfg := keepingConfig(filepath.Join(t.TempDir(), "data"))
	found, err := restored(ctx, t, cfg, Seams{FS: wal.OS(), Bucket: store.Bucket(), Scratch: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if len(manifests) < 2 || len(found.Damaged) != 1 || found.Damaged[0] != newest || len(found.Missing) != 1 || found.Missing[0] != gone || found.Topics != 1 {
		t.Errorf("%+v; newest %s, gone %s", found, newest, gone)
	}
}
