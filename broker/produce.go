package broker

import (
	"context"
	"sync"

	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
	"github.com/rustmq/rustmq/quicproto/server"
)

// OpenProduce implements server.Broker.
func (b *Broker) OpenProduce(_ context.Context, s *server.Session, topic string) (server.Producer, error) {
	g, err := b.grant(s, OpWrite, topic)
	if err != nil {
		return nil, err
	}
	if err := notInternal(topic); err != nil {
		return nil, err
	}
	t, err := b.topic(topic)
	if err != nil {
		return nil, err
	}
	return &producer{grant: g, id: t.ID}, nil
}

// producer is one topic opened for writing by one stream.
type producer struct {
	grant grant
	id    mq.TopicID

	// What was found last, and where: both are looked up anew when the node's table or the image is another one.
	table *Table
	parts []*partition.Partition
}

var _ server.Producer = (*producer)(nil)

// Topic implements server.Producer.
func (p *producer) Topic() (id mq.TopicID, partitions int32, maxBatch int) {
	t := p.image()
	if t == nil {
		return p.id, 0, 0
	}
	return p.id, t.Partitions(), int(t.Config.MaxMessageBytes)
}

func (p *producer) image() *metadata.Topic {
	return p.grant.broker.cfg.Controller.Image().Topic(p.id)
}

// Append implements server.Producer.
func (p *producer) Append(ctx context.Context, index int32, batch mq.Batch, d mq.Durability, done server.Completion) {
	part, err := p.find(index)
	if err == nil {
		err = p.grant.broker.cfg.Room.Reserve(ctx, partition.LogBytes(batch))
	}
	if err != nil {
		done.Complete(server.Appended{LogStart: -1, Timestamp: -1, Err: err})
		return
	}
	part.Append(batch, d, newCompletion(done))
}

// find gives the partition that runs here.
func (p *producer) find(index int32) (*partition.Partition, error) {
	if err := p.grant.check(); err != nil {
		return nil, err
	}
	b := p.grant.broker
	if table := b.cfg.Partitions.Table(); table != p.table {
		clear(p.parts)
		p.table = table
	}
	if index >= 0 && int(index) < len(p.parts) && p.parts[index] != nil {
		return p.parts[index], nil
	}
	t := p.image()
	switch {
	case t == nil:
		return nil, unknownTopic(p.grant.topic)
	case t.Partition(index) == nil:
		return nil, unknownPartition(p.grant.topic, index, t.Partitions())
	}
	part := p.table.Get(mq.PartitionID{Topic: p.id, Index: index})
	if part == nil {
		return nil, b.notHere(p.grant.topic, index)
	}
	for int(index) >= len(p.parts) {
		p.parts = append(p.parts, nil)
	}
	p.parts[index] = part
	return part, nil
}

// completion hands a partition's answer to a front door. It is pooled: one per batch would be garbage on the hottest path.
type completion struct {
	to server.Completion
}

var completions = sync.Pool{New: func() any { return new(completion) }}

func newCompletion(to server.Completion) *completion {
	c := completions.Get().(*completion)
	c.to = to
	return c
}

// Complete implements partition.Completion.
func (c *completion) Complete(r partition.AppendResult) {
	to := c.to
	c.to = nil
	completions.Put(c)
	to.Complete(server.Appended{
		Base: r.Base, Mark: r.Reached, LogStart: r.LogStart, Timestamp: r.Timestamp, Duplicate: r.Duplicate, Err: r.Err,
	})
}
