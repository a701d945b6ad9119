package nodetest

import (
	"bytes"
	"path/filepath"
	"testing"

	"gocloud.dev/blob/memblob"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto/server"
	"github.com/rustmq/rustmq/wal"
)

// A front door sends one result while the next is being read from the object
// store: if they shared anything, a consumer would skip what the second replaced.
func TestResultOfAReadIsNotTouchedByTheNext(t *testing.T) {
	dir := t.TempDir()
	bucket := memblob.OpenBucket(nil)
	defer bucket.Close()
	n, err := Start(t.Context(), Config(filepath.Join(dir, "data")), wal.OS(), bucket, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close(t.Context())
	w := &Workload{Topic: "orders", Partitions: 1, Acks: mq.DurabilityAll}
	if err := w.CreateTopic(t.Context(), n.Broker()); err != nil {
		t.Fatal(err)
	}
	if err := w.Produce(t.Context(), n.Broker(), 10, 100); err != nil {
		t.Fatal(err)
	}
	r, err := n.Broker().OpenFetch(t.Context(), &session, w.Topic, 0, mq.NoEpoch, mq.IsolationCommitted)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	read := func(from mq.Offset) server.Fetched {
		got, err := r.Read(t.Context(), from, 1, nil)
		if err != nil || len(got.Batches) == 0 {
			t.Fatalf("read at %d: %d slices, %v", from, len(got.Batches), err)
		}
		return got
	}
	first := read(0)
	want := bytes.Clone(first.Batches[0])
	read(first.Next)
	if !bytes.Equal(first.Batches[0], want) {
		t.Fatalf("reading on at %d changed the batches of the read at 0", first.Next)
	}
}
