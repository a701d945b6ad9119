package main

import (
	"context"
	"errors"
	"time"

	"github.com/IBM/sarama"
)

type saramaClient struct {
	servers []string
	cl      sarama.Client
	adm     sarama.ClusterAdmin
}

func saramaConfig() *sarama.Config {
	c := sarama.NewConfig()
	c.Version = sarama.V3_6_0_0
	c.Producer.RequiredAcks, c.Producer.Idempotent, c.Producer.Return.Successes, c.Net.MaxOpenRequests = sarama.WaitForAll, true, true, 1
	c.Producer.Partitioner = sarama.NewHashPartitioner
	c.Producer.Retry.Max, c.Producer.Retry.Backoff = 100, 100*time.Millisecond
	c.Admin.Retry.Max, c.Metadata.Retry.Max = 30, 30
	c.Consumer.Offsets.Initial, c.Consumer.Offsets.AutoCommit.Interval = sarama.OffsetOldest, 200*time.Millisecond
	c.Consumer.Group.Heartbeat.Interval, c.Consumer.Group.Session.Timeout = 500*time.Millisecond, 6*time.Second
	c.Consumer.Return.Errors, c.Consumer.MaxWaitTime = true, 250*time.Millisecond
	return c
}

func newSarama(servers []string) (Client, error) {
	cl, err := sarama.NewClient(servers, saramaConfig())
	if err != nil {
		return nil, err
	}
	adm, err := sarama.NewClusterAdminFromClient(cl)
	return &saramaClient{servers, cl, adm}, err
}

func (s *saramaClient) Protocols() []string { return []string{"classic"} }
func (s *saramaClient) Idempotent() bool    { return true }
func (s *saramaClient) Close()              { _ = s.adm.Close() }

func (s *saramaClient) again(ctx context.Context, done error, f func() error) error {
	return again(ctx, func(err error) bool {
		var code sarama.KError
		return errors.As(err, &code) && !errors.Is(code, sarama.ErrNotController)
	}, done, f)
}

func (s *saramaClient) CreateTopic(ctx context.Context, name string, replicas int, configs map[string]string) error {
	d := &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: int16(replicas), ConfigEntries: make(map[string]*string)}
	for k, v := range configs {
		d.ConfigEntries[k] = &v
	}
	return s.again(ctx, sarama.ErrTopicAlreadyExists, func() error { return s.adm.CreateTopic(name, d, false) })
}

func (s *saramaClient) AddPartitions(ctx context.Context, name string, total int) error {
	return s.again(ctx, sarama.ErrInvalidPartitions, func() error { return s.adm.CreatePartitions(name, int32(total), nil, false) })
}

func (s *saramaClient) Configs(ctx context.Context, name string) (map[string]string, error) {
	var got []sarama.ConfigEntry
	err := s.again(ctx, nil, func() (err error) {
		got, err = s.adm.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: name})
		return err
	})
	found := make(map[string]string)
	for _, c := range got {
		found[c.Name] = c.Value
	}
	return found, err
}

func (s *saramaClient) SetConfig(ctx context.Context, name, key, value string) error {
	entries := map[string]sarama.IncrementalAlterConfigsEntry{key: {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &value}}
	return s.again(ctx, nil, func() error { return s.adm.IncrementalAlterConfig(sarama.TopicResource, name, entries, false) })
}

func (s *saramaClient) DeleteTopic(ctx context.Context, name string) error {
	return s.again(ctx, sarama.ErrUnknownTopicOrPartition, func() error { return s.adm.DeleteTopic(name) })
}

var saramaCodecs = map[string]sarama.CompressionCodec{
	"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP, "snappy": sarama.CompressionSnappy, "lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD,
}

func (s *saramaClient) Producer(codec string) (Producer, error) {
	c := saramaConfig()
	c.Producer.Compression = saramaCodecs[codec]
	p, err := sarama.NewSyncProducer(s.servers, c)
	return saramaProducer{p}, err
}

type saramaProducer struct{ p sarama.SyncProducer }

func (p saramaProducer) Close() { _ = p.p.Close() }

func (p saramaProducer) Send(_ context.Context, topic string, records []Record) error {
	var out []*sarama.ProducerMessage
	for _, r := range records {
		out = append(out, &sarama.ProducerMessage{Topic: topic, Key: sarama.StringEncoder(r.Key), Value: sarama.StringEncoder(r.Value), Timestamp: r.Time})
	}
	return p.p.SendMessages(out)
}

func (s *saramaClient) Member(ctx context.Context, group, _ string, topics []string, got func(Record)) error {
	g, err := sarama.NewConsumerGroup(s.servers, group, saramaConfig())
	if err != nil {
		return err
	}
	defer g.Close()
	go func() { // it goes on after them
		for range g.Errors() {
		}
	}()
	for ctx.Err() == nil { // a call lasts for a generation; what fails in one is tried again in the next
		if err := g.Consume(ctx, topics, saramaMember(got)); err != nil && errors.Is(err, sarama.ErrClosedConsumerGroup) {
			return err
		}
	}
	return nil
}

type saramaMember func(Record)

func (m saramaMember) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (m saramaMember) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (m saramaMember) ConsumeClaim(s sarama.ConsumerGroupSession, c sarama.ConsumerGroupClaim) error {
	for {
		select {
		case r, ok := <-c.Messages():
			if !ok {
				return nil
			}
			m(ofSarama(r))
			s.MarkMessage(r, "")
		case <-s.Context().Done():
			return nil
		}
	}
}

func ofSarama(r *sarama.ConsumerMessage) Record {
	return Record{r.Topic, r.Partition, r.Offset, string(r.Key), string(r.Value), r.Timestamp}
}

func (s *saramaClient) OffsetAt(_ context.Context, topic string, partition int32, at time.Time) (int64, error) {
	ms := sarama.OffsetNewest
	if !at.IsZero() {
		ms = at.UnixMilli()
	}
	return s.cl.GetOffset(topic, partition, ms)
}

func (s *saramaClient) Read(ctx context.Context, topic string, partition int32, from int64, count int, got func(Record)) error {
	c, err := sarama.NewConsumerFromClient(s.cl)
	if err != nil {
		return err
	}
	defer c.Close()
	p, err := c.ConsumePartition(topic, partition, from)
	if err != nil {
		return err
	}
	defer p.Close()
	for range count {
		select {
		case r, ok := <-p.Messages():
			if !ok {
				return errors.Join(errors.New("the partition is not consumed any more"), <-p.Errors())
			}
			got(ofSarama(r))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
