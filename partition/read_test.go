package partition

import (
	"bytes"
	"context"
	"errors"
	"os"
	"testing"

	"github.com/rustmq/rustmq/mq"
)

// readFrom reads one result and says from where it came.
func (n *node) readFrom(from mq.Offset, maxBytes int) (data []byte, source string) {
	n.t.Helper()
	c := n.cfg.Counters
	tail, log := c.TailBytes.Load(), c.LogBytes.Load()
	res, err := n.p.Read(context.Background(), from, maxBytes, mq.IsolationCommitted, nil)
	if err != nil {
		n.t.Fatalf("read at %d: %v", from, err)
	}
	for _, s := range res.Batches {
		data = append(data, s...)
	}
	switch {
	case c.TailBytes.Load() > tail:
		return data, "tail"
	case c.LogBytes.Load() > log:
		return data, "log"
	}
	return data, "bucket"
}

func TestTailLogAndBucketHaveTheSameBytes(t *testing.T) {
	store := &bucket{}
	n := newNode(t, 1, store)
	n.lead()
	for i := range 200 {
		n.must(batch(nobody(), 1+i%3, byte(i), 50, int64(i)))
	}
	_, _, end, _ := n.p.Offsets()
	offsets := []mq.Offset{0, 1, 2, 50, end / 2, end - 2, end - 1}
	const most = 700
	read := func(want string) (all [][]byte) {
		for _, from := range offsets {
			data, source := n.readFrom(from, most)
			if source != want {
				t.Fatalf("offset %d comes from the %s, want the %s", from, source, want)
			}
			if s := n.p.Source(from); s != map[string]Source{"tail": FromMemory, "log": FromLog, "bucket": FromStore}[want] {
				t.Fatalf("offset %d of the %s: Source is %v", from, want, s)
			}
			batches := split(t, data)
			if batches[0].BaseOffset() > from || batches[0].NextOffset() <= from || len(data) > most {
				t.Fatalf("read at %d gave %v and more, %d bytes", from, batches[0], len(data))
			}
			all = append(all, data)
		}
		return all
	}
	tail := read("tail")
	n.evict()
	log := read("log")
	store.upload(t, n.p, end)
	cold := read("bucket")
	for i, from := range offsets {
		if !bytes.Equal(tail[i], log[i]) || !bytes.Equal(tail[i], cold[i]) {
			t.Fatalf("at %d the tail has %d bytes, the log %d, the bucket %d", from, len(tail[i]), len(log[i]), len(cold[i]))
		}
	}
}

func TestReadGivesOneBatchHoweverLarge(t *testing.T) {
	store := &bucket{}
	n := newNode(t, 1, store)
	n.lead()
	large := n.must(batch(nobody(), 2, 'L', 9000, 0))
	n.must(plain(1))
	for range 3 {
		data, source := n.readFrom(large.Base, 10)
		if b := split(t, data); len(b) != 1 || len(b[0]) < 18000 {
			t.Fatalf("%s: %v", source, b)
		}
		switch source {
		case "tail":
			n.evict()
		case "log":
			store.upload(t, n.p, 3)
		}
	}
}

func TestReadOfTheTailCopiesNothing(t *testing.T) {
	n := newNode(t, 1, nil)
	n.lead()
	b := plain(1)
	n.must(b)
	res, err := n.p.Read(context.Background(), 0, 1000, mq.IsolationCommitted, nil)
	if err != nil || &res.Batches[0][0] != &b[0] {
		t.Fatal("the batch is a copy", err)
	}
}

func TestIsolationObjectEndsAtTheObjectMark(t *testing.T) {
	store := &bucket{}
	n := newNode(t, 1, store)
	n.lead()
	for range 4 {
		n.must(plain(1))
	}
	store.upload(t, n.p, 2)
	res, err := n.p.Read(context.Background(), 0, 10000, mq.IsolationObject, nil)
	if err != nil || res.Next != 2 || res.End != 2 || res.HighWatermark != 4 || res.LogEnd != 4 {
		t.Fatalf("%+v %v", res, err)
	}
}

