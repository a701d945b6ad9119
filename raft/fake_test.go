package raft

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// journal is a state machine that remembers what it was given. Its state is durable when Apply returns, and not at all when the power
// was cut before.
type journal struct {
	cut func() bool // says whether the power is cut

	mu     sync.Mutex
	state  journalState
	stages int
	slow   chan struct{}  // when set, Apply and Install wait for it
	full   atomic.Bool    // Apply finds no room
	delay  func()         // when set, takes the time of an Install
	watch  func([]string) // when set, is told all that was applied after each change
}

type journalState struct {
	At      Position
	Applied []string
}

func newJournal(cut func() bool) *journal { return &journal{cut: cut} }

var errPower = errors.New("the power is cut")

func (j *journal) Position() Position {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.state.At
}

func (j *journal) Apply(entries []Entry, at Position) ([][]byte, error) {
	if j.slow != nil {
		<-j.slow
	}
	if j.cut() {
		return nil, errPower
	}
	if j.full.Load() {
		return nil, mq.Errorf(mq.StorageFull, "no room for the journal")
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if at.Index <= j.state.At.Index || len(entries) > 0 && entries[0].Index <= j.state.At.Index {
		return nil, fmt.Errorf("applied twice: index %d at %d", at.Index, j.state.At.Index)
	}
	results := make([][]byte, len(entries))
	for i, e := range entries {
		j.state.Applied = append(j.state.Applied, string(e.Data))
		results[i] = fmt.Appendf(nil, "%s was number %d", e.Data, len(j.state.Applied))
	}
	j.state.At = Position{at.Index, at.Term, slices.Clone(at.Conf)}
	if j.watch != nil {
		j.watch(j.state.Applied)
	}
	return results, nil
}

func (j *journal) Snapshot() (io.ReadCloser, Position, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	b, err := json.Marshal(j.state)
	return io.NopCloser(bytes.NewReader(b)), j.state.At, err
}

func (j *journal) Stage(body io.Reader) (Staged, error) {
	s := &stagedJournal{j: j}
	if err := json.NewDecoder(body).Decode(&s.state); err != nil {
		return nil, err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.stages++
	return s, nil
}

type stagedJournal struct {
	j     *journal
	state journalState
}

func (s *stagedJournal) Position() Position { return s.state.At }
func (s *stagedJournal) Discard()           {}
func (s *stagedJournal) Install() error {
	if s.j.slow != nil {
		<-s.j.slow
	}
	if s.j.delay != nil {
		s.j.delay()
	}
	if s.j.cut() {
		return errPower
	}
	if s.j.full.Load() {
		return mq.Errorf(mq.StorageFull, "no room for a snapshot in the journal's place")
	}
	s.j.mu.Lock()
	defer s.j.mu.Unlock()
	s.j.state = s.state
	if s.j.watch != nil {
		s.j.watch(s.state.Applied)
	}
	return nil
}

// applied is what was applied so far, in order.
func (j *journal) applied() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.state.Applied)
}

// reborn is the journal as a process finds it after a crash.
func (j *journal) reborn(cut func() bool) *journal {
	j.mu.Lock()
	defer j.mu.Unlock()
	return &journal{cut: cut, watch: j.watch, delay: j.delay, state: journalState{j.state.At, slices.Clone(j.state.Applied)}}
}

// machine is one node with its disk.
type machine struct {
	id   uint64
	fs   *crashfs.FS
	log  *wal.Log
	sm   *journal
	node *Node
	rec  *wal.Recovery
	logs logLines
}

// logLines keeps the lines of level error.
type logLines struct {
	mu    sync.Mutex
	lines []string
}

func (l *logLines) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelError }
func (l *logLines) WithAttrs([]slog.Attr) slog.Handler               { return l }
func (l *logLines) WithGroup(string) slog.Handler                    { return l }
func (l *logLines) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, r.Message)
	return nil
}

// healed says whether the node had to go on without its log.
func (l *logLines) healed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.lines, func(line string) bool { return strings.Contains(line, "damaged") })
}

const testSegment = 256 << 10

// boot opens log and node on a disk.
func boot(m *machine, change func(*Config)) (err error) {
	m.log, m.rec, err = wal.Open(wal.Options{FS: m.fs, Dir: "raft", SegmentBytes: testSegment, Rand: zeros{}}, func(wal.Entry) error { return nil })
	if err != nil {
		return err
	}
	cfg := Config{ID: m.id, Peers: []uint64{m.id}, Log: m.log, SM: m.sm, MaxProposal: 64 << 10, Logger: slog.New(&m.logs)}
	if change != nil {
		change(&cfg)
	}
	m.node, err = Open(cfg)
	if err != nil {
		return errors.Join(err, m.log.Close())
	}
	return nil
}

