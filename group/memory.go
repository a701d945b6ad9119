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

// Limit is how much the groups of the shard may hold from now on, in bytes, about: up to newcomers there may be new groups and members, and up to all those that are there may have more.
// What goes beyond is refused with POLICY_VIOLATION; what they hold already stays, also where that is more, and whoever wants no more than before is never refused. Without it there is no limit.
func (s *Shard) Limit(newcomers, all int64) { s.limits = &limits{newcomers, all} }

type limits struct{ newcomers, all int64 }

// Bytes is about how much the groups of the shard hold. It is that of the last call.
func (s *Shard) Bytes() int64 { return s.bytes }

// weigh counts what a group holds anew; of members only if there was more than a commit.
func (s *Shard) weigh(g *group) {
	if g.changes.more {
		g.changes.more, g.membersBytes = false, g.weighMembers()
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
	return m.broughtWeight() + int64(n+partitionOverhead*(m.assigned.Len()+m.revoking.Len()+m.target.Len()))
}

// broughtWeight is that of the protocols of a member with the classic protocol.
func (m *member) broughtWeight() (n int64) {
	for _, p := range m.classic.GetProtocols() {
		n += int64(protocolOverhead + len(p.GetName()) + len(p.GetMetadata()))
	}
	return n
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

// growth is how much more groups would hold at most when a request is done, and whose that is. None is at most 0.
type growth struct {
	bytes    int64
	newcomer bool // of a group or a member that is not there yet
}

// room refuses what there is no room for. What is refused for another reason is left to who knows that.
func (s *Shard) room(request Request) error {
	if s.limits == nil {
		return nil
	}
	more, limit := s.growth(request), s.limits.all
	if more.newcomer {
		limit = s.limits.newcomers
	}
	if more.bytes <= 0 || s.bytes+more.bytes <= limit || s.fenced(request) {
		return nil
	}
	return mq.Errorf(mq.PolicyViolation, "group %.80q gets no more: the groups of its coordinator's node hold as much as groups.max_memory allows: delete some that nobody needs, or allow more", request.group())
}

// fenced says whether a commit is refused for who makes it.
func (s *Shard) fenced(request Request) bool {
	c, ok := request.(*CommitRequest)
	return ok && s.mayCommit(s.groups[c.Group], c) != nil
}

func (s *Shard) growth(request Request) growth {
	switch r := request.(type) {
	case *HeartbeatRequest:
		return s.heartbeatGrowth(r)
	case *JoinRequest:
		return s.joinGrowth(r)
	case *SyncRequest:
		return growth{bytes: s.syncGrowth(r)}
	case *CommitRequest:
		return s.offsetsGrowth(r.Group, r.Topics)
	case *ResetRequest:
		return s.offsetsGrowth(r.Group, r.Topics)
	}
	return growth{}
}

// newGroup is what a group takes that there is not yet.
func (s *Shard) newGroup(id string) int64 {
	if s.groups[id] != nil {
		return 0
	}
	return groupOverhead + int64(len(id))
}

// heartbeatGrowth is of what a member subscribes to, and of the partitions that it may be assigned for that.
func (s *Shard) heartbeatGrowth(r *HeartbeatRequest) growth {
	if r.Epoch < 0 || r.Epoch != EpochJoin && r.Topics == nil && r.Pattern == nil {
		return growth{}
	}
	m, old := s.groups[r.Group].memberOf(r.Member, r.Instance)
	topics, pattern := r.subscription(m)
	after := s.wishWeight(topics, pattern)
	switch {
	case m != nil && m.wants(topics, pattern):
		return growth{}
	case m != nil: // what a pattern finds is not known here: it is something
		return growth{bytes: max(1, after-s.wishWeight(m.topics, m.pattern))}
	case old != nil:
		return growth{bytes: max(1, after-protocolsWeight(old.protocols))}
	case r.Epoch != EpochJoin: // it is no member
		return growth{}
	}
	n := memberOverhead + len(r.Member) + len(r.Instance) + len(r.Rack) + len(r.ClientID) + len(r.ClientHost)
	return growth{s.newGroup(r.Group) + int64(n) + after, true}
}

// wishWeight is what a subscription takes, with the partitions of the topics that it names as what a member is assigned and is to have.
func (s *Shard) wishWeight(topics []string, pattern string) int64 {
	n := int64(subscriptionWeight(topics, pattern))
	for _, name := range topics {
		if t := s.topics.names[name]; t != nil {
			n += 2 * partitionOverhead * int64(t.Partitions)
		}
	}
	return n
}

// memberOf finds who has an id or, else, an instance: one with the consumer protocol, or one of a classic group.
func (g *group) memberOf(id, instance string) (m *member, c *classicMember) {
	if g == nil {
		return nil, nil
	}
	if m = g.members[id]; m == nil && instance != "" {
		m = g.instances[instance]
	}
	if g.classic != nil {
		if c = g.classic.members[id]; c == nil && instance != "" {
			c = g.classic.instances[instance]
		}
	}
	return m, c
}

// joinGrowth is of protocols: those of a member that is there are in the place of what it brought before.
func (s *Shard) joinGrowth(r *JoinRequest) growth {
	g := s.groups[r.Group]
	n := protocolsWeight(r.Protocols)
	switch m, c := g.memberOf(r.Member, r.Instance); {
	case c != nil:
		return growth{bytes: n - protocolsWeight(c.protocols)}
	case m != nil:
		return growth{bytes: n - m.broughtWeight()}
	}
	n += int64(memberOverhead + len(r.Instance) + len(r.ClientID) + len(r.ClientHost))
	_, pending := g.classicPending()[r.Member]
	switch {
	case pending:
		n -= memberOverhead
	case r.Member == "":
		n += int64(len(r.NewMember))
	case g == nil || g.protocol == ProtocolClassic: // it is no member
		return growth{}
	}
	return growth{s.newGroup(r.Group) + n, true}
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

// offsetsGrowth is of committed offsets, but for those that are refused by themselves.
func (s *Shard) offsetsGrowth(id string, topics []TopicOffsets) growth {
	g := s.groups[id]
	n := s.newGroup(id)
	for _, t := range topics {
		var known *topicOffsets
		if g != nil {
			known = g.offsets.topics[t.Topic]
		}
		if known == nil {
			n += int64(topicOverhead + len(t.Topic))
		}
		for _, o := range t.Offsets {
			if len(o.Metadata) > s.cfg.OffsetMetadataBytes {
				continue
			}
			n += int64(offsetOverhead + len(o.Metadata))
			if known != nil {
				if was, ok := known.at[o.Partition]; ok {
					n -= was.weight()
				}
			}
		}
	}
	return growth{n, g == nil}
}
