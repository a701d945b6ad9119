package gateway

import (
	"context"
	"errors"
	"io"
	"time"

	"connectrpc.com/connect"

	rustmqpb "github.com/rustmq/rustmq/api/rustmq/v1"
	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
)

// consuming is rustmq.v1.ConsumeService.
type consuming struct{ g *Gateway }

// fetch is what one Fetch asks for, within bounds.
type fetch struct {
	partition client.TopicPartition
	isolation mq.Isolation
	wait      time.Duration
	records   int
	bytes     int
	text      bool
}

func newFetch(req *rustmqpb.FetchRequest) (f fetch, err error) {
	f = fetch{
		partition: client.TopicPartition{Topic: req.GetTopic(), Partition: req.GetPartition()}, text: req.GetText(),
		records: int(req.GetMaxRecords()), bytes: int(req.GetMaxBytes()),
	}
	if err := checkPartition(req.GetTopic(), req.GetPartition()); err != nil {
		return f, err
	}
	if f.isolation, err = isolation(req.GetIsolation()); err != nil {
		return f, err
	}
	if f.wait, err = duration("max_wait", req.GetMaxWait(), 0, maxFetchWait, defaultFetchWait); err != nil {
		return f, err
	}
	if f.records < 0 || f.records > maxRecords || f.bytes < 0 || f.bytes > maxFetchBytes {
		return f, invalid("max_records of %d and max_bytes of %d: up to %d and %d are allowed", f.records, f.bytes, maxRecords, maxFetchBytes)
	}
	if f.records == 0 {
		f.records = defaultFetchRecords
	}
	if f.bytes == 0 {
		f.bytes = defaultFetchBytes
	}
	return f, nil
}

// Fetch implements the service.
func (s consuming) Fetch(ctx context.Context, req *connect.Request[rustmqpb.FetchRequest]) (*connect.Response[rustmqpb.FetchResponse], error) {
	f, err := newFetch(req.Msg)
	if err != nil {
		return nil, err
	}
	only := []int32{f.partition.Partition}
	starts, err := s.g.offsets(ctx, f.partition.Topic, only, req.Msg.GetPosition(), f.isolation)
	if err != nil {
		return nil, err
	}
	ends, err := s.g.listed(ctx, f.partition.Topic, only, client.End(), f.isolation)
	if err != nil {
		return nil, err
	}
	start, end := starts[f.partition.Partition], ends[f.partition.Partition]
	if start == end && f.wait == 0 {
		return connect.NewResponse(&rustmqpb.FetchResponse{NextOffset: int64(start), EndOffset: int64(end)}), nil
	}
	resp, err := s.g.fetch(ctx, f, start, end)
	return connect.NewResponse(resp), err
}

// fetch reads what lies between two offsets, or waits for what comes behind them.
func (g *Gateway) fetch(ctx context.Context, f fetch, start, end mq.Offset) (*rustmqpb.FetchResponse, error) {
	k, err := g.client.NewConsumer(
		client.Assign(f.partition.Topic, f.partition.Partition, client.At(start)), client.ReadIsolation(f.isolation), client.PrefetchBytes(client.MinPrefetchBytes),
	)
	if err != nil {
		return nil, err
	}
	defer k.Close()
	wait := f.wait
	if start < end {
		k.StopAt(map[client.TopicPartition]mq.Offset{f.partition: end})
		wait = readTime
	}
	within, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	callOf(ctx).onParting(cancel) // with what there is
	resp := &rustmqpb.FetchResponse{NextOffset: int64(start), EndOffset: int64(end)}
	for left := f.bytes; ; {
		recs, err := k.Poll(within)
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			resp.NextOffset = max(resp.NextOffset, int64(end)) // what was compacted away is read, too
			return resp, nil
		case within.Err() != nil && ctx.Err() == nil && (start >= end || len(resp.Records) > 0):
			return resp, nil
		case within.Err() != nil && ctx.Err() == nil && callOf(ctx).isParted(): // before the first record came
			return nil, errStopping
		default:
			return nil, err
		}
		for i := range recs {
			size := sizeOf(&recs[i])
			left -= size
			if len(resp.Records) > 0 && (len(resp.Records) == f.records || left < 0 || callOf(ctx).hold(size) != nil) {
				return resp, nil
			}
			resp.Records = append(resp.Records, consumed(&recs[i], f.text))
			resp.NextOffset = int64(recs[i].Offset) + 1
		}
		if start >= end || len(resp.Records) == f.records || left <= 0 {
			return resp, nil
		}
	}
}
