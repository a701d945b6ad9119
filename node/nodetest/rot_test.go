package nodetest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/tier"
	"github.com/rustmq/rustmq/tier/faultstore"
	"github.com/rustmq/rustmq/wal"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// tieredRig is a machine whose records are all in the object store, and a workload that knows them.
func tieredRig(t *testing.T, store *faultstore.Store) (*Rig, *Workload) {
	t.Helper()
	r := &Rig{FS: crashfs.New(1), Bucket: store.Bucket(), Config: Config("/data"), scratch: t.TempDir()}
	w := &Workload{Topic: "orders", Partitions: 3, Acks: mq.DurabilityObject}
	n, err := r.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.CreateTopic(t.Context(), n.Broker()); err != nil {
		t.Fatal(err)
	}
	if err := w.Produce(t.Context(), n.Broker(), 60, 300); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r, w
}

// TestFlippedBitOfAnObjectIsNamedByCheck flips a bit of every third byte of each object, one at a time: check finds every one and says where.
func TestFlippedBitOfAnObjectIsNamedByCheck(t *testing.T) {
	t.Parallel()
	store := faultstore.New()
	r, _ := tieredRig(t, store)
	defer r.Close()
	check := func(key string) []tier.Damage {
		o, err := tier.OpenObject(t.Context(), tier.NewStore(r.Bucket, tier.Limits{}), key)
		if err != nil {
			t.Fatal(err)
		}
		defer o.Close()
		report, err := tier.Check(o)
		if err != nil && mq.CodeOf(err) != mq.UnsupportedVersion {
			t.Fatal(err)
		}
		if err != nil {
			return []tier.Damage{{Reason: err.Error()}}
		}
		return report.Damage
	}
	flips := 0
	for _, key := range objectsIn(store) {
		if found := check(key); len(found) > 0 {
			t.Fatalf("%s: %v", key, found)
		}
		size := int64(len(store.Content(key)))
		for at := int64(0); at < size; at += 3 {
			bit := at*8 + at%8
			store.Flip(key, bit)
			found := check(key)
			if len(found) == 0 {
				t.Errorf("%s: bit %d of byte %d, of %d, is not missed", key, at%8, at, size)
			}
			for _, d := range found {
				if d.Position < 0 || d.Position > max(at, size-64) || d.Reason == "" {
					t.Errorf("%s: byte %d is flipped, and reported is %s", key, at, d)
				}
			}
			store.Flip(key, bit)
			flips++
		}
	}
	t.Logf("%d flips in %d objects", flips, len(store.Keys()))
}

// TestFlippedBitOfAnObjectIsNeverServed starts a node over an object with one flipped bit at a time: its partition gives an error that names
// the object, every other partition goes on, and nobody reads anything wrong.
func TestFlippedBitOfAnObjectIsNeverServed(t *testing.T) {
	store := faultstore.New()
	r, w := tieredRig(t, store)
	defer r.Close()
	refused := 0
	for _, key := range store.Keys() {
		size := len(store.Content(key))
		for at := 0; at < size; at += size/12 | 1 {
			store.Flip(key, int64(at)*8+5)
			refused += readDamaged(t, r, w, key, at)
			store.Flip(key, int64(at)*8+5)
		}
	}
	if refused == 0 {
		t.Error("no flip was noticed by a reader: they read from elsewhere")
	}
}

// readDamaged says how many partitions were refused.
func readDamaged(t *testing.T, r *Rig, w *Workload, key string, at int) (refused int) {
	t.Helper()
	n, err := r.Start(t.Context())
	if err != nil {
		t.Fatalf("byte %d of %s: the node does not start: %v", at, key, err)
	}
	defer n.Close(t.Context())
	for p := range w.Partitions {
		values, err := read(t.Context(), n.Broker(), w.Topic, p)
		switch {
		case err == nil:
			if err := w.compareOne(p, values); err != nil {
				t.Errorf("byte %d of %s: partition %d: %v", at, key, p, err)
			}
		case mq.CodeOf(err) != mq.Corrupt || !strings.Contains(err.Error(), key):
			t.Errorf("byte %d of %s: partition %d: the error is %v", at, key, p, err)
		default:
			refused++
		}
	}
	if refused > 1 {
		t.Errorf("byte %d of %s: %d partitions are refused", at, key, refused)
	}
	return refused
}

// compareOne is compare for one partition.
func (w *Workload) compareOne(p int32, found []string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	order := make(map[string]int, len(w.sent))
	for i, s := range w.sent {
		order[s.Value] = i
	}
	return w.compare(p, found, order)
}

