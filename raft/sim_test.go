package raft

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/rustmq/rustmq/wal/crashfs"
)

// sim is a group of members that things happen to, and what it must not do. It runs in a synctest bubble.
type sim struct {
	seed    uint64
	planted planted
	ctx     context.Context

	mu       sync.Mutex
	random   *rand.Rand
	machines map[uint64]*machine
	founders []uint64
	next     uint64             // the next new member's id
	cut      map[[2]uint64]bool // from, to
	loss     float64            // of messages
	slow     map[uint64]bool    // whose disk takes long
	leaders  map[uint64]uint64  // by term
	truth    []string           // what was applied, by whoever applied most
	acked    map[string]int     // and its number, from 1
	seen     int                // the most that an acknowledgement or a read showed
	wrong    []string
	peaceful bool // nothing more happens
	removed  []uint64
	blank    uint64 // a member whose disk was lost; 0: none
	trouble  sync.WaitGroup
}

const simTick = 20 * time.Millisecond

func newSim(ctx context.Context, seed uint64, voters int, bugs planted) *sim {
	s := &sim{
		seed: seed, planted: bugs, ctx: ctx, random: rand.New(rand.NewPCG(seed, 7)), machines: map[uint64]*machine{}, cut: map[[2]uint64]bool{},
		slow: map[uint64]bool{}, leaders: map[uint64]uint64{}, acked: map[string]int{}, next: uint64(voters) + 1,
	}
	s.planted.panicked = func(p any) { s.fault("raft panics: %v", p) }
	for id := range uint64(voters) {
		s.founders = append(s.founders, id+1)
	}
	for _, id := range s.founders {
		s.add(id)
	}
	return s
}

// fault notes what went wrong.
func (s *sim) fault(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrong = append(s.wrong, fmt.Sprintf(format, args...))
}

func (s *sim) faults() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.wrong)
}

// intN and chance are the sim's dice.
func (s *sim) intN(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.random.IntN(n)
}

func (s *sim) chance(p float64) bool { return float64(s.intN(1e6)) < p*1e6 }

func (s *sim) between(low, high time.Duration) time.Duration {
	return low + time.Duration(s.intN(int(high-low)))
}

// add starts a new member.
func (s *sim) add(id uint64) {
	m := &machine{id: id, fs: crashfs.New(s.seed*100 + id)}
	m.sm = newJournal(m.fs.Cut)
	m.sm.delay = func() { time.Sleep(s.between(time.Millisecond, 100*time.Millisecond)) }
	checked := 0
	m.sm.watch = func(applied []string) { checked = s.check(m.id, applied, checked) }
	s.start(m)
}

// check compares what a member has applied with what the others have. A member that differs is ahead of what all agree on, and is compared again from where they do.
func (s *sim) check(id uint64, applied []string, from int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := min(from, len(applied), len(s.truth)); i < len(applied); i++ {
		if i == len(s.truth) {
			s.truth = append(s.truth, applied[i])
		} else if s.truth[i] != applied[i] {
			s.wrong = append(s.wrong, fmt.Sprintf("member %d applied %s as number %d, another %s", id, applied[i], i+1, s.truth[i]))
			break
		}
	}
	return len(applied)
}

// start boots a member on its disk.
func (s *sim) start(m *machine) {
	m.fs.Hook(func(c crashfs.Call) error {
		if c.Op == crashfs.OpSync {
			s.mu.Lock()
			slow := s.slow[m.id]
			s.mu.Unlock()
			if slow {
				time.Sleep(s.between(50*time.Millisecond, time.Second))
			} else {
				time.Sleep(s.between(time.Millisecond, 8*time.Millisecond))
			}
		}
		return nil
	})
	fresh := &machine{id: m.id, fs: m.fs, sm: m.sm}
	err := boot(fresh, func(cfg *Config) {
		cfg.Transport, cfg.Peers = simPort{s, m.id}, nil
		if slices.Contains(s.founders, m.id) {
			cfg.Peers = s.founders
		}
		cfg.Tick, cfg.CompactEntries, cfg.KeepEntries = simTick, 15, 4
		cfg.planted, cfg.Logger = s.planted, slog.New(slog.DiscardHandler)
		cfg.Rand = simMark{s}
	})
	if err != nil {
		s.fault("member %d does not start: %v", m.id, err)
		return
	}
	s.mu.Lock()
	s.machines[m.id] = fresh
	s.mu.Unlock()
}

type simMark struct{ s *sim }

func (m simMark) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(m.s.intN(256))
	}
	return len(p), nil
}

