package broker

import (
	"context"
	"math"
	"time"

	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
	"github.com/rustmq/rustmq/quicproto/server"
)

// tieredStale is how old this node's image may be while it serves tiered records of partitions that it does not lead: it may
// not know that records, or the whole topic, were deleted since.
const tieredStale = 10 * time.Second

// tieredWithin is how long one read of tiered records may take that the leader could do as well: each takes one of the few places that a stream has for such reads.
const tieredWithin = 5 * time.Second

// OpenTiered implements server.Broker. Whatever this node is not sure of it leaves to the leader.
func (b *Broker) OpenTiered(_ context.Context, s *server.Session, topic string, index int32, epoch mq.Epoch) (server.Reader, error) {
	g, err := b.grant(s, OpRead, topic)
	if err != nil {
		return nil, err
	}
	id, p, err := b.recorded(topic, index)
	if err != nil {
		return nil, err
	}
	if epoch > p.LeaderEpoch {
		return nil, mq.Errorf(mq.UnknownLeaderEpoch, "partition %d of topic %q is in leader epoch %d as far as node %d knows, %d is not known yet",
			index, topic, p.LeaderEpoch, b.cfg.Node, epoch)
	}
	return &tieredReader{grant: g, id: id}, nil
}

// tieredReader reads what the object store has of a partition that this node need not run. All that it knows of it is in the image, which
// may be behind: what it does not know to be there it does not have, and never says that it is nowhere.
type tieredReader struct {
	grant grant
	id    mq.PartitionID
}

var _ server.Reader = (*tieredReader)(nil)

// known is the partition as the image has it, nil if there is none or the image is too old to go by.
func (r *tieredReader) known() *metadata.Partition {
	controller := r.grant.broker.cfg.Controller
	if controller.Stale() > tieredStale || r.grant.broker.cfg.Cold == nil {
		return nil
	}
	return controller.Image().Partition(r.id)
}

// Offsets implements server.Reader. All that is tiered lies below the high watermark.
func (r *tieredReader) Offsets() (topic mq.TopicID, logStart, highWatermark, end mq.Offset) {
	p := r.known()
	if p == nil {
		return r.id.Topic, -1, -1, -1
	}
	return r.id.Topic, p.LogStart, p.TieredEnd, p.TieredEnd
}

// Source implements server.Reader.
func (r *tieredReader) Source(from mq.Offset) server.Source {
	if p := r.known(); p != nil && from >= p.LogStart && from < p.TieredEnd {
		return server.FromStore
	}
	return server.FromElsewhere
}

// Read implements server.Reader.
func (r *tieredReader) Read(ctx context.Context, from mq.Offset, maxBytes int, _ []byte) (server.Fetched, error) {
	if err := r.grant.check(); err != nil {
		return server.Fetched{}, err
	}
	cfg := &r.grant.broker.cfg
	p := r.known()
	if p == nil || from < p.LogStart || from >= p.TieredEnd {
		return server.Fetched{}, mq.Errorf(mq.NotLeaderOrFollower, "node %d does not know offset %d of partition %d of topic %q to be in the object store",
			cfg.Node, from, r.id.Index, r.grant.topic)
	}
	within, cancel := context.WithTimeout(ctx, tieredWithin)
	defer cancel()
	got, err := partition.ReadTiered(within, cfg.Cold, r.id, from, p.LogStart, p.TieredEnd, maxBytes, &partition.ReadBuffer{})
	if err != nil {
		if ctx.Err() == nil { // be it this node's way to the store, or the store itself: the leader tells it
			err = mq.Errorf(mq.NotLeaderOrFollower, "node %d, which does not lead it: %w", cfg.Node, err)
		}
		return server.Fetched{}, err
	}
	size := 0
	for _, b := range got.Batches {
		size += len(b)
	}
	if cfg.Counters != nil {
		cfg.Counters.TieredBytes.Add(int64(size))
	}
	return server.Fetched{
		Batches: got.Batches, Next: got.Next, End: math.MaxInt64, // it is not known here where the partition ends
		HighWatermark: got.HighWatermark, LogStart: got.LogStart, LogEnd: got.LogEnd,
	}, nil
}

// Await implements server.Reader. There is nothing to wait for: who has read all goes elsewhere.
func (r *tieredReader) Await(mq.Offset, server.Waiter) bool { return false }

// Close implements server.Reader.
func (r *tieredReader) Close() {}