// TestDamageOfTheLogIsTold flips a bit in the middle of the promised log of one partition. What a person can look at says which partition
// is stopped and why, the check of the log names the place, and the other partition works.
func TestDamageOfTheLogIsTold(t *testing.T) {
	t.Parallel()
	store := faultstore.New()
	r := &Rig{FS: crashfs.New(1), Bucket: store.Bucket(), Config: Config("/data")}
	r.Config.ObjectStore.FlushAge = 1 << 40 // all of it stays in the log
	r.Config.ObjectStore.FlushSize = 64 << 20
	r.Config.Memory.TailSize = 1 << 10
	scratch := t.TempDir()
	seams := Seams{FS: r.FS, Bucket: r.Bucket, Scratch: scratch}
	first, err := StartLive(t.Context(), r.Config, seams)
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, first, client.PartitionBy(client.ManualPartitioner()))
	l := &Ledger{Topic: "orders", Partitions: 2}
	if err := l.CreateTopic(soon(t), c); err != nil {
		t.Fatal(err)
	}
	for i := range 60 {
		l.ProduceTo(soon(t), c, int32(i%2), 900)
		l.Wait()
	}
	c.Close()
	if err := first.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	path, at := findRecord(t, r.FS, 30) // an even number: of partition 0
	if err := r.FS.Flip(path, at*8); err != nil {
		t.Fatal(err)
	}
	report, err := wal.Check(r.FS, "/data/wal")
	if err != nil || len(report.Damage) != 1 || report.Damage[0].Path != path || report.Damage[0].Position > at {
		t.Fatalf("byte %d of %s is flipped; the check says %v, %v", at, path, report, err)
	}

	n, err := StartLive(t.Context(), r.Config, seams)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close(t.Context())
	c = dial(t, n, client.PartitionBy(client.ManualPartitioner()))
	d, err := c.DescribeTopic(soon(t), "orders")
	if err != nil || mq.CodeOf(d.Partitions[0].Err) != mq.PartitionQuarantined || d.Partitions[1].Err != nil {
		t.Errorf("the topic is described as %+v, %v", d, err)
	}
	if got := n.metric(t, `rustmq_partitions{state="quarantined"}`); got != 1 {
		t.Errorf("%v partitions are quarantined by the metrics, want 1", got)
	}
	until(t, "/readyz names the damaged partition alone", func() bool { // a node that was held up says at first that it has no lease
		status, body, err := n.Get(soon(t), "/readyz")
		return err == nil && status == 200 && strings.Contains(body, "orders-0") && !strings.Contains(body, "orders-1")
	})
	if text := n.Log.String(); !strings.Contains(text, filepath.Base(path)) || !strings.Contains(text, "partition quarantined") {
		t.Errorf("the log does not say it: %s", text)
	}
	wantRead(t, c, 0, mq.PartitionQuarantined, 0)
	wantRead(t, c, 1, mq.None, 30)
	if err := c.ProduceSync(soon(t), &client.Record{Topic: "orders", Partition: 0}).FirstErr(); mq.CodeOf(err) != mq.PartitionQuarantined {
		t.Errorf("producing to the damaged partition: %v", err)
	}
	if err := c.ProduceSync(soon(t), &client.Record{Topic: "orders", Partition: 1}).FirstErr(); err != nil {
		t.Errorf("producing to the other partition: %v", err)
	}
	// The other one is read from the log and rots under the running node.
	path, at = findRecord(t, r.FS, 31)
	if err := r.FS.Flip(path, at*8); err != nil {
		t.Fatal(err)
	}
	wantRead(t, c, 1, mq.Corrupt, -1)
	until(t, "/readyz names the other one", func() bool {
		_, body, err := n.Get(soon(t), "/readyz")
		return err == nil && strings.Contains(body, "orders-1")
	})
}

// findRecord is where in the log the value of a ledger's record begins.
func findRecord(t *testing.T, fs *crashfs.FS, number int) (path string, at int64) {
	t.Helper()
	value := strings.Repeat("0", numberDigits-2) + string(rune('0'+number/10)) + string(rune('0'+number%10)) + "...."
	for _, path := range fs.Files("/data/wal") {
		data, err := fs.ReadFile(path)
		if err != nil && !errors.Is(err, os.ErrNotExist) { // a segment that was being prepared has another name by now
			t.Fatal(err)
		}
		if i := strings.Index(string(data), value); i >= 0 {
			return path, int64(i)
		}
	}
	t.Fatalf("record %d is not in the log", number)
	return "", 0
}

// wantRead reads a partition from its start: so many records come (-1: any number), and then the code, mq.None for the end.
func wantRead(t *testing.T, c *client.Client, partition int32, code mq.Code, records int) {
	t.Helper()
	k, err := c.NewConsumer(client.Assign("orders", partition, client.Start()))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	got := 0
	for rec, err := range k.Records(soon(t)) {
		if err != nil {
			if mq.CodeOf(err) != code && !(code == mq.Corrupt && mq.CodeOf(err) == mq.PartitionQuarantined) {
				t.Errorf("partition %d ends with %v after %d records, want %s", partition, err, got, code)
			}
			break
		}
		if rec.Offset != mq.Offset(got) {
			t.Errorf("partition %d: offset %d where %d belongs", partition, rec.Offset, got)
		}
		if got++; code == mq.None && got == records {
			break
		}
	}
	if records >= 0 && got != records {
		t.Errorf("partition %d gave %d records, want %d", partition, got, records)
	}
}
