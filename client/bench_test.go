package client

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rustmq/rustmq/mq"
)

// discard appends nothing: what is measured is the client and the protocol.
func discard(h *cluster) {
	h.broker.setFault(nil)
	h.broker.discard = true
}

func noise(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func BenchmarkProduceSync(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			h := startCluster(b)
			h.broker.create("t", 1)
			discard(h)
			c := h.client()
			value := noise(size)
			rec := &Record{Topic: "t", Value: value}
			ctx := context.Background()
			c.ProduceSync(ctx, rec)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if err := c.ProduceSync(ctx, rec).FirstErr(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkProduceWaiting(b *testing.B) {
	for _, workers := range []int{16, 256} {
		b.Run(fmt.Sprint(workers), func(b *testing.B) {
			h := startCluster(b)
			h.broker.create("t", 6)
			discard(h)
			c := h.client()
			value := noise(1 << 10)
			ctx := context.Background()
			b.SetBytes(1 << 10)
			b.ReportAllocs()
			var left atomic.Int64
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			for range workers {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						rec := &Record{Topic: "t", Value: value}
						if err := c.ProduceSync(ctx, rec).FirstErr(); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

func BenchmarkProduce(b *testing.B) {
	for _, size := range []int{128, 1 << 10} {
		for _, conns := range []int{1, 2, 4} {
			b.Run(fmt.Sprintf("%d/conns=%d", size, conns), func(b *testing.B) {
				h := startCluster(b)
				h.broker.create("t", 6)
				discard(h)
				c := h.client(Connections(conns))
				value := noise(size)
				ctx := context.Background()
				b.SetBytes(int64(size))
				b.ReportAllocs()
				var failed atomic.Int64
				promise := func(_ *Record, err error) {
					if err != nil {
						failed.Add(1)
					}
				}
				recs := make([]Record, 1<<16)
				for i := range b.N {
					rec := &recs[i&(len(recs)-1)]
					*rec = Record{Topic: "t", Value: value}
					c.Produce(ctx, rec, promise)
				}
				if err := c.Flush(ctx); err != nil || failed.Load() > 0 {
					b.Fatal(err, failed.Load())
				}
			})
		}
	}
}

// BenchmarkProduceCPU is what Produce itself costs: nothing is ever sent.
func BenchmarkProduceCPU(b *testing.B) {
	for _, size := range []int{128, 1 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			h := startCluster(b)
			h.broker.create("t", 1)
			discard(h)
			c := h.client()
			value := noise(size)
			ctx := context.Background()
			c.ProduceSync(ctx, &Record{Topic: "t", Value: value})
			_, parts, err := c.topic(ctx, "t")
			if err != nil {
				b.Fatal(err)
			}
			p := parts[0]
			p.mu.Lock()
			p.paused = true
			p.mu.Unlock()
			recs := make([]Record, 1<<15)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for i := range b.N {
				rec := &recs[i&(len(recs)-1)]
				*rec = Record{Topic: "t", Value: value}
				if c.TryProduce(ctx, rec, nil) != nil {
					b.StopTimer()
					p.fail(ErrClosed, false)
					b.StartTimer()
				}
			}
		})
	}
}

func BenchmarkConsume(b *testing.B) {
	for _, raw := range []bool{false, true} {
		b.Run(fmt.Sprintf("raw=%v", raw), func(b *testing.B) {
			h := startCluster(b)
			ft := h.broker.create("t", 1)
			c := h.client()
			value := noise(1 << 10)
			const n = 100_000
			for i := range n {
				c.Produce(context.Background(), &Record{Topic: "t", Value: value}, nil)
				_ = i
			}
			if err := c.Flush(context.Background()); err != nil {
				b.Fatal(err)
			}
			_ = ft
			b.SetBytes(1 << 10)
			b.ReportAllocs()
			b.ResetTimer()
			for done := 0; done < b.N; {
				k := consumer(b, c, Assign("t", 0, Start()))
				k.StopAt(map[TopicPartition]mq.Offset{{"t", 0}: mq.Offset(min(n, b.N-done))})
				if raw {
					for batch, err := range k.Batches(context.Background()) {
						if err != nil {
							b.Fatal(err)
						}
						done += int(batch.To - batch.From)
					}
				} else {
					for _, err := range k.Records(context.Background()) {
						if err != nil {
							b.Fatal(err)
						}
						done++
					}
				}
				k.Close()
			}
		})
	}
}
