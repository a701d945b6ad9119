package client

import (
	"context"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// BenchmarkProduceAgainstFranz is this client with a broker of this protocol that keeps nothing, and franz-go with the fake broker of its own module, which keeps all
// in memory. Both ends of either are in this process: the allocations are those of both, and so is the processor's time, in ns per record.
func BenchmarkProduceAgainstFranz(b *testing.B) {
	for _, size := range []int{100, 1 << 10} {
		value := noise(size)
		for _, kind := range []TransportKind{QUIC, TCP} {
			b.Run(fmt.Sprintf("%d/rustmq-%v", size, kind), func(b *testing.B) { benchOurs(b, value, kind) })
		}
		b.Run(fmt.Sprintf("%d/franz-go", size), func(b *testing.B) { benchFranz(b, value) })
	}
}

// processor is how much of the processor's time this process has had, ns.
func processor(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// benchProduced has send called for each of b.N records, and wait once, which says whether all were acknowledged.
func benchProduced(b *testing.B, size int, send func(i int), wait func() error) {
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	before := processor(b)
	for i := range b.N {
		send(i)
	}
	if err := wait(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(processor(b)-before)/float64(b.N), "cpu-ns/op")
}

func benchOurs(b *testing.B, value []byte, kind TransportKind) {
	h := startCluster(b)
	h.broker.create("t", 6)
	discard(h)
	c := h.client(Transport(kind))
	ctx := context.Background()
	if err := c.ProduceSync(ctx, &Record{Topic: "t", Value: value}).FirstErr(); err != nil {
		b.Fatal(err)
	}
	var first atomic.Pointer[error]
	promise := func(_ *Record, err error) {
		if err != nil {
			first.CompareAndSwap(nil, &err)
		}
	}
	benchProduced(b, len(value), func(int) { c.Produce(ctx, &Record{Topic: "t", Value: value}, promise) }, func() error {
		if err := c.Flush(ctx); err != nil {
			return err
		}
		if err := first.Load(); err != nil {
			return *err
		}
		return nil
	})
}

func benchFranz(b *testing.B, value []byte) {
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(6, "t"))
	if err != nil {
		b.Fatal(err)
	}
	defer fake.Close()
	c, err := kgo.NewClient(kgo.SeedBrokers(fake.ListenAddrs()...), kgo.DefaultProduceTopic("t"), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	ctx := context.Background()
	if err := c.ProduceSync(ctx, &kgo.Record{Value: value}).FirstErr(); err != nil {
		b.Fatal(err)
	}
	var first atomic.Pointer[error]
	promise := func(_ *kgo.Record, err error) {
		if err != nil {
			first.CompareAndSwap(nil, &err)
		}
	}
	benchProduced(b, len(value), func(int) { c.Produce(ctx, &kgo.Record{Value: value}, promise) }, func() error {
		if err := c.Flush(ctx); err != nil {
			return err
		}
		if err := first.Load(); err != nil {
			return *err
		}
		return nil
	})
}
