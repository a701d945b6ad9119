package raft

import (
	etcdraft "go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// A change of membership takes effect where it is applied, which is where it is known to be committed. When a leader dies before it has told that, those who have the change in their
// logs reckon with the majority of before, and that can be out of reach though by the change they are enough: a member that was removed and knows it neither stands for election nor votes
// for who has less of the log than it, and a voter that knows of the change may have less of it than one that does not. So members tell each other what they have applied, when one asks
// another for its vote, and when one is refused it. What raft itself says in an election does not contain it.

// tellApplied answers a message of an election with what is applied here, so far as the other may have that in its log. A leader tells, too: who asks it for its vote is a member that was removed and may not know
// that. It travels as an answer to a heartbeat that names an index, which raft's own do not, in a term that is over: raft takes no notice of it in a program that does not know it.
func (n *Node) tellApplied(m *raftpb.Message) {
	l := &n.loop
	at := l.applied.Index
	switch kind := m.GetType(); {
	case kind == raftpb.MsgVote || kind == raftpb.MsgPreVote:
		at = min(at, m.GetIndex())
	case (kind == raftpb.MsgVoteResp || kind == raftpb.MsgPreVoteResp) && m.GetReject():
	default:
		return
	}
	term, err := l.storage.Term(at)
	if err != nil || at == 0 || n.cfg.planted.appliedNotTold { // an error: compacted, who asks is too far behind to be elected
		return
	}
	n.cfg.Transport.Send([]*raftpb.Message{{
		Type: raftpb.MsgHeartbeatResp.Enum(), From: new(n.cfg.ID), To: new(m.GetFrom()), Term: new(uint64(1)), Index: new(at), LogTerm: new(term),
	}})
}

// hearsay is what another member says that it has applied, and the tick from which on it is believed.
type hearsay struct{ index, term, due uint64 }

// hearApplied takes what tellApplied sent, and says whether the message was that. What is applied anywhere is committed for good, whoever says it and however late: if the log here has an entry of
// that index and term it is that one, and all before it are as they are there (log matching). It is for who hears no leader; any other hears it from that one. Since a candidate that believes it
// stops being one, it is left the time to be elected without.
func (n *Node) hearApplied(m *raftpb.Message) bool {
	if m.GetType() != raftpb.MsgHeartbeatResp || m.GetIndex() == 0 {
		return false
	}
	l := &n.loop
	if !n.isNews(m.GetIndex(), m.GetLogTerm()) || m.GetIndex() <= l.told.index {
		return true
	}
	if l.told.due == 0 {
		l.told.due = l.ticks + uint64(n.cfg.ElectionTicks+1)/2
	}
	l.told.index, l.told.term = m.GetIndex(), m.GetLogTerm()
	return true
}

// isNews says whether no leader is heard, and an entry in the log here of which is not known that it is committed. A learner keeps a leader that has died for its leader, until there is another.
func (n *Node) isNews(index, term uint64) bool {
	status := n.loop.rn.BasicStatus()
	led := status.Lead == n.cfg.ID || status.Lead != etcdraft.None && n.loop.ticks-n.loop.led <= uint64(n.cfg.ElectionTicks)
	if led || index <= status.GetCommit() {
		return false
	}
	own, err := n.loop.storage.Term(index)
	return err == nil && own == term
}

// believeIfDue tells raft what was heard. raft looks for itself whether it has that entry: its log may be another one already than the one that was handed to the appender. It is asked by
// an append of no entries, from nobody, in the term that it is in.
func (n *Node) believeIfDue() {
	l := &n.loop
	if l.told.due == 0 || l.ticks < l.told.due {
		return
	}
	told := l.told
	l.told = hearsay{}
	if !n.isNews(told.index, told.term) {
		return
	}
	n.log.Info("raft heard from another member what is committed", "node", n.cfg.ID, "index", told.index)
	n.stepLocal(&raftpb.Message{
		Type: raftpb.MsgApp.Enum(), To: new(n.cfg.ID), Term: new(l.rn.BasicStatus().GetTerm()), Index: new(told.index), LogTerm: new(told.term), Commit: new(told.index),
	})
}
