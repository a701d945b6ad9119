package raft

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
)

// recoverAlone opens what a machine has and recovers it.
func recoverAlone(t *testing.T, m *machine) (*Recovery, error) {
	t.Helper()
	log, _, err := wal.Open(wal.Options{FS: m.fs, Dir: "raft", SegmentBytes: testSegment, Rand: zeros{}}, func(wal.Entry) error { return nil })
	if err != nil {
		return nil, err
	}
	defer log.Close()
	return RecoverAlone(Config{ID: m.id, Log: log, SM: m.sm, MaxProposal: 64 << 10}, []byte("recovered"))
}

// TestLostMajorityIsRecoveredFromOneMember cuts the power at each call of the recovery, too.
func TestLostMajorityIsRecoveredFromOneMember(t *testing.T) {
	for k, done := 1, false; !done; k++ {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t, 3, nil)
			leader := c.leader(0)
			for i := range 5 {
				leader.propose(t, fmt.Sprint(i))
			}
			c.settle()
			c.isolate(leader.id, true)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			if _, err := leader.node.Propose(ctx, []byte("in the log only")); err == nil {
				t.Error("one of three committed")
			}
			time.Sleep(time.Second)
			c.mu.Lock()
			m := leader
			node, log := m.node, m.log
			m.node = nil
			delete(c.machines, m.id)
			c.mu.Unlock()
			if err := node.Close(); err != nil {
				t.Fatal(err)
			}
			if err := log.Close(); err != nil {
				t.Fatal(err)
			}
			m.fs.Kill()
			m.sm = m.sm.reborn(m.fs.Cut)
			m.fs.CutAt(k)
			found, err := recoverAlone(t, m)
			done = !m.fs.Cut()
			if done && (err != nil || found.Index < 7 || !slices.Equal(found.Voters, []uint64{1, 2, 3})) {
				t.Errorf("found %+v, %v", found, err)
			}
			m.fs.Crash()
			m.sm = m.sm.reborn(m.fs.Cut)
			if !done {
				if _, err := recoverAlone(t, m); err != nil && mq.CodeOf(err) != mq.InvalidRequest {
					t.Fatalf("cut at call %d: again: %v", k, err)
				}
				m.fs.Kill()
				m.sm = m.sm.reborn(m.fs.Cut)
			}
			if err := boot(m, func(c *Config) { c.Peers = []uint64{1, 2, 3} }); err != nil {
				t.Fatalf("cut at call %d: %v", k, err)
			}
			t.Cleanup(m.halt)
			m.awaitLeading(t)
			m.propose(t, "after")
			if s := m.node.Status(); Generation(s.Applied) != 1 || Generation(s.First) != 1 {
				t.Errorf("cut at call %d: it goes on at %d, the log begins at %d", k, s.Applied, s.First)
			}
			want := []string{"0", "1", "2", "3", "4", "in the log only", "recovered", "after"}
			if got := m.sm.applied(); !slices.Equal(got, want) {
				t.Errorf("cut at call %d: applied %v", k, got)
			}
			if err := m.node.AddLearner(t.Context(), 3); mq.CodeOf(err) != mq.InvalidRequest {
				t.Errorf("an id of a lost member: %v", err)
			}
		})
	}
}

func TestRecoveryIsRefusedWhereItMakesNoSense(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, nil)
		m.propose(t, "a")
		m.halt()
		m.fs.Kill()
		m.sm = m.sm.reborn(m.fs.Cut)
		if _, err := recoverAlone(t, m); mq.CodeOf(err) != mq.InvalidRequest {
			t.Errorf("the only voter: %v", err)
		}
		if r := (&Recovery{Index: 9, Term: 2, Commit: 7, Voters: []uint64{1, 2, 3}}).String(); r == "" {
			t.Error("it says nothing")
		}
	})
}
