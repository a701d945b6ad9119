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
	left := &supply{records: b.Records / int64(b.Rounds), end: time.Now().Add(d)}
	r, _, err := b.watched(ctx, func() (Result, error) {
		return b.pumpAll(ctx, b.client, left, func(*client.Record) {})
	})
	return r, err
}

// supply is what the producers have to send: so many records, all of them together, or if that is 0 as many as go until a time.
type supply struct {
	records int64
	end     time.Time
	taken   atomic.Int64
}

// sampleEvery is how many records a producer takes at once. They share one measured latency.
const sampleEvery = 16

// take gives a producer so many records to send, at most sampleEvery; after 0 there are no more.
func (s *supply) take() int64 {
	if s.records == 0 {
		if time.Now().Before(s.end) {
			return sampleEvery
		}
		return 0
	}
	return max(0, min(sampleEvery, s.records-(s.taken.Add(sampleEvery)-sampleEvery)))
}

// pumpAll runs the producers until nothing is left and all is acknowledged. place may say more of where a record goes.
func (b *bench) pumpAll(ctx context.Context, c *client.Client, left *supply, place func(*client.Record)) (Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	pumps := make([]*pump, b.Producers)
	value := b.payload()
	for i := range pumps {
		pumps[i] = newPump(b.Window, func(rec *client.Record) {
			*rec = client.Record{Topic: b.Topic, Value: value}
			place(rec)
		}, cancel)
	}
	watch := startWatch()
	var producers sync.WaitGroup
	for _, p := range pumps {
		producers.Go(func() { p.run(ctx, c, left) })
	}
	producers.Wait()
	if err := context.Cause(ctx); err != nil {
		return Result{}, err
	}
	wall, cpu := watch.elapsed()
	var samples []time.Duration
	var n int64
	for _, p := range pumps {
		samples = append(samples, p.samples...)
		n += p.sent
	}
	p50, p99 := percentiles(samples)
	return Result{
		Name: "produce_throughput", Value: rate(n, wall), Unit: unitRecords, P50: p50, P99: p99,
		CPUPerRecord: perRecord(cpu, n), Records: n, RecordSizeBytes: b.Size,
	}, nil
}

// pump is one producer with a window of records in flight. It allocates nothing for a record: the library is to be measured.
type pump struct {
	fill func(*client.Record)
	free chan *flight // those that are not in flight
	sent int64

	mu      sync.Mutex
	samples []time.Duration
}

// flight is one place in the window.
type flight struct {
	rec     client.Record
	begun   time.Time // zero when its latency is not asked for
	promise client.Promise
}

func newPump(window int, fill func(*client.Record), fail func(error)) *pump {
	p := &pump{fill: fill, free: make(chan *flight, window)}
	for range window {
		f := &flight{}
		f.promise = func(_ *client.Record, err error) {
			if err != nil {
				fail(err)
			} else if !f.begun.IsZero() {
				p.sample(time.Since(f.begun))
			}
			p.free <- f // has room for all
		}
		p.free <- f
	}
	return p
}

func (p *pump) sample(took time.Duration) {
	p.mu.Lock()
	p.samples = append(p.samples, took)
	p.mu.Unlock()
}

// run keeps the window full until nothing is left to send, and waits for the last.
func (p *pump) run(ctx context.Context, c *client.Client, left *supply) {
	for n := left.take(); n > 0 && ctx.Err() == nil; n = left.take() {
		for i := range n {
			f := <-p.free
			f.begun = time.Time{}
			if i == 0 {
				f.begun = time.Now()
			}
			p.fill(&f.rec)
			c.Produce(ctx, &f.rec, f.promise)
		}
		p.sent += n
	}
	for range cap(p.free) {
		<-p.free
	}
}
