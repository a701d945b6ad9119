package nodetest

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/node"
	"github.com/rustmq/rustmq/tier/faultstore"
	"github.com/rustmq/rustmq/wal"
)

// catchUp is a node with a topic of two partitions: what partition 0 has is in the object store only, and is read by those who catch up;
// partition 1 is read as it is written.
type catchUp struct {
	t     testing.TB
	ctx   context.Context
	store *faultstore.Store
	node  *Live
	cl    *client.Client
	sent  int // to partition 1
}

func startCatchUp(t testing.TB, ctx context.Context, records, valueBytes int) *catchUp { //nolint:revive // t comes first in this package
	t.Helper()
	c := &catchUp{t: t, ctx: ctx, store: faultstore.New()}
	cfg := Config(filepath.Join(t.TempDir(), "data"))
	cfg.WAL = node.WALConfig{SegmentSize: 256 << 10, MaxSize: 64 << 20, QueueSize: 8 << 20}
	var err error
	if c.node, err = StartLive(ctx, cfg, Seams{FS: wal.OS(), Bucket: c.store.Bucket(), Scratch: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stopping, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := c.node.Close(stopping); err != nil {
			t.Logf("close the node: %v", err)
		}
	})
	c.cl = c.client()
	if _, err := c.cl.CreateTopic(ctx, client.NewTopic{Name: "orders", Partitions: 2, Replicas: 1}); err != nil {
		t.Fatal(err)
	}
	recs := make([]*client.Record, records)
	for i := range recs {
		recs[i] = &client.Record{Topic: "orders", Value: make([]byte, valueBytes), Acks: client.AcksObject}
	}
	for _, res := range c.cl.ProduceSync(ctx, recs...) {
		if res.Err != nil {
			t.Fatal(res.Err)
		}
	}
	return c
}

func (c *catchUp) client() *client.Client {
	c.t.Helper()
	cl, err := c.node.Client(client.PartitionBy(client.ManualPartitioner()))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = cl.Close() })
	return cl
}

func (c *catchUp) consumer(assign ...client.ConsumerOption) *client.Consumer {
	c.t.Helper()
	k, err := c.client().NewConsumer(assign...)
	if err != nil {
		c.t.Fatal(err)
	}
	return k
}

// tail sends records to partition 1, one after the other, and gives how long each took to be read by k.
func (c *catchUp) tail(k *client.Consumer, records int) (took []time.Duration) {
	c.t.Helper()
	for range records {
		value := fmt.Sprint(c.sent)
		c.sent++
		sent := time.Now()
		if err := c.cl.ProduceSync(c.ctx, &client.Record{Topic: "orders", Partition: 1, Value: []byte(value), Acks: client.AcksLeader}).FirstErr(); err != nil {
			c.t.Fatal(err)
		}
		for got := false; !got; {
			recs, err := k.Poll(c.ctx)
			if err != nil {
				c.t.Fatal(err)
			}
			for _, rec := range recs {
				got = got || rec.Partition == 1 && string(rec.Value) == value
			}
		}
		took = append(took, time.Since(sent))
	}
	return took
}