// halt ends node and log; errors are for the test to look at elsewhere.
func (m *machine) halt() {
	if m.node != nil {
		_ = m.node.Close()
		_ = m.log.Close()
		m.node = nil
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// newMachine boots a single voter on a new disk.
func newMachine(t *testing.T, change func(*Config)) *machine {
	t.Helper()
	m := &machine{id: 1, fs: crashfs.New(1)}
	m.sm = newJournal(m.fs.Cut)
	if err := boot(m, change); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.halt)
	m.awaitLeading(t)
	return m
}

func (m *machine) awaitLeading(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := m.node.AwaitLeader(ctx); err != nil {
		t.Fatal(err)
	}
}

// reboot halts the node and boots it again, with the memory of what is durable.
func (m *machine) reboot(t *testing.T, change func(*Config)) {
	t.Helper()
	m.halt()
	m.fs.Kill()
	m.sm = m.sm.reborn(m.fs.Cut)
	if err := boot(m, change); err != nil {
		t.Fatal(err)
	}
}

func (m *machine) propose(t *testing.T, data string) {
	t.Helper()
	if _, err := m.node.Propose(t.Context(), []byte(data)); err != nil {
		t.Fatal(err)
	}
}

// network is an in-memory network of machines. Messages take a millisecond each way.
type network struct {
	mu       sync.Mutex
	machines map[uint64]*machine
	cut      map[[2]uint64]bool
	lose     func(m *raftpb.Message) bool // when set, says which messages do not arrive
	wait     sync.WaitGroup
}

func newNetwork() *network {
	return &network{machines: map[uint64]*machine{}, cut: map[[2]uint64]bool{}}
}

func (w *network) target(from, to uint64) *Node {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := w.machines[to]
	if w.cut[[2]uint64{from, to}] || m == nil {
		return nil
	}
	return m.node
}

// losing says which messages do not arrive from now on; nil: none are lost.
func (w *network) losing(lose func(m *raftpb.Message) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lose = lose
}

// remove takes a machine off the network: nothing arrives there any more. The test halts it.
func (w *network) remove(m *machine) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.machines, m.id)
}

func (w *network) loses(m *raftpb.Message) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lose != nil && w.lose(m)
}

// isolate cuts a node off from all others, or connects it again.
func (w *network) isolate(id uint64, cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for other := range w.machines {
		w.cut[[2]uint64{id, other}], w.cut[[2]uint64{other, id}] = cut, cut
	}
}

type port struct {
	w  *network
	id uint64
}

func (p port) Start(Receiver) {}

func (p port) Send(messages []*raftpb.Message) {
	for _, m := range messages {
		if p.w.loses(m) {
			continue
		}
		b, err := proto.Marshal(m)
		if err != nil {
			panic(err)
		}
		p.w.wait.Go(func() {
			time.Sleep(time.Millisecond)
			got := &raftpb.Message{}
			if err := proto.Unmarshal(b, got); err != nil {
				panic(err)
			}
			if n := p.w.target(p.id, got.GetTo()); n != nil {
				n.Step(got)
			}
		})
	}
}

func (p port) SendSnapshot(ctx context.Context, m *raftpb.Message, body io.Reader) error {
	time.Sleep(time.Millisecond)
	n := p.w.target(p.id, m.GetTo())
	if n == nil {
		return errors.New("unreachable")
	}
	return n.ReceiveSnapshot(ctx, m, body)
}

// group is a number of machines on one network.
type cluster struct {
	*network
	t      *testing.T
	change func(*Config)
}

func newCluster(t *testing.T, size int, change func(*Config)) *cluster {
	c := &cluster{network: newNetwork(), t: t, change: change}
	for id := range uint64(size) {
		c.add(id+1, true)
	}
	t.Cleanup(func() {
		machines := c.all()
		c.mu.Lock()
		clear(c.machines) // from here on no message arrives
		c.mu.Unlock()
		for _, m := range machines {
			m.halt()
		}
		c.wait.Wait()
	})
	return c
}

func (c *cluster) all() []*machine {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.SortedFunc(maps.Values(c.machines), func(a, b *machine) int { return int(a.id) - int(b.id) })
}

// add boots a new machine, a founding voter or one that waits to be added.
func (c *cluster) add(id uint64, founder bool) *machine {
	c.t.Helper()
	m := &machine{id: id, fs: crashfs.New(id)}
	m.sm = newJournal(m.fs.Cut)
	c.boot(m, founder)
	return m
}

func (c *cluster) boot(m *machine, founder bool) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := boot(m, func(cfg *Config) {
		cfg.Transport = port{c.network, m.id}
		cfg.Peers = nil
		if founder {
			cfg.Peers = []uint64{1, 2, 3}
		}
		if c.change != nil {
			c.change(cfg)
		}
	}); err != nil {
		c.t.Fatal(err)
	}
	c.machines[m.id] = m
}

// crash cuts the power of a machine and boots it again.
func (c *cluster) crash(m *machine) {
	c.t.Helper()
	c.mu.Lock()
	node, log := m.node, m.log
	m.node = nil
	c.mu.Unlock()
	m.fs.Crash()
	_ = node.Close()
	_ = log.Close()
	m.sm = m.sm.reborn(m.fs.Cut)
	c.boot(m, true)
}

// leader waits until one of the machines leads, which must not be except.
func (c *cluster) leader(except uint64) *machine {
	c.t.Helper()
	for range 1000 {
		for _, m := range c.all() {
			if m.id != except && m.node != nil && m.node.Status().Leading {
				return m
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	c.t.Fatal("nobody became leader within ten seconds")
	return nil
}

// settle waits until all machines have applied the same.
func (c *cluster) settle() []string {
	c.t.Helper()
	for range 1000 {
		machines := c.all()
		want := machines[0].sm.applied()
		same := true
		for _, m := range machines[1:] {
			same = same && slices.Equal(want, m.sm.applied())
		}
		if same {
			return want
		}
		time.Sleep(10 * time.Millisecond)
	}
	for _, m := range c.all() {
		c.t.Logf("node %d: %d applied, %+v", m.id, len(m.sm.applied()), *m.node.Status())
	}
	c.t.Fatal("the machines do not come together within ten seconds")
	return nil
}

// count is how many proposals were applied.
func (j *journal) count() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.state.Applied)
}
