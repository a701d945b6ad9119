package broker

import (
	"context"

	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/server"
)

// ListOffsets implements server.Broker. A query that fails is an answer; the others are answered all the same.
func (b *Broker) ListOffsets(ctx context.Context, s *server.Session, req *quicproto.ListOffsetsRequest) (*quicproto.ListOffsetsResponse, error) {
	if err := b.authorise(s, OpDescribe, Resource{Topic: req.Topic}); err != nil {
		return nil, err
	}
	t, err := b.topic(req.Topic)
	if err != nil {
		return nil, err
	}
	resp := &quicproto.ListOffsetsResponse{Answers: make([]quicproto.OffsetAnswer, len(req.Queries))}
	for i, q := range req.Queries {
		a, err := b.offset(ctx, t, q, req.Isolation)
		if err != nil {
			code, text := quicproto.CodeAndText(err)
			a = quicproto.OffsetAnswer{Code: code, Msg: text, Offset: -1, Timestamp: -1, LeaderEpoch: mq.NoEpoch}
		}
		a.Partition = q.Partition
		resp.Answers[i] = a
	}
	return resp, nil
}

func (b *Broker) offset(ctx context.Context, t *metadata.Topic, q quicproto.OffsetQuery, iso mq.Isolation) (quicproto.OffsetAnswer, error) {
	if t.Partition(q.Partition) == nil {
		return quicproto.OffsetAnswer{}, unknownPartition(t.Name, q.Partition, t.Partitions())
	}
	if b.cfg.Mount != nil {
		return b.viewOffset(ctx, t, q)
	}
	part := b.cfg.Partitions.Table().Get(mq.PartitionID{Topic: t.ID, Index: q.Partition})
	if part == nil {
		return quicproto.OffsetAnswer{}, b.notHere(t.Name, q.Partition)
	}
	a := quicproto.OffsetAnswer{Timestamp: -1, LeaderEpoch: part.LeaderEpoch()}
	end, err := part.VisibleEnd(iso)
	if err != nil {
		return quicproto.OffsetAnswer{}, err
	}
	switch {
	case q.Timestamp == quicproto.TimestampLatest:
		a.Offset = end
	case q.Timestamp == quicproto.TimestampEarliest:
		a.Offset, _, _, _ = part.Offsets()
	case q.Timestamp < 0:
		return quicproto.OffsetAnswer{}, noPlace(q.Timestamp)
	default:
		a.Offset, a.Timestamp, err = part.OffsetByTime(ctx, q.Timestamp)
		if err == nil && a.Offset >= end {
			a.Offset, a.Timestamp = -1, -1
		}
	}
	return a, err
}

func noPlace(timestamp int64) error {
	return mq.Errorf(mq.InvalidRequest, "timestamp %d names no place: %d is the end, %d the start, others are ms since 1970",
		timestamp, quicproto.TimestampLatest, quicproto.TimestampEarliest)
}
