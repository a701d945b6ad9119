package gateway

import (
	"context"
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
	done chan struct{} // closed when all have an outcome

	mu      sync.Mutex
	left    int
	results []*rustmqpb.ProduceResult // nil where there is none yet
}

// produce hands records in, in order, waiting for room. Nothing of them is used any more when it returns.
func (g *Gateway) produce(ctx context.Context, records []*client.Record) *pending {
	p := &pending{left: len(records), done: make(chan struct{}), results: make([]*rustmqpb.ProduceResult, len(records))}
	refused := make(map[string]error)
	for i, rec := range records {
		err, looked := refused[rec.Topic]
		if !looked {
			err = g.exists(ctx, rec.Topic)
			refused[rec.Topic] = err
		}
		if err != nil {
			p.settle(i, &rustmqpb.ProduceResult{Result: &rustmqpb.ProduceResult_Error{Error: failure(err)}})
			continue
		}
		g.client.Produce(ctx, rec, func(rec *client.Record, err error) {
			if mq.CodeOf(err) == mq.UnknownTopicOrPartition {
				g.known.Delete(rec.Topic)
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

// exists fails for a topic that is not there. The client keeps what it was once asked to produce to, whether that is there or not, so it is asked for nothing else.
func (g *Gateway) exists(ctx context.Context, topic string) error {
	if _, ok := g.known.Load(topic); ok {
		return nil
	}
	for try := 1; ; try++ {
		m, err := g.client.Metadata(ctx, topic)
		if err == nil && len(m.Topics) == 1 {
			err = m.Topics[0].Err
		}
		if err == nil {
			g.known.Store(topic, nil)
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
