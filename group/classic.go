package group

import (
	"cmp"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	grouppb "github.com/rustmq/rustmq/api/group/v1"
	"github.com/rustmq/rustmq/mq"
)

// consumerType is the protocol type of groups whose members consume: what they bring and get can be read.
const consumerType = "consumer"

// classic is a group with the classic protocol:
//
//	Empty -> PreparingRebalance: members join        (initial delay, rebalance timeout)
//	      -> CompletingRebalance: the leader assigns (rebalance timeout)
//	      -> Stable, and back to PreparingRebalance when anybody comes, goes or changes; Empty when nobody is left
//
// A generation is written down when it is formed, with what its members had before, and when it is complete: so its number does not come twice. A coordinator that
// begins in between forms the next one.
type classic struct {
	state        State
	generation   int32
	protocolType string
	protocol     string
	leader       string
	members      map[string]*classicMember
	instances    map[string]*classicMember
	pending      map[string]pendingMember
	saved        *grouppb.Classic // what is written down, not changed once it is

	joined    uint64 // counts those that joined, for their order
	initial   bool   // the first generation waits for more members
	more      bool   // of that time: one came
	joinLimit time.Time
	timer     uint64 // of the join or of the sync
}

// pendingMember was given an id, and has to come back with it.
type pendingMember struct {
	timer uint64
}

// classicMember is a member of a classic group.
type classicMember struct {
	id, instance         string
	clientID, clientHost string
	sessionTimeout       time.Duration
	rebalanceTimeout     time.Duration
	protocols            []ClassicProtocol
	assignment           []byte

	order       uint64
	join, sync  *Token // requests that wait
	unsynced    bool   // it has joined the generation and not asked for its assignment
	sessionEnds time.Time
	session     uint64
}

func newClassic() *classic {
	return &classic{
		state: StateEmpty, members: make(map[string]*classicMember), instances: make(map[string]*classicMember),
		pending: make(map[string]pendingMember), saved: &grouppb.Classic{},
	}
}

// save writes the generation down.
func (c *classic) save(s *Shard, g *group) {
	c.saved = &grouppb.Classic{Generation: c.generation, ProtocolType: c.protocolType, Protocol: c.protocol, Leader: c.leader}
	for _, id := range sortedKeys(c.members) {
		m := c.members[id]
		pb := &grouppb.ClassicMember{
			Id: m.id, Instance: m.instance, ClientId: m.clientID, ClientHost: m.clientHost, SessionTimeoutMs: int32(m.sessionTimeout.Milliseconds()),
			RebalanceTimeoutMs: int32(m.rebalanceTimeout.Milliseconds()), Assignment: m.assignment,
		}
		for _, p := range m.protocols {
			pb.Protocols = append(pb.Protocols, &grouppb.ClassicProtocol{Name: p.Name, Metadata: p.Metadata})
		}
		c.saved.Members = append(c.saved.Members, pb)
	}
	g.changes.classic = true
	g.touch(s)
}

// restore is the state that was written down.
func (c *classic) restore(saved *grouppb.Classic) {
	*c = *newClassic()
	c.saved = saved
	c.generation, c.protocolType, c.protocol, c.leader = saved.GetGeneration(), saved.GetProtocolType(), saved.GetProtocol(), saved.GetLeader()
	for _, pb := range saved.GetMembers() {
		m := &classicMember{
			id: pb.GetId(), instance: pb.GetInstance(), clientID: pb.GetClientId(), clientHost: pb.GetClientHost(),
			sessionTimeout:   time.Duration(pb.GetSessionTimeoutMs()) * time.Millisecond,
			rebalanceTimeout: time.Duration(pb.GetRebalanceTimeoutMs()) * time.Millisecond, assignment: pb.GetAssignment(),
		}
		for _, p := range pb.GetProtocols() {
			m.protocols = append(m.protocols, ClassicProtocol{Name: p.GetName(), Metadata: p.GetMetadata()})
		}
		c.add(m)
	}
	if len(c.members) > 0 {
		c.state = StateStable
	}
}

func (c *classic) revive(s *Shard, g *group) {
	for _, m := range c.byOrder() {
		c.alive(s, g, m)
	}
	if c.saved.GetRebalance() {
		s.prepare(g)
	}
}

func (c *classic) add(m *classicMember) {
	c.joined++
	m.order = c.joined
	c.members[m.id] = m
	if m.instance != "" {
		c.instances[m.instance] = m
	}
}

// byOrder are the members in the order in which they came.
func (c *classic) byOrder() []*classicMember {
	all := make([]*classicMember, 0, len(c.members))
	for _, m := range c.members {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b *classicMember) int { return cmp.Compare(a.order, b.order) })
	return all
}

func (c *classic) alive(s *Shard, g *group, m *classicMember) {
	m.sessionEnds = s.now.Add(m.sessionTimeout)
	if m.session == 0 {
		m.session = s.timers.set(timer{at: m.sessionEnds, kind: timerSession, group: g, member: m.id})
	}
}

