package raft

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
	"github.com/rustmq/rustmq/wal/crashfs"
)

func TestSingleVoterLeadsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		newMachine(t, nil)
		if waited := time.Since(start); waited >= 100*time.Millisecond {
			t.Errorf("leading after %v: that is more than a tick", waited)
		}
	})
}

func TestProposeReturnsTheStateMachinesResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, nil)
		for i, want := range []string{"a was number 1", "b was number 2"} {
			got, err := m.node.Propose(t.Context(), []byte{byte('a' + i)})
			if err != nil || string(got) != want {
				t.Errorf("got %q, %v, want %q", got, err, want)
			}
		}
	})
}

func TestConcurrentProposalsAreCombinedAndAnsweredEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, nil)
		const count = 2000
		var wait sync.WaitGroup
		for i := range count {
			wait.Go(func() {
				data := fmt.Sprint("p", i)
				got, err := m.node.Propose(t.Context(), []byte(data))
				if err != nil || !strings.HasPrefix(string(got), data+" was number ") {
					t.Errorf("%s: got %q, %v", data, got, err)
				}
			})
		}
		wait.Wait()
		if got := len(m.sm.applied()); got != count {
			t.Errorf("%d applied, want %d", got, count)
		}
		if entries := m.node.Status().Last; entries > count/2 {
			t.Errorf("%d proposals took %d entries: they were hardly combined", count, entries)
		}
	})
}

func TestRestartAppliesNothingTwiceAndForgetsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cut := func(c *Config) { c.CompactEntries = 7 }
		m := newMachine(t, cut)
		var want []string
		for round := range 4 {
			for i := range 10 {
				want = append(want, fmt.Sprint(round, "-", i, strings.Repeat(" ", 20_000)))
				m.propose(t, want[len(want)-1])
			}
			m.reboot(t, cut)
			m.awaitLeading(t)
			if got := m.sm.applied(); !slices.Equal(got, want) {
				t.Fatalf("round %d: %d applied, want %d", round, len(got), len(want))
			}
		}
		if m.logs.healed() {
			t.Error("the log was not whole")
		}
		if s := m.node.Status(); s.First < 20 {
			t.Errorf("the log begins at %d: it was never cut", s.First)
		}
	})
}

// TestStateMachineBehindTheLogCatchesUp loses the latest transactions of the state machine, as a copy of the database made earlier does.
func TestStateMachineBehindTheLogCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, nil)
		m.propose(t, "a")
		old := m.sm.reborn(m.fs.Cut)
		m.propose(t, "b")
		m.propose(t, "c")
		m.sm = old
		m.reboot(t, nil)
		m.awaitLeading(t)
		if got := m.sm.applied(); !slices.Equal(got, []string{"a", "b", "c"}) {
			t.Errorf("applied %v", got)
		}
	})
}

// runUntilCut proposes until the power is cut or all is done, and says what was acknowledged.
func runUntilCut(m *machine, from, count int) (acked []string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := boot(m, func(c *Config) { c.CompactEntries = 5 }); err != nil {
		return nil
	}
	defer m.halt()
	if _, err := m.node.AwaitLeader(ctx); err != nil {
		return nil
	}
	var mu sync.Mutex
	var wait sync.WaitGroup
	for i := range count {
		wait.Go(func() {
			data := fmt.Sprint("p", from+i, strings.Repeat(" ", 20_000)) // so large that segments change
			if _, err := m.node.Propose(ctx, []byte(data)); err == nil {
				mu.Lock()
				defer mu.Unlock()
				acked = append(acked, data)
			}
		})
		if i%3 == 2 {
			wait.Wait() // so that there are several appends, some of several proposals
		}
	}
	wait.Wait()
	return acked
}

// TestNoAcknowledgedProposalIsLostWhereverThePowerIsCut cuts the power in every call to the file system of a short run, each time
// with another fate for what was not synced, and again in the recovery that follows.
func TestNoAcknowledgedProposalIsLostWhereverThePowerIsCut(t *testing.T) {
	cuts, step := 0, 1
	if testing.Short() {
		step = 5
	}
	for k := 1; ; k += step {
		done := false
		for _, again := range []int{0, 2} {
			synctest.Test(t, func(t *testing.T) { done = cutAt(t, k, again) })
		}
		if done {
			break
		}
		cuts++
	}
	if cuts*step < 60 {
		t.Errorf("the run has %d calls only", cuts*step)
	}
	t.Logf("%d cuts", 2*cuts)
}

