package raft

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// prefix is a power cut that leaves the first bytes of each unsynced write.
func prefix(bytes int) crashfs.Fate {
	f := crashfs.Keep()
	f.Write = func(_ string, _ int64, data []byte) []crashfs.Span {
		return []crashfs.Span{{From: 0, To: min(bytes, len(data))}}
	}
	return f
}

// crashAndBoot cuts the power and boots again, on the state machine of sm.
func (m *machine) crashAndBoot(sm *journal, fate crashfs.Fate, change func(*Config)) error {
	m.fs.CrashWith(fate)
	m.halt()
	m.sm = sm.reborn(m.fs.Cut)
	return boot(m, change)
}

// candidate asks for the vote with all entries of term 7, on behalf of a leader that gives up: so it is not ignored for that leader's sake.
func candidate(from, term uint64) *raftpb.Message {
	m := vote(from, term)
	m.LogTerm, m.Context = new(uint64(7)), []byte("CampaignTransfer")
	return m
}

// TestTornAppendIsNoDamageAndForgetsNothing cuts the power in the append that brings a new leader's entries, their commit and its term at
// once, and leaves each length of it on the disk. What was durable before is not forgotten, and the node goes on.
func TestTornAppendIsNoDamageAndForgetsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		torn, whole := 0, 0
		for _, voted := range []bool{true, false} {
			for bytes := 0; bytes <= 2048; bytes += 64 {
				switch last := tornAppend(t, bytes, voted); last {
				case 6:
					whole++
				default:
					torn++
				}
			}
		}
		if torn < 10 || whole < 4 {
			t.Errorf("%d appends were torn, %d were not", torn, whole)
		}
	})
}

func tornAppend(t *testing.T, bytes int, voted bool) (last uint64) {
	t.Helper()
	m, r := newVoter(t)
	defer m.halt()
	empty := m.sm.reborn(m.fs.Cut)
	m.node.Step(vote(2, 7))
	m.node.Step(appendOf(2, 7, 1, 1, 3, entry(2, 7, "a"), entry(3, 7, "b"), entry(4, 7, "c")))
	if got := r.take(raftpb.MsgAppResp); len(got) != 1 || got[0].GetIndex() != 4 {
		t.Fatalf("got %v", got)
	}
	if voted {
		m.node.Step(candidate(3, 9))
		if got := r.take(raftpb.MsgVoteResp); len(got) != 1 || got[0].GetReject() {
			t.Fatalf("the vote was not granted: %v", got)
		}
	}
	hold := make(chan struct{})
	m.fs.Hook(func(c crashfs.Call) error {
		if c.Op == crashfs.OpSync {
			<-hold
		}
		return nil
	})
	again := func() {
		m.node.Step(appendOf(3, 9, 3, 7, 6, entry(4, 9, "C"), entry(5, 9, strings.Repeat("D", 700)), entry(6, 9, "E")))
	}
	again()
	synctest.Wait()
	m.fs.CrashWith(prefix(bytes))
	close(hold)
	m.halt()
	m.sm = empty.reborn(m.fs.Cut) // which has forgotten all: only the log knows what was committed
	if err := boot(m, r.config); err != nil {
		t.Fatalf("%d bytes: %v", bytes, err)
	}
	r.take(raftpb.MsgVoteResp)
	s := m.node.Status()
	last = s.Last
	if want := map[bool]uint64{true: 9, false: 7}[voted || last > 4]; s.Term != want && s.Term != 9 {
		t.Fatalf("%d bytes: term %d, want %d", bytes, s.Term, want)
	}
	if got := m.sm.applied(); len(got) < 2 || !slices.Equal(got[:2], []string{"a", "b"}) || len(got) > 2 && got[2] != "C" {
		t.Fatalf("%d bytes: applied %q without a leader: a commit was forgotten", bytes, got)
	}
	if rival := uint64(2); voted || s.Term == 7 {
		if !voted {
			rival = 3
		}
		m.node.Step(candidate(rival, s.Term))
		if got := r.take(raftpb.MsgVoteResp); len(got) != 1 || !got[0].GetReject() {
			t.Fatalf("%d bytes: it voted for two in term %d: %v", bytes, s.Term, got)
		}
	}
	again()
	if got := r.take(raftpb.MsgAppResp); len(got) != 1 || got[0].GetReject() || got[0].GetIndex() != 6 {
		t.Fatalf("%d bytes: it does not go on: %v", bytes, got)
	}
	if got := m.sm.applied(); len(got) != 5 || got[2] != "C" || got[4] != "E" {
		t.Fatalf("%d bytes: applied %q", bytes, got)
	}
	return last
}

