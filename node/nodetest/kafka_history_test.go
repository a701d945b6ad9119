package nodetest

import (
	"context"
	"flag"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/rustmq/rustmq/client"
	events "github.com/rustmq/rustmq/history"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/node"
)

var kafkaKills = flag.Int("kafka-kills", 4, "how often a node loses power while Kafka clients produce and consume")

// kafkaOn has a node of a cluster serve Kafka clients.
func kafkaOn(c *node.Config) { c.Kafka.Enabled = true }

// servers are where Kafka clients find the cluster.
func (c *Cluster) servers() (all []string) {
	for _, m := range c.Nodes {
		all = append(all, m.net.client)
	}
	return all
}

// kafkaRun is idempotent producers and a reader that speak Kafka's protocol, and what they were told.
type kafkaRun struct {
	t          *testing.T
	c          *Cluster
	h          *events.History
	topic      string
	partitions int32

	pending sync.WaitGroup
}

func (r *kafkaRun) client(opts ...kgo.Opt) *kgo.Client {
	r.t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(r.c.servers()...), kgo.FetchMaxWait(250 * time.Millisecond), kgo.MetadataMinAge(100 * time.Millisecond), kgo.RetryTimeout(time.Minute),
	}, opts...)...)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(cl.Close)
	return cl
}

// produce sends records to all partitions until ctx ends, at most so many a second, and waits for what becomes of them.
func (r *kafkaRun) produce(ctx context.Context, producer int) {
	cl := r.client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DefaultProduceTopic(r.topic), kgo.ProducerLinger(time.Millisecond))
	pause := time.NewTicker(5 * time.Millisecond)
	defer pause.Stop()
	for i := int32(0); ctx.Err() == nil; i = (i + 1) % r.partitions {
		for range 3 {
			number, value := r.h.Send(nil, producer, events.Partition{Topic: r.topic, Index: i}, mq.DurabilityAll, 100)
			r.pending.Add(1)
			cl.Produce(context.WithoutCancel(ctx), &kgo.Record{Partition: i, Value: value}, func(rec *kgo.Record, err error) {
				defer r.pending.Done()
				if err == nil {
					r.h.Acked(number, mq.Offset(rec.Offset))
				} else {
					r.t.Logf("record %d: %v", number, err) // it is not known what became of it
				}
			})
		}
		<-pause.C
	}
	r.pending.Wait()
}

// read follows all partitions until ctx ends.
func (r *kafkaRun) read(ctx context.Context) {
	reader := r.h.Reader("reader")
	from := make(map[int32]kgo.Offset)
	for i := range r.partitions {
		reader.Seek(events.Partition{Topic: r.topic, Index: i})
		from[i] = kgo.NewOffset().At(0)
	}
	cl := r.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{r.topic: from}), kgo.ConsumeResetOffset(kgo.NoResetOffset()))
	for ctx.Err() == nil {
		cl.PollFetches(ctx).EachRecord(func(rec *kgo.Record) {
			reader.Got(events.Partition{Topic: r.topic, Index: rec.Partition}, mq.Offset(rec.Offset), rec.Value)
		})
	}
}

// last reads everything once more when all is over.
func (r *kafkaRun) last(ctx context.Context) {
	r.t.Helper()
	for i := range r.partitions {
		p := events.Partition{Topic: r.topic, Index: i}
		r.h.Begin(p, 0)
		number, value := r.h.Send(nil, int(i)+100, p, mq.DurabilityAll, 0) // the end
		rec := &kgo.Record{Topic: r.topic, Partition: i, Value: value}
		if err := r.client(kgo.RecordPartitioner(kgo.ManualPartitioner())).ProduceSync(ctx, rec).FirstErr(); err != nil {
			r.t.Fatal(err)
		}
		r.h.Acked(number, mq.Offset(rec.Offset))
		cl := r.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{r.topic: {i: kgo.NewOffset().At(0)}}))
		for end := false; !end; {
			polled := cl.PollFetches(ctx)
			if err := polled.Err(); err != nil {
				r.t.Fatal(err)
			}
			polled.EachRecord(func(got *kgo.Record) {
				r.h.Last(p, mq.Offset(got.Offset), got.Value)
				end = end || got.Offset == rec.Offset
			})
		}
	}
}

// Idempotent producers and a reader of Kafka's, while one node after the other loses power: nothing is lost, twice, out of order, or seen before it is safe.
func TestKafkaClientsLoseNothingWhileNodesLosePower(t *testing.T) {
	c, ctx := newCluster(t, 3, kafkaOn)
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	native, err := c.Client(client.RequestTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = native.Close() }()
	r := &kafkaRun{t: t, c: c, h: events.New(7), topic: "orders", partitions: 6}
	makeTopic(ctx, t, native, client.NewTopic{Name: r.topic, Partitions: r.partitions, Replicas: 3, Configs: map[string]string{"min.insync.replicas": "2"}})
	working, enough := context.WithCancel(ctx)
	defer enough()
	reading, read := context.WithCancel(ctx)
	defer read()
	var producers, reader sync.WaitGroup
	for i := range 3 {
		producers.Go(func() { r.produce(working, i) })
	}
	reader.Go(func() { r.read(reading) })
	for i := range *kafkaKills {
		m := c.Nodes[i%len(c.Nodes)]
		before := r.h.Counts().Acked
		until(t, "more acknowledged", func() bool { return r.h.Counts().Acked > before+300 })
		m.Kill()
		before = r.h.Counts().Acked
		until(t, fmt.Sprint("more acknowledged without node ", m.id), func() bool { return r.h.Counts().Acked > before+300 })
		if err := c.Start(ctx, m); err != nil {
			t.Fatal(err)
		}
	}
	enough()
	producers.Wait()
	r.last(ctx)
	until(t, "all read", func() bool { return r.h.Counts().Read >= r.h.Counts().Acked })
	read()
	reader.Wait()
	for _, a := range r.h.Check() {
		t.Error(a)
	}
	counts := r.h.Counts()
	t.Logf("%d records sent, %d acknowledged, %d read", counts.Sent, counts.Acked, counts.Read)
	if counts.Unknown > counts.Sent/10 {
		t.Errorf("of %d records it is not known what became", counts.Unknown)
	}
}
