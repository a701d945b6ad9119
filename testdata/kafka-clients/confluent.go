package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

type confluent struct {
	servers string
	adm     *kafka.AdminClient
	any     *kafka.Consumer // for offsets
}

func newConfluent(servers []string) (Client, error) {
	c := &confluent{servers: strings.Join(servers, ",")}
	var err error
	if c.adm, err = kafka.NewAdminClient(&kafka.ConfigMap{"bootstrap.servers": c.servers}); err != nil {
		return nil, err
	}
	c.any, err = kafka.NewConsumer(&kafka.ConfigMap{"bootstrap.servers": c.servers, "group.id": "none", "enable.auto.commit": false})
	return c, err
}

func (c *confluent) Protocols() []string { return []string{"classic", "consumer"} }
func (c *confluent) Idempotent() bool    { return true }

func (c *confluent) Close() {
	_ = c.any.Close()
	c.adm.Close()
}

// code is an error of the broker's, or, below 0, of librdkafka's own.
type code kafka.ErrorCode

func (c code) Error() string { return kafka.ErrorCode(c).String() }

// errorOf is nil where there is none; librdkafka has a code for that.
func errorOf(e kafka.Error) error {
	if e.Code() == kafka.ErrNoError {
		return nil
	}
	return code(e.Code())
}

func firstOf(results []kafka.TopicResult, err error) error {
	if err != nil {
		return err
	}
	return errorOf(results[0].Error)
}

func (c *confluent) again(ctx context.Context, done error, f func() error) error {
	return again(ctx, func(err error) bool {
		var broker code
		return errors.As(err, &broker) && broker > 0
	}, done, f)
}

func (c *confluent) CreateTopic(ctx context.Context, name string, replicas int, configs map[string]string) error {
	t := kafka.TopicSpecification{Topic: name, NumPartitions: partitions, ReplicationFactor: replicas, Config: configs}
	return c.again(ctx, code(kafka.ErrTopicAlreadyExists), func() error { return firstOf(c.adm.CreateTopics(ctx, []kafka.TopicSpecification{t})) })
}

func (c *confluent) AddPartitions(ctx context.Context, name string, total int) error {
	p := kafka.PartitionsSpecification{Topic: name, IncreaseTo: total}
	return c.again(ctx, code(kafka.ErrInvalidPartitions), func() error { return firstOf(c.adm.CreatePartitions(ctx, []kafka.PartitionsSpecification{p})) })
}

func (c *confluent) DeleteTopic(ctx context.Context, name string) error {
	return c.again(ctx, code(kafka.ErrUnknownTopicOrPart), func() error { return firstOf(c.adm.DeleteTopics(ctx, []string{name})) })
}

func (c *confluent) Configs(ctx context.Context, name string) (map[string]string, error) {
	found := make(map[string]string)
	err := c.again(ctx, nil, func() error {
		got, err := c.adm.DescribeConfigs(ctx, []kafka.ConfigResource{{Type: kafka.ResourceTopic, Name: name}})
		if err != nil {
			return err
		}
		for _, e := range got[0].Config {
			found[e.Name] = e.Value
		}
		return errorOf(got[0].Error)
	})
	return found, err
}

func (c *confluent) SetConfig(ctx context.Context, name, key, value string) error {
	r := kafka.ConfigResource{Type: kafka.ResourceTopic, Name: name, Config: []kafka.ConfigEntry{{Name: key, Value: value, IncrementalOperation: kafka.AlterConfigOpTypeSet}}}
	return c.again(ctx, nil, func() error {
		got, err := c.adm.IncrementalAlterConfigs(ctx, []kafka.ConfigResource{r})
		if err != nil {
			return err
		}
		return errorOf(got[0].Error)
	})
}

func (c *confluent) Producer(codec string) (Producer, error) {
	p, err := kafka.NewProducer(&kafka.ConfigMap{
		"bootstrap.servers": c.servers, "enable.idempotence": true, "compression.codec": codec, "linger.ms": 5, "go.delivery.reports": true, "partitioner": "murmur2_random",
	})
	if err != nil {
		return nil, err
	}
	go func() { // what is not about a record: lost connections and the like
		for range p.Events() {
		}
	}()
	return confluentProducer{p}, nil
}

type confluentProducer struct{ p *kafka.Producer }

func (p confluentProducer) Close() { p.p.Close() }

func (p confluentProducer) Send(ctx context.Context, topic string, records []Record) error {
	done := make(chan kafka.Event, len(records))
	for _, r := range records {
		err := p.p.Produce(&kafka.Message{
			TopicPartition: kafka.TopicPartition{Topic: &topic, Partition: kafka.PartitionAny}, Key: []byte(r.Key), Value: []byte(r.Value), Timestamp: r.Time,
		}, done)
		if err != nil {
			return err
		}
	}
	for range records {
		select {
		case e := <-done:
			if m, ok := e.(*kafka.Message); ok && m.TopicPartition.Error != nil {
				return m.TopicPartition.Error
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (c *confluent) Member(ctx context.Context, group, protocol string, topics []string, got func(Record)) error {
	cfg := kafka.ConfigMap{
		"bootstrap.servers": c.servers, "group.id": group, "group.protocol": protocol, "auto.offset.reset": "earliest", "auto.commit.interval.ms": 200, "fetch.wait.max.ms": 250,
		"topic.metadata.refresh.interval.ms": 1000,
	}
	if protocol == "classic" {
		cfg["partition.assignment.strategy"], cfg["session.timeout.ms"], cfg["heartbeat.interval.ms"] = "cooperative-sticky", 6000, 500
	}
	k, err := kafka.NewConsumer(&cfg)
	if err != nil {
		return err
	}
	defer k.Close()
	if err := k.SubscribeTopics(topics, nil); err != nil {
		return err
	}
	for ctx.Err() == nil {
		switch e := k.Poll(100).(type) {
		case *kafka.Message:
			got(ofConfluent(e))
		case kafka.Error:
			if e.IsFatal() {
				return e
			}
		}
	}
	return nil
}

func ofConfluent(m *kafka.Message) Record {
	return Record{*m.TopicPartition.Topic, m.TopicPartition.Partition, int64(m.TopicPartition.Offset), string(m.Key), string(m.Value), m.Timestamp}
}

func (c *confluent) OffsetAt(_ context.Context, topic string, partition int32, at time.Time) (int64, error) {
	if at.IsZero() {
		_, high, err := c.any.QueryWatermarkOffsets(topic, partition, 20_000)
		return high, err
	}
	got, err := c.any.OffsetsForTimes([]kafka.TopicPartition{{Topic: &topic, Partition: partition, Offset: kafka.Offset(at.UnixMilli())}}, 20_000)
	if err != nil {
		return 0, err
	}
	return int64(got[0].Offset), got[0].Error
}

func (c *confluent) Read(ctx context.Context, topic string, partition int32, from int64, count int, got func(Record)) error {
	k, err := kafka.NewConsumer(&kafka.ConfigMap{"bootstrap.servers": c.servers, "group.id": "none", "enable.auto.commit": false})
	if err != nil {
		return err
	}
	defer k.Close()
	if err := k.Assign([]kafka.TopicPartition{{Topic: &topic, Partition: partition, Offset: kafka.Offset(from)}}); err != nil {
		return err
	}
	for count > 0 {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if m, ok := k.Poll(100).(*kafka.Message); ok {
			got(ofConfluent(m))
			count--
		}
	}
	return nil
}
