package raft

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	etcdraft "go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// newThreeAndLearner is a cluster of three voters and a learner, which is machine 4.
func newThreeAndLearner(t *testing.T) *cluster {
	t.Helper()
	c := newCluster(t, 3, nil)
	c.add(4, false)
	if err := c.leader(0).node.AddLearner(t.Context(), 4); err != nil {
		t.Fatal(err)
	}
	c.settle()
	time.Sleep(time.Second) // raft has heard that the change is applied
	return c
}

// newFour is a cluster of four voters with its leader, and the three others.
func newFour(t *testing.T) (c *cluster, leader *machine, others [3]*machine) {
	t.Helper()
	c = newThreeAndLearner(t)
	if err := c.leader(0).node.PromoteWhenCaughtUp(t.Context(), 4); err != nil {
		t.Fatal(err)
	}
	c.settle()
	time.Sleep(time.Second)
	leader = c.leader(0)
	for k := range others {
		others[k] = c.all()[(leader.id+uint64(k))%4]
	}
	return c, leader, others
}

// changeAndPropose has the leader change the membership, and be given a proposal that comes behind that in its log before it is committed.
func changeAndPropose(t *testing.T, leader *machine, change func(ctx context.Context, id uint64) error, id uint64) {
	t.Helper()
	go func() {
		time.Sleep(500 * time.Microsecond) // the change is on its way
		_, _ = leader.node.Propose(context.Background(), []byte("behind"))
	}()
	if err := change(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	time.Sleep(10 * time.Millisecond)
}

// ends is the last index that an append carries, 0 for another message and for one without entries.
func ends(m *raftpb.Message) uint64 {
	if e := m.GetEntries(); m.GetType() == raftpb.MsgApp && len(e) > 0 {
		return e[len(e)-1].GetIndex()
	}
	return 0
}

// TestLeaderThatRemovedItselfIsNotMissed is of four voters. Their leader removes itself, of which two others have the entry and nobody knows that it is decided; it has an entry more than they, and
// dies. One of the two never comes back. The other and the fourth are a majority of the three that are left, and have to find out.
func TestLeaderThatRemovedItselfIsNotMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, old, others := newFour(t)
		blank, has, behind := others[0], others[1], others[2]
		removal := old.node.Status().Last + 1
		c.losing(func(m *raftpb.Message) bool {
			return m.GetFrom() == old.id && (m.GetTo() == behind.id || m.GetCommit() >= removal || ends(m) > removal)
		})
		changeAndPropose(t, old, old.node.Remove, old.id)
		if s := old.node.Status(); slices.Contains(s.Voters, old.id) || s.Last != removal+1 || s.Applied != removal {
			t.Fatalf("the leader: %+v", *s)
		}
		if s := has.node.Status(); s.Last != removal || s.Applied >= removal {
			t.Fatalf("who has the removal: %+v", *s)
		}
		c.remove(blank)
		defer blank.halt()
		c.losing(nil)
		c.crash(old)
		next := c.leader(0)
		if next != has {
			t.Errorf("node %d leads", next.id)
		}
		next.propose(t, "and on")
		time.Sleep(time.Second)
		if s := behind.node.Status(); len(s.Voters) != 3 || slices.Contains(s.Voters, old.id) {
			t.Errorf("voters %v", s.Voters)
		}
	})
}

// TestVoterThatKnowsOfAChangeTellsTheOther is of four voters, one of which is gone and removed for that. The leader dies; of the two that are left one knows that the removal is decided, and the other
// has an entry more.
func TestVoterThatKnowsOfAChangeTellsTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, old, others := newFour(t)
		gone, more, knows := others[0], others[1], others[2]
		removal := old.node.Status().Last + 1
		c.remove(gone)
		defer gone.halt()
		c.losing(func(m *raftpb.Message) bool {
			return m.GetFrom() == gone.id || m.GetTo() == more.id && m.GetCommit() >= removal || m.GetTo() == knows.id && ends(m) > removal
		})
		changeAndPropose(t, old, old.node.Remove, gone.id)
		time.Sleep(200 * time.Millisecond) // a heartbeat
		if s := more.node.Status(); s.Last != removal+1 || s.Applied >= removal {
			t.Fatalf("who has more: %+v", *s)
		}
		if s := knows.node.Status(); s.Last != removal || s.Applied != removal {
			t.Fatalf("who knows: %+v", *s)
		}
		c.remove(old)
		defer old.halt()
		c.losing(func(m *raftpb.Message) bool { return m.GetFrom() == old.id || m.GetFrom() == gone.id })
		if next := c.leader(old.id); next != more {
			t.Errorf("node %d leads", next.id)
		}
		more.propose(t, "and on")
	})
}

