package raft

import (
	"context"
	"encoding/binary"
	"slices"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/rustmq/rustmq/mq"
)

// AddLearner adds a member that follows and does not vote. It returns when the leader has applied the change. Errors are those of Propose,
// TooManyRequests (retriable) while another change is going on, and InvalidRequest when the member is there already.
func (n *Node) AddLearner(ctx context.Context, id uint64) error {
	return n.change(ctx, raftpb.ConfChangeAddLearnerNode, id)
}

// Promote makes a learner a voter. The caller saw that it has caught up, in Status.
func (n *Node) Promote(ctx context.Context, id uint64) error {
	return n.change(ctx, raftpb.ConfChangeAddNode, id)
}

// Remove removes a member, but never the last voter. Its id must not be used again.
func (n *Node) Remove(ctx context.Context, id uint64) error {
	return n.change(ctx, raftpb.ConfChangeRemoveNode, id)
}

func (n *Node) change(ctx context.Context, kind raftpb.ConfChangeType, id uint64) error {
	change := &raftpb.ConfChangeV2{Changes: []*raftpb.ConfChangeSingle{{Type: kind.Enum(), NodeId: new(id)}}}
	_, err := n.submit(ctx, &proposal{ctx: ctx, change: change, done: make(chan outcome, 1)})
	return err
}

// proposeChange hands a change of membership to raft, if it makes sense now. raft lets one through at a time, so what is sensible here still is
// when it is applied.
func (n *Node) proposeChange(p *proposal) {
	l := &n.loop
	if err := checkChange(l.confNow, p.change.GetChanges()[0]); err != nil {
		n.answer(p, outcome{err: err})
		return
	}
	l.numbers++
	p.change.Context = binary.BigEndian.AppendUint64(append([]byte{batchFormat}, n.mark[:]...), l.numbers)
	data, err := proto.Marshal(p.change)
	if err != nil {
		n.answer(p, outcome{err: mq.Errorf(mq.Internal, "raft: encode a change of membership: %w", err)})
		return
	}
	n.hand(&group{term: l.term, proposals: []*proposal{p}}, &raftpb.Entry{Type: raftpb.EntryConfChangeV2.Enum(), Data: data})
}

// checkChange refuses what would make no sense, or what raft would panic over.
func checkChange(conf *raftpb.ConfState, c *raftpb.ConfChangeSingle) error {
	id := c.GetNodeId()
	voter, learner := slices.Contains(conf.GetVoters(), id), slices.Contains(conf.GetLearners(), id)
	switch {
	case id == 0:
		return mq.Errorf(mq.InvalidRequest, "raft: a member's id must not be 0")
	case c.GetType() == raftpb.ConfChangeAddLearnerNode && (voter || learner):
		return mq.Errorf(mq.InvalidRequest, "raft: add learner %d: it is a member already", id)
	case c.GetType() == raftpb.ConfChangeAddNode && !learner:
		return mq.Errorf(mq.InvalidRequest, "raft: promote %d: it is no learner", id)
	case c.GetType() == raftpb.ConfChangeRemoveNode && !voter && !learner:
		return mq.Errorf(mq.InvalidRequest, "raft: remove %d: it is no member", id)
	case c.GetType() == raftpb.ConfChangeRemoveNode && voter && len(conf.GetVoters()) == 1:
		return mq.Errorf(mq.InvalidRequest, "raft: remove %d: it is the last voter", id)
	}
	return nil
}

// TransferLeadership asks another voter to take over; Status shows when it has. Proposals are refused meanwhile, for one election timeout
// at most. Nothing happens when this node does not lead.
func (n *Node) TransferLeadership(to uint64) {
	n.inbox.push(call(func(n *Node) { n.loop.rn.TransferLeader(to) }))
}
