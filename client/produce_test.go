package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
)

func TestProduceSyncTellsOffsetAndMark(t *testing.T) {
	h := startCluster(t)
	h.broker.create("orders", 1)
	c := h.client()
	for i := range 5 {
		res := c.ProduceSync(soon(t), &Record{Topic: "orders", Key: []byte("k"), Value: []byte(fmt.Sprint(i)), Headers: []mq.Header{{Key: "h", Value: []byte("v")}}})
		if err := res.FirstErr(); err != nil {
			t.Fatal(err)
		}
		if rec := res[0].Record; rec.Offset != mq.Offset(i) || rec.Reached != mq.MarkReplicated || rec.Timestamp.IsZero() {
			t.Fatalf("record %d became %+v", i, rec)
		}
	}
	got := h.broker.topics["orders"].parts[0].records()
	if len(got) != 5 || string(got[3].Value) != "3" || got[3].Headers[0].Key != "h" {
		t.Fatalf("log has %v", got)
	}
}

func TestDurabilityIsPerRecord(t *testing.T) {
	h := startCluster(t)
	h.broker.create("t", 1)
	c := h.client(RequiredAcks(mq.DurabilityLeader))
	recs := []*Record{
		{Topic: "t", Value: []byte("a")},
		{Topic: "t", Value: []byte("b"), Acks: AcksObject},
		{Topic: "t", Value: []byte("c"), Acks: AcksNone},
	}
	res := c.ProduceSync(soon(t), recs...)
	if err := res.FirstErr(); err != nil {
		t.Fatal(err)
	}
	for i, want := range []mq.Mark{mq.MarkLocal, mq.MarkObject, mq.MarkNone} {
		if recs[i].Reached != want || recs[i].Offset != mq.Offset(i) {
			t.Errorf("record %d reached %v at %d, want %v", i, recs[i].Reached, recs[i].Offset, want)
		}
	}
}

// checker produces numbered values from many goroutines and finds out what became of them.
type checker struct {
	t       *testing.T
	workers int
	each    int
}

// run produces each records per worker, keeping order by acks[worker], and returns how many failed.
func (k *checker) run(c *Client, topic string, value func(worker, i int) []byte) (failed int64) {
	var wg sync.WaitGroup
	var bad atomic.Int64
	for w := range k.workers {
		wg.Go(func() {
			for i := range k.each {
				c.Produce(context.Background(), &Record{Topic: topic, Key: fmt.Append(nil, w), Value: value(w, i)}, func(_ *Record, err error) {
					if err != nil {
						if bad.Add(1) > 3 {
							return
						}
						k.t.Logf("worker %d record %d: %v", w, i, err)
					}
				})
			}
		})
	}
	wg.Wait()
	if err := c.Flush(soon(k.t)); err != nil {
		k.t.Fatal(err)
	}
	return bad.Load()
}

func numbered(w, i int) []byte { return fmt.Appendf(nil, "%d:%d:", w, i) }

// exactlyOnceInOrder checks that each worker's values are in one partition, all of them, once, in order.
func (k *checker) exactlyOnceInOrder(ft *fakeTopic) {
	k.t.Helper()
	total := 0
	for p, l := range ft.parts {
		next := map[int]int{}
		for at, rec := range l.records() {
			if rec.Offset != mq.Offset(at) {
				k.t.Fatalf("partition %d: record %d has offset %d", p, at, rec.Offset)
			}
			var w, i int
			if _, err := fmt.Sscanf(string(rec.Value), "%d:%d:", &w, &i); err != nil {
				k.t.Fatal(err)
			}
			if next[w] != i {
				k.t.Fatalf("partition %d offset %d: worker %d has %d after %d", p, at, w, i, next[w]-1)
			}
			next[w]++
			total++
		}
		for w, n := range next {
			if n != k.each {
				k.t.Errorf("partition %d: %d records of worker %d, want %d", p, n, w, k.each)
			}
		}
	}
	if total != k.workers*k.each {
		k.t.Errorf("%d records, want %d", total, k.workers*k.each)
	}
}