// TestLearnerHearsThatItWasPromoted is of three voters and a learner that is promoted. The leader dies; of the four that vote by now, one knows it. One lacks the change. The learner has an entry more than
// both, does not know, and so neither stands nor gives its vote to who has less; it does not notice that the leader is gone.
func TestLearnerHearsThatItWasPromoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThreeAndLearner(t)
		old := c.leader(0)
		knows, behind, learner := c.all()[old.id%3], c.all()[(old.id+1)%3], c.all()[3]
		promotion := old.node.Status().Last + 1
		c.losing(func(m *raftpb.Message) bool {
			return m.GetTo() == learner.id && m.GetCommit() >= promotion || m.GetTo() == knows.id && ends(m) > promotion || m.GetTo() == behind.id && ends(m) >= promotion
		})
		changeAndPropose(t, old, old.node.Promote, learner.id)
		time.Sleep(200 * time.Millisecond) // a heartbeat
		if k, b, l := knows.node.Status(), behind.node.Status(), learner.node.Status(); k.Applied != promotion || b.Last >= promotion || l.Last != promotion+1 || l.Applied >= promotion {
			t.Fatalf("who knows: %+v\nwho lacks it: %+v\nthe learner: %+v", *k, *b, *l)
		}
		c.remove(old)
		defer old.halt()
		c.losing(func(m *raftpb.Message) bool { return m.GetFrom() == old.id })
		if next := c.leader(old.id); next != learner {
			t.Errorf("node %d leads", next.id)
		}
		learner.propose(t, "and on")
	})
}

// told says that entries up to one are applied elsewhere.
func told(index, term uint64) *raftpb.Message {
	return &raftpb.Message{Type: raftpb.MsgHeartbeatResp.Enum(), From: new(uint64(2)), To: new(uint64(1)), Term: new(uint64(1)), Index: new(index), LogTerm: new(term)}
}

// await lets ticks pass.
func await(m *machine, ticks int) { time.Sleep(time.Duration(ticks) * m.node.cfg.Tick) }

// TestWhatIsCommittedIsBelievedOfTheSameEntryOnly is of one that hears what is applied elsewhere: of an entry that it has, of one that it has another for, of one that it lacks, and once more.
func TestWhatIsCommittedIsBelievedOfTheSameEntryOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := newVoter(t)
		m.node.Step(appendOf(2, 7, 1, 1, 1, entry(2, 7, "a"), entry(3, 7, "b"), entry(4, 7, "c")))
		r.take(raftpb.MsgAppResp)
		m.node.Step(told(4, 7)) // it has heard its leader just now
		await(m, 500)
		if r.take(raftpb.MsgAppResp); m.node.Status().Applied != 1 {
			t.Error("who hears a leader believed somebody else")
		}
		m.powerCut(t, r.config) // it knows of no leader then
		for _, c := range []struct{ index, term, applied uint64 }{{3, 6, 1}, {5, 7, 1}, {3, 7, 3}, {2, 7, 3}, {4, 8, 3}, {4, 7, 4}} {
			m.node.Step(told(c.index, c.term))
			await(m, 500)
			if got := r.take(raftpb.MsgAppResp); len(got) != 0 {
				t.Errorf("%+v is answered with %v", c, got)
			}
			if s := m.node.Status(); s.Applied != c.applied || s.Term != 7 {
				t.Errorf("after %+v: %+v", c, *s)
			}
		}
	})
}

