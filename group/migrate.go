package group

import (
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	grouppb "github.com/rustmq/rustmq/api/group/v1"
	"github.com/rustmq/rustmq/mq"
)

// A group goes from the classic protocol to the consumer protocol when the first member of the latter joins, and back when the last of them is out. In
// between it is mixed: a group of the consumer protocol, of which some members are served as if a leader assigned. To such a one the member epoch is
// the generation, and every join and sync is answered at once; it is told to join again when that would get it on.

// subscription is what a member with the classic protocol brings, as far as it matters here.
type subscription struct {
	topics []string
	owned  Partitions
	rack   string
}

// readSubscription reads the metadata of a protocol of type "consumer".
func (s *Shard) readSubscription(metadata []byte) (subscription, error) {
	m := kmsg.NewConsumerMemberMetadata()
	if err := m.ReadFrom(metadata); err != nil {
		return subscription{}, mq.Errorf(mq.InconsistentGroupProtocol, "a subscription that cannot be read: %w", err)
	}
	sub := subscription{topics: slices.Compact(slices.Sorted(slices.Values(m.Topics))), owned: Partitions{}}
	if m.Rack != nil {
		sub.rack = *m.Rack
	}
	if len(sub.topics) > mq.MaxSubscribedTopics {
		return subscription{}, mq.Errorf(mq.InvalidRequest, "a subscription of %d topics, more than %d", len(sub.topics), mq.MaxSubscribedTopics)
	}
	for _, topic := range append(slices.Clone(sub.topics), sub.rack) {
		if err := checkText("topic or rack", topic, mq.MaxMemberIDBytes); err != nil {
			return subscription{}, err
		}
	}
	for _, o := range m.OwnedPartitions {
		if t := s.topics.names[o.Topic]; t != nil {
			sub.owned = append(sub.owned, TopicPartitions{Topic: t.ID, Partitions: o.Partitions})
		}
	}
	sub.owned = sub.owned.normal().filter(partition.possible)
	return sub, nil
}

// readAssignment reads what a leader has assigned. Topics that are not there any more are left out.
func (s *Shard) readAssignment(assignment []byte) (Partitions, error) {
	if len(assignment) == 0 {
		return nil, nil
	}
	a := kmsg.NewConsumerMemberAssignment()
	if err := a.ReadFrom(assignment); err != nil {
		return nil, mq.Errorf(mq.InconsistentGroupProtocol, "an assignment that cannot be read: %w", err)
	}
	var set Partitions
	for _, t := range a.Topics {
		if topic := s.topics.names[t.Topic]; topic != nil {
			set = append(set, TopicPartitions{Topic: topic.ID, Partitions: t.Partitions})
		}
	}
	return set.normal().filter(partition.possible), nil
}

// writeAssignment is an assignment as a leader would have made it.
func (s *Shard) writeAssignment(set Partitions) []byte {
	a := kmsg.NewConsumerMemberAssignment()
	a.Version = 1
	for _, t := range set {
		if topic := s.topics.byID[t.Topic]; topic != nil {
			one := kmsg.NewConsumerMemberAssignmentTopic()
			one.Topic, one.Partitions = topic.Name, t.Partitions
			a.Topics = append(a.Topics, one)
		}
	}
	return a.AppendTo(nil)
}

// upgrade makes a classic group with members a mixed one, if it can be read what they want and have. Who waits in it is told to join again.
func (s *Shard) upgrade(g *group) error {
	c := g.classic
	if len(c.members) > 0 && c.protocolType != consumerType || len(c.members) >= s.cfg.MaxSize {
		return mq.Errorf(mq.InconsistentGroupProtocol, "group %q has %d members with protocol type %q", g.id, g.size(), c.protocolType)
	}
	members := make([]*member, 0, len(c.members))
	assigned, owned := make([]Partitions, 0, len(c.members)), make([]Partitions, 0, len(c.members))
	for _, id := range sortedKeys(c.members) {
		old := c.members[id]
		metadata := old.metadata(c.protocol)
		if !old.has(c.protocol) {
			metadata = old.protocols[0].Metadata
		}
		sub, err := s.readSubscription(metadata)
		if err != nil {
			return mq.Wrapf(err, "member %q of group %q", id, g.id)
		}
		has, err := s.readAssignment(old.assignment)
		if err != nil {
			return mq.Wrapf(err, "member %q of group %q", id, g.id)
		}
		m := &member{
			id: id, instance: old.instance, rack: sub.rack, clientID: old.clientID, clientHost: old.clientHost, rebalanceTimeout: old.rebalanceTimeout,
			topics: sub.topics, epoch: c.generation, previous: c.generation, classic: classicPart(old.sessionTimeout, old.protocols),
		}
		members, assigned, owned = append(members, m), append(assigned, has), append(owned, sub.owned)
	}
	for _, old := range c.byOrder() {
		s.answer(old, mq.Errorf(mq.RebalanceInProgress, "group %q has another protocol now", g.id))
	}
	g.become(s, ProtocolConsumer)
	free := func(p partition) bool { return g.owners[p] == nil }
	for i, m := range members {
		g.add(m)
		m.target = assigned[i].filter(free)
		g.setOwned(m, m.target, nil)
		g.touchMember(s, m.id)
		g.touchTarget(s, m.id)
		g.alive(s, m)
	}
	// What a leader has taken from a member is the member's until it joins without it.
	for i, m := range members {
		if left := owned[i].minus(m.assigned).filter(free); len(left) > 0 {
			m.toEpoch = g.epoch + 1 // of who joins now
			g.setOwned(m, m.assigned, left)
			g.mustRevoke(s, m)
		}
	}
	return nil
}