func cutAt(t *testing.T, k, again int) (done bool) {
	m := &machine{id: 1, fs: crashfs.New(uint64(1000*k + again))}
	m.sm = newJournal(m.fs.Cut)
	m.fs.CutAt(k)
	acked := runUntilCut(m, 0, 36)
	done = !m.fs.Cut()
	m.fs.Crash()
	m.sm = m.sm.reborn(m.fs.Cut)
	if again > 0 {
		m.fs.CutAt(k%7 + again)
		acked = append(acked, runUntilCut(m, 100, 3)...)
		m.fs.Crash()
		m.sm = m.sm.reborn(m.fs.Cut)
	}
	if err := boot(m, nil); err != nil {
		t.Fatalf("cut at call %d, then %d: %v", k, again, err)
	}
	defer m.halt()
	m.awaitLeading(t)
	m.propose(t, "last")
	if m.logs.healed() {
		t.Errorf("cut at call %d, then %d: the log was taken for damaged", k, again)
	}
	got := m.sm.applied()
	for _, a := range append(acked, "last") {
		if n := count(got, a); n != 1 {
			t.Errorf("cut at call %d, then %d: %q was acknowledged and is there %d times", k, again, strings.TrimSpace(a), n)
		}
	}
	for _, g := range got {
		if count(got, g) != 1 {
			t.Errorf("cut at call %d, then %d: %q was applied more than once", k, again, strings.TrimSpace(g))
		}
	}
	return done
}

func count(list []string, s string) (n int) {
	for _, l := range list {
		if l == s {
			n++
		}
	}
	return n
}

func TestPoisonedLogEndsTheNodeAndNobodyIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, nil)
		m.propose(t, "before")
		m.fs.Hook(func(c crashfs.Call) error {
			if c.Op == crashfs.OpSync {
				return syscall.EIO
			}
			return nil
		})
		_, err := m.node.Propose(t.Context(), []byte("after"))
		if mq.CodeOf(err) != mq.KafkaStorageError || !Undecided(err) {
			t.Errorf("got %v, want a storage error that leaves it open", err)
		}
		<-m.node.Failed()
		if m.node.Err() == nil {
			t.Error("the node does not say why it failed")
		}
		if _, err := m.node.Propose(t.Context(), []byte("later")); mq.CodeOf(err) != mq.KafkaStorageError {
			t.Errorf("a failed node answers %v", err)
		}
		if _, err := m.node.ReadIndex(t.Context()); mq.CodeOf(err) != mq.KafkaStorageError {
			t.Errorf("a failed node answers a read with %v", err)
		}
	})
}

func TestFailedStateMachineEndsTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, nil)
		m.sm.cut = func() bool { return true }
		if _, err := m.node.Propose(t.Context(), []byte("x")); !Undecided(err) {
			t.Errorf("got %v", err)
		}
		<-m.node.Failed()
		if !errors.Is(m.node.Err(), errPower) {
			t.Errorf("failed with %v", m.node.Err())
		}
	})
}

func TestFullLogRefusesAndHealsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, nil)
		m.fs.SetSpace(m.fs.Used())
		big := make([]byte, 60<<10)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		refused := 0
		var wait sync.WaitGroup
		for range 200 {
			_, err := func() ([]byte, error) {
				short, done := context.WithTimeout(ctx, time.Second)
				defer done()
				return m.node.Propose(short, big)
			}()
			if mq.CodeOf(err) == mq.StorageFull {
				refused++
			}
		}
		if refused == 0 {
			t.Error("a full disk was never reported")
		}
		m.fs.SetSpace(1 << 30)
		time.Sleep(5 * time.Second)
		wait.Go(func() { m.propose(t, "healed") })
		wait.Wait()
	})
}

func TestFullStateMachineRefusesAndHealsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, nil)
		m.propose(t, "before")
		m.sm.full.Store(true)
		caught := make(chan error, 1)
		go func() {
			_, err := m.node.Propose(t.Context(), []byte("caught by it"))
			caught <- err
		}()
		time.Sleep(time.Second)
		if _, err := m.node.Propose(t.Context(), []byte("refused")); mq.CodeOf(err) != mq.StorageFull || Undecided(err) {
			t.Errorf("a full state machine is reported as %v", err)
		}
		if err := m.node.Err(); err != nil {
			t.Fatalf("a full disk ends the node: %v", err)
		}
		m.sm.full.Store(false)
		time.Sleep(time.Second)
		if err := <-caught; err != nil {
			t.Errorf("what was committed while there was no room ended with %v", err)
		}
		m.propose(t, "after")
		if got := m.sm.applied(); !slices.Equal(got, []string{"before", "caught by it", "after"}) {
			t.Errorf("applied %q", got)
		}
	})
}

func TestNodeWithoutRoomCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, nil)
		node := m.node
		m.sm.full.Store(true)
		go func() { _, _ = node.Propose(t.Context(), []byte("never applied")) }()
		m.fs.SetSpace(m.fs.Used())
		for range 20 {
			go func() { _, _ = node.Propose(t.Context(), make([]byte, 60<<10)) }()
		}
		time.Sleep(5 * time.Second)
		if err := node.Close(); err != nil {
			t.Errorf("a node that waits for room closes with %v", err)
		}
	})
}

func TestProposalsAreRefusedThatCannotBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, nil)
		if _, err := m.node.Propose(t.Context(), make([]byte, 64<<10+1)); mq.CodeOf(err) != mq.MessageTooLarge {
			t.Errorf("too large: %v", err)
		}
		m.propose(t, string(make([]byte, 64<<10)))
		m.propose(t, "") // an empty one is one
		if got := len(m.sm.applied()); got != 2 {
			t.Errorf("%d applied, want 2", got)
		}
		if err := m.node.Close(); err != nil {
			t.Error(err)
		}
		if _, err := m.node.Propose(t.Context(), []byte("x")); mq.CodeOf(err) != mq.ShuttingDown {
			t.Errorf("closed: %v", err)
		}
	})
}

func TestProposalsInFlightAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, nil)
		m.sm.slow = make(chan struct{})
		const each = 64 << 10
		var wait sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		for range 2 * maxWaitingBytes / each {
			wait.Go(func() { _, _ = m.node.Propose(ctx, make([]byte, each)) })
		}
		synctest.Wait()
		if m.node.room.TryAcquire(each + proposalOverhead) {
			t.Error("there is still room")
		}
		cancel()
		close(m.sm.slow)
		wait.Wait()
	})
}

func TestMissingHalfOfADataDirectoryIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, func(c *Config) { c.CompactEntries = 3 })
		for i := range 20 {
			m.propose(t, fmt.Sprint(i))
		}
		m.halt()
		m.fs.Kill()
		full := m.sm
		m.sm = newJournal(m.fs.Cut)
		if err := boot(m, nil); mq.CodeOf(err) != mq.WrongDataDir {
			t.Errorf("without the state machine: %v", err)
		}
		m.fs, m.sm = crashfs.New(2), full
		if err := boot(m, nil); mq.CodeOf(err) != mq.WrongDataDir {
			t.Errorf("without the log: %v", err)
		}
	})
}

// TestSingleVoterHealsADamagedLog flips bits all over the log. Nothing that was acknowledged may be missing, and the node must come up.
func TestSingleVoterHealsADamagedLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, nil)
		var want []string
		for i := range 20 {
			want = append(want, fmt.Sprint("p", i))
			m.propose(t, want[i])
		}
		time.Sleep(time.Second)
		m.halt()
		m.fs.Kill()
		names, err := m.fs.ReadDir("raft")
		if err != nil {
			t.Fatal(err)
		}
		healed := 0
		for bit := int64(4096 * 8); bit < 7*4096*8; bit += 1901 {
			damaged := &machine{id: 1, fs: m.fs.Clone(uint64(bit))}
			damaged.sm = m.sm.reborn(damaged.fs.Cut)
			for _, name := range names {
				if strings.Contains(name, "lock") || strings.Contains(name, "LOCK") {
					continue
				}
				if err := damaged.fs.Flip("raft/"+name, bit); err == nil {
					break
				}
			}
			if err := boot(damaged, nil); err != nil {
				t.Fatalf("bit %d: %v", bit, err)
			}
			if len(damaged.rec.Damage) > 0 {
				healed++
			}
			damaged.awaitLeading(t)
			damaged.propose(t, "more")
			if got := damaged.sm.applied(); !slices.Equal(got, append(slices.Clone(want), "more")) {
				t.Fatalf("bit %d: applied %v", bit, got)
			}
			damaged.halt()
		}
		if healed == 0 {
			t.Error("no flip was a damage")
		}
		t.Logf("%d damaged logs", healed)
	})
}

var _ wal.Done = (*appendDone)(nil)
