package partition

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/rustmq/rustmq/mq"
)

// Rule 5.
func TestWatermarkIsTheMinimumOverOldAndProposedSet(t *testing.T) {
	a, b, c := Replica{1, 1}, Replica{2, 1}, Replica{3, 1}
	g := newProgress(1, 4, []Replica{a, b, c}, Planted{})
	acked := func(r Replica, end mq.Offset) {
		if err := g.acked(r, end); err != nil {
			t.Fatal(err)
		}
	}
	want := func(local mq.Offset, minISR int, end mq.Offset, ok bool) {
		t.Helper()
		got, can := g.replicated(local, minISR)
		if can != ok || ok && got != end {
			t.Fatalf("watermark %d %v, want %d %v", got, can, end, ok)
		}
	}
	want(10, 2, -1, true) // nobody has spoken
	acked(b, 8)
	acked(c, 3)
	want(10, 2, 3, true)
	propose := func(isr ...Replica) {
		t.Helper()
		if err := g.propose(g.partitionEpoch, isr); err != nil {
			t.Fatal(err)
		}
	}
	propose(a, b) // c is to leave, but may still be elected
	want(10, 2, 3, true)
	want(10, 3, 0, false) // the proposed set may be in force by now
	g.refused()
	want(10, 3, 3, true)
	propose(a, b)
	g.decide(5, []Replica{a, b})
	want(10, 2, 8, true)
	want(5, 2, 5, true) // the leader's own sync counts
	want(10, 3, 0, false)
	propose(a, b, c) // c is to come back: it counts already
	want(10, 2, 3, true)
	g.decide(5, []Replica{a, b}) // somebody looked at the image again: that says nothing of the proposal
	g.decide(4, []Replica{a})
	want(10, 2, 3, true)
	acked(c, 9)
	want(10, 2, 8, true)
	g.decide(6, []Replica{b, c}) // and this node counts whether it is listed or not
	want(4, 2, 4, true)
	codeWanted(t, g.propose(5, []Replica{a, b}), mq.FencedLeaderEpoch)
	codeWanted(t, g.propose(6, []Replica{b, c}), mq.InvalidRequest)
}

// Rule 5, where the answer to a proposal is lost: it counts until the partition epoch has moved, whatever is proposed and refused after it.
func TestProposalWhoseAnswerWasLostCountsUntilThePartitionEpochMoves(t *testing.T) {
	a, b, c := Replica{1, 1}, Replica{2, 1}, Replica{3, 1}
	g := newProgress(1, 0, []Replica{a, b}, Planted{})
	if err := g.acked(b, 8); err != nil {
		t.Fatal(err)
	}
	high := func() mq.Offset { end, _ := g.replicated(10, 1); return end }
	for _, lose := range []func(){g.unsettled, func() {}} { // told that it was lost, or not even that
		if err := g.propose(0, []Replica{a, b, c}); err != nil {
			t.Fatal(err)
		}
		lose()
		if err := g.propose(0, []Replica{a, b}); err != nil {
			t.Fatal(err)
		}
		g.refused()
		if got := high(); got != -1 || len(g.doubted) != 1 {
			t.Fatalf("watermark %d, %d doubted", got, len(g.doubted))
		}
	}
	g.decide(1, []Replica{a, b})
	if got := high(); got != 8 {
		t.Fatalf("watermark %d", got)
	}
	for i := range maxDoubted {
		if err := g.propose(1, []Replica{a, {mq.NodeID(10 + i), 1}}); err != nil {
			t.Fatal(err)
		}
	}
	g.unsettled()
	codeWanted(t, g.propose(1, []Replica{a, {99, 1}}), mq.TooManyRequests)
	if err := g.propose(1, []Replica{a, b}); err != nil {
		t.Fatalf("the present set ends the doubt: %v", err)
	}
}

// Rule 4.
func TestAcknowledgementsOfAnEarlierIncarnationSayNothing(t *testing.T) {
	g := newProgress(1, 0, []Replica{{1, 1}, {2, 5}}, Planted{})
	if err := g.acked(Replica{2, 5}, 7); err != nil {
		t.Fatal(err)
	}
	codeWanted(t, g.acked(Replica{2, 4}, 9), mq.StaleBrokerEpoch)
	if end, _ := g.replicated(10, 1); end != 7 {
		t.Fatal(end)
	}
	if err := g.acked(Replica{2, 6}, 3); err != nil { // it lost something
		t.Fatal(err)
	}
	if end, _ := g.replicated(10, 1); end != 3 {
		t.Fatal(end)
	}
	g.decide(0, []Replica{{1, 1}, {2, 7}})
	if end, _ := g.replicated(10, 1); end != -1 {
		t.Fatalf("%d: the new incarnation has not spoken", end)
	}
}

