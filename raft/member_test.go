package raft

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal/crashfs"
)

func TestIDOfARemovedMemberIsNeverTakenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		ctx := t.Context()
		c.add(7, false)
		if err := c.leader(0).node.AddLearner(ctx, 7); err != nil {
			t.Fatal(err)
		}
		if err := c.leader(0).node.Remove(ctx, 7); err != nil {
			t.Fatal(err)
		}
		for _, m := range c.all()[:3] {
			c.crash(m) // it is known after a crash, too
		}
		leader := c.leader(0)
		for _, id := range []uint64{4, 7} {
			if err := leader.node.AddLearner(ctx, id); mq.CodeOf(err) != mq.InvalidRequest || Undecided(err) {
				t.Errorf("add %d: %v", id, err)
			}
		}
		c.add(8, false)
		if err := leader.node.AddLearner(ctx, 8); err != nil {
			t.Error(err)
		}
	})
}

// TestChangeIsRefusedWhereItIsApplied is of one that a leader proposed which did not check: all members refuse it, and go on.
func TestChangeIsRefusedWhereItIsApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := newVoter(t)
		change := &raftpb.ConfChangeV2{Changes: []*raftpb.ConfChangeSingle{{Type: raftpb.ConfChangeAddNode.Enum(), NodeId: new(uint64(9))}}}
		data, err := proto.Marshal(change)
		if err != nil {
			t.Fatal(err)
		}
		e := &raftpb.Entry{Type: raftpb.EntryConfChangeV2.Enum(), Index: new(uint64(2)), Term: new(uint64(7)), Data: data}
		m.node.Step(appendOf(2, 7, 1, 1, 3, e, entry(3, 7, "a")))
		r.take(raftpb.MsgAppResp)
		time.Sleep(time.Second)
		if s := m.node.Status(); s.Applied != 3 || !slices.Equal(s.Voters, []uint64{1, 2, 3}) {
			t.Errorf("%+v", *s)
		}
	})
}

func TestLearnerIsPromotedWhenItHasCaughtUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		leader := c.leader(0)
		for i := range 3 * caughtUpEntries {
			if i%100 == 0 {
				leader.propose(t, fmt.Sprint(i))
			} else {
				go func() { _, _ = leader.node.Propose(context.Background(), []byte("x")) }()
				synctest.Wait()
			}
		}
		ctx := t.Context()
		if err := leader.node.AddLearner(ctx, 4); err != nil {
			t.Fatal(err)
		}
		if err := leader.node.Promote(ctx, 4); mq.CodeOf(err) != mq.NotEnoughReplicas || Undecided(err) {
			t.Errorf("one that is not there: %v", err)
		}
		promoted := make(chan error, 1)
		go func() { promoted <- leader.node.PromoteWhenCaughtUp(ctx, 4) }()
		time.Sleep(10 * time.Second)
		if len(promoted) != 0 {
			t.Fatal("it was promoted before it was there")
		}
		c.add(4, false)
		if err := <-promoted; err != nil {
			t.Error(err)
		}
		if s := leader.node.Status(); !slices.Contains(s.Voters, 4) {
			t.Errorf("voters %v", s.Voters)
		}
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := leader.node.PromoteWhenCaughtUp(short, 5); mq.CodeOf(err) != mq.InvalidRequest {
			t.Errorf("nobody: %v", err)
		}
	})
}

func TestChangeThatWouldStopTheGroupIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		leader := c.leader(0)
		away, here := leader.id%3+1, (leader.id+1)%3+1
		c.isolate(away, true)
		time.Sleep(5 * time.Second)
		if err := leader.node.Remove(t.Context(), here); mq.CodeOf(err) != mq.NotEnoughReplicas || Undecided(err) {
			t.Errorf("remove one of two that are left: %v", err)
		}
		if err := leader.node.Remove(t.Context(), away); err != nil {
			t.Errorf("remove the one that is away: %v", err)
		}
		leader.propose(t, "x")
	})
}

// TestRemovedMemberDisturbsNobody is of one that did not hear of its removal.
func TestRemovedMemberDisturbsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		leader := c.leader(0)
		away := leader.id%3 + 1
		c.isolate(away, true)
		time.Sleep(5 * time.Second)
		if err := leader.node.Remove(t.Context(), away); err != nil {
			t.Fatal(err)
		}
		term := leader.node.Status().Term
		c.isolate(away, false)
		time.Sleep(time.Minute)
		if s := leader.node.Status(); !s.Leading || s.Term != term {
			t.Errorf("%+v", *s)
		}
	})
}

func TestLeaderWhoseDiskHangsGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		leader := c.leader(0)
		leader.propose(t, "a")
		hold := make(chan struct{})
		leader.fs.Hook(func(call crashfs.Call) error {
			if call.Op == crashfs.OpSync {
				<-hold
			}
			return nil
		})
		stuck := make(chan error, 1)
		go func() {
			_, err := leader.node.Propose(context.Background(), []byte("b"))
			stuck <- err
		}()
		next := c.leader(leader.id)
		next.propose(t, "c")
		if err := <-stuck; mq.CodeOf(err) != mq.NotController || !Undecided(err) {
			t.Errorf("what it was given is answered with %v", err)
		}
		c.isolate(next.id, true) // with a majority that the one whose disk hangs is needed for
		time.Sleep(10 * time.Second)
		if leader.node.Status().Leading {
			t.Error("it leads again")
		}
		c.isolate(next.id, false)
		close(hold)
		if got := c.settle(); !slices.Equal(got, []string{"a", "b", "c"}) {
			t.Errorf("applied %v", got)
		}
	})
}

func TestClosingLeaderHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		leader := c.leader(0)
		leader.propose(t, "a")
		began := time.Now()
		if err := leader.node.Close(); err != nil {
			t.Fatal(err)
		}
		next := c.leader(leader.id)
		if took := time.Since(began); took > 200*time.Millisecond {
			t.Errorf("it took %s, as after a failure", took)
		}
		next.propose(t, "b")
	})
}

func TestMembershipIsKeptWithTheHighestID(t *testing.T) {
	m := membersOf(raftpb.EnsureConfState(&raftpb.ConfState{Voters: []uint64{1, 3}, Learners: []uint64{5}}), 9)
	b, err := m.encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeMembers(b)
	if err != nil || got.highest != 9 || !proto.Equal(got.conf, m.conf) {
		t.Errorf("%v, %v", got, err)
	}
	old, err := proto.Marshal(m.conf) // without the field
	if err != nil {
		t.Fatal(err)
	}
	if got, err = decodeMembers(old); err != nil || got.highest != 5 {
		t.Errorf("%v, %v", got, err)
	}
}

// A voter that is gone for good is replaced in one change: with the learner's vote the group bears the loss of another one, and the members that come from a crash know it.
func TestLearnerTakesTheVoteOfOneThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		leader := c.leader(0)
		gone, other := leader.id%3+1, (leader.id+1)%3+1
		c.isolate(gone, true)
		time.Sleep(5 * time.Second)
		leader.propose(t, "without it")
		ctx := t.Context()
		if err := leader.node.AddLearner(ctx, 4); err != nil {
			t.Fatal(err)
		}
		if err := leader.node.Replace(ctx, 4, gone); mq.CodeOf(err) != mq.NotEnoughReplicas || Undecided(err) {
			t.Errorf("by one that is not there: %v", err)
		}
		c.add(4, false)
		for {
			err := leader.node.Replace(ctx, 4, gone)
			if err == nil {
				break
			}
			if mq.CodeOf(err) != mq.NotEnoughReplicas {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Second)
		want := []uint64{other, leader.id, 4}
		slices.Sort(want)
		if s := leader.node.Status(); !slices.Equal(s.Voters, want) || len(s.Leaving)+len(s.Learners) != 0 {
			t.Errorf("voters %v, of which %v leave, learners %v", s.Voters, s.Leaving, s.Learners)
		}
		if err := leader.node.AddLearner(ctx, gone); mq.CodeOf(err) != mq.InvalidRequest {
			t.Errorf("its id again: %v", err)
		}
		if err := leader.node.Replace(ctx, 4, other); mq.CodeOf(err) != mq.InvalidRequest {
			t.Errorf("by a voter: %v", err)
		}
		for _, m := range c.all() {
			if m.id != gone {
				c.crash(m)
			}
		}
		c.isolate(other, true)
		time.Sleep(5 * time.Second)
		c.leader(0).propose(t, "with the new one")
	})
}

// What changes several members at once takes effect whole, or not at all.
func TestChangeOfSeveralIsRefusedWhole(t *testing.T) {
	m := membersOf(raftpb.EnsureConfState(&raftpb.ConfState{Voters: []uint64{1, 2, 3}, Learners: []uint64{4}}), 4)
	add := func(id uint64) *raftpb.ConfChangeSingle {
		return &raftpb.ConfChangeSingle{Type: raftpb.ConfChangeAddNode.Enum(), NodeId: new(id)}
	}
	remove := func(id uint64) *raftpb.ConfChangeSingle {
		return &raftpb.ConfChangeSingle{Type: raftpb.ConfChangeRemoveNode.Enum(), NodeId: new(id)}
	}
	if err := checkChanges(m, []*raftpb.ConfChangeSingle{add(4), remove(3)}); err != nil {
		t.Error(err)
	}
	if err := checkChanges(m, []*raftpb.ConfChangeSingle{add(4), remove(9)}); mq.CodeOf(err) != mq.InvalidRequest {
		t.Errorf("one of them is no member: %v", err)
	}
	m.conf.VotersOutgoing = []uint64{1, 2, 3}
	if err := checkChanges(m, []*raftpb.ConfChangeSingle{remove(2)}); mq.CodeOf(err) != mq.InvalidRequest {
		t.Errorf("while others leave: %v", err)
	}
	if err := checkChanges(m, nil); err != nil {
		t.Errorf("the end of that: %v", err)
	}
}