func classicPart(session time.Duration, protocols []ClassicProtocol) *grouppb.ClassicPart {
	part := &grouppb.ClassicPart{SessionTimeoutMs: int32(session.Milliseconds())}
	for _, p := range protocols {
		part.Protocols = append(part.Protocols, &grouppb.ClassicProtocol{Name: p.Name, Metadata: p.Metadata})
	}
	return part
}

func protocolsOf(part *grouppb.ClassicPart) []ClassicProtocol {
	var all []ClassicProtocol
	for _, p := range part.GetProtocols() {
		all = append(all, ClassicProtocol{Name: p.GetName(), Metadata: p.GetMetadata()})
	}
	return all
}

// downgrade makes a mixed group of which only members with the classic protocol are left one of theirs. It says whether it did. What they have is
// of the generation that is over now: they join again.
func (s *Shard) downgrade(g *group) bool {
	if len(g.members) == 0 || len(g.members) > s.cfg.MaxSize {
		return false
	}
	for _, m := range g.members {
		if m.classic == nil {
			return false
		}
	}
	c := newClassic()
	c.state, c.generation, c.protocolType = StateStable, g.epoch, consumerType
	for _, m := range g.byID() {
		c.add(&classicMember{
			id: m.id, instance: m.instance, clientID: m.clientID, clientHost: m.clientHost, rebalanceTimeout: m.rebalanceTimeout,
			sessionTimeout: time.Duration(m.classic.GetSessionTimeoutMs()) * time.Millisecond, protocols: protocolsOf(m.classic),
			assignment: s.writeAssignment(m.assigned),
		})
	}
	c.protocol = c.vote()
	c.leader = c.byOrder()[0].id
	g.protocol, g.classic = ProtocolClassic, c
	g.members, g.instances, g.owners, g.patterns = nil, nil, nil, nil
	g.changes.members, g.changes.targets = nil, nil // the head says that they are none
	g.touchHead(s)
	c.save(s, g)
	c.saved.Rebalance = true
	for _, m := range c.byOrder() {
		c.alive(s, g, m)
	}
	s.prepare(g)
	return true
}

// joinMixed takes a member with the classic protocol into a mixed group, or on in it.
func (s *Shard) joinMixed(token Token, g *group, r *JoinRequest) (Response, error) {
	if s.topics.version == 0 {
		return nil, notLoaded()
	}
	sub, err := s.checkMixed(g, r)
	if err != nil {
		return nil, err
	}
	id := r.Member
	if id == "" {
		if r.RequireMember && r.Instance == "" {
			return &JoinResponse{Member: r.NewMember, Generation: NoGeneration}, mq.Errorf(mq.MemberIDRequired, "join group %q again as member %q", g.id, r.NewMember)
		}
		id = r.NewMember
	}
	m, err := g.findMixed(s, r, id, sub.owned)
	if err != nil {
		return nil, err
	}
	m.clientID, m.clientHost, m.rebalanceTimeout = r.ClientID, r.ClientHost, r.RebalanceTimeout
	if m.rebalanceTimeout == 0 {
		m.rebalanceTimeout = r.SessionTimeout
	}
	m.classic = classicPart(r.SessionTimeout, r.Protocols)
	g.touchMember(s, m.id)
	if s.downgrade(g) { // its former life was the last one with the consumer protocol
		return s.joinAgain(token, g, g.classic.members[id], r)
	}
	if !m.wants(sub.topics, "") || m.rack != sub.rack || m.assignor != "" {
		m.topics, m.pattern, m.rack, m.assignor = sub.topics, "", sub.rack, ""
		g.topicsVersion = 0
		g.bump(s)
	}
	g.lookAtTopics(s)
	g.retarget(s)
	g.reconcile(s, m, sub.owned, m.epoch)
	m.mustJoin = false
	g.alive(s, m)
	return &JoinResponse{Member: m.id, Generation: m.epoch, ProtocolType: consumerType, Protocol: r.Protocols[0].Name}, nil
}

