package transport

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rustmq/rustmq/raft"
	"github.com/rustmq/rustmq/wal"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// list is a state machine: the proposals that were applied.
type list struct {
	mu    sync.Mutex
	state listState
}

type listState struct {
	At    raft.Position
	Items []string
}

func (l *list) Position() raft.Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state.At
}

func (l *list) Apply(entries []raft.Entry, at raft.Position) ([][]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range entries {
		l.state.Items = append(l.state.Items, string(e.Data))
	}
	l.state.At = raft.Position{Index: at.Index, Term: at.Term, Conf: slices.Clone(at.Conf)}
	return make([][]byte, len(entries)), nil
}

func (l *list) Snapshot() (io.ReadCloser, raft.Position, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, err := json.Marshal(l.state)
	return io.NopCloser(bytes.NewReader(b)), l.state.At, err
}

func (l *list) Stage(body io.Reader) (raft.Staged, error) {
	s := &stagedList{l: l}
	return s, json.NewDecoder(body).Decode(&s.state)
}

type stagedList struct {
	l     *list
	state listState
}

func (s *stagedList) Position() raft.Position { return s.state.At }
func (s *stagedList) Discard()                {}
func (s *stagedList) Install() error {
	s.l.mu.Lock()
	defer s.l.mu.Unlock()
	s.l.state = s.state
	return nil
}

func (l *list) items() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.state.Items)
}

// voter is a raft node whose transport is the real one.
type voter struct {
	*end
	node *raft.Node
	sm   *list
}

func newVoter(t *testing.T, f *fabric, id uint64, peers ...uint64) *voter {
	t.Helper()
	v := &voter{end: newEnd(t, f, id, nil), sm: &list{}}
	log, _, err := wal.Open(wal.Options{FS: crashfs.New(id), Dir: "raft", SegmentBytes: 1 << 20, Rand: &counter{}}, func(wal.Entry) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	v.node, err = raft.Open(raft.Config{
		ID: id, Peers: peers, Log: log, SM: v.sm, Transport: v.Transport, MaxProposal: 64 << 10, CompactEntries: 20, KeepEntries: 4, Rand: &counter{n: byte(id)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = v.node.Close()
		_ = log.Close()
	})
	return v
}

func TestGroupOverTheTransport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric()
		voters := []*voter{newVoter(t, f, 1, 1, 2, 3), newVoter(t, f, 2, 1, 2, 3), newVoter(t, f, 3, 1, 2, 3)}
		leader := func() *voter {
			for range 1000 {
				for _, v := range voters {
					if v.node.Status().Leading {
						return v
					}
				}
				time.Sleep(10 * time.Millisecond)
			}
			t.Fatal("nobody leads")
			return nil
		}()
		for i := range 50 {
			if _, err := leader.node.Propose(t.Context(), fmt.Appendf(nil, "%d", i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := leader.node.AddLearner(t.Context(), 4); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // it cannot be reached yet
		voters = append(voters, newVoter(t, f, 4))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for _, v := range voters {
			for v.node.Status().Applied == 0 { // the learner gets all by a snapshot
				time.Sleep(100 * time.Millisecond)
			}
			if _, err := v.node.ReadIndex(ctx); err != nil {
				t.Fatal(err)
			}
			if got := v.sm.items(); len(got) != 50 || got[49] != "49" {
				t.Errorf("node %d applied %v", v.cfg.ID, got)
			}
		}
	})
}
