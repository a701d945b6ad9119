package node

import (
	"context"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/broker"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/raft"
)

// controller is this node's way to the replicated metadata: commands go up
// through raft, the Image comes down from the store.
type controller struct {
	raft       *raft.Node
	store      *metadata.Store
	partitions *partitions
}

var _ broker.Controller = (*controller)(nil)

// Image implements broker.Controller.
func (c *controller) Image() *metadata.Image { return c.store.Image() }

// Leader implements broker.Controller.
func (c *controller) Leader() mq.NodeID {
	lead := c.raft.Status().Leader
	if lead == 0 {
		return mq.NoNode
	}
	return mq.NodeID(lead)
}

// Propose implements broker.Controller.
func (c *controller) Propose(ctx context.Context, command *metadatapb.Command) (*metadatapb.Result, error) {
	result, err := c.decide(ctx, command)
	if err != nil {
		return result, err
	}
	return result, c.partitions.wait(ctx, c.store.Image().Index)
}

// decide has a command decided and applied to the metadata, without waiting for what runs here to follow.
func (c *controller) decide(ctx context.Context, command *metadatapb.Command) (*metadatapb.Result, error) {
	if command.FeatureLevel == 0 {
		command.FeatureLevel = 1
	}
	data, err := metadata.EncodeCommand(command)
	if err != nil {
		return nil, err
	}
	answer, err := c.raft.Propose(ctx, data)
	if err != nil {
		return nil, err
	}
	return metadata.DecodeResult(answer)
}
