package bench

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
)

// Kind is what to measure.
type Kind string

// The kinds.
const (
	Produce Kind = "produce" // throughput with a window of records in flight
	Latency Kind = "latency" // one record in flight per producer
	Consume Kind = "consume" // reading what was just produced
)

// Options say what to measure. The zero value of a field but Kind and Dir stands for its default.
type Options struct {
	Kind       Kind
	Client     []client.Option // how to reach the cluster
	Limits     bool            // measure the machine's own bounds first
	Dir        string          // where the bound of the disk writes its file: on the disk of the log
	Topic      string          // created if missing; default "rustmq-bench"
	Partitions int32           // of the topic, if it is created; default 4
	Size       int             // of a record's value, bytes; default 1024
	Producers  int             // default 16
	Window     int             // records in flight per producer, for Produce; default 256
	Records    int64           // stop after so many; 0: by Duration
	Duration   time.Duration   // of each measurement; default 5 s
	Acks       mq.Durability
}

func (o Options) withDefaults() Options {
	if o.Topic == "" {
		o.Topic = "rustmq-bench"
	}
	if o.Partitions == 0 {
		o.Partitions = 4
	}
	if o.Size == 0 {
		o.Size = defaultRecordSize
	}
	if o.Producers == 0 {
		o.Producers = 16
	}
	if o.Window == 0 {
		o.Window = 256
	}
	if o.Duration == 0 {
		o.Duration = 5 * time.Second
	}
	return o
}

// Run measures. The results come with the bounds before them, if asked for.
func Run(ctx context.Context, o Options) ([]Result, error) {
	o = o.withDefaults()
	c, err := client.New(append(o.Client, client.RequiredAcks(o.Acks))...)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	_, err = c.CreateTopic(ctx, client.NewTopic{Name: o.Topic, Partitions: o.Partitions})
	if err != nil && mq.CodeOf(err) != mq.TopicAlreadyExists {
		return nil, err
	}
	switch o.Kind {
	case Produce:
		return o.against(ctx, o.bulkBound, func(ctx context.Context) (Result, error) { return o.produce(ctx, c) })
	case Latency:
		return o.against(ctx, o.floorBound, func(ctx context.Context) (Result, error) { return o.latency(ctx, c) })
	case Consume:
		return o.against(ctx, o.bulkBound, func(ctx context.Context) (Result, error) { return o.consume(ctx, c) })
	}
	return nil, mq.Errorf(mq.InvalidRequest, "there is no benchmark %q: produce, consume or latency", o.Kind)
}

// against measures the bound, if asked for, and then what is divided by it.
func (o Options) against(ctx context.Context, bound func(context.Context) ([]Result, error), measure func(context.Context) (Result, error)) ([]Result, error) {
	var out []Result
	if o.Limits {
		var err error
		if out, err = bound(ctx); err != nil {
			return nil, err
		}
	}
	r, err := measure(ctx)
	if err != nil {
		return nil, err
	}
	if o.Limits {
		r = r.Against(out[0])
	}
	return append(out, r), nil
}

// bulkBound is the QUIC bulk rate at as many connections as a client opens, in records of this size; TLS beside it for comparison.
func (o Options) bulkBound(ctx context.Context) ([]Result, error) {
	quic, err := quicBulk(ctx, client.DefaultConnections, o.Duration)
	if err != nil {
		return nil, err
	}
	tls, err := tlsBulk(o.Duration)
	if err != nil {
		return nil, err
	}
	return []Result{quic.inRecords(o.Size), tls.inRecords(o.Size)}, nil
}

// inRecords turns bytes per second into records of size per second.
func (r Result) inRecords(size int) Result {
	r.Value /= float64(size)
	r.Unit, r.RecordSizeBytes = "records/s", size
	return r
}

