package nodetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/rustmq/rustmq/broker"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/node"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/server"
)

// clients use one run of a node, and write the history.
type clients struct {
	h    *history
	rig  *Rig
	node *node.Node
	rand *rand.Rand

	forgetful bool // see machine

	streams map[int]server.Producer // per topic
	sending sync.WaitGroup
}

func newClients(h *history, r *Rig, n *node.Node, rng *rand.Rand) *clients {
	return &clients{h: h, rig: r, node: n, rand: rng, streams: make(map[int]server.Producer)}
}

func (c *clients) broker() *broker.Broker { return c.node.Broker() }

// powered says whether what was just answered can have left the machine.
func (c *clients) powered() bool { return !c.rig.FS.Cut() }

// create makes a new topic, of a name that no topic has.
func (c *clients) create(ctx context.Context, name string, partitions int32) (int, error) {
	t := &topic{name: name, partitions: partitions, read: make([][]string, partitions)}
	c.h.mu.Lock()
	index := len(c.h.topics)
	c.h.topics = append(c.h.topics, t)
	c.h.mu.Unlock()
	resp, err := c.broker().CreateTopic(ctx, &session, &quicproto.CreateTopicRequest{Name: name, Partitions: partitions, Replicas: 1, Configs: kept})
	if err != nil {
		return index, fmt.Errorf("create topic %s: %w", name, err)
	}
	if c.powered() {
		c.h.mu.Lock()
		t.id, t.exists = resp.ID, true
		c.h.mu.Unlock()
	}
	return index, nil
}

// remove deletes a topic. What is on its way there may fail.
func (c *clients) remove(ctx context.Context, index int) error {
	c.h.mu.Lock()
	t := c.h.topics[index]
	t.doomed = true
	c.h.mu.Unlock()
	if err := c.broker().DeleteTopic(ctx, &session, t.name); err != nil {
		return fmt.Errorf("delete topic %s: %w", t.name, err)
	}
	if c.powered() {
		c.h.mu.Lock()
		t.gone = true
		c.h.mu.Unlock()
	}
	return nil
}

// addProducer gets a new producer id.
func (c *clients) addProducer(ctx context.Context) error {
	resp, err := c.broker().InitProducerID(ctx, &session, &quicproto.InitProducerIDRequest{ProducerID: mq.NoProducerID, ProducerEpoch: mq.NoProducerEpoch})
	if err != nil {
		return fmt.Errorf("get a producer id: %w", err)
	}
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	for i, p := range c.h.producers {
		if p.known && p.id == resp.ProducerID {
			return broken("producer id", "%d was handed out to producer %d before", p.id, i)
		}
	}
	c.h.producers = append(c.h.producers, &producer{id: resp.ProducerID, epoch: resp.ProducerEpoch, known: c.powered()})
	return nil
}

// send sends a batch, for the first time or again, without waiting for its outcome.
func (c *clients) send(ctx context.Context, b *batch, again bool) error {
	stream := c.streams[b.topic]
	if stream == nil {
		var err error
		if stream, err = c.broker().OpenProduce(ctx, &session, c.h.topics[b.topic].name); err != nil {
			return fmt.Errorf("open topic %s: %w", c.h.topics[b.topic].name, err)
		}
		c.streams[b.topic] = stream
	}
	var p *producer
	if b.producer != loose && !(again && c.forgetful) {
		p = c.h.producers[b.producer]
	}
	data, err := b.build(p)
	if err != nil {
		return err
	}
	c.sending.Add(1)
	stream.Append(ctx, b.partition, data, b.acks, &outcome{c, b, again})
	return nil
}

// outcome waits for one batch.
type outcome struct {
	c     *clients
	b     *batch
	again bool
}

