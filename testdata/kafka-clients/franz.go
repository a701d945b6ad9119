package main

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

type franz struct {
	servers []string
	cl      *kgo.Client
	adm     *kadm.Client
}

func newFranz(servers []string) (Client, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(servers...))
	if err != nil {
		return nil, err
	}
	return &franz{servers, cl, kadm.NewClient(cl)}, nil
}

func (f *franz) Protocols() []string { return []string{"classic", "consumer"} }
func (f *franz) Idempotent() bool    { return true }
func (f *franz) Close()              { f.cl.Close() }

func (f *franz) CreateTopic(ctx context.Context, name string, replicas int, configs map[string]string) error {
	given := make(map[string]*string)
	for k, v := range configs {
		given[k] = &v
	}
	_, err := f.adm.CreateTopic(ctx, partitions, int16(replicas), given, name)
	return err
}

func (f *franz) AddPartitions(ctx context.Context, name string, total int) error {
	got, err := f.adm.UpdatePartitions(ctx, total, name)
	return errors.Join(err, got.Error())
}

func (f *franz) Configs(ctx context.Context, name string) (map[string]string, error) {
	got, err := f.adm.DescribeTopicConfigs(ctx, name)
	if err != nil {
		return nil, err
	}
	found := make(map[string]string)
	for _, r := range got {
		for _, c := range r.Configs {
			found[c.Key] = c.MaybeValue()
		}
	}
	return found, nil
}

func (f *franz) SetConfig(ctx context.Context, name, key, value string) error {
	got, err := f.adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: key, Value: &value}}, name)
	for _, r := range got {
		err = errors.Join(err, r.Err)
	}
	return err
}

func (f *franz) DeleteTopic(ctx context.Context, name string) error {
	got, err := f.adm.DeleteTopics(ctx, name)
	return errors.Join(err, got.Error())
}

var franzCodecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

func (f *franz) Producer(codec string) (Producer, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(f.servers...), kgo.ProducerBatchCompression(franzCodecs[codec]))
	return franzProducer{cl}, err
}

type franzProducer struct{ cl *kgo.Client }

func (p franzProducer) Close() { p.cl.Close() }

func (p franzProducer) Send(ctx context.Context, topic string, records []Record) error {
	var out []*kgo.Record
	for _, r := range records {
		out = append(out, &kgo.Record{Topic: topic, Key: []byte(r.Key), Value: []byte(r.Value), Timestamp: r.Time})
	}
	return p.cl.ProduceSync(ctx, out...).FirstErr()
}

func (f *franz) Member(ctx context.Context, group, protocol string, topics []string, got func(Record)) error {
	opts := []kgo.Opt{
		kgo.SeedBrokers(f.servers...), kgo.ConsumerGroup(group), kgo.ConsumeTopics(topics...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.BlockRebalanceOnPoll(),
		kgo.HeartbeatInterval(500 * time.Millisecond),
	}
	if protocol == "consumer" {
		opts = append(opts, kgo.ServerSideBalancer(), kgo.Balancers(kgo.RangeBalancer()))
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return err
	}
	defer cl.CloseAllowingRebalance()
	for ctx.Err() == nil {
		fetched := cl.PollFetches(ctx)
		fetched.EachRecord(func(r *kgo.Record) { got(ofFranz(r)) })
		cl.AllowRebalance()
	}
	return nil
}

func ofFranz(r *kgo.Record) Record {
	return Record{r.Topic, r.Partition, r.Offset, string(r.Key), string(r.Value), r.Timestamp}
}

func (f *franz) OffsetAt(ctx context.Context, topic string, partition int32, at time.Time) (int64, error) {
	var got kadm.ListedOffsets
	var err error
	if at.IsZero() {
		got, err = f.adm.ListEndOffsets(ctx, topic)
	} else {
		got, err = f.adm.ListOffsetsAfterMilli(ctx, at.UnixMilli(), topic)
	}
	if err != nil {
		return 0, err
	}
	one, _ := got.Lookup(topic, partition)
	return one.Offset, one.Err
}

func (f *franz) Read(ctx context.Context, topic string, partition int32, from int64, count int, got func(Record)) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(f.servers...), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().At(from)}}))
	if err != nil {
		return err
	}
	defer cl.Close()
	for count > 0 {
		fetched := cl.PollRecords(ctx, count)
		if err := fetched.Err(); err != nil {
			return err
		}
		fetched.EachRecord(func(r *kgo.Record) { got(ofFranz(r)); count-- })
	}
	return nil
}
