package sim

import (
	"context"
	"fmt"
	"time"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/history"
	"github.com/rustmq/rustmq/mq"
)

const (
	// changeAtMost is the longest time between two changes of topics, and changeWithin how long one may take.
	changeAtMost = time.Second
	changeWithin = 5 * time.Second
	// topicsAtMost are in a run, and partitionsAtMost in a topic.
	topicsAtMost     = 4
	partitionsAtMost = 5
)

// topics are what clients were told that there is.
type topics map[string]*promisedTopic

type promisedTopic struct {
	partitions int32 // at least
	records    int64 // acknowledged in partition 0, of a topic that changeTopics made
}

// changeTopics makes topics and adds partitions to them, while harm is done. What fails may have been done or not.
func (c *cluster) changeTopics(ctx context.Context) {
	rng := c.rng(7)
	cl, err := c.client()
	if err != nil {
		c.fault("a client for changes of topics: %w", err)
		return
	}
	defer cl.Close()
	names := []string{topic}
	for i := 0; ; i++ {
		if !sleep(ctx, time.Duration(rng.Int64N(int64(changeAtMost)))) {
			return
		}
		if len(names) < topicsAtMost && rng.IntN(2) == 0 {
			name := fmt.Sprintf("extra-%d", i)
			if c.makeTopic(ctx, cl, name, 1+rng.Int32N(2)) {
				names = append(names, name)
			}
			continue
		}
		c.grow(ctx, cl, names[rng.IntN(len(names))])
	}
}

// makeTopic reports whether there is one now.
func (c *cluster) makeTopic(ctx context.Context, cl *client.Client, name string, partitions int32) bool {
	ctx, cancel := context.WithTimeout(ctx, changeWithin)
	defer cancel()
	_, err := cl.CreateTopic(ctx, client.NewTopic{Name: name, Partitions: partitions, Replicas: 3})
	c.event("create topic %s with %d partitions: %v", name, partitions, err)
	if err != nil {
		return false
	}
	made := &promisedTopic{partitions: partitions}
	c.topics[name] = made
	if cl.ProduceSync(ctx, &client.Record{Topic: name, Value: []byte(name)}).FirstErr() == nil {
		made.records++
	}
	return true
}

func (c *cluster) grow(ctx context.Context, cl *client.Client, name string) {
	t := c.topics[name]
	if t.partitions == partitionsAtMost {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, changeWithin)
	defer cancel()
	err := cl.CreatePartitions(ctx, name, t.partitions+1)
	c.event("grow topic %s to %d partitions: %v", name, t.partitions+1, err)
	if err == nil || mq.CodeOf(err) == mq.InvalidPartitions { // an earlier one, of which nobody heard, was done
		t.partitions++
	}
}

// check finds what topics lack when all is healed. there is what each has.
func (t *promisedTopic) check(there *client.TopicDescription) (out []history.Anomaly) {
	lacks := func(format string, args ...any) {
		out = append(out, history.Anomaly{Kind: "lost", Partition: history.Partition{Topic: there.Name}, Text: fmt.Sprintf(format, args...)})
	}
	if has := int32(len(there.Partitions)); has < t.partitions {
		lacks("it has %d partitions, and clients were told of %d", has, t.partitions)
	}
	var records int64
	for _, p := range there.Partitions {
		records += int64(p.HighWatermark)
	}
	if records < t.records {
		lacks("it has %d records, and %d were acknowledged", records, t.records)
	}
	return out
}
