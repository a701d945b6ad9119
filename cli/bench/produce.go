package bench

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rustmq/rustmq/client"
)

// produce has Producers goroutines with Window records in flight each, for d or its share of Records.
func (b *bench) produce(ctx context.Context, d time.Duration) (Result, error) {
	var claimed atomic.Int64
	share := b.Records / int64(b.Rounds)
	end := time.Now().Add(d)
	more := func() bool {
		if b.Records > 0 {
			return claimed.Add(1) <= share
		}
		return time.Now().Before(end)
	}
	r, _, err := b.watched(ctx, func() (Result, error) {
		return b.pumpAll(ctx, b.client, more, func(value []byte) *client.Record { return &client.Record{Topic: b.Topic, Value: value} })
	})
	return r, err
}

// pumpAll runs the producers until more says no and all is acknowledged.
func (b *bench) pumpAll(ctx context.Context, c *client.Client, more func() bool, record func(value []byte) *client.Record) (Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	value := b.payload()
	var acked atomic.Int64
	watch := startWatch()
	samples := make([][]time.Duration, b.Producers)
	var producers sync.WaitGroup
	for i := range b.Producers {
		producers.Go(func() {
			samples[i] = b.pump(ctx, c, more, func() *client.Record { return record(value) }, func(err error) {
				if err != nil {
					cancel(err)
					return
				}
				acked.Add(1)
			})
		})
	}
	producers.Wait()
	if err := context.Cause(ctx); err != nil {
		return Result{}, err
	}
	wall, cpu := watch.elapsed()
	var all []time.Duration
	for _, s := range samples {
		all = append(all, s...)
	}
	p50, p99 := percentiles(all)
	n := acked.Load()
	return Result{
		Name: "produce_throughput", Value: rate(n, wall), Unit: unitRecords, P50: p50, P99: p99,
		CPUPerRecord: perRecord(cpu, n), Records: n, RecordSizeBytes: b.Size,
	}, nil
}

// sampleEvery is how many records of a producer share one measured latency.
const sampleEvery = 16

// pump keeps a window of records in flight until more says no, and waits for the last.
func (b *bench) pump(ctx context.Context, c *client.Client, more func() bool, record func() *client.Record, settled func(error)) []time.Duration {
	slots := make(chan struct{}, b.Window)
	var mu sync.Mutex
	var samples []time.Duration
	for n := 0; ctx.Err() == nil && more(); n++ {
		slots <- struct{}{}
		var sent time.Time
		if n%sampleEvery == 0 {
			sent = time.Now()
		}
		c.Produce(ctx, record(), func(_ *client.Record, err error) {
			if !sent.IsZero() {
				took := time.Since(sent)
				mu.Lock()
				samples = append(samples, took)
				mu.Unlock()
			}
			settled(err)
			<-slots
		})
	}
	for range b.Window {
		slots <- struct{}{}
	}
	return samples
}
