package partition

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rustmq/rustmq/mq"
)

func TestAppendStampsAndCompletes(t *testing.T) {
	n := newNode(t, 1, nil)
	n.lead()
	sent := plain(3)
	want := bytes.Clone(sent)
	r := n.must(sent)
	if r.Base != 0 || r.Last != 2 || r.Reached != mq.MarkReplicated || r.Duplicate || r.Timestamp != -1 {
		t.Fatalf("%+v", r)
	}
	if r := n.must(plain(2)); r.Base != 3 || r.Last != 4 {
		t.Fatalf("%+v", r)
	}
	got := split(t, n.read(0))
	if len(got) != 2 || got[1].BaseOffset() != 3 || got[1].LeaderEpoch() != 0 {
		t.Fatalf("%v", got)
	}
	if err := mq.VerifyCRC(got[0]); err != nil || !bytes.Equal(got[0][16:], want[16:]) {
		t.Fatal("stored bytes differ behind the stamps", err)
	}
}

func TestLogAppendTimeIsStampedUnderTheCRC(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 1, nil)
		n.lead()
		n.set(Settings{MinISR: 1, LogAppendTime: true})
		time.Sleep(time.Hour)
		now := time.Now().UnixMilli()
		by := producedBy{9, 0, 0}
		first := n.must(batch(by, 2, 'a', 5, 17))
		if first.Timestamp != now {
			t.Fatalf("timestamp %d, want %d", first.Timestamp, now)
		}
		b := split(t, n.read(0))[0]
		if err := mq.VerifyCRC(b); err != nil || b.MaxTimestamp() != now || b.TimestampType() != mq.TimestampAppend {
			t.Fatal(b, err)
		}
		time.Sleep(time.Hour)
		again := n.must(batch(by, 2, 'a', 5, 17))
		if !again.Duplicate || again.Timestamp != now {
			t.Fatalf("a duplicate was appended when its original was: %+v", again)
		}
	})
}

// TestRecordWithoutKeyIsRefusedWhereKeysAreCompacted: compaction could not keep it.
func TestRecordWithoutKeyIsRefusedWhereKeysAreCompacted(t *testing.T) {
	n := newNode(t, 1, nil)
	n.lead()
	n.set(Settings{MinISR: 1, Keyed: true})
	w, err := mq.NewBatchBuilder(mq.CompressionZstd, 0)
	if err != nil {
		t.Fatal(err)
	}
	build := func(recs ...mq.Record) mq.Batch {
		for _, rec := range recs {
			if err := w.Append(rec); err != nil {
				t.Fatal(err)
			}
		}
		b, err := w.Build(nil, mq.NoProducerID, mq.NoProducerEpoch, mq.NoSequence)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	with, without := mq.Record{Key: []byte{}, Value: []byte("1")}, mq.Record{Value: []byte("2")}
	if res := n.produce(build(with, without), mq.DurabilityLeader); mq.CodeOf(res.Err) != mq.InvalidRecord {
		t.Errorf("a record without a key: %v", res.Err)
	}
	if res := n.produce(build(with, with), mq.DurabilityLeader); res.Err != nil || res.Base != 0 {
		t.Errorf("records with keys: %+v", res)
	}
	n.set(Settings{MinISR: 1})
	if res := n.produce(build(without), mq.DurabilityLeader); res.Err != nil {
		t.Errorf("where nothing is compacted by key: %v", res.Err)
	}
}

func TestOffsetsAreDenseAndUnique(t *testing.T) {
	const producers, each = 64, 100
	n := newNode(t, 1, nil)
	n.cfg.Tail.max = 64 << 10 // so that eviction goes on meanwhile
	n.lead()
	var wg sync.WaitGroup
	var mu sync.Mutex
	owner := map[mq.Offset]int{}
	for i := range producers {
		wg.Go(func() {
			last := mq.Offset(-1)
			for j := range each {
				count := 1 + (i+j)%4
				b := batch(producedBy{mq.ProducerID(i), 0, int32(10 * j)}, count, byte(i), 20, 0)
				if j > 0 {
					b = batch(nobody(), count, byte(i), 20, 0)
				}
				r := n.produce(b, mq.DurabilityAll)
				if r.Err != nil || r.Base <= last || int(r.Last-r.Base) != count-1 {
					t.Errorf("producer %d: %+v after %d", i, r, last)
					return
				}
				last = r.Last
				mu.Lock()
				for o := r.Base; o <= r.Last; o++ {
					if other, taken := owner[o]; taken {
						t.Errorf("offset %d was given to %d and %d", o, other, i)
					}
					owner[o] = i
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	next := mq.Offset(0)
	for _, b := range split(t, n.read(0)) {
		if b.BaseOffset() != next {
			t.Fatalf("batch at %d, expected %d", b.BaseOffset(), next)
		}
		if tag := b[len(b)-2]; int(tag) != owner[next] {
			t.Fatalf("offset %d holds what %d sent, it was given to %d", next, tag, owner[next])
		}
		next = b.NextOffset()
	}
	if int(next) != len(owner) {
		t.Fatalf("the log ends at %d, %d offsets were given", next, len(owner))
	}
}

func TestNothingCompletesOrShowsBeforeItIsSynced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 1, nil)
		n.lead()
		n.must(plain(1))
		open := n.gate()
		var got results
		n.send(plain(1), mq.DurabilityLeader, &got)
		n.send(plain(1), mq.DurabilityAll, &got)
		n.send(plain(1), mq.DurabilityNone, &got)
		synctest.Wait()
		if all := got.get(); len(all) != 1 || all[0].Reached != mq.MarkNone || all[0].Base != 3 {
			t.Fatalf("only acks=none completes before the sync: %+v", all)
		}
		if _, high, end, _ := n.p.Offsets(); high != 1 || end != 4 {
			t.Fatalf("watermark %d, end %d", high, end)
		}
		if b := split(t, n.read(0)); len(b) != 1 {
			t.Fatalf("%d batches are readable, 1 is synced", len(b))
		}
		open()
		synctest.Wait()
		if all := got.get(); len(all) != 3 || all[1].Base != 1 || all[2].Base != 2 || all[2].Reached != mq.MarkReplicated {
			t.Fatalf("%+v", all)
		}
		if b := split(t, n.read(0)); len(b) != 4 {
			t.Fatalf("%d batches are readable", len(b))
		}
	})
}

// Rule 6.
func TestReadBetweenWatermarkAndLogEndWaitsAndBeyondIsOutOfRange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 1, nil)
		n.lead()
		n.must(plain(1))
		open := n.gate()
		defer open()
		n.send(plain(2), mq.DurabilityAll, make(future, 1))
		for from, want := range map[mq.Offset]mq.Code{0: mq.None, 1: mq.None, 2: mq.None, 3: mq.None, 4: mq.OffsetOutOfRange, -1: mq.OffsetOutOfRange} {
			res, err := n.p.Read(context.Background(), from, 1000, mq.IsolationCommitted, nil)
			codeWanted(t, err, want)
			if err == nil && from > 0 && (len(res.Batches) != 0 || res.Next != from) {
				t.Fatalf("read at %d: %+v", from, res)
			}
			if err == nil && from > 0 {
				if _, ok := n.p.Await(from, mq.IsolationCommitted, wakeCount{new(int)}); !ok {
					t.Fatalf("nothing to wait for at %d", from)
				}
			}
		}
	})
}