// TestWhatIsCommittedIsHeldAgainstTheNewestLog has what is told come right behind entries that replace the one that is meant, or take it away, or in front of them, before the loop has done anything about these.
func TestWhatIsCommittedIsHeldAgainstTheNewestLog(t *testing.T) {
	for _, index := range []uint64{3, 4} {
		synctest.Test(t, func(t *testing.T) {
			m, r := newVoter(t)
			m.node.Step(appendOf(2, 7, 1, 1, 1, entry(2, 7, "a"), entry(3, 7, "b"), entry(4, 7, "c")))
			r.take(raftpb.MsgAppResp)
			m.powerCut(t, r.config)
			m.node.Step(told(index, 7))
			m.node.inbox.push(call(func(n *Node) {
				n.stepLocal(&raftpb.Message{
					Type: raftpb.MsgApp.Enum(), To: new(uint64(1)), Term: new(uint64(8)), Index: new(uint64(2)), LogTerm: new(uint64(7)), Commit: new(uint64(1)),
					Entries: []*raftpb.Entry{entry(3, 8, "other")}, // of a leader that is not known by now
				})
				n.loop.ticks = n.loop.told.due
				n.believeIfDue()
			}))
			r.take(raftpb.MsgAppResp)
			if s := m.node.Status(); s.Applied != 1 || s.Last != 3 || s.Term != 8 {
				t.Errorf("%d: %+v", index, *s)
			}
		})
	}
}

// TestAppliedIsToldInElections is of one that asked for a vote, and of one that was refused it.
func TestAppliedIsToldInElections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := newVoter(t)
		m.node.Step(appendOf(2, 7, 1, 1, 3, entry(2, 7, "a"), entry(3, 7, "b"), entry(4, 7, "c")))
		r.take(raftpb.MsgAppResp)
		ask := func(kind raftpb.MessageType, index uint64, reject bool) *raftpb.Message {
			return &raftpb.Message{Type: kind.Enum(), From: new(uint64(3)), To: new(uint64(1)), Term: new(uint64(7)), Index: new(index), LogTerm: new(uint64(7)), Reject: new(reject)}
		}
		for _, c := range []struct {
			m    *raftpb.Message
			told uint64 // 0: nothing
		}{
			{ask(raftpb.MsgVote, 2, false), 2},
			{ask(raftpb.MsgPreVote, 9, false), 3},
			{ask(raftpb.MsgPreVote, 0, false), 0},
			{ask(raftpb.MsgPreVoteResp, 0, true), 3},
			{ask(raftpb.MsgVoteResp, 0, true), 3},
			{ask(raftpb.MsgVoteResp, 0, false), 0},
			{ask(raftpb.MsgHeartbeatResp, 0, false), 0},
		} {
			m.node.Step(c.m)
			got := r.take(raftpb.MsgHeartbeatResp)
			if c.told == 0 && len(got) == 0 {
				continue
			}
			if len(got) != 1 || got[0].GetIndex() != c.told || got[0].GetLogTerm() != 7 || got[0].GetTo() != 3 || got[0].GetFrom() != 1 {
				t.Errorf("%v is answered with %v", c.m, got)
			}
		}
	})
}

// TestWhatIsToldMeansNothingToRaft is of a program that does not know such a message: as a follower, as a candidate, and as a leader.
func TestWhatIsToldMeansNothingToRaft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := newVoter(t)
		m.node.Step(appendOf(2, 7, 1, 1, 1, entry(2, 7, "a"), entry(3, 7, "b")))
		r.take(raftpb.MsgAppResp)
		unmoved := func(as etcdraft.StateType) {
			t.Helper()
			m.node.inbox.push(call(func(n *Node) {
				n.drain()
				before := n.loop.rn.BasicStatus()
				_ = n.loop.rn.Step(told(3, 7)) // it may say that it knows nobody of that name
				after := n.loop.rn.BasicStatus()
				if before.RaftState != as || after.SoftState != before.SoftState || after.GetCommit() != before.GetCommit() || after.GetTerm() != before.GetTerm() || n.loop.rn.HasReady() {
					t.Errorf("%v became %v", before, after)
				}
			}))
			synctest.Wait()
		}
		unmoved(etcdraft.StateFollower)
		m.node.inbox.push(call(func(n *Node) {
			n.stepLocal(&raftpb.Message{Type: raftpb.MsgTimeoutNow.Enum(), From: new(uint64(1)), To: new(uint64(1))})
		}))
		r.take(raftpb.MsgVote)
		unmoved(etcdraft.StateCandidate)
		m.node.Step(&raftpb.Message{Type: raftpb.MsgVoteResp.Enum(), From: new(uint64(2)), To: new(uint64(1)), Term: new(uint64(8))})
		r.take(raftpb.MsgApp)
		unmoved(etcdraft.StateLeader)
	})
}
