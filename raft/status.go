package raft

import (
	"context"
	"slices"

	etcdraft "go.etcd.io/raft/v3"

	"github.com/rustmq/rustmq/mq"
)

// Status is a node's view of its group at one moment.
type Status struct {
	ID     uint64
	Term   uint64
	Leader uint64 // 0: not known
	// Leading says that this node leads and has applied all that earlier leaders committed: what it reads now is the present state.
	Leading  bool
	Applied  uint64 // index
	Last     uint64 // index of the last entry
	First    uint64 // index of the first entry that is not compacted
	Voters   []uint64
	Learners []uint64
	// Leaving are voters that go with the change of membership that is under way, and have a say until it is over.
	Leaving []uint64
	// LeaderChanges counts the times that another member than the last one was found to lead, and Snapshots those that took the place of the state machine
	// here, both since the node was opened.
	LeaderChanges, Snapshots uint64

	changed chan struct{}
}

// Changed is closed when Leader, Leading, Term or the membership are others than here.
func (s *Status) Changed() <-chan struct{} { return s.changed }

// Status is the present status. The caller must not change it.
func (n *Node) Status() *Status { return n.status.Load() }

// Full says why the log or the state machine takes nothing more, with the code StorageFull, and is nil while they do. Nothing is proposed
// then, and it heals by itself when there is room.
func (n *Node) Full() error {
	for _, full := range []*mq.Error{n.full.Load(), n.stuck.Load()} {
		if full != nil {
			return full
		}
	}
	return nil
}

// AwaitLeader waits until a leader is known, and until it is ready when it is this node.
func (n *Node) AwaitLeader(ctx context.Context) (*Status, error) {
	for {
		s := n.Status()
		if s.Leading || s.Leader != 0 && s.Leader != s.ID {
			return s, nil
		}
		select {
		case <-s.Changed():
		case <-ctx.Done():
			return nil, mq.Wrapf(ctx.Err(), "raft: wait for a leader")
		case <-n.ended:
			return nil, n.endError()
		}
	}
}

// publish shows others what the loop knows.
func (n *Node) publish() {
	l, old := &n.loop, n.status.Load()
	now := Status{
		ID: n.cfg.ID, Term: l.term, Leader: l.leader, Leading: l.ready,
		Applied: l.applied.Index, Last: l.storage.last, First: l.storage.compacted + 1,
		Voters: old.Voters, Learners: old.Learners, Leaving: old.Leaving, LeaderChanges: l.leaderChanges, Snapshots: l.snapshots, changed: old.changed,
	}
	if now.Leader != 0 && now.Leader != l.lastLeader {
		l.lastLeader = now.Leader
		l.leaderChanges++
		now.LeaderChanges = l.leaderChanges
	}
	changed := now.Term != old.Term || now.Leader != old.Leader || now.Leading != old.Leading
	conf := l.members.conf
	leaving := slices.DeleteFunc(slices.Clone(conf.GetVotersOutgoing()), func(id uint64) bool { return slices.Contains(conf.GetVoters(), id) })
	if !slices.Equal(old.Voters, conf.GetVoters()) || !slices.Equal(old.Learners, conf.GetLearners()) || !slices.Equal(old.Leaving, leaving) {
		now.Voters, now.Learners, now.Leaving = slices.Clone(conf.GetVoters()), slices.Clone(conf.GetLearners()), leaving
		changed = true
	}
	if !changed && now.Applied == old.Applied && now.Last == old.Last && now.First == old.First && now.Snapshots == old.Snapshots {
		return
	}
	if changed {
		now.changed = make(chan struct{})
	}
	n.status.Store(&now)
	if changed {
		close(old.changed)
	}
}

// Peer is how far a member is, as its leader knows.
type Peer struct {
	ID      uint64
	Learner bool
	Match   uint64 // index up to which it has the log, durably
	Active  bool   // it answered within the last election timeout
	State   string // StateProbe, StateReplicate or StateSnapshot
}

// Peers is how far the members are, ascending by id; empty when this node does not lead.
func (n *Node) Peers(ctx context.Context) ([]Peer, error) {
	answer := make(chan []Peer, 1)
	n.inbox.push(call(func(n *Node) {
		var peers []Peer
		status := n.loop.rn.Status()
		if status.RaftState == etcdraft.StateLeader {
			for id, p := range status.Progress {
				peers = append(peers, Peer{
					ID: id, Learner: p.IsLearner, Match: p.Match, Active: p.RecentActive || id == n.cfg.ID, State: p.State.String(),
				})
			}
		}
		slices.SortFunc(peers, func(a, b Peer) int { return int(a.ID) - int(b.ID) })
		answer <- peers
	}))
	select {
	case peers := <-answer:
		return peers, nil
	case <-ctx.Done():
		return nil, mq.Wrapf(ctx.Err(), "raft: ask for the state of peers")
	case <-n.ended:
		return nil, n.endError()
	}
}
