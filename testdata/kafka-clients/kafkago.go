package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
)

type kafkaGo struct {
	servers []string
	cl      *kafka.Client
}

func newKafkaGo(servers []string) (Client, error) {
	return &kafkaGo{servers, &kafka.Client{Addr: kafka.TCP(servers...), Timeout: 20 * time.Second}}, nil
}

func (k *kafkaGo) Protocols() []string { return []string{"classic"} }
func (k *kafkaGo) Idempotent() bool    { return false }
func (k *kafkaGo) Close()              {}

// again tries something again that a client does once, as people do it around that, until it is done or refused for good. What is refused is that; a try whose answer was lost may have
// been carried out, so that the next one is refused with done.
func again(ctx context.Context, refused func(error) bool, done error, f func() error) error {
	for lost := false; ; lost = true {
		err := f()
		switch {
		case err == nil, lost && done != nil && errors.Is(err, done):
			return nil
		case refused(err), ctx.Err() != nil:
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (k *kafkaGo) again(ctx context.Context, done error, f func() error) error {
	return again(ctx, func(err error) bool {
		var code kafka.Error
		return errors.As(err, &code) && !code.Temporary()
	}, done, f)
}

func (k *kafkaGo) CreateTopic(ctx context.Context, name string, replicas int, configs map[string]string) error {
	t := kafka.TopicConfig{Topic: name, NumPartitions: partitions, ReplicationFactor: replicas}
	for key, v := range configs {
		t.ConfigEntries = append(t.ConfigEntries, kafka.ConfigEntry{ConfigName: key, ConfigValue: v})
	}
	return k.again(ctx, kafka.TopicAlreadyExists, func() error {
		got, err := k.cl.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{t}})
		if err == nil {
			err = got.Errors[name]
		}
		return err
	})
}

func (k *kafkaGo) AddPartitions(ctx context.Context, name string, total int) error {
	return k.again(ctx, kafka.InvalidPartitionNumber, func() error {
		got, err := k.cl.CreatePartitions(ctx, &kafka.CreatePartitionsRequest{Topics: []kafka.TopicPartitionsConfig{{Name: name, Count: int32(total)}}})
		if err == nil {
			err = got.Errors[name]
		}
		return err
	})
}

func (k *kafkaGo) Configs(ctx context.Context, name string) (map[string]string, error) {
	found := make(map[string]string)
	err := k.again(ctx, nil, func() error {
		got, err := k.cl.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{{ResourceType: kafka.ResourceTypeTopic, ResourceName: name}}})
		if err != nil {
			return err
		}
		for _, r := range got.Resources {
			for _, c := range r.ConfigEntries {
				found[c.ConfigName] = c.ConfigValue
			}
		}
		return got.Resources[0].Error
	})
	return found, err
}

func (k *kafkaGo) SetConfig(ctx context.Context, name, key, value string) error {
	return k.again(ctx, nil, func() error {
		got, err := k.cl.IncrementalAlterConfigs(ctx, &kafka.IncrementalAlterConfigsRequest{Resources: []kafka.IncrementalAlterConfigsRequestResource{{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: name,
			Configs: []kafka.IncrementalAlterConfigsRequestConfig{{Name: key, Value: value, ConfigOperation: kafka.ConfigOperationSet}},
		}}})
		if err == nil {
			err = got.Resources[0].Error
		}
		return err
	})
}

func (k *kafkaGo) DeleteTopic(ctx context.Context, name string) error {
	return k.again(ctx, kafka.UnknownTopicOrPartition, func() error {
		got, err := k.cl.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{name}})
		if err == nil {
			err = got.Errors[name]
		}
		return err
	})
}

var kafkaGoCodecs = map[string]kafka.Compression{"gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd}

func (k *kafkaGo) Producer(codec string) (Producer, error) {
	return kafkaGoProducer{&kafka.Writer{
		Addr: kafka.TCP(k.servers...), Balancer: &kafka.Hash{}, RequiredAcks: kafka.RequireAll, Compression: kafkaGoCodecs[codec], MaxAttempts: 200,
		BatchTimeout: 5 * time.Millisecond, WriteBackoffMin: 20 * time.Millisecond, WriteBackoffMax: 200 * time.Millisecond,
		Transport: &kafka.Transport{MetadataTTL: time.Second, Dial: nil},
	}}, nil
}

type kafkaGoProducer struct{ w *kafka.Writer }

func (p kafkaGoProducer) Close() { _ = p.w.Close() }

func (p kafkaGoProducer) Send(ctx context.Context, topic string, records []Record) error {
	var out []kafka.Message
	for _, r := range records {
		out = append(out, kafka.Message{Topic: topic, Key: []byte(r.Key), Value: []byte(r.Value), Time: r.Time})
	}
	return p.w.WriteMessages(ctx, out...)
}

func (k *kafkaGo) Member(ctx context.Context, group, _ string, topics []string, got func(Record)) error {
	r := kafka.NewReader(kafka.ReaderConfig{
		Brokers: k.servers, GroupID: group, GroupTopics: topics, StartOffset: kafka.FirstOffset, MaxWait: 250 * time.Millisecond,
		HeartbeatInterval: 500 * time.Millisecond, SessionTimeout: 6 * time.Second, RebalanceTimeout: 6 * time.Second, JoinGroupBackoff: 200 * time.Millisecond,
	})
	defer r.Close()
	for {
		m, err := r.FetchMessage(ctx)
		if err != nil {
			return err
		}
		got(ofKafkaGo(m))
		_ = r.CommitMessages(ctx, m) // what is not committed is read again
	}
}

func ofKafkaGo(m kafka.Message) Record {
	return Record{m.Topic, int32(m.Partition), m.Offset, string(m.Key), string(m.Value), m.Time}
}

func (k *kafkaGo) OffsetAt(ctx context.Context, topic string, partition int32, at time.Time) (offset int64, err error) {
	ask := kafka.LastOffsetOf(int(partition))
	if !at.IsZero() {
		ask = kafka.TimeOffsetOf(int(partition), at)
	}
	err = k.again(ctx, nil, func() error {
		got, err := k.cl.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: {ask}}})
		if err != nil {
			return err
		}
		p := got.Topics[topic][0]
		offset = p.LastOffset
		if !at.IsZero() {
			if len(p.Offsets) != 1 {
				return fmt.Errorf("offsets %v for one time", p.Offsets)
			}
			for at := range p.Offsets {
				offset = at
			}
		}
		return p.Error
	})
	return offset, err
}

func (k *kafkaGo) Read(ctx context.Context, topic string, partition int32, from int64, count int, got func(Record)) error {
	r := kafka.NewReader(kafka.ReaderConfig{Brokers: k.servers, Topic: topic, Partition: int(partition), MaxWait: 250 * time.Millisecond})
	defer r.Close()
	if err := r.SetOffset(from); err != nil {
		return err
	}
	for range count {
		m, err := r.ReadMessage(ctx)
		if err != nil {
			return err
		}
		got(ofKafkaGo(m))
	}
	return nil
}