// While the object store answers nobody, those who read the tail get every record, whether on a stream of their own or on one with a partition that waits for the store.
func TestTailReadersDoNotWaitForThoseWhoCatchUp(t *testing.T) {
	t.Parallel()
	c := startCatchUp(t, soon(t), 4000, 500)
	until(t, "the log is let go of", func() bool { return c.node.metric(t, `rustmq_wal_segments{log="data"}`) <= 4 })
	answer := make(chan struct{})
	c.store.SetHook(func(op faultstore.Op) (f faultstore.Fault) {
		if op.Kind == faultstore.Read {
			<-answer
		}
		return f
	})
	release := sync.OnceFunc(func() { close(answer) })
	t.Cleanup(release)
	var waiting []*client.Consumer
	for range 16 {
		waiting = append(waiting, c.consumer(client.Assign("orders", 0, client.Start())))
	}
	poll := func(k *client.Consumer) bool {
		short, cancel := context.WithTimeout(c.ctx, 10*time.Millisecond)
		defer cancel()
		_, err := k.Poll(short)
		return err == nil
	}
	for _, k := range waiting {
		if poll(k) {
			t.Fatal("the log has it still")
		}
	}
	alone := c.consumer(client.Assign("orders", 1, client.Start()))
	both := c.consumer(client.Assign("orders", 0, client.Start()), client.Assign("orders", 1, client.Start()))
	c.tail(alone, 100)
	seen := 0
	for seen < 100 {
		recs, err := both.Poll(c.ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range recs {
			if rec.Partition != 1 || rec.Offset != mq.Offset(seen) {
				t.Fatalf("got offset %d of partition %d", rec.Offset, rec.Partition)
			}
			seen++
		}
	}
	release()
	for i, k := range append(waiting, both) {
		next := mq.Offset(0)
		for next < 4000 {
			recs, err := k.Poll(c.ctx)
			if err != nil {
				t.Fatal(err)
			}
			if recs[0].Partition == 0 {
				if recs[0].Offset != next {
					t.Fatalf("consumer %d: offset %d, want %d", i, recs[0].Offset, next)
				}
				next = recs[len(recs)-1].Offset + 1
			}
		}
	}
}

// catchUpRate is how fast each reader of the benchmark catches up, in bytes a second: what the processors can do beside the tail, for what is measured is whether
// one waits for the other, and not how they share a processor.
const catchUpRate = 8 << 20

// again reads partition 0 from the beginning again and again, at catchUpRate, until ctx ends, and gives how many bytes that were.
func (c *catchUp) again(ctx context.Context) (read int64) {
	began := time.Now()
	for ctx.Err() == nil {
		r := c.consumer(client.Assign("orders", 0, client.Start()), client.PrefetchBytes(client.MinPrefetchBytes))
		r.StopAt(map[client.TopicPartition]mq.Offset{{Topic: "orders"}: 31_000})
		for batch, err := range r.Batches(ctx) {
			if err != nil {
				break
			}
			read += int64(len(batch.Data))
			time.Sleep(time.Until(began.Add(time.Duration(read) * time.Second / catchUpRate)))
		}
		_ = r.Close()
	}
	return read
}

// BenchmarkTailBesideCatchUp is how long a record takes from its producer to a reader at the tail, by turns with nobody else there and with so many who read
// from the beginning again and again, all in one process.
func BenchmarkTailBesideCatchUp(b *testing.B) {
	for _, readers := range []int{1, 4} {
		b.Run(fmt.Sprintf("readers=%d", readers), func(b *testing.B) {
			c := startCatchUp(b, context.Background(), 32_000, 500)
			k := c.consumer(client.Assign("orders", 1, client.Start()))
			c.tail(k, 50)
			var alone, beside []time.Duration
			var bytes atomic.Int64
			var took time.Duration
			for b.Loop() {
				alone = append(alone, c.tail(k, 500)...)
				ctx, stop := context.WithCancel(c.ctx)
				var wait sync.WaitGroup
				for range readers {
					wait.Go(func() { bytes.Add(c.again(ctx)) })
				}
				began := time.Now()
				beside = append(beside, c.tail(k, 500)...)
				took += time.Since(began)
				stop()
				wait.Wait()
			}
			b.ReportMetric(float64(bytes.Load())/float64(1<<20)/took.Seconds(), "MiB/s-caught-up")
			slices.Sort(alone)
			slices.Sort(beside)
			for name, at := range map[string]int{"p50": 50, "p99": 99} {
				x, y := alone[at*len(alone)/100], beside[at*len(beside)/100]
				b.ReportMetric(float64(x.Microseconds()), name+"-alone-µs")
				b.ReportMetric(float64(y)/float64(x), name+"-ratio")
			}
		})
	}
}
