package coordinator

import (
	"context"
	"sync"
	"time"

	"github.com/rustmq/rustmq/group"
	"github.com/rustmq/rustmq/mq"
)

// Watcher is told what concerns a member that is attached. Its methods never block and are cheap.
type Watcher interface {
	// Assigned tells the member's epoch, and what it may consume unless that is as it was told last. Each has the next number, from 1.
	Assigned(number uint32, epoch int32, changed bool, assigned group.Partitions)
	// Ended tells why the member is attached no more. Nothing comes after it.
	Ended(err error)
	// Heard counts what came from the client, so that it moves while the client lives.
	Heard() uint64
}

// Member is a member of a group whose session is its liveness.
type Member struct {
	shard    *shard
	key      group.Wake
	instance string
	watcher  Watcher

	mu       sync.Mutex
	over     bool   // detached, left or ended
	busy     bool   // a heartbeat is under way
	due      bool   // another one is to follow
	told     uint32 // how often the watcher was told of an assignment: the number of the last
	epoch    int32
	assigned group.Partitions        // as the watcher was told
	changed  uint32                  // the number of the last one that was another one
	noted    uint32                  // the number of the one that the client has taken note of
	say      *group.HeartbeatRequest // what the next heartbeat has to say beside the epoch; nil: nothing
	interval time.Duration
	beaten   time.Time // when the last heartbeat was answered
	heard    uint64    // by the watcher, when that was looked at last
	heardAt  time.Time // when something more had been heard
}

// quietTime is for how long nothing need come from a client that lives: half the time after which its session is given up. Where sessions of members are shorter than
// some of it, who is quiet for so long still lives.
const quietTime = 15 * time.Second

// Attach has a member join its group, or go on in it, by a first heartbeat that says everything. A member that is attached already goes on here, and its old watcher is told
// FENCED_MEMBER_EPOCH. An error is one that is known at once; w is told nothing then.
func (c *Coordinator) Attach(first *group.HeartbeatRequest, w Watcher) (*Member, error) {
	s, err := c.find(first.Group)
	if err != nil {
		return nil, err
	}
	m := &Member{shard: s, key: group.Wake{Group: first.Group, Member: first.Member}, instance: first.Instance, watcher: w, busy: true}
	s.mu.Lock()
	if err := s.refusal(); err != nil {
		s.mu.Unlock()
		return nil, err
	}
	old := s.members[m.key]
	s.members[m.key] = m
	s.mu.Unlock()
	if old != nil {
		old.end(mq.Errorf(mq.FencedMemberEpoch, "member %q of group %q goes on elsewhere", first.Member, first.Group))
	}
	if err := s.handle(first, m.answered); err != nil {
		m.detach()
		return nil, err
	}
	return m, nil
}

// Say takes what a client says: the number of the assignment that it has taken note of, and in h what has changed beside; only the fields for topics, pattern, assignor and
// what is owned are looked at.
func (m *Member) Say(number uint32, h group.HeartbeatRequest) {
	m.mu.Lock()
	m.noted = number
	if m.say == nil {
		m.say = &group.HeartbeatRequest{}
	}
	if h.Topics != nil {
		m.say.Topics, m.say.Pattern, m.say.Assignor = h.Topics, h.Pattern, h.Assignor
	}
	if h.Owned != nil && number >= m.changed { // what was owned before says nothing of what is consumed now
		m.say.Owned = h.Owned
	}
	m.mu.Unlock()
	m.beat()
}

// hears says whether the client has taken note of the last assignment. Before it has, what it says that it owns is of another one, and it may consume by now
// what it has been assigned since. The mutex is held.
func (m *Member) hears() bool { return m.told > 0 && m.noted == m.told }

// beat sends a heartbeat unless one is under way, or the client has not taken note of the last assignment: then it follows.
func (m *Member) beat() {
	m.mu.Lock()
	if m.over {
		m.mu.Unlock()
		return
	}
	if m.busy || !m.hears() {
		m.due = true
		m.mu.Unlock()
		return
	}
	r := m.say
	if r == nil {
		r = &group.HeartbeatRequest{}
	}
	r.Group, r.Member, r.Instance, r.Epoch = m.key.Group, m.key.Member, m.instance, m.epoch
	m.say, m.busy, m.due = nil, true, false
	m.mu.Unlock()
	if err := m.shard.handle(r, m.answered); err != nil {
		m.answered(nil, err)
	}
}

