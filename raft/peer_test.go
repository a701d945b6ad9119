package raft

import (
	"bytes"
	"context"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/rustmq/rustmq/wal/crashfs"
)

// recorder is a transport that keeps what it is given: the test plays the other voters.
type recorder struct {
	mu   sync.Mutex
	sent []*raftpb.Message
}

func (r *recorder) Start(Receiver) {}

func (r *recorder) Send(messages []*raftpb.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent = append(r.sent, messages...)
}

func (r *recorder) SendSnapshot(context.Context, *raftpb.Message, io.Reader) error { return nil }

// take waits until all is quiet and gives the messages of a type that were sent since.
func (r *recorder) take(kind raftpb.MessageType) (found []*raftpb.Message) {
	synctest.Wait()
	time.Sleep(time.Millisecond)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.sent {
		if m.GetType() == kind {
			found = append(found, m)
		}
	}
	r.sent = nil
	return found
}

// voter is node 1 of three; the others are the test.
func newVoter(t *testing.T) (*machine, *recorder) {
	m := &machine{id: 1, fs: crashfs.New(1)}
	m.sm = newJournal(m.fs.Cut)
	r := &recorder{}
	if err := boot(m, r.config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.halt)
	return m, r
}

// config makes elections so rare that none begins by itself.
func (r *recorder) config(c *Config) {
	c.Transport, c.Peers, c.ElectionTicks = r, []uint64{1, 2, 3}, 1000
}

// powerCut ends the machine by a power cut and boots it again.
func (m *machine) powerCut(t *testing.T, change func(*Config)) {
	t.Helper()
	m.fs.CrashWith(crashfs.Lose())
	m.halt()
	m.sm = m.sm.reborn(m.fs.Cut)
	if err := boot(m, change); err != nil {
		t.Fatal(err)
	}
}

func vote(from, term uint64) *raftpb.Message {
	return &raftpb.Message{
		Type: raftpb.MsgVote.Enum(), From: new(from), To: new(uint64(1)), Term: new(term), Index: new(uint64(9)), LogTerm: new(uint64(2)),
	}
}

func TestVoteSurvivesAPowerCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := newVoter(t)
		m.node.Step(vote(2, 7))
		if got := r.take(raftpb.MsgVoteResp); len(got) != 1 || got[0].GetReject() {
			t.Fatalf("the vote was not granted: %v", got)
		}
		m.powerCut(t, r.config)
		m.node.Step(vote(3, 7))
		if got := r.take(raftpb.MsgVoteResp); len(got) != 1 || !got[0].GetReject() {
			t.Errorf("it voted for two in one term: %v", got)
		}
		m.node.Step(vote(3, 6))
		if got := r.take(raftpb.MsgVoteResp); len(got) != 0 && !got[0].GetReject() {
			t.Errorf("it voted in a term that is over: %v", got)
		}
	})
}

func TestNothingIsSaidBeforeItIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := newVoter(t)
		hold := make(chan struct{})
		m.fs.Hook(func(c crashfs.Call) error {
			if c.Op == crashfs.OpSync {
				<-hold
			}
			return nil
		})
		m.node.Step(vote(2, 7))
		m.node.Step(appendOf(2, 7, 1, 1, 0, entry(2, 7, "x")))
		if got := r.take(raftpb.MsgVoteResp); len(got) != 0 {
			t.Errorf("a vote was granted that is not durable: %v", got)
		}
		if got := r.take(raftpb.MsgAppResp); len(got) != 0 {
			t.Errorf("entries were acknowledged that are not durable: %v", got)
		}
		close(hold)
		if got := r.take(raftpb.MsgAppResp); len(got) != 1 || got[0].GetIndex() != 2 {
			t.Errorf("got %v", got)
		}
	})
}

func entry(index, term uint64, data string) *raftpb.Entry {
	b := batchOf(mark{}, 1, []*proposal{{data: []byte(data)}})
	return &raftpb.Entry{Type: raftpb.EntryNormal.Enum(), Index: new(index), Term: new(term), Data: b}
}

func appendOf(from, term, index, logTerm, commit uint64, entries ...*raftpb.Entry) *raftpb.Message {
	return &raftpb.Message{
		Type: raftpb.MsgApp.Enum(), From: new(from), To: new(uint64(1)), Term: new(term), Index: new(index), LogTerm: new(logTerm),
		Commit: new(commit), Entries: entries,
	}
}

