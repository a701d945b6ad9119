package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"github.com/rustmq/rustmq/mq"
)

const (
	kafkaBatch = 64 << 10 // bytes of a batch of records
	kafkaFill  = 96 << 20 // bytes of records that are consumed over and over: less than servers hold in memory
)

// kafkaBench drives servers that speak Kafka's protocol with franz-go.
type kafkaBench struct {
	*bench
	clients []*kgo.Client // each has a connection of its own to produce, and one to fetch
	// What is consumed over and over: the first offset of each partition, and how many records from there on.
	from  map[int32]int64
	count map[int32]int64
}

// againstKafka is what is measured where Kafka's protocol is spoken. The bound is TCP without TLS, which is how the servers are reached.
func (b *bench) againstKafka(ctx context.Context) ([]entrant, error) {
	k := &kafkaBench{bench: b}
	for range b.Connections {
		cl, err := kgo.NewClient(kgo.SeedBrokers(b.Kafka...), kgo.ProducerBatchMaxBytes(kafkaBatch), kgo.ProducerBatchCompression(kgo.NoCompression()),
			kgo.MaxBufferedRecords(max(1, b.Producers*b.Window/b.Connections)), kgo.DefaultProduceTopic(b.Topic), kgo.FetchMaxWait(100*time.Millisecond),
			kgo.RecordPartitioner(kgo.UniformBytesPartitioner(kafkaBatch, true, true, nil)))
		if err != nil {
			return nil, fmt.Errorf("a Kafka client: %w", err)
		}
		b.ends = append(b.ends, func() error { cl.Close(); return nil })
		k.clients = append(k.clients, cl)
	}
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
	r, err := q.RequestWith(ctx, k.clients[0])
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

// produce measures how many records are acknowledged in a time. The windows of the clients are full all the while.
func (k *kafkaBench) produce(ctx context.Context, d time.Duration) (Result, error) {
	r, _, err := k.watched(ctx, func() (Result, error) {
		watch := startWatch()
		end := time.Now().Add(d)
		n, err := k.send(ctx, func() bool { return time.Now().Before(end) }, nil)
		return k.result("kafka_produce", n, watch), err
	})
	return r, err
}

func (k *kafkaBench) result(name string, records int64, watch stopwatch) Result {
	wall, cpu := watch.elapsed()
	return Result{Name: name, Value: rate(records, wall), Unit: unitRecords, CPUPerRecord: perRecord(cpu, records), Records: records, RecordSizeBytes: k.Size}
}

// send has all clients produce records as long as more says so, waits for all, and tells acked, if not nil, of each.
func (k *kafkaBench) send(ctx context.Context, more func() bool, acked func(*kgo.Record)) (count int64, err error) {
	value := k.payload()
	var failed atomic.Pointer[error]
	var n atomic.Int64
	settle := func(r *kgo.Record, err error) {
		if err != nil {
			failed.CompareAndSwap(nil, &err)
			return
		}
		n.Add(1)
		if acked != nil {
			acked(r)
		}
	}
	var all sync.WaitGroup
	for _, cl := range k.clients {
		all.Go(func() {
			for failed.Load() == nil && more() {
				cl.Produce(ctx, &kgo.Record{Value: value}, settle)
			}
			if err := cl.Flush(ctx); err != nil {
				failed.CompareAndSwap(nil, &err)
			}
		})
	}
	all.Wait()
	if first := failed.Load(); first != nil {
		return 0, fmt.Errorf("produce to topic %s by Kafka's protocol: %w", k.Topic, *first)
	}
	return n.Load(), nil
}

// fill produces what is consumed.
func (k *kafkaBench) fill(ctx context.Context) error {
	var mu sync.Mutex
	k.from, k.count = make(map[int32]int64), make(map[int32]int64)
	var begun atomic.Int64
	_, err := k.send(ctx, func() bool { return begun.Add(1) <= k.Records }, func(r *kgo.Record) {
		mu.Lock()
		defer mu.Unlock()
		if first, ok := k.from[r.Partition]; !ok || r.Offset < first {
			k.from[r.Partition] = r.Offset
		}
		k.count[r.Partition]++
	})
	return err
}

// fetch measures how many records are consumed in a time: each client consumes all that there is of its partitions over and over.
func (k *kafkaBench) fetch(ctx context.Context, d time.Duration) (Result, error) {
	r, _, err := k.watched(ctx, func() (Result, error) {
		var n atomic.Int64
		watch := startWatch()
		end := time.Now().Add(d)
		all, ctx := errgroup.WithContext(ctx)
		for i, cl := range k.clients {
			mine := k.share(i)
			if len(mine) == 0 {
				continue
			}
			all.Go(func() error {
				for time.Now().Before(end) {
					read, err := k.pass(ctx, cl, mine)
					if err != nil {
						return err
					}
					n.Add(read)
				}
				return nil
			})
		}
		err := all.Wait()
		return k.result("kafka_fetch", n.Load(), watch), err
	})
	return r, err
}

// share is the partitions that the i-th client consumes.
func (k *kafkaBench) share(i int) (mine []int32) {
	for at, partition := range slices.Sorted(maps.Keys(k.from)) {
		if at%len(k.clients) == i {
			mine = append(mine, partition)
		}
	}
	return mine
}

// pass has a client consume all of some partitions once.
func (k *kafkaBench) pass(ctx context.Context, cl *kgo.Client, partitions []int32) (read int64, err error) {
	places, left := make(map[int32]kgo.Offset), make(map[int32]int64)
	for _, partition := range partitions {
		places[partition], left[partition] = kgo.NewOffset().At(k.from[partition]), k.count[partition]
	}
	cl.AddConsumePartitions(map[string]map[int32]kgo.Offset{k.Topic: places})
	defer cl.RemoveConsumePartitions(map[string][]int32{k.Topic: partitions})
	for len(left) > 0 {
		polled := cl.PollFetches(ctx)
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