// Rule 9: each request waits for its own mark, and no duplicate is told sooner than its original.
func TestDuplicateCompletesAtItsOwnMarkAndNotBeforeTheOriginal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &bucket{}
		n := newNode(t, 1, store)
		n.lead()
		n.must(plain(5))
		open := n.gate()
		dup := func() mq.Batch { return batch(producedBy{3, 0, 0}, 4, 'd', 10, 0) }
		var original, leader, none, object results
		n.send(dup(), mq.DurabilityAll, &original)
		n.send(plain(1), mq.DurabilityAll, &results{})
		n.send(dup(), mq.DurabilityNone, &none)
		n.send(dup(), mq.DurabilityLeader, &leader)
		n.send(dup(), mq.DurabilityObject, &object)
		synctest.Wait()
		if len(original.get())+len(leader.get())+len(none.get()) != 0 {
			t.Fatal("a duplicate was told before its original")
		}
		open()
		synctest.Wait()
		for name, r := range map[string]*results{"original": &original, "leader": &leader, "none": &none} {
			all := r.get()
			if len(all) != 1 || all[0].Err != nil || all[0].Base != 5 || all[0].Last != 8 || all[0].Duplicate != (name != "original") {
				t.Fatalf("%s: %+v", name, all)
			}
		}
		if len(object.get()) != 0 {
			t.Fatal("the duplicate with acks=object was told before the upload")
		}
		if _, _, end, _ := n.p.Offsets(); end != 10 {
			t.Fatalf("the log ends at %d: a duplicate was appended", end)
		}
		store.upload(t, n.p, 9)
		synctest.Wait()
		if all := object.get(); len(all) != 1 || all[0].Base != 5 || all[0].Reached != mq.MarkObject {
			t.Fatalf("%+v", all)
		}
	})
}

// A duplicate that asks for less than its original is held back until the original is told, also across marks.
func TestDuplicateWithLowerMarkWaitsForTheOriginal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 1, nil)
		n.set(Settings{MinISR: 2})
		if err := n.p.Lead(1, 0, []Replica{{1, 1}, {2, 1}}); err != nil {
			t.Fatal(err)
		}
		b := func() mq.Batch { return batch(producedBy{3, 0, 0}, 1, 'd', 10, 0) }
		var got results
		n.send(b(), mq.DurabilityAll, &got)
		synctest.Wait()
		n.send(b(), mq.DurabilityLeader, &got)
		synctest.Wait()
		if all := got.get(); len(all) != 0 {
			t.Fatalf("told although the follower has not acknowledged: %+v", all)
		}
		if err := n.p.Acked(Replica{2, 1}, 1, 1); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if all := got.get(); len(all) != 2 || all[0].Duplicate && all[1].Duplicate {
			t.Fatalf("%+v", all)
		}
	})
}