// crash cuts the power of a member; it comes back after a while.
func (s *sim) crash(m *machine, pause time.Duration) {
	s.mu.Lock()
	present := s.machines[m.id] == m
	delete(s.machines, m.id)
	s.mu.Unlock()
	if !present {
		return
	}
	if s.chance(0.7) {
		m.fs.CrashWith(crashfs.Lose())
	} else {
		m.fs.Crash()
	}
	s.seeGone(m.id, 0.5)
	_ = m.node.Close() // of a power cut
	_ = m.log.Close()
	time.Sleep(pause)
	m.sm = m.sm.reborn(m.fs.Cut)
	s.start(m)
}

// seeGone has some of the others see that a member's process has ended, or believe it.
func (s *sim) seeGone(id uint64, p float64) {
	for _, m := range s.all() {
		if m.id != id && s.chance(p) {
			time.AfterFunc(s.between(time.Microsecond, 5*time.Millisecond), func() { m.node.ReportGone(id) })
		}
	}
}

func (s *sim) all() []*machine {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.machines), func(a, b *machine) int { return int(a.id) - int(b.id) })
}

// some is any member that runs, or nil.
func (s *sim) some() *machine {
	all := s.all()
	if len(all) == 0 {
		return nil
	}
	return all[s.intN(len(all))]
}

func (s *sim) leader() *machine {
	for _, m := range s.all() {
		if m.node.Status().Leading {
			return m
		}
	}
	return nil
}

func (s *sim) close() {
	var wait sync.WaitGroup
	for _, m := range s.all() {
		wait.Go(func() {
			m.fs.Hook(nil)
			_ = m.node.Close()
			_ = m.log.Close()
		})
	}
	wait.Wait()
}

// simPort is a member's end of a network that loses, delays, repeats and reorders.
type simPort struct {
	s    *sim
	from uint64
}

func (p simPort) Start(Receiver) {}

func (p simPort) Send(messages []*raftpb.Message) {
	for _, m := range messages {
		p.s.noteLeader(m)
		if m.GetType() == raftpb.MsgVoteResp && !m.GetReject() && p.s.chance(0.25) {
			p.s.ambush(m.GetFrom(), m.GetTo(), 5*time.Millisecond)
		}
		copies := 1
		if p.s.chance(0.03) {
			copies = 2
		}
		for range copies {
			if p.s.lost() {
				continue
			}
			got := proto.Clone(m).(*raftpb.Message)
			time.AfterFunc(p.s.delay(m), func() {
				if to := p.s.reach(p.from, got.GetTo()); to != nil {
					to.node.Step(got)
				}
			})
		}
	}
}

// ambush crashes a member soon and, when given, cuts another off for a while.
func (s *sim) ambush(crashed, alone uint64, soon time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.peaceful {
		return
	}
	s.trouble.Go(func() {
		time.Sleep(soon)
		s.set(func() {
			for id := range s.machines {
				if alone != 0 {
					s.cut[[2]uint64{alone, id}], s.cut[[2]uint64{id, alone}] = true, true
				}
			}
		})
		if m := s.reach(0, crashed); m != nil {
			s.crash(m, s.between(time.Millisecond, 20*time.Millisecond))
		}
	})
}

// silence has a member hear for a while and not be heard, and crash then.
func (s *sim) silence(m *machine) {
	time.Sleep(s.between(time.Millisecond, 15*time.Millisecond))
	s.set(func() {
		for id := range s.machines {
			s.cut[[2]uint64{m.id, id}] = true
		}
	})
	time.Sleep(s.between(time.Millisecond, 40*time.Millisecond))
	s.crash(m, s.between(time.Millisecond, 20*time.Millisecond))
}

// delay of a message. Answers to reads are now and then as late as makes them dangerous.
func (s *sim) delay(m *raftpb.Message) time.Duration {
	switch {
	case m.GetType() == raftpb.MsgReadIndexResp && s.chance(0.2):
		return s.between(100*time.Millisecond, 900*time.Millisecond)
	case s.chance(0.02):
		return s.between(20*time.Millisecond, 400*time.Millisecond)
	}
	return s.between(500*time.Microsecond, 3*time.Millisecond)
}

func (s *sim) lost() bool {
	s.mu.Lock()
	p := s.loss
	s.mu.Unlock()
	return p > 0 && s.chance(p)
}

func (s *sim) reach(from, to uint64) *machine {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cut[[2]uint64{from, to}] {
		return nil
	}
	return s.machines[to]
}

