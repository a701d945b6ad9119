package client

import (
	"context"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// listOffsets asks the leaders of partitions (all if none are named) for the offset of a position, and again where that is useful.
func (c *Client) listOffsets(ctx context.Context, topic string, at Position, iso mq.Isolation, partitions []int32) (map[int32]ListedOffset, error) {
	found := make(map[int32]ListedOffset)
	var doubted []mq.NodeID // who did not lead when it was asked last: it may be cut off, and still say that it leads
	wait := newBackoff()
	for patience := attemptTime; ; patience = min(2*patience, c.cfg.dialTimeout) {
		leaders, err := c.leaders(ctx, topic, doubted...)
		var missing []int32
		if err == nil {
			missing, doubted, err = c.listOnce(ctx, leaders, quicproto.ListOffsetsRequest{Topic: topic, Isolation: iso}, at, partitions, found, patience)
		}
		if err == nil && len(missing) == 0 {
			return found, nil
		}
		if err != nil && (!mq.CodeOf(err).Retriable() || mq.CodeOf(err) == mq.UnknownTopicOrPartition || hopeless(err)) {
			return nil, err
		}
		if err == nil {
			partitions = missing
		}
		if !sleep(ctx, wait.NextBackOff()) {
			if err == nil && ctx.Err() != nil {
				return found, nil //nolint:nilerr // what is missing says why in its answer
			}
			return nil, err
		}
	}
}

// listOnce asks each leader once. It returns the partitions for which it is worth asking again, and who could not say of which.
func (c *Client) listOnce(ctx context.Context, leaders []mq.NodeID, ask quicproto.ListOffsetsRequest, at Position, partitions []int32,
	found map[int32]ListedOffset, patience time.Duration,
) (missing []int32, doubted []mq.NodeID, err error) {
	if len(partitions) == 0 {
		for i := range leaders {
			partitions = append(partitions, int32(i))
		}
	}
	byNode := make(map[mq.NodeID][]quicproto.OffsetQuery)
	for _, i := range partitions {
		switch {
		case i < 0 || int(i) >= len(leaders):
			found[i] = ListedOffset{Offset: -1, Timestamp: -1, LeaderEpoch: mq.NoEpoch, Err: mq.Errorf(mq.UnknownTopicOrPartition, "%s has %d partitions", ask.Topic, len(leaders))}
		case leaders[i] == mq.NoNode:
			found[i] = ListedOffset{Offset: -1, Timestamp: -1, LeaderEpoch: mq.NoEpoch, Err: mq.Errorf(mq.LeaderNotAvailable, "%s/%d", ask.Topic, i)}
			missing = append(missing, i)
		default:
			byNode[leaders[i]] = append(byNode[leaders[i]], quicproto.OffsetQuery{Partition: i, Timestamp: at.query()})
		}
	}
	for node, queries := range byNode {
		req := ask
		req.Queries = queries
		again, err := c.listFrom(ctx, node, &req, found, patience)
		if err != nil {
			return nil, []mq.NodeID{node}, err
		}
		if len(again) > 0 {
			missing, doubted = append(missing, again...), append(doubted, node)
		}
	}
	return missing, doubted, nil
}

// listFrom asks one node, which has to be heard of within patience.
func (c *Client) listFrom(ctx context.Context, node mq.NodeID, req *quicproto.ListOffsetsRequest, found map[int32]ListedOffset, patience time.Duration) (missing []int32, err error) {
	getCtx, cancel := context.WithTimeout(ctx, patience)
	sess, err := c.pool.get(getCtx, slotKey{node: node}, controlWindow)
	cancel()
	if err != nil {
		return nil, err
	}
	reqCtx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	packets := sess.packets()
	silence := time.AfterFunc(patience, func() {
		if sess.doubt(packets) {
			giveUp(mq.Errorf(mq.RequestTimedOut, "node %d does not answer", node))
		}
	})
	defer silence.Stop()
	var resp quicproto.ListOffsetsResponse
	if err := sess.request(reqCtx, req, &resp); err != nil {
		if ctx.Err() == nil && reqCtx.Err() != nil {
			err = context.Cause(reqCtx)
		}
		return nil, err
	}
	if len(resp.Answers) != len(req.Queries) {
		return nil, violation("%d answers to %d queries of offsets", len(resp.Answers), len(req.Queries))
	}
	for i := range resp.Answers {
		a := &resp.Answers[i]
		found[req.Queries[i].Partition] = ListedOffset{Offset: a.Offset, Timestamp: a.Timestamp, LeaderEpoch: a.LeaderEpoch, Err: a.Err()}
		if a.Code != mq.None && a.Code.Retriable() {
			missing = append(missing, req.Queries[i].Partition)
		}
	}
	return missing, nil
}

// leaders fetches who leads the partitions of a topic, by number; mq.NoNode for nobody. One of avoid is asked only if nobody else answers.
func (c *Client) leaders(ctx context.Context, topic string, avoid ...mq.NodeID) ([]mq.NodeID, error) {
	if err := mq.ValidTopicName(topic); err != nil {
		return nil, err
	}
	resp, err := c.metadata(ctx, &quicproto.MetadataRequest{Topics: []string{topic}}, avoid...)
	if err != nil {
		return nil, err
	}
	if len(resp.Topics) != 1 {
		return nil, violation("metadata of %d topics for one", len(resp.Topics))
	}
	t := &resp.Topics[0]
	if err := t.Err(); err != nil {
		return nil, mq.Wrapf(err, "topic %s", topic)
	}
	list := make([]mq.NodeID, len(t.Partitions))
	for i := range t.Partitions {
		list[i] = t.Partitions[i].Leader
	}
	return list, nil
}