func (s *Shard) classicSessionDue(t timer) {
	c := t.group.classic
	m := c.members[t.member]
	if m == nil || m.session != t.seq {
		return
	}
	if m.join != nil || m.sync != nil { // it waits for us
		m.sessionEnds = s.now.Add(m.sessionTimeout)
	}
	if m.sessionEnds.After(s.now) {
		m.session = s.timers.set(timer{at: m.sessionEnds, kind: timerSession, group: t.group, member: m.id})
		return
	}
	s.removeClassic(t.group, m)
}

func (s *Shard) pendingDue(t timer) {
	c := t.group.classic
	if c == nil {
		return
	}
	if p, ok := c.pending[t.member]; !ok || p.timer != t.seq {
		return
	}
	delete(c.pending, t.member)
	t.group.touch(s)
	s.maybeFormed(t.group)
}

// removeClassic takes a member out for good; the others form another generation.
func (s *Shard) removeClassic(g *group, m *classicMember) {
	c := g.classic
	delete(c.members, m.id)
	if c.instances[m.instance] == m {
		delete(c.instances, m.instance)
	}
	g.touch(s)
	s.answer(m, g.unknown(m.id))
	s.prepare(g)
}

// answer ends what a member waits for with an error.
func (s *Shard) answer(m *classicMember, err error) {
	for _, waits := range []**Token{&m.join, &m.sync} {
		if *waits != nil {
			s.reply(**waits, nil, err)
			*waits = nil
		}
	}
}

// member finds the one that a request is from.
func (c *classic) member(g *group, id, instance string) (*classicMember, error) {
	if instance != "" {
		switch now := c.instances[instance]; {
		case now == nil:
			return nil, g.unknown(id)
		case now.id != id:
			return nil, mq.Errorf(mq.FencedInstanceID, "instance %q of group %q is member %q now", instance, g.id, now.id)
		}
	}
	m := c.members[id]
	if m == nil {
		return nil, g.unknown(id)
	}
	return m, nil
}

func (c *classic) checkGeneration(g *group, generation int32) error {
	if generation != c.generation {
		return mq.Errorf(mq.IllegalGeneration, "group %q is in generation %d, not %d", g.id, c.generation, generation)
	}
	return nil
}

// classicHeartbeat keeps a member in the group and tells it when another generation is formed.
func (s *Shard) classicHeartbeat(r *ClassicHeartbeatRequest) (*DoneResponse, error) {
	g, ok := s.named(r.Group)
	if !ok {
		return nil, mq.Errorf(mq.UnknownMemberID, "group %q has no member %.80q", r.Group, r.Member)
	}
	if g.protocol == ProtocolConsumer {
		return s.heartbeatMixed(g, r)
	}
	m, err := g.classic.member(g, r.Member, r.Instance)
	if err != nil {
		return nil, err
	}
	if err := g.classic.checkGeneration(g, r.Generation); err != nil {
		return nil, err
	}
	g.classic.alive(s, g, m)
	if g.classic.state == StatePreparingRebalance {
		return nil, mq.Errorf(mq.RebalanceInProgress, "group %q forms another generation", g.id)
	}
	return &DoneResponse{}, nil
}

// mayCommitClassic refuses commits of other generations, and of the one that has no assignment yet: who commits then does it for
// partitions that may have gone.
func (s *Shard) mayCommitClassic(g *group, r *CommitRequest) error {
	m, err := g.classic.member(g, r.Member, r.Instance)
	if err != nil {
		return err
	}
	if s.planted.epochIgnored {
		return nil
	}
	if err := g.classic.checkGeneration(g, r.Generation); err != nil {
		return err
	}
	if g.classic.state == StateCompletingRebalance {
		return mq.Errorf(mq.RebalanceInProgress, "group %q has no assignment for generation %d yet", g.id, r.Generation)
	}
	g.classic.alive(s, g, m)
	return nil
}

// subscribes says whether any member consumes a topic, and whether that can be known.
func (c *classic) subscribes(topic string) (yes, known bool) {
	if len(c.members) == 0 {
		return false, true
	}
	if c.protocolType != consumerType {
		return false, false
	}
	for _, m := range c.members {
		for _, p := range m.protocols {
			subscription := kmsg.NewConsumerMemberMetadata()
			if err := subscription.ReadFrom(p.Metadata); err != nil {
				return false, false
			}
			if slices.Contains(subscription.Topics, topic) {
				return true, true
			}
		}
	}
	return false, true
}

// consumes says whether any member consumes a topic, and whether that can be known.
func (g *group) consumes(topic string) (yes, known bool) {
	if g.protocol == ProtocolClassic {
		return g.classic.subscribes(topic)
	}
	return g.subscribes(topic), true
}