func TestWatermarkWaitsForFollowersAndMinISR(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 1, nil)
		n.set(Settings{MinISR: 2})
		committed := 0
		n.p.cfg.Committed = func(*Partition) { committed++ }
		if err := n.p.Lead(1, 0, both()); err != nil {
			t.Fatal(err)
		}
		if committed != 1 {
			t.Fatal("beginning to lead is told")
		}
		var all, leader results
		n.send(plain(1), mq.DurabilityAll, &all)
		n.send(plain(1), mq.DurabilityLeader, &leader)
		synctest.Wait()
		if len(all.get()) != 0 || len(leader.get()) != 1 || leader.get()[0].Reached != mq.MarkLocal {
			t.Fatalf("%+v %+v", all.get(), leader.get())
		}
		codeWanted(t, n.p.Acked(Replica{2, 1}, 0, 1), mq.FencedLeaderEpoch)
		codeWanted(t, n.p.Acked(Replica{2, 1}, 2, 1), mq.UnknownLeaderEpoch)
		codeWanted(t, n.p.Acked(Replica{2, 1}, 1, 3), mq.InvalidRequest)
		if err := n.p.Lead(1, 1, []Replica{{1, 1}}); err != nil { // shrinks below the minimum
			t.Fatal(err)
		}
		if _, high, _, _ := n.p.Offsets(); high != 0 || committed != 1 {
			t.Fatalf("watermark %d with a set below min.insync.replicas", high)
		}
		if err := n.p.Acked(Replica{2, 1}, 1, 1); err != nil {
			t.Fatal(err)
		}
		if err := n.p.Lead(1, 2, both()); err != nil {
			t.Fatal(err)
		}
		if _, high, _, _ := n.p.Offsets(); high != 1 || committed != 2 || len(all.get()) != 1 {
			t.Fatalf("watermark %d, told %d times, %+v", high, committed, all.get())
		}
		if now, ok := n.p.Progress(); !ok || len(now.Followers) != 1 || now.Followers[0].End != 1 || now.Followers[0].Node != 2 || now.PartitionEpoch != 2 {
			t.Fatalf("%+v", now)
		}
	})
}

func TestNewLeaderTellsNoEndBeforeItsEpochIsCommitted(t *testing.T) {
	f := newNode(t, 2, nil)
	if err := f.p.Follow(1, 1); err != nil {
		t.Fatal(err)
	}
	if err := f.p.Replicate(context.Background(), 1, stamped(plain(4), 0, 1), 2, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.log.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	f.set(Settings{MinISR: 2})
	if err := f.p.Lead(2, 0, both()); err != nil {
		t.Fatal(err)
	}
	_, err := f.p.VisibleEnd(mq.IsolationCommitted)
	codeWanted(t, err, mq.OffsetNotAvailable)
	if err := f.p.Acked(Replica{1, 1}, 2, 4); err != nil {
		t.Fatal(err)
	}
	if end, err := f.p.VisibleEnd(mq.IsolationCommitted); end != 4 || err != nil {
		t.Fatal(end, err)
	}
}

func TestWatermarkWaitsForWhoIsExpected(t *testing.T) {
	g := newProgress(1, 7, []Replica{{Node: 1}}, Planted{})
	if err := g.acked(Replica{2, 20}, 50); err != nil {
		t.Fatal(err)
	}
	end := func() mq.Offset {
		end, ok := g.replicated(100, 1)
		if !ok {
			t.Fatal("below the minimum")
		}
		return end
	}
	if got := end(); got != 100 {
		t.Errorf("%d with nobody expected", got)
	}
	g.expected = []mq.NodeID{2}
	if got := end(); got != 50 {
		t.Errorf("%d while a follower at 50 is expected", got)
	}
	if err := g.propose(7, []Replica{{Node: 1}}); err != nil {
		t.Fatal(err)
	}
	if got := end(); got != 100 {
		t.Errorf("%d after something else was proposed", got)
	}
	g.expected = []mq.NodeID{2}
	g.decide(8, []Replica{{Node: 1}})
	if got := end(); got != 100 {
		t.Errorf("%d after something else was decided", got)
	}
}
