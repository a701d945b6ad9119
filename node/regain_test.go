package node

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"testing"

	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"

	"github.com/rustmq/rustmq/broker"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/raft"
	"github.com/rustmq/rustmq/tier"
)

// After a recovery of the controllers a node looks through the bucket once. From then on it knows for which partitions there may be more in it than the index has: of the others none waits
// to be led, however often that changes.
func TestBucketIsLookedThroughOnceInAGeneration(t *testing.T) {
	store, err := metadata.Open(metadata.Options{Path: filepath.Join(t.TempDir(), "metadata.db"), NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	bucket := memblob.OpenBucket(nil)
	defer bucket.Close()
	r := &regain{
		node: 1, cluster: &controller{store: store}, store: tier.NewStore(bucket, tier.Limits{}), prefix: "c/", logger: slog.New(slog.DiscardHandler),
		table: func() *broker.Table { return broker.NewTable(nil) },
	}
	r.setUp()
	some, other := mq.PartitionID{Topic: mq.TopicID{1}}, mq.PartitionID{Topic: mq.TopicID{2}}
	ask := func(id mq.PartitionID, tiered mq.Offset, want bool) {
		t.Helper()
		if searched, late := r.ask(id, 3, tiered, tier.Gap{}); searched != want || late {
			t.Errorf("searched: %v, late: %v", searched, late)
		}
	}
	ask(some, 0, true) // no controllers were ever lost
	data, err := metadata.RecoverCommand()
	if err != nil {
		t.Fatal(err)
	}
	at := raft.Position{Index: 1 << 40, Term: 1, Conf: []byte("conf")}
	if _, err := store.Apply([]raft.Entry{{Index: at.Index, Data: data}}, at); err != nil {
		t.Fatal(err)
	}
	object := objectWith(t, 5, some)
	if err := bucket.Upload(t.Context(), "c/objects/0000000000000/0000000000000005-x.rmq", bytes.NewReader(object), &blob.WriterOptions{ContentType: "x"}); err != nil {
		t.Fatal(err)
	}
	ask(some, 0, false)
	ask(other, 0, false)
	jobs, fresh := r.look()
	if !fresh {
		t.Error("there is nothing to look for")
	}
	if refused, err := r.search(t.Context(), jobs); err != nil || len(refused) > 0 {
		t.Fatal(refused, err)
	}
	ask(other, 0, true)
	ask(some, 0, false)
	ask(some, 1, true)
	if _, fresh := r.look(); fresh {
		t.Error("the bucket is looked through again")
	}
}

// objectWith is an object with one record of a partition.
func objectWith(t *testing.T, id uint64, p mq.PartitionID) []byte {
	t.Helper()
	builder, err := mq.NewBatchBuilder(mq.CompressionNone, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := builder.Append(mq.Record{Value: []byte("value")}); err != nil {
		t.Fatal(err)
	}
	batch, err := builder.Build(nil, mq.NoProducerID, mq.NoProducerEpoch, -1)
	if err != nil {
		t.Fatal(err)
	}
	batch.SetBaseOffset(0)
	var out bytes.Buffer
	enc := tier.NewEncoder(&out, tier.ObjectInfo{ID: id})
	if err := enc.Begin(p, 0, 1); err != nil {
		t.Fatal(err)
	}
	if err := enc.Append(batch); err != nil {
		t.Fatal(err)
	}
	if _, err := enc.End(nil, []mq.EpochStart{{Epoch: 1, Start: 0}}); err != nil {
		t.Fatal(err)
	}
	if _, err := enc.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
