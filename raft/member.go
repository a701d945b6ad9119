package raft

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/rustmq/rustmq/mq"
)

// caughtUpEntries is how far a learner may be behind the commit index when it is promoted: little enough to be there at once, and more than what is always on
// its way.
const caughtUpEntries = 1000

// AddLearner adds a member that follows and does not vote, under an id that is above every one that was ever used. It returns when the leader has applied the
// change. Errors are those of Propose, TooManyRequests (retriable) while another change is going on, and InvalidRequest when the id was a member's, or is one's.
func (n *Node) AddLearner(ctx context.Context, id uint64) error {
	return n.change(ctx, raftpb.ConfChangeAddLearnerNode, id)
}

// Promote makes a learner a voter. Beside the errors of AddLearner, NotEnoughReplicas (retriable) while the learner is not there or far behind, or when
// voters that cannot be reached would be too many.
func (n *Node) Promote(ctx context.Context, id uint64) error {
	return n.change(ctx, raftpb.ConfChangeAddNode, id)
}

// PromoteWhenCaughtUp is Promote as soon as that is possible. Errors are those which waiting does not help against, and those of ctx.
func (n *Node) PromoteWhenCaughtUp(ctx context.Context, id uint64) error {
	for {
		err := n.Promote(ctx, id)
		if code := mq.CodeOf(err); code != mq.NotEnoughReplicas && code != mq.TooManyRequests {
			return err
		}
		select {
		case <-time.After(n.cfg.Tick):
		case <-ctx.Done():
			return mq.Errorf(mq.CodeOf(ctx.Err()), "raft: wait to promote %d: %w", id, err)
		case <-n.ended:
			return n.endError()
		}
	}
}

// Remove removes a member, but never the last voter. Its id is never taken again. NotEnoughReplicas (retriable) when the voters that are left and can be reached
// would be no majority.
func (n *Node) Remove(ctx context.Context, id uint64) error {
	return n.change(ctx, raftpb.ConfChangeRemoveNode, id)
}

// Replace is Promote of a learner and Remove of others in one change: what is decided meanwhile is decided by a majority of the voters of before and by one of those of
// after (joint consensus), so that the learner makes the loss of nobody else worse, not even for a moment. Errors are those of both.
func (n *Node) Replace(ctx context.Context, id uint64, others ...uint64) error {
	changes := []*raftpb.ConfChangeSingle{{Type: raftpb.ConfChangeAddNode.Enum(), NodeId: new(id)}}
	for _, other := range others {
		changes = append(changes, &raftpb.ConfChangeSingle{Type: raftpb.ConfChangeRemoveNode.Enum(), NodeId: new(other)})
	}
	return n.changeAll(ctx, changes)
}

func (n *Node) change(ctx context.Context, kind raftpb.ConfChangeType, id uint64) error {
	return n.changeAll(ctx, []*raftpb.ConfChangeSingle{{Type: kind.Enum(), NodeId: new(id)}})
}

func (n *Node) changeAll(ctx context.Context, changes []*raftpb.ConfChangeSingle) error {
	change := &raftpb.ConfChangeV2{Changes: changes}
	_, err := n.submit(ctx, &proposal{ctx: ctx, change: change, done: make(chan outcome, 1)})
	return err
}