// answered takes the answer to a heartbeat.
func (m *Member) answered(response group.Response, err error) {
	if err != nil {
		m.end(err)
		return
	}
	r, ok := response.(*group.HeartbeatResponse)
	if !ok {
		m.end(mq.Errorf(mq.Internal, "a heartbeat was answered by a %T", response))
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.over {
		return
	}
	m.busy, m.interval, m.beaten = false, r.HeartbeatInterval, time.Now()
	changed := r.Changed && !(m.told > 0 && r.Assigned.Equal(m.assigned))
	if m.told == 0 || changed || r.Epoch != m.epoch {
		if r.Changed {
			m.assigned = r.Assigned
		}
		m.told++
		m.epoch = r.Epoch
		if changed {
			m.changed = m.told
			if m.say != nil {
				m.say.Owned = nil
			}
		}
		m.watcher.Assigned(m.told, r.Epoch, changed, m.assigned)
	}
	if m.due && m.hears() {
		m.shard.c.poke(m.shard, m.key) // not from here: this may be the log's writer
	}
}

// end tells the watcher that it is over.
func (m *Member) end(err error) {
	if m.detach() {
		m.watcher.Ended(err)
	}
}

// detach ends what comes from and goes to the client, and reports whether there was any.
func (m *Member) detach() bool {
	m.mu.Lock()
	was := !m.over
	m.over = true
	m.mu.Unlock()
	s := m.shard
	s.mu.Lock()
	if s.members[m.key] == m {
		delete(s.members, m.key)
	}
	s.mu.Unlock()
	return was
}

// Detach ends the stream of a member that has its session timeout to come back. The watcher is told nothing any more.
func (m *Member) Detach() { m.detach() }

// Leave has a member leave: a static one for the time being, others for good. It waits until that is durable. The watcher is told nothing any more.
func (m *Member) Leave(ctx context.Context) error {
	if !m.detach() {
		return nil
	}
	r := &group.HeartbeatRequest{Group: m.key.Group, Member: m.key.Member, Instance: m.instance, Epoch: group.EpochLeave}
	if m.instance != "" {
		r.Epoch = group.EpochLeaveStatic
	}
	_, err := m.shard.do(ctx, m.key.Group, r)
	return err
}

// poke has a member heartbeat soon, if it is attached. Any goroutine may call it, the log's writer too.
func (c *Coordinator) poke(s *shard, who group.Wake) {
	c.mu.Lock()
	c.poked = append(c.poked, poke{s, who})
	c.mu.Unlock()
	signal(c.wake)
}

// poke names a member that is to heartbeat.
type poke struct {
	shard  *shard
	member group.Wake
}

// beatPoked sends the heartbeats that members were found to be due.
func (l *loop) beatPoked() {
	l.c.mu.Lock()
	poked := l.c.poked
	l.c.poked = nil
	l.c.mu.Unlock()
	for _, p := range poked {
		p.shard.mu.Lock()
		m := p.shard.members[p.member]
		p.shard.mu.Unlock()
		if m != nil {
			m.beat()
		}
	}
}

// beatLiving heartbeats for those members of which something was heard since the last time.
func (s *shard) beatLiving(now time.Time) {
	s.mu.Lock()
	all := make([]*Member, 0, len(s.members))
	for _, m := range s.members {
		all = append(all, m)
	}
	s.mu.Unlock()
	for _, m := range all {
		if m.isDue(now) {
			m.beat()
		}
	}
}

// isDue says whether a heartbeat is to be sent for a member, because its client lives.
func (m *Member) isDue(now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.over || m.busy || !m.hears() || now.Sub(m.beaten) < m.interval {
		return false
	}
	if heard := m.watcher.Heard(); heard != m.heard || m.heardAt.IsZero() {
		m.heard, m.heardAt = heard, now
		return true
	}
	return m.shard.c.cfg.Groups.SessionTimeout < 2*quietTime && now.Sub(m.heardAt) < quietTime
}
