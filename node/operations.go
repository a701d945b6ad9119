package node

import (
	"context"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	"github.com/rustmq/rustmq/broker"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/raft"
)

// operations is what operators ask of this node's own parts.
type operations struct {
	raft *raft.Node
	node mq.NodeID
}

var _ broker.Operations = (*operations)(nil)

// RaftStatus implements broker.Operations.
func (o *operations) RaftStatus(ctx context.Context) (*adminpb.RaftStatusResponse, error) {
	if o.raft == nil {
		return nil, mq.Errorf(mq.NotController, "node %d has no controller", o.node)
	}
	status := o.raft.Status()
	peers, err := o.raft.Peers(ctx)
	if err != nil {
		return nil, mq.Wrapf(err, "ask raft how far its members are")
	}
	out := &adminpb.RaftStatusResponse{AnsweredBy: int32(o.node), Term: status.Term, Leader: status.Leader, Commit: status.Last, Applied: status.Applied}
	members := make(map[uint64]*adminpb.RaftMember)
	for role, ids := range map[string][]uint64{roleVoter: status.Voters, roleLearner: status.Learners} {
		for _, id := range ids {
			members[id] = &adminpb.RaftMember{RaftId: id, NodeId: int32(id), Role: role}
		}
	}
	for _, p := range peers {
		if m := members[p.ID]; m != nil {
			m.Match, m.Active = p.Match, p.Active
		}
	}
	for _, id := range append(append([]uint64(nil), status.Voters...), status.Learners...) {
		out.Members = append(out.Members, members[id])
	}
	return out, nil
}

// What a controller is in raft.
const (
	roleVoter   = "voter"
	roleLearner = "learner"
)