func TestRefusedAppendsSayWhyAndGiveTheirRoomBack(t *testing.T) {
	n := newNode(t, 1, nil)
	if r := n.produce(plain(1), mq.DurabilityAll); mq.CodeOf(r.Err) != mq.NotLeaderOrFollower {
		t.Fatal(r.Err)
	}
	n.lead()
	n.must(batch(producedBy{1, 1, 0}, 2, 'a', 10, 0))
	n.set(Settings{MinISR: 2, MaxBatchBytes: 300})
	for name, c := range map[string]struct {
		b    mq.Batch
		want mq.Durability
		code mq.Code
	}{
		"min isr":       {plain(1), mq.DurabilityAll, mq.NotEnoughReplicas},
		"min isr, too":  {plain(1), mq.DurabilityObject, mq.NotEnoughReplicas},
		"too large":     {batch(nobody(), 1, 'x', 300, 0), mq.DurabilityLeader, mq.MessageTooLarge},
		"durability":    {plain(1), 9, mq.InvalidRequiredAcks},
		"gap":           {batch(producedBy{1, 1, 3}, 1, 'a', 10, 0), mq.DurabilityLeader, mq.OutOfOrderSequence},
		"old epoch":     {batch(producedBy{1, 0, 2}, 1, 'a', 10, 0), mq.DurabilityLeader, mq.InvalidProducerEpoch},
		"unknown":       {batch(producedBy{2, 0, 2}, 1, 'a', 10, 0), mq.DurabilityLeader, mq.UnknownProducerID},
		"overlap":       {batch(producedBy{1, 1, 1}, 2, 'a', 10, 0), mq.DurabilityLeader, mq.InvalidRequest},
		"leader is ok":  {plain(1), mq.DurabilityLeader, mq.None},
		"duplicate too": {batch(producedBy{1, 1, 0}, 2, 'a', 10, 0), mq.DurabilityLeader, mq.None},
	} {
		if r := n.produce(c.b, c.want); mq.CodeOf(r.Err) != c.code {
			t.Errorf("%s: %v, want %v", name, r.Err, c.code)
		}
	}
	if queued := n.log.Stats().QueuedBytes; queued != 0 {
		t.Fatalf("%d bytes stay reserved", queued)
	}
	n.p.Close()
	if r := n.produce(plain(1), mq.DurabilityLeader); mq.CodeOf(r.Err) != mq.ShuttingDown {
		t.Fatal(r.Err)
	}
}

func TestPoisonedLogFailsWhatWaitsAndStopsThePartition(t *testing.T) {
	n := newNode(t, 1, nil)
	n.lead()
	n.must(plain(1))
	n.disk.CutAt(1)
	f := make(future, 1)
	n.send(plain(1), mq.DurabilityAll, f)
	if r := <-f; mq.CodeOf(r.Err) != mq.KafkaStorageError {
		t.Fatalf("%+v", r)
	}
	if s, err := n.p.State(); s != StateOffline || mq.CodeOf(err) != mq.KafkaStorageError {
		t.Fatal(s, err)
	}
	if _, high, _, _ := n.p.Offsets(); high != 1 {
		t.Fatalf("watermark %d after a failed sync", high)
	}
}

// blocking is a Completion that holds up whoever calls it.
type blocking struct{ called, release chan struct{} }

func (c blocking) Complete(AppendResult) {
	close(c.called)
	<-c.release
}

func TestCompletionsAreToldOneAtATimeAndInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 1, nil)
		n.lead()
		first := blocking{make(chan struct{}), make(chan struct{})}
		n.send(plain(1), mq.DurabilityLeader, first)
		<-first.called // the log's writer is in there
		var later results
		n.send(plain(1), mq.DurabilityNone, &later)
		n.send(plain(1), mq.DurabilityNone, &later)
		synctest.Wait()
		if got := later.get(); len(got) != 0 {
			t.Fatalf("told beside an earlier one: %+v", got)
		}
		close(first.release)
		synctest.Wait()
		if got := later.get(); len(got) != 2 || got[0].Base != 1 || got[1].Base != 2 {
			t.Fatalf("%+v", got)
		}
	})
}

// Complete may call the partition again, and results keep their order.
type chained struct {
	n    *node
	left int
	all  *results
}

func (c chained) Complete(r AppendResult) {
	c.all.Complete(r)
	if c.left > 0 && r.Err == nil {
		b := plain(1)
		if c.n.log.Reserve(context.Background(), LogBytes(b)) == nil {
			c.n.p.Append(b, mq.DurabilityNone, chained{c.n, c.left - 1, c.all})
		}
	}
}

func TestCompletionMayAppend(t *testing.T) {
	n := newNode(t, 1, nil)
	n.lead()
	var all results
	n.send(plain(1), mq.DurabilityNone, chained{n, 20, &all})
	got := all.get()
	if len(got) != 21 {
		t.Fatalf("%d results", len(got))
	}
	for i, r := range got {
		if r.Base != mq.Offset(i) {
			t.Fatalf("result %d is of %d", i, r.Base)
		}
	}
}
