package raft

import (
	etcdraft "go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// ReportGone says that the process of a member has ended: a connection with it broke, and nothing listens any more where it did. If it led, the voters elect another
// at once, instead of after the election timeout that silence takes. The transport calls it.
//
// Safety does not rest on it, as it does not on any time: terms and votes decide who leads, and a report that is wrong costs an election.
func (n *Node) ReportGone(id uint64) {
	n.inbox.push(call(func(n *Node) { n.mourn(id) }))
}

// mourn begins the succession to a leader whose process has ended. Of the voters that are left the one with the lowest id stands at once. The others leave it the time
// that an election takes, one more each, so that votes are not split; they are needed when its log is behind theirs, or it has died as well.
func (n *Node) mourn(id uint64) {
	l := &n.loop
	if id == 0 || id == n.cfg.ID || id != l.leader || l.gone == id {
		return
	}
	rank, voter := uint64(0), false
	for _, v := range l.members.conf.GetVoters() {
		switch {
		case v == n.cfg.ID:
			voter = true
		case v < n.cfg.ID && v != id:
			rank++
		}
	}
	if !voter {
		return
	}
	n.log.Warn("the process of the raft leader has ended", "node", n.cfg.ID, "leader", id, "rank", rank)
	l.gone, l.standAt = id, l.ticks
	if rank > 0 {
		l.standAt += rank + 1 // ticks, of which the first may be about to end
	}
	n.standIfDue()
}

// standIfDue makes this node a candidate if the leader's process has ended, nobody else leads yet, and it is its turn. It asks for votes as one that a leader hands its
// leadership to does: voters who heard the old leader just now grant them too.
func (n *Node) standIfDue() {
	l := &n.loop
	if l.gone == 0 || l.ticks < l.standAt {
		return
	}
	gone := l.gone
	l.gone = 0
	if l.stalled || l.leader != 0 && l.leader != gone || n.loop.rn.BasicStatus().RaftState != etcdraft.StateFollower {
		return
	}
	n.stepLocal(&raftpb.Message{Type: raftpb.MsgTimeoutNow.Enum(), From: new(n.cfg.ID), To: new(n.cfg.ID)})
}

// hearLeader notes that a leader speaks. If it is the one that was said to be gone, that ends the succession.
func (n *Node) hearLeader(m *raftpb.Message) {
	l := &n.loop
	if m.GetTerm() < l.term || m.GetType() != raftpb.MsgHeartbeat && m.GetType() != raftpb.MsgApp {
		return
	}
	l.led = l.ticks
	if l.gone == m.GetFrom() {
		l.gone = 0
	}
}