// floorBound is the composed floor at the same concurrency, and the group commit alone beside it.
func (o Options) floorBound(ctx context.Context) ([]Result, error) {
	floor, err := quicFloor(ctx, o.Dir, o.Producers, min(o.Producers, client.DefaultConnections), o.Size, o.Duration)
	if err != nil {
		return nil, err
	}
	disk, err := groupCommit(ctx, o.Dir, o.Producers, o.Size, o.Duration)
	if err != nil {
		return nil, err
	}
	return []Result{floor, disk}, nil
}

// payload is incompressible, and the same for all records of a producer.
func (o Options) payload() []byte {
	p := make([]byte, o.Size)
	_, _ = rand.Read(p)
	return p
}

// latency is a closed loop: each producer has one record in flight.
func (o Options) latency(ctx context.Context, c *client.Client) (Result, error) {
	value := o.payload()
	loop, err := closedLoop(ctx, o.Producers, o.Duration, func(ctx context.Context, _ int) error {
		return c.ProduceSync(ctx, &client.Record{Topic: o.Topic, Value: value}).FirstErr()
	})
	if err != nil {
		return Result{}, err
	}
	return loop.result(fmt.Sprintf("produce_ack_%d", o.Producers), o.Size), nil
}

// produce has Producers goroutines with Window records in flight each.
func (o Options) produce(ctx context.Context, c *client.Client) (Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	value := o.payload()
	var acked, claimed atomic.Int64
	end := time.Now().Add(o.Duration)
	more := func() bool {
		if o.Records > 0 {
			return claimed.Add(1) <= o.Records
		}
		return time.Now().Before(end)
	}
	watch := startWatch()
	samples := make([][]time.Duration, o.Producers)
	var producers sync.WaitGroup
	for i := range o.Producers {
		producers.Go(func() {
			samples[i] = o.pump(ctx, c, value, more, func(err error) {
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
		Name: "produce_throughput", Value: rate(n, wall), Unit: "records/s", P50: p50, P99: p99,
		CPUPerRecord: perRecord(cpu, n), Records: n, RecordSizeBytes: o.Size,
	}, nil
}

// sampleEvery is how many records of a producer share one measured latency.
const sampleEvery = 16

// pump keeps a window of records in flight until more says no, and waits for the last.
func (o Options) pump(ctx context.Context, c *client.Client, value []byte, more func() bool, settled func(error)) []time.Duration {
	slots := make(chan struct{}, o.Window)
	var mu sync.Mutex
	var samples []time.Duration
	for n := 0; ctx.Err() == nil && more(); n++ {
		slots <- struct{}{}
		var sent time.Time
		if n%sampleEvery == 0 {
			sent = time.Now()
		}
		c.Produce(ctx, &client.Record{Topic: o.Topic, Value: value}, func(_ *client.Record, err error) {
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
	for range o.Window {
		slots <- struct{}{}
	}
	return samples
}

// consume produces for the duration, or so many records, and then reads just these.
func (o Options) consume(ctx context.Context, c *client.Client) (Result, error) {
	topic, err := c.DescribeTopic(ctx, o.Topic)
	if err != nil {
		return Result{}, err
	}
	var opts []client.ConsumerOption
	for _, p := range topic.Partitions {
		opts = append(opts, client.Assign(o.Topic, p.Partition, client.At(p.HighWatermark)))
	}
	produced, err := o.produce(ctx, c)
	if err != nil {
		return Result{}, err
	}
	consumer, err := c.NewConsumer(opts...)
	if err != nil {
		return Result{}, err
	}
	defer consumer.Close()
	watch := startWatch()
	var records int64
	for batch, err := range consumer.Batches(ctx) {
		if err != nil {
			return Result{}, err
		}
		records += int64(batch.Data.RecordCount())
		if records >= produced.Records {
			break
		}
	}
	wall, cpu := watch.elapsed()
	return Result{
		Name: "consume_throughput", Value: rate(records, wall), Unit: "records/s",
		CPUPerRecord: perRecord(cpu, records), Records: records, RecordSizeBytes: o.Size,
	}, nil
}
