package client

import (
	"context"

	"golang.org/x/sync/errgroup"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	"github.com/rustmq/rustmq/mq"
)

// maxForkPoints is how many leaders are asked at a time where a fork can begin: each waits until the object store has what its partition has.
const maxForkPoints = 64

// ForkedTopic is how a fork became.
type ForkedTopic struct {
	ID mq.TopicID
	// Points are, for each partition, where the copy ends: the first offset that source and fork do not share.
	Points []mq.Offset
}

// ForkTopic makes a topic that begins as another one is: with its settings, its number of partitions, and all its records from the log start up to an offset in
// each. No record is copied: what is not in the object store yet is brought there first, and both refer to it. Then each goes on by itself.
//
// at has an offset for each partition: the copy ends there, or where the batch begins that holds it. -1 is the end: all that is committed when this is called, and
// perhaps some that come meanwhile. nil means that for all partitions.
//
// Errors: TOPIC_ALREADY_EXISTS, UNKNOWN_TOPIC_OR_PARTITION, OFFSET_OUT_OF_RANGE for an offset that is not between log start and high watermark, UNSUPPORTED_VERSION while the
// cluster's feature level is below 4; INVALID_REQUEST for an offset inside what is compacted by key; NETWORK_EXCEPTION as of CreateTopic.
func (c *Client) ForkTopic(ctx context.Context, source, name string, at []mq.Offset) (*ForkedTopic, error) {
	if err := mq.ValidTopicName(name); err != nil {
		return nil, err
	}
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	forked, err := c.forkTopic(ctx, source, name, at)
	return forked, mq.Wrapf(err, "fork topic %s as %s", source, name)
}

func (c *Client) forkTopic(ctx context.Context, source, name string, at []mq.Offset) (*ForkedTopic, error) {
	leaders, err := c.leaders(ctx, source)
	if err != nil {
		return nil, err
	}
	if at != nil && len(at) != len(leaders) {
		return nil, mq.Errorf(mq.InvalidPartitions, "it has %d partitions, not %d", len(leaders), len(at))
	}
	if _, err := c.leaders(ctx, name); err == nil { // before anything is done for it
		return nil, mq.Errorf(mq.TopicAlreadyExists, "topic %q exists", name)
	}
	points := make([]int64, len(leaders))
	group, within := errgroup.WithContext(ctx)
	group.SetLimit(maxForkPoints)
	for i := range points {
		offset := mq.Offset(-1)
		if at != nil {
			offset = at[i]
		}
		group.Go(func() error {
			resp, err := c.askLeader(within, source, int32(i), &adminpb.Request{Kind: &adminpb.Request_ForkPoint{ForkPoint: &adminpb.ForkPointRequest{
				Topic: source, Partition: int32(i), Offset: int64(offset),
			}}})
			points[i] = resp.GetForkPoint().GetOffset()
			return mq.Wrapf(err, "%s/%d", source, i)
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	resp, err := adminpb.Ask(&adminpb.Request{Kind: &adminpb.Request_ForkTopic{ForkTopic: &adminpb.ForkTopicRequest{Source: source, Name: name, Points: points}}},
		func(message []byte) ([]byte, error) { return c.Operate(ctx, message, false) })
	if err != nil {
		return nil, err
	}
	forked := &ForkedTopic{Points: make([]mq.Offset, len(points))}
	copy(forked.ID[:], resp.GetForkTopic().GetId())
	for i, p := range points {
		forked.Points[i] = mq.Offset(p)
	}
	return forked, nil
}
