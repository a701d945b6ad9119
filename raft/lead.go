package raft

import (
	"context"
	"time"

	etcdraft "go.etcd.io/raft/v3"
)

// TransferLeadership asks another voter to take over; Status shows when it has. Proposals are refused meanwhile, for one election timeout
// at most. Nothing happens when this node does not lead.
func (n *Node) TransferLeadership(to uint64) {
	n.inbox.push(call(func(n *Node) { n.loop.rn.TransferLeader(to) }))
}

// electionTimeout is the least that passes without a leader until an election.
func (n *Node) electionTimeout() time.Duration {
	return time.Duration(n.cfg.ElectionTicks) * n.cfg.Tick
}

// heir is the voter that is to lead instead of this one: of those that are heard of the one that has most of the log. 0: nobody.
func (n *Node) heir() (best uint64) {
	status := n.loop.rn.Status()
	if status.RaftState != etcdraft.StateLeader {
		return 0
	}
	for _, id := range n.loop.members.conf.GetVoters() {
		if id == n.cfg.ID || !n.hears(id) {
			continue
		}
		if best == 0 || status.Progress[id].Match > status.Progress[best].Match {
			best = id
		}
	}
	return best
}

// tick is the passing of time. A node whose disk hangs is no good leader: it answers nobody and looks alive to all. It gives up its leadership, and does not
// stand for election while that lasts. The only voter has nobody to give it to.
func (n *Node) tick() {
	l := &n.loop
	l.ticks++
	stalled := !alone(l.members.conf, n.cfg.ID) && n.cfg.Log.Stats().OldestPending > n.electionTimeout()
	if stalled != l.stalled {
		l.stalled = stalled
		n.log.Warn("the disk of the raft log", "hangs", stalled)
	}
	if stalled {
		if heir := n.heir(); heir != 0 {
			l.rn.TransferLeader(heir)
		}
	}
	if !stalled || l.leading {
		l.rn.Tick()
	}
	n.standIfDue()
	n.believeIfDue()
	l.askedTicks++
	if l.askedRound != 0 && l.askedTicks > n.cfg.ElectionTicks {
		n.askAgain()
	}
}

// abdicate hands the leadership over before the node closes, so that nobody has to miss it first. It waits for an election timeout at most.
func (n *Node) abdicate() {
	if s := n.Status(); s.Leader != s.ID {
		return
	}
	ctx, cancel := context.WithTimeout(n.stopped, n.electionTimeout())
	defer cancel()
	n.inbox.push(call(func(n *Node) {
		heir := n.heir()
		if heir == 0 {
			cancel()
			return
		}
		n.loop.rn.TransferLeader(heir)
	}))
	for {
		s := n.Status()
		if s.Leader != 0 && s.Leader != s.ID {
			return
		}
		select {
		case <-s.Changed():
		case <-ctx.Done():
			return
		case <-n.ended:
			return
		}
	}
}