// TestTermVoteAndCommitAreStoredWithTheEntries loses the power after an append that is durable.
func TestTermVoteAndCommitAreStoredWithTheEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := newVoter(t)
		empty := m.sm.reborn(m.fs.Cut)
		m.node.Step(appendOf(2, 7, 1, 1, 3, entry(2, 7, "a"), entry(3, 7, "b")))
		if got := r.take(raftpb.MsgAppResp); len(got) != 1 || got[0].GetIndex() != 3 {
			t.Fatalf("got %v", got)
		}
		if err := m.crashAndBoot(empty, crashfs.Lose(), r.config); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if s := m.node.Status(); s.Term != 7 || s.Last != 3 {
			t.Errorf("after the power cut: term %d, %d entries", s.Term, s.Last)
		}
		if got := m.sm.applied(); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("what was committed is not known any more: applied %q", got)
		}
	})
}

// snapshotOf is what a leader of term 9 sends to a member that is far behind.
func snapshotOf(t *testing.T, index uint64, values ...string) (*raftpb.Message, []byte) {
	t.Helper()
	conf, err := membersOf(raftpb.EnsureConfState(&raftpb.ConfState{Voters: []uint64{1, 2, 3}}), 0).encode()
	if err != nil {
		t.Fatal(err)
	}
	at := Position{Index: index, Term: 9, Conf: conf}
	body, err := json.Marshal(journalState{At: at, Applied: values})
	if err != nil {
		t.Fatal(err)
	}
	metadata, err := snapshotMetadata(at)
	if err != nil {
		t.Fatal(err)
	}
	return &raftpb.Message{
		Type: raftpb.MsgSnap.Enum(), From: new(uint64(3)), To: new(uint64(1)), Term: new(uint64(9)), Snapshot: &raftpb.Snapshot{Metadata: metadata},
	}, body
}

// TestSnapshotTakesThePlaceOfTheLogOnlyWhenItIsDurable cuts the power at each call while a snapshot is installed: either the old log is
// there with the old state, or the snapshot.
func TestSnapshotTakesThePlaceOfTheLogOnlyWhenItIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, installed := 0, 0
		for k := 1; ; k++ {
			m, cut, acknowledged := installAndCut(t, k)
			status, applied := m.node.Status(), m.sm.applied()
			switch {
			case slices.Equal(applied, []string{"w", "x", "y", "z"}) && status.Last >= 20:
				installed++
			case acknowledged:
				t.Errorf("cut at call %d: the snapshot was acknowledged, and is not there: applied %q", k, applied)
			case slices.Equal(applied, []string{"a", "b"}) && status.Last == 4 && status.First <= 4:
				old++
			default:
				t.Errorf("cut at call %d: applied %q, log [%d, %d]", k, applied, status.First, status.Last)
			}
			if m.logs.healed() {
				t.Errorf("cut at call %d: the log was taken for damaged", k)
			}
			m.halt()
			if !cut {
				break
			}
		}
		if old == 0 || installed == 0 {
			t.Errorf("%d times the old state, %d times the new one", old, installed)
		}
	})
}

func installAndCut(t *testing.T, k int) (m *machine, cut, acknowledged bool) {
	t.Helper()
	m, r := newVoter(t)
	m.node.Step(appendOf(2, 7, 1, 1, 3, entry(2, 7, "a"), entry(3, 7, "b"), entry(4, 7, "c")))
	if got := r.take(raftpb.MsgAppResp); len(got) != 1 || got[0].GetIndex() != 4 {
		t.Fatalf("got %v", got)
	}
	m.fs.CutAt(k)
	message, body := snapshotOf(t, 20, "w", "x", "y", "z")
	received := make(chan error, 1)
	node := m.node
	go func() { received <- node.ReceiveSnapshot(t.Context(), message, strings.NewReader(string(body))) }()
	for _, response := range r.take(raftpb.MsgAppResp) {
		acknowledged = acknowledged || !response.GetReject() && response.GetIndex() == 20
	}
	time.Sleep(time.Second)
	cut = m.fs.Cut()
	if err := m.crashAndBoot(m.sm, crashfs.Lose(), r.config); err != nil {
		t.Fatalf("cut at call %d: %v", k, err)
	}
	<-received //nolint:errcheck // it may have been cut off
	synctest.Wait()
	return m, cut, acknowledged
}

// TestLogIsWholeWhileASnapshotIsInstalled cuts the power when the state machine has a snapshot in hand and not in its place.
func TestLogIsWholeWhileASnapshotIsInstalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := newVoter(t)
		m.node.Step(appendOf(2, 7, 1, 1, 3, entry(2, 7, "a"), entry(3, 7, "b"), entry(4, 7, "c")))
		r.take(raftpb.MsgAppResp)
		installing := make(chan struct{})
		m.sm.slow = installing
		before := m.sm.reborn(m.fs.Cut)
		message, body := snapshotOf(t, 20, "w", "x", "y", "z")
		node := m.node
		go func() { _ = node.ReceiveSnapshot(t.Context(), message, strings.NewReader(string(body))) }()
		time.Sleep(time.Second)
		m.fs.CrashWith(crashfs.Lose())
		close(installing)
		m.halt()
		m.sm = before
		if err := boot(m, r.config); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if s := m.node.Status(); s.Last != 4 || s.Term < 7 || !slices.Equal(m.sm.applied(), []string{"a", "b"}) {
			t.Errorf("%+v, applied %q", *s, m.sm.applied())
		}
	})
}