func TestManyProducersKeepOrder(t *testing.T) {
	h := startCluster(t)
	ft := h.broker.create("t", 3)
	c := h.client(BatchBytes(4096))
	k := checker{t, 64, 300}
	if n := k.run(c, "t", numbered); n != 0 {
		t.Fatalf("%d failed", n)
	}
	k.exactlyOnceInOrder(ft)
	if s := c.Stats(); s.RecordsProduced != 64*300 || s.RecordsBuffered != 0 || s.BytesBuffered != 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestKilledConnectionsLoseAndDoubleNothing(t *testing.T) {
	for seed := range 4 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			h := startCluster(t)
			ft := h.broker.create("t", 3)
			var appends, kills atomic.Int64
			dead := make(chan struct{}, 1)
			done := make(chan struct{})
			h.broker.setFault(func(int32, mq.Batch) fault {
				if n := appends.Add(1); n%int64(40+17*seed) == 0 && kills.Load() < 8 {
					kills.Add(1)
					return fault{after: func() {
						select {
						case dead <- struct{}{}:
						default:
						}
					}}
				}
				return fault{}
			})
			go func() {
				defer close(done)
				for range dead {
					h.restart()
				}
			}()
			c := h.client(BatchBytes(2048), Window(1+seed*20))
			k := checker{t, 64, 300}
			if n := k.run(c, "t", numbered); n != 0 {
				t.Errorf("%d failed", n)
			}
			h.broker.setFault(nil)
			close(dead)
			<-done
			k.exactlyOnceInOrder(ft)
			if s := c.Stats(); s.Duplicates == 0 || s.Disconnects == 0 {
				t.Errorf("no retry was of a batch that was there already: %+v", s)
			}
		})
	}
}

func TestRefusalsAreRetriedInOrder(t *testing.T) {
	for _, code := range []mq.Code{mq.StorageFull, mq.NotLeaderOrFollower, mq.NotEnoughReplicas, mq.TooManyRequests} {
		t.Run(code.String(), func(t *testing.T) {
			h := startCluster(t)
			ft := h.broker.create("t", 2)
			var n atomic.Int64
			h.broker.setFault(func(int32, mq.Batch) fault {
				if i := n.Add(1); i%23 < 3 && i < 200 {
					return fault{refuse: mq.Errorf(code, "injected")}
				}
				return fault{}
			})
			c := h.client(BatchBytes(2048), Window(8))
			k := checker{t, 16, 200}
			if n := k.run(c, "t", numbered); n != 0 {
				t.Errorf("%d failed", n)
			}
			k.exactlyOnceInOrder(ft)
			if c.Stats().BatchesRetried == 0 {
				t.Error("nothing was retried")
			}
		})
	}
}

func TestFatalRefusalFailsOnlyItsBatch(t *testing.T) {
	h := startCluster(t)
	ft := h.broker.create("t", 1)
	h.broker.setFault(func(_ int32, b mq.Batch) fault {
		if bytes.Contains(b, []byte("poison")) {
			return fault{refuse: mq.Errorf(mq.InvalidRecord, "poison")}
		}
		return fault{}
	})
	c := h.client(Linger(0), BatchBytes(1024))
	var failed, ok atomic.Int64
	for i := range 200 {
		v := fmt.Sprint("fine ", i, strings.Repeat(".", 600))
		if i == 100 {
			v = "poison" + v
		}
		c.Produce(soon(t), &Record{Topic: "t", Value: []byte(v)}, func(_ *Record, err error) {
			if err == nil {
				ok.Add(1)
				return
			}
			failed.Add(1)
			if mq.CodeOf(err) != mq.InvalidRecord {
				t.Errorf("record %d: %v", i, err)
			}
		})
	}
	if err := c.Flush(soon(t)); err != nil {
		t.Fatal(err)
	}
	if failed.Load() == 0 || failed.Load() > 3 || int(ok.Load()) != len(ft.parts[0].records()) {
		t.Fatalf("%d failed, %d delivered, %d in the log", failed.Load(), ok.Load(), len(ft.parts[0].records()))
	}
}

