package nodetest

import (
	"context"
	"fmt"
	"sync"

	"github.com/rustmq/rustmq/broker"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/server"
)

// session is who the workload says it is.
var session = server.Session{Principal: server.Anonymous}

// Sent is one record of a workload: its value is its number, and unique.
type Sent struct {
	Partition int32
	Value     string
	Acked     bool
	Offset    mq.Offset // where the acknowledgement says it is
}

// Workload produces records to one topic and remembers what became of them.
// It is an idempotent producer with a window: each record is a batch of its own.
type Workload struct {
	Topic      string
	Partitions int32
	Acks       mq.Durability

	mu   sync.Mutex
	sent []*Sent
	next int
	wg   sync.WaitGroup
}

// kept are the settings of topics whose records have timestamps of 1970: retention would delete them as soon as it looks.
var kept = []quicproto.Config{{Key: "retention.ms", Value: "-1"}}

// CreateTopic creates the workload's topic, unless it is there.
func (w *Workload) CreateTopic(ctx context.Context, b *broker.Broker) error {
	_, err := b.CreateTopic(ctx, &session, &quicproto.CreateTopicRequest{Name: w.Topic, Partitions: w.Partitions, Replicas: 1, Configs: kept})
	if mq.CodeOf(err) == mq.TopicAlreadyExists {
		return nil
	}
	return err
}

// told waits for one append.
type told struct {
	w *Workload
	s *Sent
}

// Complete implements server.Completion.
func (o *told) Complete(a server.Appended) {
	o.w.mu.Lock()
	if a.Err == nil {
		o.s.Acked, o.s.Offset = true, a.Base
	}
	o.w.mu.Unlock()
	o.w.wg.Done()
}

// Produce sends n records, round robin over the partitions, without waiting
// between them, and then waits for the outcome of all.
func (w *Workload) Produce(ctx context.Context, b *broker.Broker, n, valueBytes int) error {
	id, err := b.InitProducerID(ctx, &session, &quicproto.InitProducerIDRequest{ProducerID: mq.NoProducerID, ProducerEpoch: mq.NoProducerEpoch})
	if err != nil {
		return err
	}
	p, err := b.OpenProduce(ctx, &session, w.Topic)
	if err != nil {
		return err
	}
	builder, err := mq.NewBatchBuilder(mq.CompressionNone, 0)
	if err != nil {
		return err
	}
	sequences := make([]int32, w.Partitions)
	for range n {
		partition := int32(w.next) % w.Partitions
		s := &Sent{Partition: partition, Value: fmt.Sprintf("%0*d", valueBytes, w.next)}
		w.next++
		if err := builder.Append(mq.Record{Value: []byte(s.Value), Timestamp: int64(w.next)}); err != nil {
			return err
		}
		batch, err := builder.Build(nil, id.ProducerID, id.ProducerEpoch, sequences[partition])
		if err != nil {
			return err
		}
		sequences[partition]++
		w.mu.Lock()
		w.sent = append(w.sent, s)
		w.mu.Unlock()
		w.wg.Add(1)
		p.Append(ctx, partition, batch, w.Acks, &told{w, s})
	}
	w.wg.Wait()
	return nil
}

// Acked is how many records were acknowledged.
func (w *Workload) Acked() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.sent {
		if s.Acked {
			n++
		}
	}
	return n
}

// Check reads everything from the start and compares: each acknowledged record
// is at its offset, nothing is there twice or was never sent, offsets have no
// holes, and records of one partition are in the order in which they were sent.
func (w *Workload) Check(ctx context.Context, b *broker.Broker) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	order := make(map[string]int, len(w.sent))
	for i, s := range w.sent {
		order[s.Value] = i
	}
	for p := range w.Partitions {
		found, err := read(ctx, b, w.Topic, p)
		if err != nil {
			return fmt.Errorf("read partition %d: %w", p, err)
		}
		if err := w.compare(p, found, order); err != nil {
			return fmt.Errorf("partition %d: %w", p, err)
		}
	}
	return nil
}

func (w *Workload) compare(p int32, found []string, order map[string]int) error {
	last := -1
	for offset, v := range found {
		i, ok := order[v]
		switch {
		case !ok:
			return fmt.Errorf("phantom: offset %d has %q, which was never sent", offset, v)
		case w.sent[i].Partition != p:
			return fmt.Errorf("misplaced: offset %d has %q of partition %d", offset, v, w.sent[i].Partition)
		case i <= last:
			return fmt.Errorf("duplicate or reordered: offset %d has record %d after record %d", offset, i, last)
		}
		last = i
	}
	for _, s := range w.sent {
		if !s.Acked || s.Partition != p {
			continue
		}
		if s.Offset < 0 || int(s.Offset) >= len(found) || found[s.Offset] != s.Value {
			return fmt.Errorf("lost: record %d was acknowledged at offset %d, the log has %d records", order[s.Value], s.Offset, len(found))
		}
	}
	return nil
}

// read gives the values of one partition from offset 0 to the watermark.
func read(ctx context.Context, b *broker.Broker, topic string, p int32) ([]string, error) {
	r, err := b.OpenFetch(ctx, &session, topic, p, mq.NoEpoch, mq.IsolationCommitted)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var values []string
	for next := mq.Offset(0); ; {
		// The last read is the one that finds nothing: a partition that cannot be read says so there, and nowhere else.
		got, err := r.Read(ctx, next, 1<<20, nil)
		if err != nil {
			return nil, err
		}
		for _, chunk := range got.Batches {
			if values, err = appendValues(values, chunk); err != nil {
				return nil, broken("corrupt", "at offset %d: %v", next, err) // nobody may be given that
			}
		}
		switch {
		case got.Next > next:
			next = got.Next
		case next < got.End:
			return nil, fmt.Errorf("no progress at offset %d below the watermark %d", next, got.End)
		default:
			return values, nil
		}
	}
}

// appendValues takes the batches apart; a record must lie at the offset that its place says.
func appendValues(values []string, chunk []byte) ([]string, error) {
	for len(chunk) > 0 {
		batch, rest, err := mq.NextBatch(chunk)
		if err != nil {
			return nil, err
		}
		if err := mq.VerifyCRC(batch); err != nil {
			return nil, err
		}
		for rec, err := range batch.Records(nil) {
			if err != nil {
				return nil, err
			}
			if rec.Offset != mq.Offset(len(values)) {
				return nil, fmt.Errorf("offset %d where %d belongs", rec.Offset, len(values))
			}
			values = append(values, string(rec.Value))
		}
		chunk = rest
	}
	return values, nil
}