func TestTroubleOfTheBucketIsNotAbsence(t *testing.T) {
	store := &bucket{}
	n := newNode(t, 1, store)
	n.lead()
	n.must(plain(1))
	store.upload(t, n.p, 1)
	n.evict()
	store.err = mq.Errorf(mq.ObjectStoreUnavailable, "away")
	_, err := n.p.Read(context.Background(), 0, 1000, mq.IsolationCommitted, nil)
	codeWanted(t, err, mq.ObjectStoreUnavailable)
}

// TestIndexThatLacksWhatIsTieredIsNotAbsence: a consumer that hears OFFSET_OUT_OF_RANGE goes on at another place.
func TestIndexThatLacksWhatIsTieredIsNotAbsence(t *testing.T) {
	store := &bucket{}
	n := newNode(t, 1, store)
	n.lead()
	n.must(plain(1))
	n.must(plain(1))
	store.upload(t, n.p, 2)
	n.evict()
	committed := store.batches
	store.batches = nil
	_, err := n.p.Read(context.Background(), 0, 1000, mq.IsolationCommitted, nil)
	codeWanted(t, err, mq.ObjectStoreUnavailable)
	store.batches = committed
	if data, source := n.readFrom(0, 1000); len(data) == 0 || source != "bucket" {
		t.Errorf("%d bytes from the %s when the index is whole again", len(data), source)
	}
}

// wrongBatch is a bucket that answers with another batch than the one asked for.
type wrongBatch struct {
	bucket
	b []byte
}

func (c *wrongBatch) Read(context.Context, mq.PartitionID, mq.Offset, int) ([]byte, mq.Offset, error) {
	return c.b, 99, nil
}

func TestAnotherBatchThanTheOneAskedForIsNotServed(t *testing.T) {
	store := &wrongBatch{}
	n := newNode(t, 1, &store.bucket)
	n.p.cfg.Cold = store
	n.lead()
	for range 4 {
		n.must(plain(1))
	}
	store.upload(t, n.p, 3)
	n.evict()
	for _, b := range [][]byte{stamped(plain(1), 0, 0), stamped(plain(1), 2, 0), stamped(plain(5), 0, 0), nil, []byte("nonsense")} {
		store.b = b
		res, err := n.p.Read(context.Background(), 1, 1000, mq.IsolationCommitted, nil)
		if err == nil || len(res.Batches) != 0 {
			t.Fatalf("%v was served", mq.Batch(b))
		}
		codeWanted(t, err, mq.Corrupt)
	}
}

func TestLogStartHidesWhatIsBelow(t *testing.T) {
	store := &bucket{}
	n := newNode(t, 1, store)
	n.lead()
	for range 5 {
		n.must(plain(2))
	}
	codeWanted(t, n.p.SetLogStart(11), mq.OffsetOutOfRange)
	for _, to := range []mq.Offset{5, 3} { // inside a batch; and back, which is nothing
		if err := n.p.SetLogStart(to); err != nil {
			t.Fatal(err)
		}
	}
	_, err := n.p.Read(context.Background(), 4, 1000, mq.IsolationCommitted, nil)
	codeWanted(t, err, mq.OffsetOutOfRange)
	if b := split(t, n.read(5)); b[0].BaseOffset() != 4 {
		t.Fatal(b)
	}
	n.restart(Checkpoint{})
	n.lead()
	if start, _, _, _ := n.p.Offsets(); start != 5 {
		t.Fatalf("log start %d after a restart", start)
	}
	store.upload(t, n.p, 10) // the ranges in the bucket have no hole
	if got := store.batches[0].BaseOffset(); got != 0 {
		t.Fatalf("the upload begins at %d", got)
	}
}

