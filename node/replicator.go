package node

import (
	"context"
	"log/slog"
	"net"
	"sync/atomic"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/broker"
	"github.com/rustmq/rustmq/control"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
	"github.com/rustmq/rustmq/replication"
)

// replicator keeps replication true to the image: who follows what is led here, and this broker's own incarnation. Only the reconciler calls it.
type replicator struct {
	node    mq.NodeID
	cluster cluster
	lookup  func(mq.PartitionID) *partition.Partition
	dial    func(context.Context, mq.NodeID) (net.Conn, error)
	take    func(streamServer) // says who serves the streams of other brokers; nil: nobody now
	logger  *slog.Logger

	epoch    uint64 // of this broker, that both sides speak as; 0: neither is open
	follower *replication.Follower
	peers    *replication.Peers
	known    map[mq.NodeID]bool                // peers that were set
	shown    atomic.Pointer[replication.Peers] // peers, for metrics
}

// reconcile takes over an image, after partitions have their roles in it.
func (r *replicator) reconcile(img *metadata.Image, table *broker.Table) {
	self := img.Broker(r.node)
	if self == nil {
		return
	}
	if self.Epoch != r.epoch {
		r.close()
		r.open(self.Epoch)
	}
	led := make(map[mq.NodeID][]replication.Assignment)
	for t := range img.Topics() {
		for i, p := range t.All() {
			part := table.Get(mq.PartitionID{Topic: t.ID, Index: i})
			if p.Leader != r.node || part == nil || part.LeaderEpoch() != p.LeaderEpoch { // the last: it cannot lead yet
				continue
			}
			for _, id := range p.Replicas {
				if id != r.node {
					led[id] = append(led[id], replication.Assignment{Partition: part, Epoch: p.LeaderEpoch})
				}
			}
		}
	}
	for _, b := range img.Brokers() {
		if b.ID == r.node || len(led[b.ID]) == 0 && !r.known[b.ID] {
			continue
		}
		r.known[b.ID] = len(led[b.ID]) > 0
		r.peers.Set(replication.Peer{
			Node: b.ID, Incarnation: b.Epoch, Fenced: b.Fenced || b.ShuttingDown,
			Dial: func(ctx context.Context) (net.Conn, error) { return r.dial(ctx, b.ID) },
		}, led[b.ID])
	}
	for id := range r.known {
		if img.Broker(id) == nil { // removed
			r.peers.Forget(id)
			delete(r.known, id)
		}
	}
}

func (r *replicator) open(epoch uint64) {
	self := partition.Replica{Node: r.node, Incarnation: epoch}
	r.epoch, r.known = epoch, make(map[mq.NodeID]bool)
	r.follower = replication.NewFollower(replication.FollowerConfig{Self: self, Lookup: r.lookup, Logger: r.logger})
	r.peers = replication.Open(replication.Config{Self: self, Propose: r.propose, Logger: r.logger})
	r.shown.Store(r.peers)
	r.take(r.follower.Serve)
}

func (r *replicator) close() {
	if r.epoch == 0 {
		return
	}
	r.take(nil)
	r.shown.Store(nil)
	r.peers.Close()
	r.follower.Close()
	r.epoch = 0
}

// propose asks the controllers for in-sync sets.
func (r *replicator) propose(ctx context.Context, asked []replication.Change) []replication.Outcome {
	outcomes := make([]replication.Outcome, len(asked))
	command := &metadatapb.ChangePartitions{Changes: make([]*metadatapb.PartitionChange, len(asked))}
	for i, c := range asked {
		command.Changes[i] = &metadatapb.PartitionChange{
			Partition: metadata.PartitionRecord(c.Partition), PartitionEpoch: c.PartitionEpoch, LeaderEpoch: int32(c.LeaderEpoch),
		}
		for _, member := range c.ISR {
			command.Changes[i].Isr = append(command.Changes[i].Isr, &metadatapb.ISRMember{NodeId: int32(member.Node), BrokerEpoch: member.Incarnation})
		}
	}
	result, err := r.cluster.decide(ctx, &metadatapb.Command{Kind: &metadatapb.Command_ChangePartitions{ChangePartitions: command}})
	verdicts := result.GetChangePartitions().GetVerdicts()
	for i := range outcomes {
		switch {
		case err != nil && !control.Undecided(err):
			outcomes[i] = replication.OutcomeRefused
		case err != nil || i >= len(verdicts):
			outcomes[i] = replication.OutcomeUnknown
		case metadata.VerdictError(verdicts[i]) != nil:
			outcomes[i] = replication.OutcomeRefused
		default:
			outcomes[i] = replication.OutcomeDecided
		}
	}
	if err != nil {
		r.logger.Warn("in-sync sets could not be changed", "partitions", len(asked), "error", err)
	}
	return outcomes
}
