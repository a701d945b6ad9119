package group

import (
	"slices"
	"time"

	grouppb "github.com/rustmq/rustmq/api/group/v1"
	"github.com/rustmq/rustmq/mq"
)

// member is a member of a group with the consumer protocol.
type member struct {
	id, instance, rack   string
	clientID, clientHost string
	rebalanceTimeout     time.Duration
	topics               []string // ascending
	pattern              string
	assignor             string

	epoch    int32 // [EpochLeaveStatic] while a static member is away
	previous int32 // the epoch that it last said it was in, for a member that did not hear of this one
	assigned Partitions
	revoking Partitions // was assigned, and the member has not said yet that it gave it up
	toEpoch  int32      // that it gets to when it has given that up
	target   Partitions
	classic  *grouppb.ClassicPart // of a member that speaks the classic protocol

	// Not kept: a coordinator that begins gives everybody the whole time.
	sessionEnds time.Time
	session     uint64 // the timer
	revokeBy    time.Time
	revoke      uint64 // the timer, 0 for none
	mustJoin    bool   // of one with the classic protocol: it was told to join again
}

func (m *member) proto() *grouppb.Member {
	return &grouppb.Member{
		Id: m.id, Instance: m.instance, Rack: m.rack, ClientId: m.clientID, ClientHost: m.clientHost,
		RebalanceTimeoutMs: int32(m.rebalanceTimeout.Milliseconds()), Topics: m.topics, Pattern: m.pattern, Assignor: m.assignor,
		Epoch: m.epoch, PreviousEpoch: m.previous, Assigned: partitionsProto(m.assigned), Revoking: partitionsProto(m.revoking), RevokingEpoch: m.toEpoch,
		Classic: m.classic,
	}
}

// loadMember puts a member that was written down into the group, in place of what was known of it, but for its target.
func (g *group) loadMember(pb *grouppb.Member) error {
	assigned, err := partitionsFrom(pb.GetAssigned())
	if err != nil {
		return err
	}
	revoking, err := partitionsFrom(pb.GetRevoking())
	if err != nil {
		return err
	}
	if pb.GetClassic() != nil && len(pb.GetClassic().GetProtocols()) == 0 {
		return mq.Errorf(mq.Corrupt, "member %q without protocols", pb.GetId())
	}
	m := &member{
		id: pb.GetId(), instance: pb.GetInstance(), rack: pb.GetRack(), clientID: pb.GetClientId(), clientHost: pb.GetClientHost(),
		rebalanceTimeout: time.Duration(pb.GetRebalanceTimeoutMs()) * time.Millisecond, topics: pb.GetTopics(), pattern: pb.GetPattern(),
		assignor: pb.GetAssignor(), epoch: pb.GetEpoch(), previous: pb.GetPreviousEpoch(), toEpoch: pb.GetRevokingEpoch(), classic: pb.GetClassic(),
	}
	if old := g.members[m.id]; old != nil {
		m.target = old.target
		g.drop(old)
	}
	g.add(m)
	g.setOwned(m, assigned, revoking)
	return nil
}

// add puts a member into the group.
func (g *group) add(m *member) {
	g.members[m.id] = m
	if m.instance != "" {
		g.instances[m.instance] = m
	}
}

// drop takes a member out of the group, and with it what it owned.
func (g *group) drop(m *member) {
	g.setOwned(m, nil, nil)
	delete(g.members, m.id)
	if g.instances[m.instance] == m {
		delete(g.instances, m.instance)
	}
}

// setOwned changes what a member has, and says whether anything became free.
func (g *group) setOwned(m *member, assigned, revoking Partitions) (freed bool) {
	for _, set := range []Partitions{m.assigned, m.revoking} {
		for _, p := range set.list() {
			if g.owners[p] == m && !assigned.Has(p.topic, p.index) && !revoking.Has(p.topic, p.index) {
				delete(g.owners, p)
				freed = true
			}
		}
	}
	for _, set := range []Partitions{assigned, revoking} {
		for _, p := range set.list() {
			g.owners[p] = m
		}
	}
	m.assigned, m.revoking = assigned, revoking
	return freed
}

// remove takes a member out for good: the group has another epoch then, or the classic protocol.
func (g *group) remove(s *Shard, m *member) {
	g.drop(m)
	if !s.planted.removalNotWritten {
		g.touchMember(s, m.id)
	}
	if !s.downgrade(g) {
		g.bump(s)
	}
}

// putOut removes a member that has not asked for it: it hears of that when it speaks.
func (g *group) putOut(s *Shard, m *member) {
	if m.classic == nil {
		s.effects.Wakes = append(s.effects.Wakes, Wake{Group: g.id, Member: m.id})
	}
	g.remove(s, m)
}

// bump begins another group epoch, for which a target is made by the end of the call. Until then it is one, for all that changed.
func (g *group) bump(s *Shard) {
	if g.epoch == g.targetEpoch {
		g.epoch++
		s.figures.Rebalances++
	}
	g.touchHead(s)
	g.later(s)
}

