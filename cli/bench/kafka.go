package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

const (
	kafkaBatch = 64 << 10 // bytes of a batch of records
	kafkaFill  = 96 << 20 // bytes of records that are consumed over and over: less than servers hold in memory
)

// kafkaBench drives servers that speak Kafka's protocol with franz-go.
type kafkaBench struct {
	*bench
	cl *kgo.Client
	// What is consumed over and over: the first offset of each partition, and how many records from there on.
	from  map[int32]int64
	count map[int32]int64
}

// againstKafka is what is measured where Kafka's protocol is spoken. The bound is TCP without TLS, which is how the servers are reached.
func (b *bench) againstKafka(ctx context.Context) ([]entrant, error) {
	k := &kafkaBench{bench: b}
	var err error
	k.cl, err = kgo.NewClient(kgo.SeedBrokers(b.Kafka...), kgo.ProducerBatchMaxBytes(kafkaBatch), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.MaxBufferedRecords(b.Producers*b.Window), kgo.DefaultProduceTopic(b.Topic), kgo.FetchMaxWait(100*time.Millisecond), kgo.RecordPartitioner(kgo.UniformBytesPartitioner(kafkaBatch, true, true, nil)))
	if err != nil {
		return nil, fmt.Errorf("a Kafka client: %w", err)
	}
	b.ends = append(b.ends, func() error { k.cl.Close(); return nil })
	if err := k.createTopic(ctx); err != nil {
		return nil, err
	}
	way, e := toServer, entrant{measure: k.produce}
	if b.Kind == Consume {
		way, e = fromServer, entrant{measure: k.fetch}
		if err := k.fill(ctx); err != nil {
			return nil, err
		}
	}
	if !b.Limits {
		return []entrant{e}, nil
	}
	link, err := b.farEnd(ctx, 1)
	if err != nil {
		return nil, err
	}
	e.bounds = []int{0}
	return []entrant{{measure: func(ctx context.Context, d time.Duration) (Result, error) { return tcpBulk(ctx, link, way, b.Size, d) }}, e}, nil
}

func (k *kafkaBench) createTopic(ctx context.Context) error {
	q := kmsg.NewPtrCreateTopicsRequest()
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = k.Topic, k.Partitions, -1
	q.Topics = append(q.Topics, t)
	r, err := q.RequestWith(ctx, k.cl)
	if err != nil {
		return fmt.Errorf("make topic %s: %w", k.Topic, err)
	}
	for _, t := range r.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("make topic %s: %w", k.Topic, err)
		}
	}
	return nil
}

// produce measures how many records are acknowledged in a time. The window of the client is full all the while.
func (k *kafkaBench) produce(ctx context.Context, d time.Duration) (Result, error) {
	r, _, err := k.watched(ctx, func() (Result, error) {
		watch := startWatch()
		end := time.Now().Add(d)
		n, err := k.send(ctx, func(int64) bool { return time.Now().Before(end) }, nil)
		return k.result("kafka_produce", n, watch), err
	})
	return r, err
}

func (k *kafkaBench) result(name string, records int64, watch stopwatch) Result {
	wall, cpu := watch.elapsed()
	return Result{Name: name, Value: rate(records, wall), Unit: unitRecords, CPUPerRecord: perRecord(cpu, records), Records: records, RecordSizeBytes: k.Size}
}

// send produces records as long as more says so of their number, waits for all, and tells acked, if not nil, of each.
func (k *kafkaBench) send(ctx context.Context, more func(sent int64) bool, acked func(*kgo.Record)) (count int64, err error) {
	value := k.payload()
	var failed atomic.Pointer[error]
	var n atomic.Int64
	for sent := int64(0); more(sent) && failed.Load() == nil; sent++ {
		k.cl.Produce(ctx, &kgo.Record{Value: value}, func(r *kgo.Record, err error) {
			if err != nil {
				failed.CompareAndSwap(nil, &err)
				return
			}
			n.Add(1)
			if acked != nil {
				acked(r)
			}
		})
	}
	err = k.cl.Flush(ctx)
	if first := failed.Load(); first != nil {
		err = *first
	}
	if err != nil {
		return 0, fmt.Errorf("produce to topic %s by Kafka's protocol: %w", k.Topic, err)
	}
	return n.Load(), nil
}

// fill produces what is consumed.
func (k *kafkaBench) fill(ctx context.Context) error {
	var mu sync.Mutex
	k.from, k.count = make(map[int32]int64), make(map[int32]int64)
	_, err := k.send(ctx, func(sent int64) bool { return sent < k.Records }, func(r *kgo.Record) {
		mu.Lock()
		defer mu.Unlock()
		if first, ok := k.from[r.Partition]; !ok || r.Offset < first {
			k.from[r.Partition] = r.Offset
		}
		k.count[r.Partition]++
	})
	return err
}

// fetch measures how many records are consumed in a time, all that there are over and over.
func (k *kafkaBench) fetch(ctx context.Context, d time.Duration) (Result, error) {
	r, _, err := k.watched(ctx, func() (Result, error) {
		var n int64
		watch := startWatch()
		for end := time.Now().Add(d); time.Now().Before(end); {
			read, err := k.pass(ctx)
			if err != nil {
				return Result{}, err
			}
			n += read
		}
		return k.result("kafka_fetch", n, watch), nil
	})
	return r, err
}

// pass consumes all once.
func (k *kafkaBench) pass(ctx context.Context) (read int64, err error) {
	places, all := make(map[int32]kgo.Offset), []int32{}
	left := make(map[int32]int64)
	for partition, first := range k.from {
		places[partition], left[partition], all = kgo.NewOffset().At(first), k.count[partition], append(all, partition)
	}
	k.cl.AddConsumePartitions(map[string]map[int32]kgo.Offset{k.Topic: places})
	defer k.cl.RemoveConsumePartitions(map[string][]int32{k.Topic: all})
	for len(left) > 0 {
		polled := k.cl.PollFetches(ctx)
		if err := polled.Err(); err != nil {
			return 0, fmt.Errorf("consume topic %s by Kafka's protocol: %w", k.Topic, err)
		}
		polled.EachPartition(func(p kgo.FetchTopicPartition) {
			for _, r := range p.Records {
				if len(r.Value) != k.Size {
					err = mq.Errorf(mq.InvalidRecord, "a value of %d bytes at offset %d of partition %d, which has values of %d", len(r.Value), r.Offset, r.Partition, k.Size)
				}
			}
			read += int64(len(p.Records))
			if left[p.Partition] -= int64(len(p.Records)); left[p.Partition] <= 0 {
				delete(left, p.Partition)
			}
		})
		if err != nil {
			return 0, err
		}
	}
	return read, nil
}
