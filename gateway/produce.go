package gateway

import (
	"context"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	rustmqpb "github.com/rustmq/rustmq/api/rustmq/v1"
	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
)

// producing is rustmq.v1.ProduceService.
type producing struct{ g *Gateway }

// Produce implements the service.
func (p producing) Produce(ctx context.Context, req *connect.Request[rustmqpb.ProduceRequest]) (*connect.Response[rustmqpb.ProduceResponse], error) {
	records, err := decode(req.Msg)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(p.g.produce(ctx, records).wait(ctx)), nil
}

// decode is the records of a request, or why it is against the rules.
func decode(req *rustmqpb.ProduceRequest) ([]*client.Record, error) {
	a, err := acks(req.GetDurability())
	if err != nil {
		return nil, err
	}
	switch n := len(req.GetRecords()); {
	case n == 0:
		return nil, invalid("a request without records")
	case n > maxRecords:
		return nil, mq.Errorf(mq.RecordListTooLarge, "%d records: at most %d are allowed", n, maxRecords)
	}
	records := make([]*client.Record, len(req.GetRecords()))
	names := make(map[string]bool)
	for i, r := range req.GetRecords() {
		if records[i], err = produced(r, req.GetTopic(), a); err != nil {
			return nil, mq.Wrapf(err, "record %d", i)
		}
		names[records[i].Topic] = true
	}
	if len(names) > maxTopics {
		return nil, invalid("records of %d topics: at most %d are allowed", len(names), maxTopics)
	}
	return records, nil
}

// pending is records of a request on their way.
type pending struct {
	done  chan struct{} // closed when all have an outcome
	ended func()        // is called then, too

	mu      sync.Mutex
	left    int
	results []*rustmqpb.ProduceResult // nil where there is none yet
}

// produce hands records in, in order, waiting for room. Nothing of them is used any more when it returns.
func (g *Gateway) produce(ctx context.Context, records []*client.Record) *pending {
	share := callOf(ctx).share
	share.again()
	p := &pending{left: len(records), done: make(chan struct{}), results: make([]*rustmqpb.ProduceResult, len(records)), ended: share.leave}
	found := make(map[string]known)
	for i, rec := range records {
		topic, looked := found[rec.Topic]
		if !looked {
			topic = g.look(ctx, rec.Topic)
			found[rec.Topic] = topic
		}
		if err := topic.refusal(rec); err != nil {
			p.settle(i, resultOf(rec, err))
			continue
		}
		size := share.weight(sizeOf(rec))
		if err := share.records.Acquire(ctx, size); err != nil {
			p.settle(i, resultOf(rec, &client.PartitionError{Topic: rec.Topic, Partition: rec.Partition, Err: mq.Wrapf(err, "wait for the caller's records before it")}))
			continue
		}
		g.client.Produce(ctx, rec, func(rec *client.Record, err error) {
			share.records.Release(size)
			if code := mq.CodeOf(err); code == mq.UnknownTopicOrPartition || code == mq.InvalidRecord {
				g.known.Delete(rec.Topic) // it is not as it was
			}
			p.settle(i, resultOf(rec, err))
		})
	}
	return p
}

func resultOf(rec *client.Record, err error) *rustmqpb.ProduceResult {
	if err != nil {
		return &rustmqpb.ProduceResult{Result: &rustmqpb.ProduceResult_Error{Error: failure(err)}}
	}
	return &rustmqpb.ProduceResult{Result: &rustmqpb.ProduceResult_Record{Record: &rustmqpb.ProducedRecord{
		Topic: rec.Topic, Partition: rec.Partition, Offset: int64(rec.Offset), Timestamp: timestamppb.New(rec.Timestamp), Reached: mark(rec.Reached),
	}}}
}

func (p *pending) settle(i int, r *rustmqpb.ProduceResult) {
	p.mu.Lock()
	p.results[i] = r
	p.left--
	last := p.left == 0
	p.mu.Unlock()
	if last {
		close(p.done)
		p.ended()
	}
}

// wait waits until all records have an outcome, or ctx ends: of those that have none then it is not known.
func (p *pending) wait(ctx context.Context) *rustmqpb.ProduceResponse {
	select {
	case <-p.done:
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	resp := &rustmqpb.ProduceResponse{Results: make([]*rustmqpb.ProduceResult, len(p.results))}
	for i, r := range p.results {
		if r == nil {
			r = resultOf(nil, mq.Errorf(mq.RequestTimedOut, "no acknowledgement came: the record may still be delivered"))
		}
		if r.GetError() != nil {
			resp.Failed++
		}
		resp.Results[i] = r
	}
	return resp
}

// existTries is how often a topic is looked for that is not there: one that was just created may not be known everywhere.
const existTries = 3

// known is what a topic wants of each record.
type known struct {
	err   error // it cannot be produced to
	keyed bool  // it is compacted by key
}

// refusal is for records that a broker would refuse together with all that are in their batch: those of other callers, for one client sends for all.
func (k known) refusal(rec *client.Record) error {
	if k.err == nil && k.keyed && rec.Key == nil {
		return &client.PartitionError{Topic: rec.Topic, Partition: rec.Partition, Err: mq.Errorf(mq.InvalidRecord, "the topic is compacted by key, and the record has none")}
	}
	return k.err
}

// look finds out about a topic. The client keeps what it was once asked to produce to, whether that is there or not, so it is asked for nothing that is not.
func (g *Gateway) look(ctx context.Context, topic string) known {
	if k, ok := g.known.Load(topic); ok {
		return k.(known)
	}
	if err := g.exists(ctx, topic); err != nil {
		return known{err: err}
	}
	var k known
	d, err := g.client.DescribeTopic(ctx, topic)
	if err != nil {
		return k // its broker decides
	}
	for _, c := range d.Configs {
		k.keyed = k.keyed || c.Key == "cleanup.policy" && strings.Contains(c.Value, "compact")
	}
	g.known.Store(topic, k)
	return k
}

// exists fails for a topic that is not there.
func (g *Gateway) exists(ctx context.Context, topic string) error {
	for try := 1; ; try++ {
		m, err := g.client.Metadata(ctx, topic)
		if err == nil && len(m.Topics) == 1 {
			err = m.Topics[0].Err
		}
		if err == nil {
			return nil
		}
		if mq.CodeOf(err) != mq.UnknownTopicOrPartition || try == existTries {
			return &client.PartitionError{Topic: topic, Partition: -1, Err: err}
		}
		select {
		case <-time.After(time.Duration(try) * 50 * time.Millisecond):
		case <-ctx.Done():
			return &client.PartitionError{Topic: topic, Partition: -1, Err: ctx.Err()}
		}
	}
}