// later has the group looked at by the end of the call.
func (g *group) later(s *Shard) {
	if !g.settling {
		g.settling = true
		s.settle = append(s.settle, g)
	}
}

// sessionTimeout is for how long a member of the group may be silent.
func (g *group) sessionTimeout(s *Shard, m *member) time.Duration {
	if m.classic != nil {
		return time.Duration(m.classic.GetSessionTimeoutMs()) * time.Millisecond
	}
	if o := s.override(g.id); o.SessionTimeout > 0 {
		return o.SessionTimeout
	}
	return s.cfg.SessionTimeout
}

// alive gives a member its whole session timeout.
func (g *group) alive(s *Shard, m *member) {
	m.sessionEnds = s.now.Add(g.sessionTimeout(s, m))
	if m.session == 0 {
		m.session = s.timers.set(timer{at: m.sessionEnds, kind: timerSession, group: g, member: m.id})
	}
}

// mustRevoke gives a member its whole rebalance timeout to give up what it is to give up.
func (g *group) mustRevoke(s *Shard, m *member) {
	m.revokeBy = s.now.Add(m.rebalanceTimeout)
	m.revoke = s.timers.set(timer{at: m.revokeBy, kind: timerRevoke, group: g, member: m.id})
}

// sessionDue looks whether a member has been silent for too long.
func (s *Shard) sessionDue(t timer) {
	g := t.group
	if g.protocol == ProtocolClassic {
		s.classicSessionDue(t)
		return
	}
	m := g.members[t.member]
	if m == nil || m.session != t.seq {
		return
	}
	if s.planted.sessionsForEver {
		g.alive(s, m)
	}
	if m.sessionEnds.After(s.now) {
		m.session = s.timers.set(timer{at: m.sessionEnds, kind: timerSession, group: g, member: m.id})
		return
	}
	g.putOut(s, m)
}

// revokeDue looks whether a member has not given up what it should: it is out then.
func (s *Shard) revokeDue(t timer) {
	m := t.group.members[t.member]
	if m == nil || m.revoke != t.seq || len(m.revoking) == 0 && !m.mustJoin {
		return
	}
	t.group.putOut(s, m)
}

// revive gives everybody the whole time, after a replay.
func (g *group) revive(s *Shard) {
	if g.protocol == ProtocolClassic {
		g.classic.revive(s, g)
		return
	}
	for _, id := range sortedKeys(g.members) {
		m := g.members[id]
		g.alive(s, m)
		if len(m.revoking) > 0 {
			g.mustRevoke(s, m)
		}
	}
	// It may have ended in the middle of a change, or with other topics.
	s.timers.set(timer{at: s.now, kind: timerTopics, group: g})
}

// spare gives everybody the whole time again.
func (g *group) spare(s *Shard) {
	if g.protocol == ProtocolClassic {
		for _, m := range g.classic.byOrder() {
			g.classic.alive(s, g, m)
		}
		return
	}
	for _, m := range g.byID() {
		g.alive(s, m)
		if len(m.revoking) > 0 || m.mustJoin {
			g.mustRevoke(s, m)
		}
	}
}

// mayConsume says whether a request is of a member as it is now.
func (g *group) mayConsume(s *Shard, id, instance string, epoch int32) error {
	m := g.members[id]
	if m == nil {
		return g.unknown(id)
	}
	if err := g.checkInstance(id, instance); err != nil {
		return err
	}
	if s.planted.epochIgnored {
		return nil
	}
	switch {
	case m.classic != nil && epoch != m.epoch:
		return mq.Errorf(mq.IllegalGeneration, "member %q of group %q is in generation %d, not %d", id, g.id, m.epoch, epoch)
	case epoch < 0 || epoch != m.epoch:
		return mq.Errorf(mq.StaleMemberEpoch, "member %q of group %q is in epoch %d, not %d", id, g.id, m.epoch, epoch)
	}
	return nil
}

// checkInstance refuses a member whose place as a static member another one has.
func (g *group) checkInstance(id, instance string) error {
	if instance == "" {
		return nil
	}
	switch now := g.instances[instance]; {
	case now == nil:
		return g.unknown(id)
	case now.id != id:
		return mq.Errorf(mq.FencedInstanceID, "instance %q of group %q is member %q now", instance, g.id, now.id)
	}
	return nil
}

func (g *group) unknown(id string) error {
	return mq.Errorf(mq.UnknownMemberID, "group %q has no member %.80q", g.id, id)
}

// byID are the members, ascending.
func (g *group) byID() []*member {
	all := make([]*member, 0, len(g.members))
	for _, id := range sortedKeys(g.members) {
		all = append(all, g.members[id])
	}
	return all
}

// wants says whether a member subscribes to exactly this.
func (m *member) wants(topics []string, pattern string) bool {
	return m.pattern == pattern && slices.Equal(m.topics, topics)
}
