package nodetest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
)

// Ledger produces records with the public client and remembers what became of each. A record's value begins with its number.
type Ledger struct {
	Topic      string
	Partitions int32

	mu      sync.Mutex
	fates   []fate // by number
	pending sync.WaitGroup
	lastErr error
}

// fate is what became of a record.
type fate struct {
	partition int32
	acked     bool
	offset    mq.Offset
}

const numberDigits = 16

// CreateTopic creates the ledger's topic.
func (l *Ledger) CreateTopic(ctx context.Context, c *client.Client) error {
	return ensureTopic(ctx, c, client.NewTopic{Name: l.Topic, Partitions: l.Partitions, Replicas: 1})
}

// ensureTopic makes a topic that nobody else makes. On a busy machine a broker may be fenced for a moment, or the topic be made though no answer comes, and be there already when it is asked for again.
func ensureTopic(ctx context.Context, c *client.Client, topic client.NewTopic) error {
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		_, err := c.CreateTopic(ctx, topic)
		switch mq.CodeOf(err) {
		case mq.None, mq.TopicAlreadyExists:
			return nil
		case mq.NetworkException, mq.RequestTimedOut, mq.InvalidReplicationFactor:
			if time.Since(began) < time.Minute {
				continue
			}
		}
		return err
	}
}

// Produce hands n records of about valueBytes to c, and waits only for room in its buffer.
func (l *Ledger) Produce(ctx context.Context, c *client.Client, n, valueBytes int) {
	for range n {
		l.ProduceTo(ctx, c, -1, valueBytes)
	}
}

// ProduceTo is Produce of one record to one partition, -1 for wherever the client puts it.
func (l *Ledger) ProduceTo(ctx context.Context, c *client.Client, partition int32, valueBytes int) {
	l.mu.Lock()
	number := len(l.fates)
	l.fates = append(l.fates, fate{partition: partition})
	l.mu.Unlock()
	l.pending.Add(1)
	value := fmt.Appendf(nil, "%0*d", numberDigits, number)
	value = append(value, bytes.Repeat([]byte{'.'}, max(0, valueBytes-numberDigits))...)
	rec := &client.Record{Topic: l.Topic, Partition: max(0, partition), Value: value}
	c.Produce(ctx, rec, func(rec *client.Record, err error) {
		l.note(number, rec, err)
		l.pending.Done()
	})
}

func (l *Ledger) note(number int, rec *client.Record, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.lastErr = err
		return
	}
	l.fates[number] = fate{partition: rec.Partition, acked: true, offset: rec.Offset}
}

// Wait waits until every record has its outcome.
func (l *Ledger) Wait() { l.pending.Wait() }

// Acked is how many records were acknowledged so far, and what the last failure was.
func (l *Ledger) Acked() (acked, sent int, lastErr error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.fates {
		if l.fates[i].acked {
			acked++
		}
	}
	return acked, len(l.fates), l.lastErr
}

// Check reads every partition with a consumer of c, from the start to where it ends now: offsets have no holes, no record
// is there twice, and each acknowledged one is where its acknowledgement says. A record without one may be there or not.
func (l *Ledger) Check(ctx context.Context, c *client.Client) error {
	l.mu.Lock()
	before := slices.Clone(l.fates) // more may be acknowledged while this reads
	l.mu.Unlock()
	var from []client.ConsumerOption
	for p := range l.Partitions {
		from = append(from, client.Assign(l.Topic, p, client.Start()))
	}
	k, err := c.NewConsumer(from...)
	if err != nil {
		return err
	}
	defer k.Close()
	ends, err := k.EndOffsets(ctx)
	if err != nil {
		return err
	}
	k.StopAt(ends)
	next := make([]mq.Offset, l.Partitions)
	found := make(map[int]fate)
	for rec, err := range k.Records(ctx) {
		if err != nil {
			return err
		}
		number, err := strconv.Atoi(string(rec.Value[:min(numberDigits, len(rec.Value))]))
		if err != nil {
			return fmt.Errorf("partition %d, offset %d: a value that was never sent", rec.Partition, rec.Offset)
		}
		if rec.Offset != next[rec.Partition] {
			return fmt.Errorf("partition %d: offset %d where %d belongs", rec.Partition, rec.Offset, next[rec.Partition])
		}
		next[rec.Partition]++
		if old, twice := found[number]; twice {
			return fmt.Errorf("record %d is at offset %d and at offset %d of partition %d", number, old.offset, rec.Offset, rec.Partition)
		}
		found[number] = fate{partition: rec.Partition, acked: true, offset: rec.Offset}
	}
	return l.compare(before, found)
}

// compare looks for what had been acknowledged before the reading began.
func (l *Ledger) compare(before []fate, found map[int]fate) error {
	l.mu.Lock()
	sent := len(l.fates)
	l.mu.Unlock()
	for number, f := range before {
		if got, ok := found[number]; f.acked && (!ok || got != f) {
			return fmt.Errorf("record %d was acknowledged at offset %d of partition %d; found there or elsewhere: %v, %+v", number, f.offset, f.partition, ok, got)
		}
	}
	for number := range found {
		if number >= sent {
			return fmt.Errorf("record %d was never sent", number)
		}
	}
	return nil
}
