package main

import (
	"context"
	"fmt"
	"time"

	"github.com/rustmq/rustmq/client"
)

// creators is how many topics are being created at a time.
const creators = 8

// onePartitionedTopic creates one topic of many partitions.
func onePartitionedTopic(ctx context.Context, s *server) ([]figure, error) {
	return s.partitioned(ctx, fmt.Sprintf("1 topic of %d partitions", *partitions), func(c *client.Client) error {
		_, err := c.CreateTopic(ctx, client.NewTopic{Name: "wide", Partitions: int32(*partitions), Replicas: 1})
		return err
	})
}

// manyTopics creates many topics of one partition.
func manyTopics(ctx context.Context, s *server) ([]figure, error) {
	return s.partitioned(ctx, fmt.Sprintf("%d topics of 1 partition", *partitions), func(c *client.Client) error {
		return each(ctx, *partitions, creators, func(ctx context.Context, i int) error {
			_, err := c.CreateTopic(ctx, client.NewTopic{Name: fmt.Sprintf("topic-%05d", i), Partitions: 1, Replicas: 1})
			return err
		})
	})
}

// partitioned measures a server with many partitions: as they were created, and after a restart.
func (s *server) partitioned(ctx context.Context, name string, create func(*client.Client) error) ([]figure, error) {
	c, err := s.client()
	if err != nil {
		return nil, err
	}
	defer func() { c.Close() }()
	began := time.Now()
	if err := create(c); err != nil {
		return nil, err
	}
	created := figure{name: name + ": to create", value: time.Since(began).Seconds(), unit: "s"}
	c.Close()
	time.Sleep(*settle)
	figures, err := s.rest(name+", created", 300)
	figures = append([]figure{created}, figures...)
	if err != nil {
		return figures, err
	}
	took, err := s.restart(ctx)
	if err != nil {
		return figures, err
	}
	figures = append(figures, figure{name: name + ": to start again", value: took.Seconds(), unit: "s"})
	time.Sleep(*settle)
	again, err := s.rest(name+", started again", 300)
	figures = append(figures, again...)
	if err != nil {
		return figures, err
	}
	if c, err = s.client(); err != nil {
		return figures, err
	}
	topics, err := c.ListTopics(ctx)
	if err != nil {
		return figures, err
	}
	total := 0
	for _, t := range topics {
		total += len(t.Partitions)
	}
	if total != *partitions {
		return figures, fmt.Errorf("%d partitions in %d topics after the restart, want %d", total, len(topics), *partitions)
	}
	return figures, nil
}