// TestLogIsReleasedOnlyWhenWhatSupersedesItIsDurable holds up first the state machine, and then the log's own note of what is gone.
func TestLogIsReleasedOnlyWhenWhatSupersedesItIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		compact := func(c *Config) { c.CompactEntries = 5 }
		m := newMachine(t, compact)
		begin := func() uint64 {
			synctest.Wait()
			first, _, _ := m.log.Bounds(LogStream())
			return first
		}
		before := begin()
		held, applying := make(chan struct{}), make(chan struct{})
		node := m.node
		m.sm.slow = applying
		for i := range 8 {
			go func() { _, _ = node.Propose(t.Context(), fmt.Append(nil, i)) }()
			synctest.Wait()
		}
		if got := begin(); got != before {
			t.Errorf("entries up to %d were released that the state machine does not have", got)
		}
		m.fs.Hook(func(c crashfs.Call) error {
			if c.Op == crashfs.OpSync {
				<-held
			}
			return nil
		})
		close(applying)
		if got := begin(); got != before || len(m.sm.applied()) != 8 {
			t.Errorf("entries up to %d were released before the log's state says so durably", got)
		}
		close(held)
		if got := begin(); got == before {
			t.Error("nothing was ever released")
		}
	})
}

// TestLeaderIsReadyOnlyWhenAnEntryOfItsTermIsApplied elects a node that has not applied yet what the leader before it committed: it must not
// be asked for the present state.
func TestLeaderIsReadyOnlyWhenAnEntryOfItsTermIsApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := newVoter(t)
		m.sm.slow = make(chan struct{})
		m.node.Step(appendOf(2, 7, 1, 1, 3, entry(2, 7, "a"), entry(3, 7, "b")))
		r.take(raftpb.MsgAppResp)
		reply := func(kind raftpb.MessageType, term, index uint64) {
			m.node.Step(&raftpb.Message{Type: kind.Enum(), From: new(uint64(2)), To: new(uint64(1)), Term: new(term), Index: new(index)})
			synctest.Wait()
		}
		elect := func(term uint64) {
			t.Helper()
			reply(raftpb.MsgTimeoutNow, term-1, 0)
			if got := r.take(raftpb.MsgVote); len(got) != 2 || got[0].GetTerm() != term {
				t.Fatalf("it does not stand for election: %v", got)
			}
			reply(raftpb.MsgVoteResp, term, 0)
			if s := m.node.Status(); s.Leader != 1 || s.Term != term {
				t.Fatalf("not elected: %+v", *s)
			}
		}
		leading := func(want bool, when string) {
			t.Helper()
			synctest.Wait()
			if s := m.node.Status(); s.Leading != want {
				t.Errorf("%s: leading is %t with %d applied in term %d", when, s.Leading, s.Applied, s.Term)
			}
		}
		elect(8)
		leading(false, "nothing is applied")
		close(m.sm.slow)
		leading(false, "what the old leader committed is applied")
		reply(raftpb.MsgAppResp, 8, 4)
		leading(true, "its own entry is applied")
		m.node.Step(appendOf(2, 9, 4, 8, 4))
		leading(false, "another one leads")
		elect(10)
		leading(false, "only its entry of an earlier term is applied")
		reply(raftpb.MsgAppResp, 10, 5)
		leading(true, "its own entry is applied again")
	})
}

// TestSnapshotWaitsForRoom has no room for the state machine to take a snapshot: it is in its place as soon as there is, on the same node.
func TestSnapshotWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := newVoter(t)
		m.node.Step(appendOf(2, 7, 1, 1, 3, entry(2, 7, "a"), entry(3, 7, "b"), entry(4, 7, "c")))
		r.take(raftpb.MsgAppResp)
		m.sm.full.Store(true)
		message, body := snapshotOf(t, 20, "w", "x", "y", "z")
		received := make(chan error, 1)
		go func() { received <- m.node.ReceiveSnapshot(t.Context(), message, strings.NewReader(string(body))) }()
		time.Sleep(time.Minute)
		if err := m.node.Full(); mq.CodeOf(err) != mq.StorageFull || m.node.Err() != nil || slices.Contains(m.sm.applied(), "z") {
			t.Errorf("without room: full %v, failure %v, applied %q", err, m.node.Err(), m.sm.applied())
		}
		m.sm.full.Store(false)
		if err := <-received; err != nil {
			t.Fatal(err)
		}
		if got := m.sm.applied(); !slices.Equal(got, []string{"w", "x", "y", "z"}) || m.node.Full() != nil {
			t.Errorf("applied %q, full: %v", got, m.node.Full())
		}
		m.powerCut(t, r.config)
		synctest.Wait()
		if got := m.sm.applied(); m.node.Status().First != 21 || !slices.Equal(got, []string{"w", "x", "y", "z"}) {
			t.Errorf("after a power cut: %+v, %q", *m.node.Status(), got)
		}
	})
}
