package group

import (
	"bytes"
	"slices"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// join takes a member into the next generation. It is answered at once only when that changes nothing.
func (s *Shard) join(token Token, r *JoinRequest) (Response, error) {
	if err := s.checkJoin(r); err != nil {
		return nil, err
	}
	g, ok := s.named(r.Group)
	switch {
	case ok && g.protocol == ProtocolConsumer && len(g.members) > 0:
		return s.joinMixed(token, g, r)
	case !ok && r.Member != "":
		return nil, mq.Errorf(mq.UnknownMemberID, "group %q has no member %.80q", r.Group, r.Member)
	case !ok:
		made, err := s.make(r.Group)
		if err != nil {
			return nil, err
		}
		g = made
	}
	g.become(s, ProtocolClassic)
	g.touch(s)
	c := g.classic
	if !c.supports(r.ProtocolType, r.Protocols, r.Member, r.Instance) {
		return nil, mq.Errorf(mq.InconsistentGroupProtocol, "group %q: no protocol of type %.40q that all members have", g.id, r.ProtocolType)
	}
	if r.Member == "" {
		return s.joinNew(token, g, r)
	}
	if _, pending := c.pending[r.Member]; pending && r.Instance == "" {
		delete(c.pending, r.Member)
		return s.joinAs(token, g, r, r.Member)
	}
	m, err := c.member(g, r.Member, r.Instance)
	if err != nil {
		return nil, err
	}
	return s.joinAgain(token, g, m, r)
}

func (s *Shard) checkJoin(r *JoinRequest) error {
	if err := checkGroup(r.Group); err != nil {
		return err
	}
	if err := checkNames(r.Member, r.Instance, r.NewMember, r.ClientID, r.ClientHost); err != nil {
		return err
	}
	if r.SessionTimeout < s.cfg.MinSessionTimeout || r.SessionTimeout > s.cfg.MaxSessionTimeout {
		return mq.Errorf(mq.InvalidSessionTimeout, "a session timeout of %v: want %v to %v", r.SessionTimeout, s.cfg.MinSessionTimeout, s.cfg.MaxSessionTimeout)
	}
	if r.RebalanceTimeout < 0 || r.RebalanceTimeout > maxTimeout {
		return mq.Errorf(mq.InvalidRequest, "a rebalance timeout of %v", r.RebalanceTimeout)
	}
	if r.Member == "" && r.NewMember == "" {
		return mq.Errorf(mq.InvalidRequest, "a member without an id, and none for it")
	}
	if r.ProtocolType == "" || len(r.Protocols) == 0 {
		return mq.Errorf(mq.InconsistentGroupProtocol, "a member without protocols")
	}
	if err := checkText("protocol type", r.ProtocolType, mq.MaxMemberIDBytes); err != nil {
		return err
	}
	for _, p := range r.Protocols {
		if err := checkText("protocol", p.Name, mq.MaxMemberIDBytes); err != nil {
			return err
		}
	}
	return nil
}

// supports says whether there is a protocol that all members have, but for the one that is to be replaced.
func (c *classic) supports(protocolType string, protocols []ClassicProtocol, member, instance string) bool {
	others := 0
	for _, m := range c.members {
		if m.id != member && (instance == "" || m.instance != instance) {
			others++
		}
	}
	if others == 0 {
		return true
	}
	if c.protocolType != protocolType {
		return false
	}
	return slices.ContainsFunc(protocols, func(p ClassicProtocol) bool {
		for _, m := range c.members {
			if m.id != member && (instance == "" || m.instance != instance) && !m.has(p.Name) {
				return false
			}
		}
		return true
	})
}

func (m *classicMember) has(protocol string) bool {
	return slices.ContainsFunc(m.protocols, func(p ClassicProtocol) bool { return p.Name == protocol })
}

func (m *classicMember) metadata(protocol string) []byte {
	for _, p := range m.protocols {
		if p.Name == protocol {
			return p.Metadata
		}
	}
	return nil
}

// joinNew is for who has no member id.
func (s *Shard) joinNew(token Token, g *group, r *JoinRequest) (Response, error) {
	c := g.classic
	if r.Instance != "" {
		if old := c.instances[r.Instance]; old != nil {
			return s.joinInstead(token, g, old, r)
		}
		return s.joinAs(token, g, r, r.NewMember)
	}
	if !r.RequireMember {
		return s.joinAs(token, g, r, r.NewMember)
	}
	if len(c.members)+len(c.pending) >= s.cfg.MaxSize {
		return nil, mq.Errorf(mq.GroupMaxSizeReached, "group %q has %d members", g.id, len(c.members))
	}
	c.pending[r.NewMember] = pendingMember{
		timer: s.timers.set(timer{at: s.now.Add(r.SessionTimeout), kind: timerPending, group: g, member: r.NewMember}),
	}
	return &JoinResponse{Member: r.NewMember, Generation: NoGeneration}, mq.Errorf(mq.MemberIDRequired, "join group %q again as member %q", g.id, r.NewMember)
}

// joinAs adds a member.
func (s *Shard) joinAs(token Token, g *group, r *JoinRequest, id string) (Response, error) {
	c := g.classic
	if len(c.members) >= s.cfg.MaxSize {
		return nil, mq.Errorf(mq.GroupMaxSizeReached, "group %q has %d members", g.id, len(c.members))
	}
	if c.bytes()+protocolBytes(r.Protocols) > mq.MaxClassicGroupBytes {
		return nil, mq.Errorf(mq.GroupMaxSizeReached, "the members of group %q bring more than %d bytes", g.id, mq.MaxClassicGroupBytes)
	}
	m := &classicMember{id: id, instance: r.Instance}
	m.note(r)
	m.join = &token
	if len(c.members) == 0 {
		c.protocolType = r.ProtocolType
	}
	c.add(m)
	c.more = true
	c.alive(s, g, m)
	s.prepare(g)
	return nil, nil
}

func (m *classicMember) note(r *JoinRequest) {
	m.clientID, m.clientHost = r.ClientID, r.ClientHost
	m.sessionTimeout, m.rebalanceTimeout = r.SessionTimeout, r.RebalanceTimeout
	if m.rebalanceTimeout == 0 {
		m.rebalanceTimeout = r.SessionTimeout // JoinGroup version 0 has none
	}
	m.protocols = r.Protocols
}

func protocolBytes(protocols []ClassicProtocol) (n int) {
	for _, p := range protocols {
		n += len(p.Name) + len(p.Metadata)
	}
	return n
}

// bytes are those that members bring and have got.
func (c *classic) bytes() (n int) {
	for _, m := range c.members {
		n += protocolBytes(m.protocols) + len(m.assignment)
	}
	return n
}

// joinAgain is for a member: what it brings may have changed, or it did not hear the last answer.
func (s *Shard) joinAgain(token Token, g *group, m *classicMember, r *JoinRequest) (Response, error) {
	c := g.classic
	same := slices.EqualFunc(m.protocols, r.Protocols, func(a, b ClassicProtocol) bool {
		return a.Name == b.Name && bytes.Equal(a.Metadata, b.Metadata)
	})
	switch {
	case c.state == StateCompletingRebalance && same, c.state == StateStable && same && m.id != c.leader:
		c.alive(s, g, m)
		return c.joinResponse(m), nil
	case c.bytes()-protocolBytes(m.protocols)+protocolBytes(r.Protocols) > mq.MaxClassicGroupBytes:
		return nil, mq.Errorf(mq.GroupMaxSizeReached, "the members of group %q bring more than %d bytes", g.id, mq.MaxClassicGroupBytes)
	}
	s.answer(m, mq.Errorf(mq.RebalanceInProgress, "member %q of group %q has joined once more", m.id, g.id))
	if len(c.members) == 1 {
		c.protocolType = r.ProtocolType
	}
	m.note(r)
	m.join = &token
	s.prepare(g)
	return nil, nil
}

// joinInstead gives a static member's place to its next life. Where the generation is complete and its protocol stays it goes on as it is.
func (s *Shard) joinInstead(token Token, g *group, old *classicMember, r *JoinRequest) (Response, error) {
	c := g.classic
	if c.bytes()-protocolBytes(old.protocols)+protocolBytes(r.Protocols) > mq.MaxClassicGroupBytes {
		return nil, mq.Errorf(mq.GroupMaxSizeReached, "the members of group %q bring more than %d bytes", g.id, mq.MaxClassicGroupBytes)
	}
	s.answer(old, mq.Errorf(mq.FencedInstanceID, "instance %q of group %q is member %q now", old.instance, g.id, r.NewMember))
	delete(c.members, old.id)
	m := &classicMember{id: r.NewMember, instance: r.Instance, assignment: old.assignment, order: old.order}
	m.note(r)
	c.members[m.id], c.instances[m.instance] = m, m
	c.alive(s, g, m)
	leads := c.leader == old.id
	if leads {
		c.leader = m.id
	}
	if c.state == StateStable && c.vote() == c.protocol {
		c.save(s, g)
		response := c.joinResponse(m)
		response.SkipAssignment = leads && r.SkipAssignment
		if leads && !r.SkipAssignment { // it would assign anew, and only in a new generation may one
			response.Leader, response.Members = old.id, nil
		}
		return response, nil
	}
	m.join = &token
	s.prepare(g)
	return nil, nil
}

// prepare begins to form the next generation, or looks whether it is formed.
func (s *Shard) prepare(g *group) {
	c := g.classic
	if c.state == StatePreparingRebalance {
		s.maybeFormed(g)
		return
	}
	for _, m := range c.byOrder() {
		m.unsynced = false
		if m.sync != nil {
			s.reply(*m.sync, nil, mq.Errorf(mq.RebalanceInProgress, "group %q forms another generation", g.id))
			m.sync = nil
		}
	}
	c.initial = c.state == StateEmpty && s.cfg.InitialRebalanceDelay > 0
	c.state = StatePreparingRebalance
	s.figures.Rebalances++
	c.joinLimit = s.now.Add(c.rebalanceTimeout())
	at := c.joinLimit
	if c.initial {
		c.more = false
		if delayed := s.now.Add(s.cfg.InitialRebalanceDelay); delayed.Before(at) {
			at = delayed
		}
	}
	c.timer = s.timers.set(timer{at: at, kind: timerJoin, group: g})
	g.touch(s)
	s.maybeFormed(g)
}

// rebalanceTimeout is the longest of all members'.
func (c *classic) rebalanceTimeout() (longest time.Duration) {
	for _, m := range c.members {
		longest = max(longest, m.rebalanceTimeout)
	}
	return longest
}

// maybeFormed forms the generation when nobody is waited for.
func (s *Shard) maybeFormed(g *group) {
	c := g.classic
	if c.state != StatePreparingRebalance || c.initial && len(c.members) > 0 || len(c.pending) > 0 {
		return
	}
	for _, m := range c.members {
		if m.join == nil {
			return
		}
	}
	s.form(g)
}

// joinDue forms the generation of those that are there, when nobody is waited for any longer.
func (s *Shard) joinDue(t timer) {
	g := t.group
	c := g.classic
	if c == nil || c.timer != t.seq || c.state != StatePreparingRebalance {
		return
	}
	if c.initial && c.more && s.now.Before(c.joinLimit) {
		c.more = false
		at := s.now.Add(s.cfg.InitialRebalanceDelay)
		if c.joinLimit.Before(at) {
			at = c.joinLimit
		}
		c.timer = s.timers.set(timer{at: at, kind: timerJoin, group: g})
		return
	}
	s.form(g)
}

// form makes a generation of the members that have joined, and of static ones that have not.
func (s *Shard) form(g *group) {
	c := g.classic
	g.touch(s)
	for _, m := range c.byOrder() {
		if m.join == nil && m.instance == "" {
			delete(c.members, m.id)
		}
	}
	c.initial = false
	members := c.byOrder()
	if len(members) == 0 {
		c.generation++
		c.state, c.protocol, c.leader = StateEmpty, "", ""
		c.save(s, g)
		return
	}
	if leader := c.members[c.leader]; leader == nil || leader.join == nil {
		joined := slices.IndexFunc(members, func(m *classicMember) bool { return m.join != nil })
		if joined < 0 { // static members, all of them away: their sessions end this
			c.joinLimit = s.now.Add(c.rebalanceTimeout())
			c.timer = s.timers.set(timer{at: c.joinLimit, kind: timerJoin, group: g})
			return
		}
		c.leader = members[joined].id
	}
	if !s.planted.generationAgain {
		c.generation++
	}
	c.protocol = c.vote()
	c.state = StateCompletingRebalance
	c.save(s, g)
	c.saved.Rebalance = true // its number must not come again, should its coordinator go before it has assigned
	for _, m := range members {
		if m.join == nil {
			continue
		}
		s.reply(*m.join, c.joinResponse(m), nil)
		m.join, m.unsynced = nil, true
		c.alive(s, g, m)
	}
	c.timer = s.timers.set(timer{at: s.now.Add(c.rebalanceTimeout()), kind: timerSync, group: g})
}

func (c *classic) joinResponse(m *classicMember) *JoinResponse {
	response := &JoinResponse{
		Generation: c.generation, ProtocolType: c.protocolType, Protocol: c.protocol, Leader: c.leader, Member: m.id,
	}
	if m.id == c.leader {
		for _, other := range c.byOrder() {
			response.Members = append(response.Members, JoinedMember{
				Member: other.id, Instance: other.instance, Metadata: other.metadata(c.protocol),
			})
		}
	}
	return response
}

// vote is the protocol that all members have and most prefer.
func (c *classic) vote() string {
	votes := make(map[string]int)
	for _, m := range c.members {
		for _, p := range m.protocols {
			everybody := true
			for _, other := range c.members {
				everybody = everybody && other.has(p.Name)
			}
			if everybody {
				votes[p.Name]++
				break
			}
		}
	}
	best := ""
	for _, name := range sortedKeys(votes) {
		if votes[name] > votes[best] {
			best = name
		}
	}
	return best
}
