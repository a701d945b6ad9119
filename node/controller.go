package node

import (
	"context"
	"time"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/raft"
)

// controller is the way to the metadata of a node that is alone: commands go up through its own raft, the Image comes down from its store.
type controller struct {
	raft       *raft.Node
	store      *metadata.Store
	partitions *partitions
}

var _ cluster = (*controller)(nil)

// Image implements broker.Controller.
func (c *controller) Image() *metadata.Image { return c.store.Image() }

// Watch implements cluster.
func (c *controller) Watch() *metadata.Watch { return c.store.Watch() }

// Ranges implements cluster.
func (c *controller) Ranges(_ context.Context, p mq.PartitionID, from mq.Offset, limit int) ([]metadata.Range, error) {
	return c.store.Ranges(p, from, limit)
}

// Checkpoint implements cluster.
func (c *controller) Checkpoint(_ context.Context, p mq.PartitionID) (metadata.Checkpoint, bool, error) {
	return c.store.Checkpoint(p)
}

// Leader implements broker.Controller.
func (c *controller) Leader() mq.NodeID {
	lead := c.raft.Status().Leader
	if lead == 0 {
		return mq.NoNode
	}
	return mq.NodeID(lead)
}

// Stale implements broker.Controller: the store is its own.
func (c *controller) Stale() time.Duration { return 0 }

// CatchUp implements broker.Controller: nobody else decides.
func (c *controller) CatchUp(context.Context) error { return nil }

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
	return decideBy(ctx, c.raft, command)
}

// decideBy has a command decided by this node's own member of raft, which must lead, and applied to its metadata.
func decideBy(ctx context.Context, member *raft.Node, command *metadatapb.Command) (*metadatapb.Result, error) {
	data, err := metadata.EncodeCommand(command)
	if err != nil {
		return nil, err
	}
	answer, err := member.Propose(ctx, data)
	if err != nil {
		return nil, err
	}
	return metadata.DecodeResult(answer)
}
