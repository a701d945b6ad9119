package control

import (
	"context"
	"time"

	"connectrpc.com/connect"

	controlpb "github.com/rustmq/rustmq/api/control/v1"
	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
)

// fresh waits until this controller's store is as new as a reader wants it.
func (s service) fresh(ctx context.Context, want *controlpb.Freshness) error {
	if err := s.lives(want.GetMinIndex()); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, awaitTimeout)
	defer cancel()
	if want.GetLinearizable() {
		if _, err := s.c.cfg.Group.ReadIndex(ctx); err != nil {
			return mq.Wrapf(err, "controller %d: read index", s.c.cfg.Node)
		}
	}
	return awaitIndex(ctx, s.c.cfg.Store.Watch, want.GetMinIndex())
}

// awaitIndex waits until an image with an index, or a later one, is there.
func awaitIndex(ctx context.Context, subscribe func() *metadata.Watch, index uint64) error {
	if index == 0 {
		return nil
	}
	watch := subscribe()
	defer watch.Close()
	for watch.Image().Index < index {
		select {
		case <-watch.C():
		case <-ctx.Done():
			return mq.Wrapf(ctx.Err(), "wait for the image at index %d, it is at %d", index, watch.Image().Index)
		}
	}
	return nil
}

// read admits a caller that asks for a partition, and waits until it can be answered.
func (s service) read(ctx context.Context, name *controlpb.PartitionName, want *controlpb.Freshness) (id mq.PartitionID, err error) {
	if _, err := s.admit(ctx); err != nil {
		return id, err
	}
	if len(name.GetTopicId()) != len(id.Topic) {
		return id, mq.Errorf(mq.InvalidRequest, "a topic id has %d bytes, not %d", len(id.Topic), len(name.GetTopicId()))
	}
	id = mq.PartitionID{Topic: mq.TopicID(name.GetTopicId()), Index: name.GetPartition()}
	return id, s.fresh(ctx, want)
}

// Ranges implements the service. Every controller answers.
func (s service) Ranges(ctx context.Context, req *connect.Request[controlpb.RangesRequest]) (*connect.Response[controlpb.RangesResponse], error) {
	id, err := s.read(ctx, req.Msg.GetPartition(), req.Msg.GetFreshness())
	if err != nil {
		return nil, s.fail(err)
	}
	limit := int(req.Msg.GetLimit())
	if limit < 1 {
		return nil, s.fail(mq.Errorf(mq.InvalidRequest, "%d ranges of partition %s: at least one must be asked for", limit, id))
	}
	ranges, err := s.c.cfg.Store.Ranges(id, mq.Offset(req.Msg.GetFrom()), min(limit, maxRangesPage))
	if err != nil {
		return nil, s.fail(err)
	}
	response := &controlpb.RangesResponse{Ranges: make([]*controlpb.CatalogRange, len(ranges))}
	for i, r := range ranges {
		response.Ranges[i] = &controlpb.CatalogRange{
			Range: &metadatapb.Range{
				First: int64(r.First), End: int64(r.End), LeaderEpoch: int32(r.LeaderEpoch), MinTime: r.MinTime, MaxTime: r.MaxTime,
				Position: r.Position, Bytes: r.Bytes, Crc: r.CRC, Rewrites: r.Rewrites, ByKey: r.ByKey, ObjectId: r.ObjectID,
			},
			Key: r.Key, ObjectSize: r.ObjectSize,
		}
	}
	return connect.NewResponse(response), nil
}

// Checkpoint implements the service. Every controller answers.
func (s service) Checkpoint(ctx context.Context, req *connect.Request[controlpb.CheckpointRequest]) (*connect.Response[controlpb.CheckpointResponse], error) {
	id, err := s.read(ctx, req.Msg.GetPartition(), req.Msg.GetFreshness())
	if err != nil {
		return nil, s.fail(err)
	}
	c, ok, err := s.c.cfg.Store.Checkpoint(id)
	if err != nil {
		return nil, s.fail(err)
	}
	response := &controlpb.CheckpointResponse{}
	if ok {
		response.Checkpoint = &metadatapb.Checkpoint{End: int64(c.End), ProducerState: c.ProducerState, Epochs: metadata.EpochRecords(c.Epochs)}
	}
	return connect.NewResponse(response), nil
}

// Status implements the service. Every controller answers for itself.
func (s service) Status(ctx context.Context, req *connect.Request[controlpb.StatusRequest]) (*connect.Response[controlpb.StatusResponse], error) {
	if _, err := s.admit(ctx); err != nil {
		return nil, s.fail(err)
	}
	if want := req.Msg.GetFreshness(); want != nil {
		if err := s.fresh(ctx, want); err != nil {
			return nil, s.fail(err)
		}
	}
	return connect.NewResponse(s.c.Status()), nil
}

// Status is what this controller knows. Brokers are listed, by ascending id, while it leads.
func (c *Controller) Status() *controlpb.StatusResponse {
	leads, _ := c.cfg.Group.Leadership()
	img := c.cfg.Store.Image()
	status := &controlpb.StatusResponse{
		NodeId: int32(c.cfg.Node), Leading: leads.Leading, Term: leads.Term, Leader: int32(leads.Leader), LeaderAddress: leads.Address, ImageIndex: img.Index,
	}
	if !leads.Leading {
		return status
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	for _, b := range img.Brokers() {
		row := &controlpb.BrokerStatus{NodeId: int32(b.ID), BrokerEpoch: b.Epoch, Fenced: b.Fenced}
		if l := c.judge.brokers[b.ID]; l != nil && l.epoch == b.Epoch {
			row.SilentMs, row.Connected = int64((now-l.heard)/time.Millisecond), l.stream != 0
			row.ImageIndex, row.Leaving = l.image, l.leaving
		}
		status.Brokers = append(status.Brokers, row)
	}
	return status
}
