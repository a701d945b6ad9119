package raft

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// TestLeaderWhoseProcessEndedIsReplacedAtOnce is of voters that see it, and of one that hears the old leader until the end and has not seen it yet.
func TestLeaderWhoseProcessEndedIsReplacedAtOnce(t *testing.T) {
	for _, c := range []struct {
		what   string
		sees   func(rank int) bool
		within time.Duration
	}{
		{"both see it", func(int) bool { return true }, 90 * time.Millisecond},
		{"the first sees it", func(rank int) bool { return rank == 0 }, 90 * time.Millisecond},
		{"the second sees it", func(rank int) bool { return rank == 1 }, 290 * time.Millisecond},
	} {
		t.Run(c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newCluster(t, 3, nil)
				old := g.leader(0)
				old.propose(t, "a")
				g.settle()
				g.isolate(old.id, true)
				began, rank := time.Now(), 0
				for _, m := range g.all() {
					if m.id == old.id {
						continue
					}
					if c.sees(rank) {
						m.node.ReportGone(old.id)
					}
					rank++
				}
				next := g.leader(old.id)
				if took := time.Since(began); took > c.within {
					t.Errorf("it took %v", took)
				}
				next.propose(t, "b")
				g.isolate(old.id, false)
				g.settle()
			})
		})
	}
}

// TestSecondInRankIsElectedWhenTheFirstHasNotAll has the first in rank lack an entry, so that it cannot win.
func TestSecondInRankIsElectedWhenTheFirstHasNotAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newCluster(t, 3, nil)
		old := g.leader(0)
		first, second := g.all()[0], g.all()[2]
		switch old.id {
		case 1:
			first = g.all()[1]
		case 3:
			second = g.all()[1]
		}
		old.propose(t, "a")
		g.settle()
		g.isolate(first.id, true)
		old.propose(t, "b")
		g.isolate(first.id, false)
		g.isolate(old.id, true)
		began := time.Now()
		first.node.ReportGone(old.id)
		second.node.ReportGone(old.id)
		next := g.leader(old.id)
		if took := time.Since(began); next != second || took > 400*time.Millisecond {
			t.Errorf("node %d leads after %v", next.id, took)
		}
		g.isolate(old.id, false)
		g.settle()
	})
}

// TestNobodyIsElectedForTheDeathOfOneWhoDoesNotLead is of reports about followers, of late ones about leaders of the past, and of one about who speaks meanwhile.
func TestNobodyIsElectedForTheDeathOfOneWhoDoesNotLead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newCluster(t, 3, nil)
		old := g.leader(0)
		leader := g.all()[old.id%3]
		old.node.TransferLeadership(leader.id)
		g.leader(old.id)
		term := leader.node.Status().Term
		for i := range 30 {
			for _, m := range g.all() {
				for _, id := range []uint64{0, 1, 2, 3, 4} {
					if id != leader.id {
						m.node.ReportGone(id)
					}
				}
			}
			leader.propose(t, fmt.Sprint(i))
			time.Sleep(100 * time.Millisecond)
		}
		for _, m := range g.all() { // the last in rank, which waits for its turn and hears a heartbeat before
			if m.id != leader.id && (m.id == 3 || m.id == 2 && leader.id == 3) {
				m.node.ReportGone(leader.id)
			}
		}
		time.Sleep(3 * time.Second)
		if s := leader.node.Status(); s.Term != term || !s.Leading {
			t.Errorf("term %d, which was %d", s.Term, term)
		}
	})
}
