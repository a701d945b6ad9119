package nodetest

import (
	"path/filepath"
	"testing"

	"gocloud.dev/blob/memblob"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
)

func TestRecordsAreThereAfterARestart(t *testing.T) {
	dir := t.TempDir()
	bucket := memblob.OpenBucket(nil)
	defer bucket.Close()
	w := &Workload{Topic: "orders", Partitions: 3, Acks: mq.DurabilityAll}
	for range 3 {
		n, err := Start(t.Context(), Config(filepath.Join(dir, "data")), wal.OS(), bucket, dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.CreateTopic(t.Context(), n.Broker()); err != nil {
			t.Fatal(err)
		}
		if err := w.Produce(t.Context(), n.Broker(), 1000, 200); err != nil {
			t.Fatal(err)
		}
		if err := w.Check(t.Context(), n.Broker()); err != nil {
			t.Fatal(err)
		}
		if err := n.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if w.Acked() != 3000 {
		t.Fatalf("%d of 3000 records were acknowledged", w.Acked())
	}
}