func TestEntriesOfAnOldLeaderAreReplacedAlsoOnTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := newVoter(t)
		m.node.Step(appendOf(2, 7, 1, 1, 0, entry(2, 7, "a"), entry(3, 7, "b"), entry(4, 7, "c")))
		r.take(raftpb.MsgAppResp)
		m.node.Step(appendOf(3, 8, 2, 7, 3, entry(3, 8, "B")))
		if got := r.take(raftpb.MsgAppResp); len(got) != 1 || got[0].GetReject() || got[0].GetIndex() != 3 {
			t.Fatalf("got %v", got)
		}
		m.powerCut(t, r.config)
		if s := m.node.Status(); s.Last != 3 || s.Term != 8 {
			t.Errorf("after the power cut: %+v", *s)
		}
		m.node.Step(appendOf(3, 8, 3, 8, 3))
		if got := r.take(raftpb.MsgAppResp); len(got) != 1 || got[0].GetReject() {
			t.Errorf("it does not have what it acknowledged: %v", got)
		}
		if got := m.sm.applied(); len(got) != 2 || got[1] != "B" {
			t.Errorf("applied %v", got)
		}
	})
}

func TestEachAttemptToReadHasAContextOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := newVoter(t)
		heartbeat := func() {
			m.node.Step(&raftpb.Message{
				Type: raftpb.MsgHeartbeat.Enum(), From: new(uint64(2)), To: new(uint64(1)), Term: new(uint64(7)), Commit: new(uint64(1)),
			})
			synctest.Wait()
		}
		heartbeat()
		answered := make(chan uint64, 1)
		go func() {
			index, _ := m.node.ReadIndex(context.Background())
			answered <- index
		}()
		first := r.take(raftpb.MsgReadIndex)
		if len(first) != 1 {
			t.Fatalf("asked %d times", len(first))
		}
		time.Sleep(1001 * 100 * time.Millisecond)
		heartbeat()
		second := r.take(raftpb.MsgReadIndex)
		for range 30 { // a tick of the node's may come before or after the heartbeat
			if len(second) > 0 {
				break
			}
			time.Sleep(100 * time.Millisecond)
			heartbeat()
			second = r.take(raftpb.MsgReadIndex)
		}
		if len(second) == 0 {
			t.Fatal("it never asked again")
		}
		old, now := first[0].GetEntries()[0].GetData(), second[len(second)-1].GetEntries()[0].GetData()
		if bytes.Equal(old, now) {
			t.Error("two attempts have the same context")
		}
		reply := func(context []byte, index uint64) {
			m.node.Step(&raftpb.Message{
				Type: raftpb.MsgReadIndexResp.Enum(), From: new(uint64(2)), To: new(uint64(1)), Term: new(uint64(7)), Index: new(index),
				Entries: []*raftpb.Entry{{Data: context}},
			})
			synctest.Wait()
		}
		reply(old, 1)
		if len(answered) != 0 {
			t.Error("an answer to an attempt that was given up was taken")
		}
		reply(now, 1)
		if len(answered) != 1 {
			t.Error("the answer was not taken")
		}
	})
}

func TestReadWaitsUntilTheIndexIsApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := newVoter(t)
		m.sm.slow = make(chan struct{})
		m.node.Step(appendOf(2, 7, 1, 1, 2, entry(2, 7, "a")))
		r.take(raftpb.MsgAppResp)
		answered := make(chan struct{})
		go func() {
			if _, err := m.node.ReadIndex(context.Background()); err != nil {
				t.Error(err)
			}
			close(answered)
		}()
		asked := r.take(raftpb.MsgReadIndex)
		if len(asked) != 1 {
			t.Fatalf("asked %d times", len(asked))
		}
		m.node.Step(&raftpb.Message{
			Type: raftpb.MsgReadIndexResp.Enum(), From: new(uint64(2)), To: new(uint64(1)), Term: new(uint64(7)), Index: new(uint64(2)),
			Entries: asked[0].GetEntries(),
		})
		synctest.Wait()
		select {
		case <-answered:
			t.Error("answered before it was applied")
		default:
		}
		close(m.sm.slow)
		<-answered
	})
}
