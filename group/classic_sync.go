package group

import (
	"github.com/rustmq/rustmq/mq"
)

// sync gives a member its assignment, once the leader has brought all of them.
func (s *Shard) sync(token Token, r *SyncRequest) (Response, error) {
	g, ok := s.named(r.Group)
	if !ok {
		return nil, mq.Errorf(mq.UnknownMemberID, "group %q has no member %.80q", r.Group, r.Member)
	}
	if g.protocol == ProtocolConsumer {
		return orError(s.syncMixed(g, r))
	}
	c := g.classic
	m, err := c.member(g, r.Member, r.Instance)
	if err != nil {
		return nil, err
	}
	if err := c.checkGeneration(g, r.Generation); err != nil {
		return nil, err
	}
	if r.ProtocolType != "" && r.ProtocolType != c.protocolType || r.Protocol != "" && r.Protocol != c.protocol {
		return nil, mq.Errorf(mq.InconsistentGroupProtocol, "group %q has protocol %q of type %q", g.id, c.protocol, c.protocolType)
	}
	c.alive(s, g, m)
	switch c.state {
	case StateStable:
		m.unsynced = false
		return c.syncResponse(m), nil
	case StateCompletingRebalance:
		s.answer(m, mq.Errorf(mq.RebalanceInProgress, "member %q of group %q has asked once more", m.id, g.id))
		if m.id != c.leader {
			m.sync = &token
			return nil, nil
		}
		if err := c.assign(g, r.Assignments); err != nil {
			return nil, err
		}
		m.sync = &token
		s.stable(g)
		return nil, nil
	}
	return nil, mq.Errorf(mq.RebalanceInProgress, "group %q forms another generation", g.id)
}

// assign takes what the leader says; who is not in it has nothing.
func (c *classic) assign(g *group, assignments []ClassicAssignment) error {
	n := 0
	for _, a := range assignments {
		n += len(a.Assignment)
	}
	for _, m := range c.members {
		n += protocolBytes(m.protocols)
	}
	if n > mq.MaxClassicGroupBytes {
		return mq.Errorf(mq.InvalidRequest, "the members of group %q bring and get more than %d bytes", g.id, mq.MaxClassicGroupBytes)
	}
	for _, m := range c.members {
		m.assignment = nil
	}
	for _, a := range assignments {
		if m := c.members[a.Member]; m != nil {
			m.assignment = a.Assignment
		}
	}
	return nil
}

// stable completes the generation. Who asked for its assignment gets it.
func (s *Shard) stable(g *group) {
	c := g.classic
	c.state = StateStable
	c.save(s, g)
	for _, m := range c.byOrder() {
		if m.sync == nil {
			continue
		}
		s.reply(*m.sync, c.syncResponse(m), nil)
		m.sync, m.unsynced = nil, false
		c.alive(s, g, m)
	}
}

func (c *classic) syncResponse(m *classicMember) *SyncResponse {
	return &SyncResponse{ProtocolType: c.protocolType, Protocol: c.protocol, Assignment: m.assignment}
}

// syncDue takes out who has joined a generation and not asked for its assignment, the leader that did not assign among them.
func (s *Shard) syncDue(t timer) {
	g := t.group
	c := g.classic
	if c == nil || c.timer != t.seq || c.state != StateCompletingRebalance && c.state != StateStable {
		return
	}
	late := false
	for _, m := range c.byOrder() {
		if m.unsynced && m.sync == nil {
			delete(c.members, m.id)
			if c.instances[m.instance] == m {
				delete(c.instances, m.instance)
			}
			late = true
		}
	}
	if late {
		s.prepare(g)
	}
}
