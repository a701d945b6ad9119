package group

import "github.com/rustmq/rustmq/mq"

// What groups hold is counted, about, in bytes: what clients bring and get, and these for what the coordinator keeps beside it.
const (
	groupOverhead     = 1 << 10
	memberOverhead    = 1 << 10
	protocolOverhead  = 100
	topicOverhead     = 100 // of a topic that is subscribed to, or that offsets are committed of
	offsetOverhead    = 100
	partitionOverhead = 60 // of a partition that is assigned, given up, or the target of a member
)

// Limit is how much the groups of the shard may hold from now on, in bytes, about: a request that would make it more is refused with POLICY_VIOLATION.
// What they hold already stays, also where that is more; and so does who is in them. Without it there is no limit.
func (s *Shard) Limit(bytes int64) { s.limit, s.limited = bytes, true }

// Bytes is about how much the groups of the shard hold. It is that of the last call.
func (s *Shard) Bytes() int64 { return s.bytes }

// weigh counts what a group holds anew; of members only if there was more than a commit.
func (s *Shard) weigh(g *group) {
	if c := &g.changes; len(c.offsets) == 0 || c.head || c.classic || len(c.members)+len(c.targets) > 0 {
		g.membersBytes = g.weighMembers()
	}
	now := groupOverhead + int64(len(g.id)) + g.membersBytes + g.offsets.bytes
	s.bytes += now - g.bytes
	g.bytes = now
}

func (g *group) weighMembers() (n int64) {
	for _, m := range g.members {
		n += m.weight()
	}
	if g.classic == nil {
		return n
	}
	for id := range g.classic.pending {
		n += int64(memberOverhead + len(id))
	}
	for _, m := range g.classic.members {
		n += m.weight()
	}
	return n
}

func (m *member) weight() int64 {
	n := memberOverhead + len(m.id) + len(m.instance) + len(m.rack) + len(m.clientID) + len(m.clientHost) + subscriptionWeight(m.topics, m.pattern)
	for _, p := range m.classic.GetProtocols() {
		n += protocolOverhead + len(p.GetName()) + len(p.GetMetadata())
	}
	return int64(n + partitionOverhead*(m.assigned.Len()+m.revoking.Len()+m.target.Len()))
}

func (m *classicMember) weight() int64 {
	n := memberOverhead + len(m.id) + len(m.instance) + len(m.clientID) + len(m.clientHost) + len(m.assignment)
	return int64(n) + protocolsWeight(m.protocols)
}

func protocolsWeight(protocols []ClassicProtocol) int64 {
	return int64(protocolOverhead*len(protocols) + protocolBytes(protocols))
}

func subscriptionWeight(topics []string, pattern string) int {
	n := len(pattern)
	for _, t := range topics {
		n += topicOverhead + len(t)
	}
	return n
}

func (c *committed) weight() int64 { return int64(offsetOverhead + len(c.metadata)) }

// room refuses what there is no room for.
func (s *Shard) room(request Request) error {
	if !s.limited {
		return nil
	}
	more := s.growth(request)
	if more <= 0 || s.bytes+more <= s.limit {
		return nil
	}
	return mq.Errorf(mq.PolicyViolation, "group %.80q gets no more: the groups of its coordinator's node hold as much as groups.max_memory allows: delete some that nobody needs, or allow more",
		request.group())
}

// growth is how much more the groups hold when a request is done, at most. What may be less than that is not made less.
func (s *Shard) growth(request Request) int64 {
	switch r := request.(type) {
	case *HeartbeatRequest:
		return s.heartbeatGrowth(r)
	case *JoinRequest:
		return s.joinGrowth(r)
	case *SyncRequest:
		return s.syncGrowth(r)
	case *CommitRequest:
		return s.offsetsGrowth(r.Group, r.Topics)
	case *ResetRequest:
		return s.offsetsGrowth(r.Group, r.Topics)
	}
	return 0
}

// newGroup is what a group takes that there is not yet.
func (s *Shard) newGroup(id string) int64 {
	if s.groups[id] != nil {
		return 0
	}
	return groupOverhead + int64(len(id))
}

func (s *Shard) heartbeatGrowth(r *HeartbeatRequest) int64 {
	pattern := ""
	if r.Pattern != nil {
		pattern = *r.Pattern
	}
	if r.Epoch < 0 || r.Epoch != EpochJoin && r.Topics == nil && pattern == "" {
		return 0
	}
	before := int64(0)
	if g := s.groups[r.Group]; g != nil {
		m := g.members[r.Member]
		if m == nil && r.Instance != "" {
			m = g.instances[r.Instance]
		}
		switch {
		case m == nil && r.Epoch != EpochJoin: // it is no member
			return 0
		case m != nil:
			before = int64(memberOverhead + len(m.id) + len(m.instance) + len(m.rack) + len(m.clientID) + len(m.clientHost) + subscriptionWeight(m.topics, m.pattern))
		}
	}
	n := memberOverhead + len(r.Member) + len(r.Instance) + len(r.Rack) + len(r.ClientID) + len(r.ClientHost) + subscriptionWeight(r.Topics, pattern)
	return s.newGroup(r.Group) + int64(n) - before
}

func (s *Shard) joinGrowth(r *JoinRequest) int64 {
	before := int64(0)
	if g := s.groups[r.Group]; g != nil {
		before = g.broughtBy(r.Member, r.Instance)
	}
	n := memberOverhead + len(r.Member) + len(r.NewMember) + len(r.Instance) + len(r.ClientID) + len(r.ClientHost)
	if before > 0 { // beside its protocols it takes what it took
		n = 0
	}
	return s.newGroup(r.Group) + int64(n) + protocolsWeight(r.Protocols) - before
}

// broughtBy is what a member's protocols take, or 0 if it is none.
func (g *group) broughtBy(id, instance string) int64 {
	if c := g.classic; c != nil {
		m := c.members[id]
		if m == nil && instance != "" {
			m = c.instances[instance]
		}
		if m == nil {
			return 0
		}
		return protocolsWeight(m.protocols)
	}
	m := g.members[id]
	if m == nil && instance != "" {
		m = g.instances[instance]
	}
	if m == nil {
		return 0
	}
	return protocolsWeight(protocolsOf(m.classic))
}

// syncGrowth is of assignments: a leader's take the place of those that there are.
func (s *Shard) syncGrowth(r *SyncRequest) (n int64) {
	for _, a := range r.Assignments {
		n += int64(len(a.Assignment))
	}
	g := s.groups[r.Group]
	if n == 0 || g == nil || g.classic == nil {
		return 0
	}
	for _, m := range g.classic.members {
		n -= int64(len(m.assignment))
	}
	return n
}

func (s *Shard) offsetsGrowth(id string, topics []TopicOffsets) int64 {
	n := s.newGroup(id)
	g := s.groups[id]
	for _, t := range topics {
		var known *topicOffsets
		if g != nil {
			known = g.offsets.topics[t.Topic]
		}
		if known == nil {
			n += int64(topicOverhead + len(t.Topic))
		}
		for _, o := range t.Offsets {
			n += int64(offsetOverhead + len(o.Metadata))
			if known != nil {
				if was, ok := known.at[o.Partition]; ok {
					n -= was.weight()
				}
			}
		}
	}
	return n
}
