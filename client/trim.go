package client

import (
	"context"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// DeleteRecords deletes the records of a partition below an offset, for good: the log starts there, or higher if it does already. -1 deletes all that is committed. It
// gives the new log start. OFFSET_OUT_OF_RANGE beyond the high watermark. It may be asked again.
func (c *Client) DeleteRecords(ctx context.Context, topic string, partition int32, below mq.Offset) (mq.Offset, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	resp, err := c.askLeader(ctx, topic, partition, &adminpb.Request{Kind: &adminpb.Request_TrimPartition{TrimPartition: &adminpb.TrimPartitionRequest{
		Topic: topic, Partition: partition, Offset: int64(below),
	}}})
	if err != nil {
		return -1, mq.Wrapf(err, "delete the records of %s/%d", topic, partition)
	}
	return mq.Offset(resp.GetTrimPartition().GetLogStart()), nil
}

// askLeader has the leader of a partition do what may be asked again, whoever leads it by then.
func (c *Client) askLeader(ctx context.Context, topic string, partition int32, req *adminpb.Request) (*adminpb.Response, error) {
	var avoid []mq.NodeID // who did not lead when it was asked last
	wait := newBackoff()
	for {
		leader, err := c.leaderOf(ctx, topic, partition, avoid...)
		if err == nil {
			var resp *adminpb.Response
			resp, err = adminpb.Ask(req, func(message []byte) ([]byte, error) { return c.operateAt(ctx, leader, message) })
			if err == nil {
				return resp, nil
			}
			avoid = []mq.NodeID{leader}
		}
		code := mq.CodeOf(err)
		if !code.Retriable() || code == mq.UnknownTopicOrPartition || hopeless(err) || !sleep(ctx, wait.NextBackOff()) {
			return nil, err
		}
	}
}

// leaderOf fetches who leads a partition.
func (c *Client) leaderOf(ctx context.Context, topic string, partition int32, avoid ...mq.NodeID) (mq.NodeID, error) {
	leaders, err := c.leaders(ctx, topic, avoid...)
	switch {
	case err != nil:
		return mq.NoNode, err
	case partition < 0 || int(partition) >= len(leaders):
		return mq.NoNode, mq.Errorf(mq.UnknownTopicOrPartition, "%s has %d partitions", topic, len(leaders))
	case leaders[partition] == mq.NoNode:
		return mq.NoNode, mq.Errorf(mq.LeaderNotAvailable, "%s/%d", topic, partition)
	}
	return leaders[partition], nil
}

// OperateAt is Operate at a certain node, once: of an answer that is lost nobody knows whether the operation was done.
func (c *Client) OperateAt(ctx context.Context, node mq.NodeID, message []byte) ([]byte, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	if _, err := c.metadata(ctx, &quicproto.MetadataRequest{}); err != nil { // where it is
		return nil, err
	}
	return c.operateAt(ctx, node, message)
}

func (c *Client) operateAt(ctx context.Context, node mq.NodeID, message []byte) ([]byte, error) {
	sess, err := c.pool.get(ctx, slotKey{node: node}, controlWindow)
	if err != nil {
		return nil, err
	}
	var resp quicproto.OperateResponse
	if err := sess.request(ctx, &quicproto.OperateRequest{Message: message}, &resp); err != nil {
		return nil, err
	}
	return resp.Message, nil
}