// checkMixed refuses who could not be served, or who would be in the way of the others should the group be classic again.
func (s *Shard) checkMixed(g *group, r *JoinRequest) (subscription, error) {
	if r.ProtocolType != consumerType {
		return subscription{}, mq.Errorf(mq.InconsistentGroupProtocol, "group %q has members of protocol type %q", g.id, consumerType)
	}
	bytes := protocolBytes(r.Protocols)
	others := newClassic()
	others.protocolType = consumerType
	for id, m := range g.members {
		if m.classic != nil && id != r.Member && (r.Instance == "" || m.instance != r.Instance) {
			others.members[id] = &classicMember{id: id, protocols: protocolsOf(m.classic)}
		}
	}
	if !others.supports(r.ProtocolType, r.Protocols, "", "") {
		return subscription{}, mq.Errorf(mq.InconsistentGroupProtocol, "group %q: no protocol that all members with the classic protocol have", g.id)
	}
	if others.bytes()+bytes > mq.MaxClassicGroupBytes {
		return subscription{}, mq.Errorf(mq.GroupMaxSizeReached, "the members of group %q bring more than %d bytes", g.id, mq.MaxClassicGroupBytes)
	}
	return s.readSubscription(r.Protocols[0].Metadata)
}

// findMixed gives the member with the classic protocol that joins, made when there is none. A static one takes the place of its former life at once.
func (g *group) findMixed(s *Shard, r *JoinRequest, id string, owned Partitions) (*member, error) {
	if r.Instance != "" {
		if old := g.instances[r.Instance]; old != nil && old.id != id {
			if r.Member != "" {
				return nil, mq.Errorf(mq.FencedInstanceID, "instance %q of group %q is member %q now", r.Instance, g.id, old.id)
			}
			return g.replace(s, old, id), nil
		}
	}
	if m := g.members[id]; m != nil {
		if !owned.within(m.assigned.plus(m.revoking)) {
			return nil, g.unknown(id) // it did not hear what was taken from it, and must not go on where it was
		}
		return m, nil
	}
	if len(g.members) >= s.cfg.MaxSize {
		return nil, mq.Errorf(mq.GroupMaxSizeReached, "group %q has %d members", g.id, len(g.members))
	}
	if r.Member != "" && owned.Len() > 0 {
		return nil, g.unknown(id) // it thinks that it is a member, and must not go on where it was
	}
	m := &member{id: id, instance: r.Instance}
	g.add(m)
	g.touchMember(s, m.id)
	g.bump(s)
	return m, nil
}

// mixedMember finds a member with the classic protocol in its generation.
func (g *group) mixedMember(id, instance string, generation int32) (*member, error) {
	if err := g.checkInstance(id, instance); err != nil {
		return nil, err
	}
	m := g.members[id]
	if m == nil || m.classic == nil {
		return nil, g.unknown(id)
	}
	if m.epoch != generation {
		return nil, mq.Errorf(mq.IllegalGeneration, "member %q of group %q is in generation %d, not %d", id, g.id, m.epoch, generation)
	}
	return m, nil
}

// heartbeatMixed keeps a member in the group, and tells it to join again when that would get it on. From then on it has its rebalance timeout.
func (s *Shard) heartbeatMixed(g *group, r *ClassicHeartbeatRequest) (*DoneResponse, error) {
	m, err := g.mixedMember(r.Member, r.Instance, r.Generation)
	if err != nil {
		return nil, err
	}
	g.lookAtTopics(s)
	g.retarget(s)
	g.alive(s, m)
	if m.epoch == g.targetEpoch && len(m.revoking) == 0 && !g.waits(m) {
		return &DoneResponse{}, nil
	}
	if !m.mustJoin && len(m.revoking) == 0 {
		m.mustJoin = true
		g.mustRevoke(s, m)
	}
	return nil, mq.Errorf(mq.RebalanceInProgress, "group %q is in epoch %d, member %q has epoch %d", g.id, g.targetEpoch, m.id, m.epoch)
}

// syncMixed gives a member what it may consume.
func (s *Shard) syncMixed(g *group, r *SyncRequest) (*SyncResponse, error) {
	m, err := g.mixedMember(r.Member, r.Instance, r.Generation)
	if err != nil {
		return nil, err
	}
	protocol := m.classic.GetProtocols()[0].GetName()
	if r.ProtocolType != "" && r.ProtocolType != consumerType || r.Protocol != "" && r.Protocol != protocol {
		return nil, mq.Errorf(mq.InconsistentGroupProtocol, "member %q of group %q has protocol %q of type %q", m.id, g.id, protocol, consumerType)
	}
	g.alive(s, m)
	return &SyncResponse{ProtocolType: consumerType, Protocol: protocol, Assignment: s.writeAssignment(m.assigned)}, nil
}