// noteLeader sees who speaks as a leader.
func (s *sim) noteLeader(m *raftpb.Message) {
	if m.GetType() != raftpb.MsgApp && m.GetType() != raftpb.MsgHeartbeat {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if other, ok := s.leaders[m.GetTerm()]; ok && other != m.GetFrom() {
		s.wrong = append(s.wrong, fmt.Sprintf("term %d has leaders %d and %d", m.GetTerm(), other, m.GetFrom()))
	}
	s.leaders[m.GetTerm()] = m.GetFrom()
}

func (p simPort) SendSnapshot(ctx context.Context, m *raftpb.Message, body io.Reader) error {
	time.Sleep(p.s.between(time.Millisecond, 50*time.Millisecond))
	to := p.s.reach(p.from, m.GetTo())
	if to == nil {
		return errors.New("unreachable")
	}
	if p.s.chance(0.3) {
		p.s.ambush(m.GetTo(), 0, p.s.between(time.Millisecond, 100*time.Millisecond))
	}
	return to.node.ReceiveSnapshot(ctx, proto.Clone(m).(*raftpb.Message), body)
}

// propose has members take proposals until the context ends.
func (s *sim) propose(ctx context.Context, worker int) {
	for i := 0; ctx.Err() == nil; i++ {
		m := s.leader()
		if m == nil || s.chance(0.1) {
			m = s.some()
		}
		if m != nil {
			data := fmt.Sprintf("%d-%d", worker, i)
			wait, done := context.WithTimeout(ctx, time.Second)
			result, err := m.node.Propose(wait, []byte(data))
			done()
			if err == nil {
				s.ack(data, string(result))
			}
		}
		time.Sleep(s.between(time.Millisecond, 30*time.Millisecond))
	}
}

func (s *sim) ack(data, result string) {
	number := 0
	if _, err := fmt.Sscanf(result, data+" was number %d", &number); err != nil {
		s.fault("%s was answered with %q", data, result)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acked[data] = number
	s.seen = max(s.seen, number)
}

// read reads from members until the context ends: never less than was known before.
func (s *sim) read(ctx context.Context) {
	for ctx.Err() == nil {
		if m := s.some(); m != nil {
			s.mu.Lock()
			before := s.seen
			s.mu.Unlock()
			wait, done := context.WithTimeout(ctx, 2*time.Second)
			_, err := m.node.ReadIndex(wait)
			done()
			if err == nil {
				got := m.sm.count()
				if got < before {
					s.fault("a read of member %d shows %d, and %d were known before", m.id, got, before)
				}
				s.mu.Lock()
				s.seen = max(s.seen, got)
				s.mu.Unlock()
			}
		}
		time.Sleep(s.between(time.Millisecond, 40*time.Millisecond))
	}
}

// happen makes one thing happen.
func (s *sim) happen() {
	m := s.some()
	if m == nil {
		return
	}
	other := s.some()
	switch s.intN(16) {
	case 13:
		s.trouble.Go(s.again)
	case 14, 15:
		s.trouble.Go(func() { s.loseDisk(m) })
	case 0, 1, 2:
		s.trouble.Go(func() { s.crash(m, s.between(time.Millisecond, 500*time.Millisecond)) })
	case 3:
		s.set(func() {
			for id := range s.machines {
				s.cut[[2]uint64{m.id, id}], s.cut[[2]uint64{id, m.id}] = true, true
			}
		})
	case 4: // one way
		s.set(func() { s.cut[[2]uint64{m.id, other.id}] = true })
	case 5, 6:
		s.set(func() { clear(s.cut); s.loss = 0 })
	case 7:
		s.set(func() { s.loss = 0.2 })
	case 8:
		s.set(func() { s.slow[m.id] = !s.slow[m.id] })
	case 9:
		m.node.TransferLeadership(other.id)
	case 12: // which is not true
		s.seeGone(m.id, 0.7)
	case 10:
		s.trouble.Go(func() { s.grow() })
	case 11:
		if leader := s.leader(); leader != nil && len(leader.node.Status().Voters) > 3 {
			s.trouble.Go(func() { s.remove(leader, m) })
		}
	}
}

// remove has a leader remove a member, which may be refused. One that removes itself may fall silent over it and die, while another loses its disk.
func (s *sim) remove(leader, m *machine) {
	if s.chance(0.5) {
		m = leader
		s.trouble.Go(func() { s.silence(leader) })
		if other := s.some(); other != nil && other != leader {
			s.trouble.Go(func() {
				time.Sleep(s.between(time.Millisecond, 30*time.Millisecond))
				s.loseDisk(other)
			})
		}
	}
	ctx, done := context.WithTimeout(s.ctx, time.Second)
	defer done()
	if leader.node.Remove(ctx, m.id) == nil {
		s.set(func() { s.removed = append(s.removed, m.id) })
	}
}

func (s *sim) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// grow adds a member. That may fail, and the member then waits for ever.
func (s *sim) grow() {
	s.mu.Lock()
	id := s.next
	s.next++
	s.mu.Unlock()
	s.add(id)
	leader := s.leader()
	if leader == nil {
		return
	}
	ctx, done := context.WithTimeout(s.ctx, 2*time.Second)
	defer done()
	if leader.node.AddLearner(ctx, id) == nil {
		_ = leader.node.PromoteWhenCaughtUp(ctx, id) // which may fail
	}
}

// again asks for a place under the id of a member that was removed, which is not to be had.
func (s *sim) again() {
	leader := s.leader()
	s.mu.Lock()
	removed := slices.Clone(s.removed)
	s.mu.Unlock()
	if leader == nil || len(removed) == 0 {
		return
	}
	id := removed[s.intN(len(removed))]
	ctx, done := context.WithTimeout(s.ctx, 2*time.Second)
	defer done()
	if leader.node.AddLearner(ctx, id) == nil {
		s.fault("member %d was removed, and its id is taken again", id)
	}
}

// loseDisk has a member lose its disk, once in a life. It is blank then: another member takes its place, under another id.
func (s *sim) loseDisk(m *machine) {
	s.mu.Lock()
	present := s.machines[m.id] == m && s.blank == 0
	if present {
		s.blank = m.id
		delete(s.machines, m.id)
	}
	s.mu.Unlock()
	if !present {
		return
	}
	m.fs.CrashWith(crashfs.Lose())
	_ = m.node.Close() // of a power cut
	_ = m.log.Close()
	time.Sleep(s.between(time.Millisecond, 50*time.Millisecond))
	if s.planted.blankGoesOn {
		s.set(func() { s.blank = 0 })
		s.add(m.id)
		return
	}
	s.dismiss()
	s.grow()
}

// dismiss takes the member that lost its disk out of the group, if it is there and that can be done now.
func (s *sim) dismiss() {
	leader := s.leader()
	if leader == nil || s.blank == 0 {
		return
	}
	ctx, done := context.WithTimeout(s.ctx, time.Second)
	defer done()
	_ = leader.node.Remove(ctx, s.blank)
}

// heal ends all trouble.
func (s *sim) heal() {
	s.set(func() { clear(s.cut); clear(s.slow); s.loss = 0 })
}

// settle waits until all voters have applied the same and looks for what was acknowledged.
func (s *sim) settle() {
	for range 1000 {
		time.Sleep(20 * time.Millisecond)
		leader := s.leader()
		if leader != nil && slices.Contains(leader.node.Status().Voters, s.blank) {
			s.dismiss()
		}
		if leader != nil && s.together(leader) {
			s.judge(leader.sm.applied())
			return
		}
	}
	for _, m := range s.all() {
		s.fault("it does not settle: member %d has applied %d, %+v", m.id, m.sm.count(), *m.node.Status())
	}
}

func (s *sim) together(leader *machine) bool {
	status := leader.node.Status()
	if status.Applied != status.Last {
		return false
	}
	for _, id := range status.Voters {
		m := s.reach(0, id)
		if m == nil || m.node.Status().Applied != status.Applied {
			return false
		}
	}
	return true
}

func (s *sim) judge(applied []string) {
	times := map[string]int{}
	for _, a := range applied {
		times[a]++
		if times[a] > 1 {
			s.fault("%s was applied twice", a)
		}
	}
	for data, number := range s.acked {
		if number > len(applied) || applied[number-1] != data {
			s.fault("%s was acknowledged as number %d, and is not there", data, number)
		}
	}
}

// live is one life of a group by seed.
func (s *sim) live(events int) {
	ctx, cancel := context.WithCancel(s.ctx)
	var workers sync.WaitGroup
	for w := range 3 {
		workers.Go(func() { s.propose(ctx, w) })
	}
	for range 2 {
		workers.Go(func() { s.read(ctx) })
	}
	for range events {
		time.Sleep(s.between(20*time.Millisecond, 500*time.Millisecond))
		s.happen()
	}
	s.set(func() { s.peaceful = true })
	s.trouble.Wait()
	s.heal()
	time.Sleep(time.Second)
	cancel()
	workers.Wait()
	if len(s.faults()) == 0 {
		s.settle()
	}
	s.close()
}
