package nodetest

import (
	"context"
	"fmt"

	"github.com/rustmq/rustmq/mq"
)

// check looks at all that the node has, and compares it with the history.
func (c *clients) check(ctx context.Context) error {
	for i, t := range c.h.topics {
		there, err := c.checkTopic(ctx, i)
		if err != nil {
			return fmt.Errorf("topic %d (%s): %w", i, t.name, err)
		}
		if !there {
			continue
		}
		for p := range t.partitions {
			if err := c.checkPartition(ctx, i, p); err != nil {
				return fmt.Errorf("topic %d (%s) partition %d: %w", i, t.name, p, err)
			}
		}
	}
	return c.checkBucket()
}

// checkTopic says whether a topic is there. Whoever asked for its making or its end without an answer knows now.
func (c *clients) checkTopic(ctx context.Context, index int) (there bool, err error) {
	t := c.h.topics[index]
	id, partitions, err := c.find(ctx, t.name)
	if err != nil {
		return false, err
	}
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	latest := c.h.latest(t.name) == index
	switch {
	case !latest:
		if !t.id.IsZero() && id == t.id {
			return false, broken("deleted topic", "it is back")
		}
		return false, nil
	case id.IsZero():
		if t.exists && !t.doomed {
			return false, broken("lost topic", "it was created, and is not there")
		}
		t.gone = true
		return false, nil
	case t.gone:
		return false, broken("deleted topic", "it is back")
	case t.exists && id != t.id:
		return false, broken("lost topic", "another one is there")
	case partitions != t.partitions:
		return false, broken("lost partition", "there are %d of %d", partitions, t.partitions)
	}
	t.id, t.exists, t.doomed = id, true, false
	return true, nil
}

// find gives the id that a name has, zero for none.
func (c *clients) find(ctx context.Context, name string) (mq.TopicID, int32, error) {
	p, err := c.broker().OpenProduce(ctx, &session, name)
	if mq.CodeOf(err) == mq.UnknownTopicOrPartition {
		return mq.TopicID{}, 0, nil
	}
	if err != nil {
		return mq.TopicID{}, 0, err
	}
	id, partitions, _ := p.Topic()
	return id, partitions, nil
}

func (c *clients) checkPartition(ctx context.Context, index int, partition int32) error {
	name := c.h.topics[index].name
	values, err := read(ctx, c.broker(), name, partition)
	if err != nil {
		return err
	}
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	if err := c.h.compare(index, partition, values); err != nil {
		return err
	}
	r, err := c.broker().OpenFetch(ctx, &session, name, partition, mq.NoEpoch, mq.IsolationObject)
	if err != nil {
		return err
	}
	defer r.Close()
	_, _, _, end := r.Offsets()
	for _, b := range c.h.batches {
		if b.topic == index && b.partition == partition && b.acked && b.acks == mq.DurabilityObject && b.base+mq.Offset(b.records) > end {
			return broken("durability", "batch %d at offset %d was acknowledged as in the object store, which is known to end at %d", b.number, b.base, end)
		}
	}
	return nil
}

// checkBucket looks for what was acknowledged as being in it.
func (c *clients) checkBucket() error {
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	heads := c.rig.store.heads()
	for _, b := range c.h.batches {
		if !b.acked || b.acks != mq.DurabilityObject || c.h.topics[b.topic].doomed {
			continue
		}
		for i := range b.records {
			if !heads[b.head(i)] {
				return broken("durability", "record %d of batch %d was acknowledged as in the object store, and is in none of %d objects",
					i, b.number, len(c.rig.store.Keys()))
			}
		}
	}
	return nil
}