func TestBrokenSequenceFailsLoudlyAndRecovers(t *testing.T) {
	h := startCluster(t)
	ft := h.broker.create("t", 1)
	c := h.client()
	if err := c.ProduceSync(soon(t), &Record{Topic: "t", Value: []byte("1")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	l := ft.parts[0]
	l.mu.Lock()
	for _, p := range l.producers {
		p.next, p.recent = 77, nil // the server forgot some of it
	}
	l.mu.Unlock()
	err := c.ProduceSync(soon(t), &Record{Topic: "t", Value: []byte("2")}).FirstErr()
	wantCode(t, err, mq.OutOfOrderSequence)
	if err := c.ProduceSync(soon(t), &Record{Topic: "t", Value: []byte("3")}).FirstErr(); err != nil {
		t.Fatalf("no recovery: %v", err)
	}
	if n := h.broker.asked(); n != 2 {
		t.Errorf("%d producer ids were asked for, want 2", n)
	}
}

func TestForgottenProducerGoesOnUnderAnotherID(t *testing.T) {
	h := startCluster(t)
	ft := h.broker.create("t", 1)
	c := h.client()
	for i := range 3 {
		if err := c.ProduceSync(soon(t), &Record{Topic: "t", Value: fmt.Append(nil, i)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		ft.parts[0].mu.Lock()
		clear(ft.parts[0].producers)
		ft.parts[0].mu.Unlock()
	}
	if n := len(ft.parts[0].records()); n != 3 {
		t.Fatalf("%d records, want 3", n)
	}
}

func TestRecordOfUnknownFateIsNotSentUnderAnotherID(t *testing.T) {
	h := startCluster(t)
	ft := h.broker.create("t", 1)
	c := h.client()
	if err := c.ProduceSync(soon(t), &Record{Topic: "t", Value: []byte("1")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	killed := make(chan struct{})
	h.broker.setFault(func(int32, mq.Batch) fault { return fault{after: func() { close(killed) }} })
	go func() {
		<-killed
		h.kill()
		h.broker.setFault(nil)
		ft.parts[0].mu.Lock()
		clear(ft.parts[0].producers)
		ft.parts[0].mu.Unlock()
		h.start()
	}()
	err := c.ProduceSync(soon(t), &Record{Topic: "t", Value: []byte("2")}).FirstErr()
	wantCode(t, err, mq.UnknownProducerID)
	if n := len(ft.parts[0].records()); n != 2 {
		t.Errorf("%d records, want 2: the second was appended before the crash", n)
	}
}

func TestBufferIsBoundedAndProduceWaits(t *testing.T) {
	h := startCluster(t)
	h.broker.create("t", 1)
	h.broker.delay = 20 * time.Millisecond
	const most = 64 << 10
	c := h.client(MaxBufferedBytes(most), BatchBytes(8<<10))
	ctx := soon(t)
	var full, peak int64
	for range 300 {
		rec := &Record{Topic: "t", Value: make([]byte, 1000)}
		if err := c.TryProduce(ctx, rec, nil); errors.Is(err, ErrBufferFull) {
			full++
			c.Produce(ctx, rec, nil)
		} else if err != nil {
			t.Fatal(err)
		}
		_, bytes := c.Buffered()
		peak = max(peak, bytes)
	}
	if err := c.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	if full == 0 || peak > most {
		t.Errorf("full %d times, peak %d bytes of %d", full, peak, most)
	}
	if s := c.Stats(); s.RecordsProduced != 300 || s.BufferWaits == 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestContextEndsTheWaitForRoom(t *testing.T) {
	h := startCluster(t)
	h.broker.create("t", 1)
	h.broker.delay = time.Hour
	c := h.client(MaxBufferedBytes(2048), BatchBytes(1024))
	c.Produce(soon(t), &Record{Topic: "t", Value: make([]byte, 1500)}, nil)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	var got error
	c.Produce(ctx, &Record{Topic: "t", Value: make([]byte, 1500)}, func(_ *Record, err error) { got = err })
	if !errors.Is(got, context.DeadlineExceeded) {
		t.Fatalf("got %v", got)
	}
	if err := c.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("flush gave %v", err)
	}
}

func TestDeliveryTimeoutFailsRecordsAndGoesOn(t *testing.T) {
	b := newFakeBroker()
	ft := b.create("t", 1)
	inSim(t, 1, 0, b, func(t *testing.T, _ *simNet, c *Client) {
		send := func(value string) error {
			return c.ProduceSync(context.Background(), &Record{Topic: "t", Value: []byte(value)}).FirstErr()
		}
		if err := send("first"); err != nil {
			t.Fatal(err)
		}
		b.setFault(func(_ int32, batch mq.Batch) fault { // which may be on its way once more when the client has given it up
			if bytes.Contains(batch, []byte("second")) {
				return fault{refuse: mq.Errorf(mq.StorageFull, "injected")}
			}
			return fault{}
		})
		err := send("second")
		wantCode(t, err, mq.RequestTimedOut)
		if !strings.Contains(err.Error(), "STORAGE_FULL") {
			t.Errorf("error does not tell why: %v", err)
		}
		if err := send("third"); err != nil {
			t.Fatal(err)
		}
		if n := len(ft.parts[0].records()); n != 2 {
			t.Errorf("%d records, want 2", n)
		}
	}, DeliveryTimeout(1500*time.Millisecond))
}

func TestPausesLeaveRoomInTheDeliveryTimeout(t *testing.T) {
	h := startCluster(t)
	const timeout = 1500 * time.Millisecond
	wait := h.client(DeliveryTimeout(timeout)).produceBackoff()
	for range 50 {
		if d := wait.NextBackOff(); d > timeout/4 {
			t.Fatalf("a pause of %v in a delivery timeout of %v", d, timeout)
		}
	}
}

func TestUnknownTopicFailsSoon(t *testing.T) {
	h := startCluster(t)
	c := h.client()
	err := c.ProduceSync(soon(t), &Record{Topic: "nowhere", Value: []byte("1")}).FirstErr()
	wantCode(t, err, mq.UnknownTopicOrPartition)
	h.broker.create("nowhere", 1)
	if err := c.ProduceSync(soon(t), &Record{Topic: "nowhere", Value: []byte("1")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func TestRecreatedTopicIsProducedTo(t *testing.T) {
	h := startCluster(t)
	h.broker.create("t", 2)
	c := h.client()
	for range 3 {
		for i := range 10 {
			rec := &Record{Topic: "t", Key: fmt.Append(nil, i), Value: []byte("v")}
			err := c.ProduceSync(soon(t), rec).FirstErr()
			if code := mq.CodeOf(err); code == mq.UnknownProducerID || code == mq.UnknownTopicID {
				err = c.ProduceSync(soon(t), rec).FirstErr() // the first was sent to the old topic, and nobody knows if it arrived
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := c.DeleteTopic(soon(t), "t"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.CreateTopic(soon(t), NewTopic{Name: "t", Partitions: 2}); err != nil {
			t.Fatal(err)
		}
		h.restart() // or the stream would keep the old one
	}
}

func TestTooLargeRecordIsRefusedBeforeItIsSent(t *testing.T) {
	h := startCluster(t)
	h.broker.create("t", 1).maxBatch.Store(10_000)
	c := h.client()
	if err := c.ProduceSync(soon(t), &Record{Topic: "t", Value: []byte("small")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	err := c.ProduceSync(soon(t), &Record{Topic: "t", Value: make([]byte, 20_000)}).FirstErr()
	wantCode(t, err, mq.MessageTooLarge)
	if sent := c.Stats().BatchesSent; sent != 1 {
		t.Errorf("%d batches were sent", sent)
	}
	if _, bytes := c.Buffered(); bytes != 0 {
		t.Errorf("%d bytes are still buffered", bytes)
	}
}

func TestOnlyTheTooLargeRecordOfTheFirstBatchFails(t *testing.T) {
	h := startCluster(t)
	ft := h.broker.create("t", 1)
	ft.maxBatch.Store(2000)
	c := h.client()
	res := c.ProduceSync(soon(t), &Record{Topic: "t", Value: []byte("one")}, &Record{Topic: "t", Value: make([]byte, 5000)}, &Record{Topic: "t", Value: []byte("three")})
	wantCode(t, res[1].Err, mq.MessageTooLarge)
	if res[0].Err != nil || res[2].Err != nil || len(ft.parts[0].records()) != 2 {
		t.Errorf("results %v, log %v", res, ft.parts[0].records())
	}
}

func TestOneMegabyteRecord(t *testing.T) {
	h := startCluster(t)
	ft := h.broker.create("t", 1)
	c := h.client()
	value := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	if err := c.ProduceSync(soon(t), &Record{Topic: "t", Value: value}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if got := ft.parts[0].records(); !bytes.Equal(got[0].Value, value) {
		t.Error("value changed on the way")
	}
}

func TestCompressedBatches(t *testing.T) {
	for _, codec := range []mq.Compression{mq.CompressionGzip, mq.CompressionSnappy, mq.CompressionLZ4, mq.CompressionZstd} {
		h := startCluster(t)
		ft := h.broker.create("t", 1)
		c := h.client(Compression(codec, 0))
		k := checker{t, 4, 500}
		if n := k.run(c, "t", func(w, i int) []byte { return append(numbered(w, i), bytes.Repeat([]byte("x"), 500)...) }); n != 0 {
			t.Fatal(codec, n)
		}
		k.exactlyOnceInOrder(ft)
		if s := c.Stats(); s.WireBytesSent > s.BytesProduced/2 {
			t.Errorf("%v: %d bytes on the wire of %d", codec, s.WireBytesSent, s.BytesProduced)
		}
	}
}

func TestCloseFailsWhatIsBuffered(t *testing.T) {
	h := startCluster(t)
	h.broker.create("t", 1)
	h.broker.delay = time.Hour
	c := h.client()
	var closed atomic.Int64
	for range 100 {
		c.Produce(soon(t), &Record{Topic: "t", Value: []byte("v")}, func(_ *Record, err error) {
			if errors.Is(err, ErrClosed) {
				closed.Add(1)
			}
		})
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if closed.Load() != 100 {
		t.Errorf("%d promises were called with ErrClosed, want 100", closed.Load())
	}
	err := c.ProduceSync(soon(t), &Record{Topic: "t", Value: []byte("v")}).FirstErr()
	if !errors.Is(err, ErrClosed) {
		t.Errorf("produce on a closed client: %v", err)
	}
}

func TestPromiseMayProduce(t *testing.T) {
	h := startCluster(t)
	h.broker.create("t", 1)
	c := h.client()
	done := make(chan error, 1)
	var next func(n int) Promise
	next = func(n int) Promise {
		return func(_ *Record, err error) {
			if err == nil && n > 0 {
				err = c.TryProduce(context.Background(), &Record{Topic: "t", Value: []byte("v")}, next(n-1))
				if err == nil {
					return
				}
			}
			done <- err
		}
	}
	c.Produce(soon(t), &Record{Topic: "t", Value: []byte("v")}, next(50))
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestDrainingServerIsLeft(t *testing.T) {
	h := startCluster(t)
	ft := h.broker.create("t", 3)
	c := h.client()
	k := checker{t, 8, 3000}
	ctx := soon(t)
	done := make(chan int64)
	go func() { done <- k.run(c, "t", numbered) }()
	for c.Stats().RecordsProduced < 500 {
		time.Sleep(time.Millisecond)
	}
	h.mu.Lock()
	if err := h.srv.Shutdown(ctx); err != nil {
		t.Errorf("shutdown while a client produces: %v", err)
	}
	h.srv = nil
	h.mu.Unlock()
	h.start()
	if n := <-done; n != 0 {
		t.Errorf("%d failed", n)
	}
	k.exactlyOnceInOrder(ft)
}

func TestLeaderlessPartitionWaitsForOne(t *testing.T) {
	h := startCluster(t)
	h.broker.create("t", 1)
	var asked atomic.Int64
	h.broker.leader = func() mq.NodeID {
		if asked.Add(1) < 4 {
			return mq.NoNode
		}
		return 1
	}
	c := h.client()
	if err := c.ProduceSync(soon(t), &Record{Topic: "t", Value: []byte("v")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	asked.Store(0)
	k := consumer(t, c, Assign("t", 0, Start()))
	if recs, err := k.Poll(soon(t)); err != nil || len(recs) != 1 {
		t.Fatalf("%v, %v", recs, err)
	}
}

func TestNewPartitionsAreUsedAfterGrowth(t *testing.T) {
	h := startCluster(t)
	h.broker.create("t", 1)
	c := h.client(PartitionBy(RoundRobinPartitioner()))
	if err := c.ProduceSync(soon(t), &Record{Topic: "t", Value: []byte("v")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := c.CreatePartitions(soon(t), "t", 4); err != nil {
		t.Fatal(err)
	}
	h.restart() // the fake's open streams know the old topic only
	ctx := soon(t)
	for {
		rec := &Record{Topic: "t", Value: []byte("v")}
		if err := c.ProduceSync(ctx, rec).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if rec.Partition == 3 {
			return
		}
	}
}