// proposeChange hands a change of membership to raft, if it makes sense now. Whether it takes effect is decided when it is applied.
func (n *Node) proposeChange(p *proposal) {
	l := &n.loop
	err := n.checkChanges(p.change.GetChanges())
	if err == nil {
		err = n.checkReach(p.change.GetChanges())
	}
	if err != nil {
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

// checkChanges is the function of the same name for this node's membership.
func (n *Node) checkChanges(changes []*raftpb.ConfChangeSingle) error {
	m := n.loop.members
	if n.cfg.planted.idAgain {
		m = &members{conf: m.conf}
	}
	return checkChanges(m, changes)
}

// checkChanges is checkChange of all that one entry asks for.
func checkChanges(m *members, changes []*raftpb.ConfChangeSingle) error {
	if outgoing := m.conf.GetVotersOutgoing(); len(changes) > 0 && len(outgoing) > 0 {
		return mq.Errorf(mq.InvalidRequest, "raft: the voters %v have not left yet", outgoing)
	}
	var errs []error
	for _, c := range changes {
		errs = append(errs, checkChange(m, c))
	}
	return errors.Join(errs...)
}

// checkChange refuses what would make no sense, or what raft would panic over. It depends on nothing but the membership, so that all members decide the same.
func checkChange(m *members, c *raftpb.ConfChangeSingle) error {
	id := c.GetNodeId()
	voters := m.conf.GetVoters()
	voter, learner := slices.Contains(voters, id), slices.Contains(m.conf.GetLearners(), id)
	switch {
	case id == 0:
		return mq.Errorf(mq.InvalidRequest, "raft: a member's id must not be 0")
	case c.GetType() == raftpb.ConfChangeAddLearnerNode && (voter || learner):
		return mq.Errorf(mq.InvalidRequest, "raft: add learner %d: it is a member already", id)
	case c.GetType() == raftpb.ConfChangeAddLearnerNode && id <= m.highest:
		return mq.Errorf(mq.InvalidRequest, "raft: add learner %d: ids up to %d were used, and none is used again", id, m.highest)
	case c.GetType() == raftpb.ConfChangeAddNode && !learner:
		return mq.Errorf(mq.InvalidRequest, "raft: promote %d: it is no learner", id)
	case c.GetType() == raftpb.ConfChangeRemoveNode && !voter && !learner:
		return mq.Errorf(mq.InvalidRequest, "raft: remove %d: it is no member", id)
	case c.GetType() == raftpb.ConfChangeRemoveNode && voter && len(voters) == 1:
		return mq.Errorf(mq.InvalidRequest, "raft: remove %d: it is the last voter", id)
	}
	return nil
}

// checkReach refuses changes after which the voters that this leader hears of are no majority, and a promotion of who is far behind.
func (n *Node) checkReach(changes []*raftpb.ConfChangeSingle) error {
	l := &n.loop
	voters, touched := slices.Clone(l.members.conf.GetVoters()), false
	for _, c := range changes {
		id := c.GetNodeId()
		switch c.GetType() {
		case raftpb.ConfChangeAddNode:
			if err := n.checkCaughtUp(id); err != nil {
				return err
			}
			voters, touched = append(voters, id), true
		case raftpb.ConfChangeRemoveNode:
			touched = touched || slices.Contains(voters, id)
			voters = slices.DeleteFunc(voters, func(v uint64) bool { return v == id })
		}
	}
	if !touched {
		return nil
	}
	reached := 0
	for _, v := range voters {
		if n.hears(v) {
			reached++
		}
	}
	if 2*reached <= len(voters) {
		return mq.Errorf(mq.NotEnoughReplicas, "raft: %d of the voters %v can be reached: the change would stop the group", reached, voters)
	}
	return nil
}

// checkCaughtUp refuses to promote who is far behind.
func (n *Node) checkCaughtUp(id uint64) error {
	status := n.loop.rn.Status()
	if match := status.Progress[id].Match; match+caughtUpEntries < status.GetCommit() || match < n.loop.storage.compacted {
		return mq.Errorf(mq.NotEnoughReplicas, "raft: promote %d: it has the log up to %d, which is committed up to %d", id, match, status.GetCommit())
	}
	return nil
}

// hears says whether a member has said something within the last election timeout.
func (n *Node) hears(id uint64) bool {
	heard, ok := n.loop.heard[id]
	return id == n.cfg.ID || ok && n.loop.ticks-heard <= uint64(n.cfg.ElectionTicks)
}

// members is the membership, and what of its past matters.
type members struct {
	conf    *raftpb.ConfState
	highest uint64 // id that was ever a member's
}

// highestField is the number of the field that follows raft's own in an encoded membership.
const highestField protowire.Number = 1000

func membersOf(conf *raftpb.ConfState, highest uint64) *members {
	for _, ids := range [][]uint64{conf.GetVoters(), conf.GetVotersOutgoing(), conf.GetLearners(), conf.GetLearnersNext()} {
		for _, id := range ids {
			highest = max(highest, id)
		}
	}
	return &members{conf, highest}
}

func (m *members) encode() ([]byte, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m.conf)
	if err != nil {
		return nil, mq.Errorf(mq.Internal, "raft: encode the membership: %w", err)
	}
	return protowire.AppendVarint(protowire.AppendTag(b, highestField, protowire.VarintType), m.highest), nil
}

func decodeMembers(b []byte) (*members, error) {
	conf := &raftpb.ConfState{}
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(b, conf); err != nil {
		return nil, mq.Errorf(mq.Corrupt, "raft: the membership in the state machine: %w", err)
	}
	highest := uint64(0)
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		size := protowire.ConsumeFieldValue(number, kind, b[n:])
		if number == highestField && kind == protowire.VarintType {
			highest, _ = protowire.ConsumeVarint(b[n:])
		}
		b = b[n+size:]
	}
	return membersOf(raftpb.EnsureConfState(conf), highest), nil
}

// applyChange makes a committed change of membership take effect, or refuses it, here as on every member.
func (n *Node) applyChange(e *raftpb.Entry) (*group, error) {
	change, err := decodeChange(e)
	if err != nil {
		return nil, err
	}
	l := &n.loop
	refusal := n.checkChanges(change.GetChanges())
	if refusal == nil {
		l.members = membersOf(l.rn.ApplyConfChange(change), l.members.highest)
		if l.conf, err = l.members.encode(); err != nil {
			return nil, err
		}
		n.publish() // before anybody is told that it is so
	}
	n.log.Info("raft membership", "index", e.GetIndex(), "voters", l.members.conf.GetVoters(), "learners", l.members.conf.GetLearners(), "refused", refusal)
	if len(change.GetContext()) == 0 {
		return nil, nil
	}
	g, err := n.takeGroup(change.GetContext())
	if g != nil && refusal != nil {
		g.refusal = mq.Errorf(mq.InvalidRequest, "%w", refusal)
	}
	return g, err
}

func decodeChange(e *raftpb.Entry) (*raftpb.ConfChangeV2, error) {
	change := &raftpb.ConfChangeV2{}
	if e.GetType() == raftpb.EntryConfChange {
		old := &raftpb.ConfChange{}
		if err := proto.Unmarshal(e.GetData(), old); err != nil {
			return nil, mq.Errorf(mq.Corrupt, "a change of membership: %w", err)
		}
		change = old.AsV2()
	} else if err := proto.Unmarshal(e.GetData(), change); err != nil {
		return nil, mq.Errorf(mq.Corrupt, "a change of membership: %w", err)
	}
	return change, nil
}