// Complete implements server.Completion.
func (o *outcome) Complete(a server.Appended) {
	defer o.c.sending.Done()
	powered := o.c.powered()
	h, b := o.c.h, o.b
	h.mu.Lock()
	defer h.mu.Unlock()
	if a.Err != nil {
		if powered && !h.topics[b.topic].doomed && mq.CodeOf(a.Err) != mq.ShuttingDown {
			h.note(broken("refused", "batch %d (sequence %d, again: %t): %v", b.number, b.sequence, o.again, a.Err))
		}
		return
	}
	if !powered || b.acks == mq.DurabilityNone {
		return
	}
	switch {
	case a.Mark < b.acks.Mark():
		h.note(broken("durability", "batch %d asked for %s and got %s", b.number, b.acks, a.Mark))
	case a.Duplicate != (b.found >= 0):
		h.note(broken("dedup", "batch %d was sent again: it was found at offset %d, and taken for a duplicate: %t", b.number, b.found, a.Duplicate))
	case a.Duplicate && a.Base != b.found:
		h.note(broken("dedup", "batch %d was found at offset %d, and is acknowledged at %d", b.number, b.found, a.Base))
	}
	b.acked, b.base = true, a.Base
}

// errDead is why waiting ends early: the node's disk is gone.
var errDead = errors.New("the node cannot go on")

// wait waits for all outcomes, or for the end of the node.
func (c *clients) wait(ctx context.Context) error {
	idle := make(chan struct{})
	go func() {
		c.sending.Wait()
		close(idle)
	}()
	select {
	case <-idle:
	case err := <-c.node.Done():
		return fmt.Errorf("%w: %w", errDead, err)
	case <-ctx.Done():
		return fmt.Errorf("wait for acknowledgements: %w", ctx.Err())
	}
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	return c.h.violation
}

// retry sends again what has no outcome yet, in order, as the same producer.
func (c *clients) retry(ctx context.Context) error {
	for _, b := range c.h.batches {
		if t := c.h.topics[b.topic]; b.acked || b.producer == loose || t.doomed || t.gone {
			continue
		}
		if err := c.send(ctx, b, true); err != nil {
			return err
		}
	}
	return c.wait(ctx)
}

// usable lists the topics that can be produced to.
func (h *history) usable() (list []int) {
	for i, t := range h.topics {
		if t.exists && !t.doomed {
			list = append(list, i)
		}
	}
	return list
}

// burst sends some batches to one partition: from one idempotent producer, or loose ones.
func (c *clients) burst(ctx context.Context, index, batches int) error {
	t := c.h.topics[index]
	b := batch{topic: index, partition: c.rand.Int32N(t.partitions), producer: c.rand.IntN(len(c.h.producers)+1) - 1}
	for range batches {
		b.records = 1 + c.rand.IntN(4)
		b.bytes = 50 + c.rand.IntN(1500)
		b.acks = mq.Durability(1 + c.rand.IntN(3))
		if b.producer == loose {
			b.acks = mq.Durability(c.rand.IntN(4))
		}
		if err := c.send(ctx, c.h.add(b), false); err != nil {
			return err
		}
	}
	return nil
}

// work does a number of things, by chance.
func (c *clients) work(ctx context.Context, steps int) error {
	for range steps {
		if err := c.step(ctx); err != nil {
			return err
		}
	}
	return c.wait(ctx)
}

// names are what topics are called, by turns.
var names = [...]string{"orders", "payments", "returns"}

func (c *clients) step(ctx context.Context) error {
	usable := c.h.usable()
	chance := c.rand.IntN(100)
	if name := names[c.rand.IntN(len(names))]; len(usable) == 0 || chance < 12 {
		if i := c.h.latest(name); i < 0 || c.h.topics[i].gone {
			_, err := c.create(ctx, name, 1+c.rand.Int32N(3))
			return err
		}
	}
	switch {
	case len(c.h.producers) == 0 || chance < 16 && len(c.h.producers) < 5:
		return c.addProducer(ctx)
	case len(usable) == 0:
		return nil
	case chance < 20 && len(usable) > 1:
		return c.remove(ctx, usable[c.rand.IntN(len(usable))])
	case chance < 40:
		return c.wait(ctx)
	}
	return c.burst(ctx, usable[c.rand.IntN(len(usable))], 1+c.rand.IntN(6))
}