func TestDamageInTheLogIsNotServedAndQuarantines(t *testing.T) {
	store := &bucket{}
	n := newNode(t, 1, store)
	n.lead()
	for range 10 {
		n.must(batch(nobody(), 1, 'x', 2000, 0))
	}
	store.upload(t, n.p, 4)
	n.evict()
	for _, path := range n.disk.Files("wal") {
		raw, err := n.disk.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // a segment was being prepared, and has its name by now
		}
		if err != nil {
			t.Fatal(err)
		}
		for i, at := 0, 0; ; i++ {
			j := bytes.Index(raw[at:], bytes.Repeat([]byte{'x'}, 2000))
			if j < 0 {
				break
			}
			at += j + 2000
			if i == 7 {
				if err := n.disk.Flip(path, int64(at-1000)*8); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	_, err := n.p.Read(context.Background(), 7, 1000, mq.IsolationCommitted, nil)
	codeWanted(t, err, mq.Corrupt)
	if s, err := n.p.State(); s != StateQuarantined {
		t.Fatal(s, err)
	}
	if r := n.produce(plain(1), mq.DurabilityLeader); mq.CodeOf(r.Err) != mq.PartitionQuarantined {
		t.Fatal(r.Err)
	}
	_, err = n.p.Read(context.Background(), 5, 100, mq.IsolationCommitted, nil)
	codeWanted(t, err, mq.PartitionQuarantined)
	if data, source := n.readFrom(2, 10); source != "bucket" || split(t, data)[0].BaseOffset() != 2 {
		t.Fatal("what the bucket has must still be served")
	}

	// The same after a restart, and nothing else on the node is hurt.
	n.restart(store.checkpoint)
	if s, err := n.p.State(); s != StateQuarantined || mq.CodeOf(err) != mq.PartitionQuarantined {
		t.Fatal(s, err)
	}
	if data, source := n.readFrom(3, 10); source != "bucket" || split(t, data)[0].BaseOffset() != 3 {
		t.Fatal("what the bucket has must still be served after a restart")
	}
	codeWanted(t, n.p.Lead(99, 0, []Replica{{1, 1}}), mq.PartitionQuarantined)
}

func TestOffsetByTime(t *testing.T) {
	store := &bucket{}
	n := newNode(t, 1, store)
	n.lead()
	// Times go up and down: batch i has 3 records at 1000*i - 5000*(i%7==0) and the two milliseconds after.
	times := map[mq.Offset]int64{}
	for i := range 300 {
		ts := int64(10_000 + 1000*i)
		if i%7 == 0 {
			ts -= 5000
		}
		r := n.must(batch(nobody(), 3, 'x', 400, ts))
		for j := range mq.Offset(3) {
			times[r.Base+j] = ts + int64(j)
		}
	}
	_, _, end, _ := n.p.Offsets()
	check := func(where string) {
		start, _, _, _ := n.p.Offsets()
		wanted := []int64{0, 1, 9_999, 400_000}
		for o := start; o < end; o += 5 {
			wanted = append(wanted, times[o], times[o]+500)
		}
		for _, ts := range wanted {
			want := mq.Offset(-1)
			for o := start; o < end && want < 0; o++ {
				if times[o] >= ts {
					want = o
				}
			}
			got, at, err := n.p.OffsetByTime(context.Background(), ts)
			if err != nil || got != want || want >= 0 && at != times[want] {
				t.Fatalf("%s: time %d: offset %d at %d, %v; want %d", where, ts, got, at, err, want)
			}
		}
	}
	check("tail")
	n.evict()
	check("log")
	store.upload(t, n.p, 450)
	check("bucket and log")
	if err := n.p.SetLogStart(100); err != nil {
		t.Fatal(err)
	}
	check("from the log start")
	n.restart(store.checkpoint)
	n.lead()
	check("after a restart")
}

// TestOnlyConsumersReadsAreCounted: what is uploaded is read from the tail too, and what followers get.
func TestOnlyConsumersReadsAreCounted(t *testing.T) {
	store := &bucket{}
	n := newNode(t, 1, store)
	n.lead()
	for i := range 20 {
		n.must(batch(nobody(), 1, byte(i), 50, int64(i)))
	}
	_, _, end, _ := n.p.Offsets()
	if _, err := n.p.ReadReplica(t.Context(), n.p.LeaderEpoch(), 0, 1<<20, &ReadBuffer{}); err != nil {
		t.Fatal(err)
	}
	store.upload(t, n.p, end)
	c := n.cfg.Counters
	if tail, log, cold := c.TailBytes.Load(), c.LogBytes.Load(), c.ColdBytes.Load(); tail+log+cold != 0 {
		t.Errorf("%d bytes from the tail, %d from the log, %d from the store: no consumer has read", tail, log, cold)
	}
	if _, source := n.readFrom(0, 1<<20); source != "tail" || c.TailBytes.Load() == 0 {
		t.Errorf("a consumer's read came from the %s", source)
	}
}
