package group

import (
	"slices"
	"strings"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// heartbeat handles all that a member of the consumer protocol says: it joins or is found, what it wants is noted, the target is made anew when that
// changed, and then the member gets what it can have.
func (s *Shard) heartbeat(r *HeartbeatRequest) (*HeartbeatResponse, error) {
	if err := s.checkHeartbeat(r); err != nil {
		return nil, err
	}
	if r.Epoch < 0 {
		return s.leaveConsumer(r)
	}
	if s.topics.version == 0 {
		return nil, notLoaded()
	}
	g, err := s.consumerGroup(r)
	if err != nil {
		return nil, err
	}
	m, err := g.find(s, r)
	if err != nil {
		return nil, err
	}
	g.note(s, m, r)
	g.lookAtTopics(s)
	g.retarget(s)
	owned := r.Owned.normal() // to be compared only
	if r.Epoch == EpochJoin {
		owned = Partitions{} // it says so by joining
	}
	changed := g.reconcile(s, m, owned, r.Epoch)
	g.alive(s, m)
	// Who has not said what it should say, or says something else, is told again.
	full := r.Epoch == EpochJoin || r.Epoch != m.epoch || len(m.revoking) > 0 || r.Owned != nil && !owned.Equal(m.assigned)
	response := &HeartbeatResponse{Member: m.id, Epoch: m.epoch, HeartbeatInterval: s.heartbeatInterval(g)}
	if changed || full {
		response.Changed, response.Assigned = true, m.assigned
	}
	return response, nil
}

func notLoaded() error {
	return mq.Errorf(mq.CoordinatorLoadInProgress, "it is not known yet what topics there are")
}

func (s *Shard) heartbeatInterval(g *group) time.Duration {
	if o := s.override(g.id); o.HeartbeatInterval > 0 {
		return o.HeartbeatInterval
	}
	return s.cfg.HeartbeatInterval
}

// checkHeartbeat looks at a heartbeat by itself.
func (s *Shard) checkHeartbeat(r *HeartbeatRequest) error {
	if err := checkGroup(r.Group); err != nil {
		return err
	}
	if err := checkNames(r.Member, r.Instance, r.Rack, r.ClientID, r.ClientHost); err != nil {
		return err
	}
	switch {
	case r.Member == "":
		return mq.Errorf(mq.InvalidRequest, "a heartbeat to group %q without a member id", r.Group)
	case r.Epoch < EpochLeaveStatic || r.Epoch == EpochLeaveStatic && r.Instance == "":
		return mq.Errorf(mq.InvalidRequest, "a heartbeat to group %q with member epoch %d", r.Group, r.Epoch)
	case r.Epoch == EpochJoin && (r.RebalanceTimeout <= 0 || r.Topics == nil && r.Pattern == nil || r.Owned.Len() > 0):
		return mq.Errorf(mq.InvalidRequest, "who joins group %q says its rebalance timeout and subscription, and owns nothing", r.Group)
	case r.RebalanceTimeout < 0 || r.RebalanceTimeout > maxTimeout:
		return mq.Errorf(mq.InvalidRequest, "a rebalance timeout of %v", r.RebalanceTimeout)
	case len(r.Topics) > mq.MaxSubscribedTopics:
		return mq.Errorf(mq.InvalidRequest, "a subscription of %d topics, more than %d", len(r.Topics), mq.MaxSubscribedTopics)
	}
	for _, topic := range r.Topics {
		if err := checkText("topic", topic, mq.MaxTopicNameBytes); err != nil {
			return err
		}
	}
	if r.Assignor != nil && *r.Assignor != "" && !slices.Contains(s.cfg.Assignors, *r.Assignor) {
		return mq.Errorf(mq.UnsupportedAssignor, "assignor %.40q: a member may name %s", *r.Assignor, strings.Join(s.cfg.Assignors, " or "))
	}
	if r.Pattern != nil && *r.Pattern != "" {
		if len(*r.Pattern) > mq.MaxPatternBytes {
			return mq.Errorf(mq.InvalidRegularExpression, "a pattern of %d bytes, more than %d", len(*r.Pattern), mq.MaxPatternBytes)
		}
		if _, err := compile(*r.Pattern); err != nil {
			return mq.Errorf(mq.InvalidRegularExpression, "pattern %.80q: %w", *r.Pattern, err)
		}
	}
	return nil
}

// maxTimeout is the longest of a member's timeouts: what 32 bits of milliseconds hold.
const maxTimeout = (1<<31 - 1) * time.Millisecond

// consumerGroup gives the group that a heartbeat is for, as one of the consumer protocol.
func (s *Shard) consumerGroup(r *HeartbeatRequest) (*group, error) {
	g, ok := s.named(r.Group)
	if ok && g.protocol == ProtocolConsumer {
		return g, nil
	}
	if r.Epoch != EpochJoin {
		return nil, mq.Errorf(mq.UnknownMemberID, "group %q has no member %.80q", r.Group, r.Member)
	}
	if ok && (g.size() > 0 || len(g.classic.pending) > 0) {
		if err := s.upgrade(g); err != nil {
			return nil, err
		}
		return g, nil
	}
	g, err := s.make(r.Group)
	if err != nil {
		return nil, err
	}
	g.become(s, ProtocolConsumer)
	return g, nil
}

// find gives the member that speaks, after it was looked whether it may. Who joins is made, and who joins again owns nothing any more.
func (g *group) find(s *Shard, r *HeartbeatRequest) (*member, error) {
	m := g.members[r.Member]
	if r.Epoch != EpochJoin {
		if m == nil || m.classic != nil {
			return nil, g.unknown(r.Member)
		}
		if err := g.checkInstance(r.Member, r.Instance); err != nil {
			return nil, err
		}
		return m, g.checkEpoch(s, m, r)
	}
	var away *member
	if r.Instance != "" {
		if away = g.instances[r.Instance]; away != nil && away.id != r.Member && away.epoch != EpochLeaveStatic && away.classic == nil {
			return nil, mq.Errorf(mq.UnreleasedInstanceID, "instance %q of group %q is member %q, which has not left", r.Instance, g.id, away.id)
		}
	}
	switch {
	case m != nil: // once more, or another life under the same id
		g.setOwned(m, nil, nil)
		m.epoch, m.previous = EpochJoin, EpochJoin
		g.touchMember(s, m.id)
		g.bump(s) // what it sent before may still be on its way, in the epoch that it had
		return m, nil
	case away != nil:
		return g.replace(s, away, r.Member), nil
	case len(g.members) >= s.cfg.MaxSize:
		return nil, mq.Errorf(mq.GroupMaxSizeReached, "group %q has %d members", g.id, len(g.members))
	}
	m = &member{id: r.Member, instance: r.Instance}
	g.add(m)
	g.touchMember(s, m.id)
	g.bump(s)
	return m, nil
}

// checkEpoch refuses who is not where the coordinator knows it to be. One epoch back is a member that did not hear the last answer: it is
// told again, when what it owns shows that.
func (g *group) checkEpoch(s *Shard, m *member, r *HeartbeatRequest) error {
	if r.Epoch == m.epoch || s.planted.epochIgnored {
		return nil
	}
	if m.epoch > 0 && r.Epoch == m.previous && r.Owned != nil && r.Owned.within(m.assigned.plus(m.revoking)) {
		return nil
	}
	return mq.Errorf(mq.FencedMemberEpoch, "member %q of group %q is in epoch %d, not %d", m.id, g.id, m.epoch, r.Epoch)
}

// replace gives a static member's place to its next life.
func (g *group) replace(s *Shard, old *member, id string) *member {
	m := *old
	m.id, m.epoch, m.previous, m.session, m.revoke = id, EpochJoin, EpochJoin, 0, 0
	m.assigned, m.revoking = nil, nil
	assigned := old.assigned
	g.drop(old)
	g.touchMember(s, old.id)
	g.add(&m)
	g.setOwned(&m, assigned, nil)
	g.touchMember(s, id)
	g.touchTarget(s, id)
	return &m
}

// subscription is what a member wants after the request: what is not said stays, but for who joins. m is nil for nobody yet.
func (r *HeartbeatRequest) subscription(m *member) (topics []string, pattern string) {
	if m != nil && r.Epoch != EpochJoin {
		topics, pattern = m.topics, m.pattern
	}
	if r.Topics != nil {
		topics = slices.Compact(slices.Sorted(slices.Values(r.Topics)))
	}
	if r.Pattern != nil {
		pattern = *r.Pattern
	}
	return topics, pattern
}

// note takes over what a member says about itself. What it wants, and where it is, makes another group epoch.
func (g *group) note(s *Shard, m *member, r *HeartbeatRequest) {
	topics, pattern := r.subscription(m)
	assignor := m.assignor
	if r.Assignor != nil {
		assignor = *r.Assignor
	}
	if r.Epoch == EpochJoin {
		if r.Assignor == nil {
			assignor = ""
		}
		if m.rack != r.Rack {
			m.rack = r.Rack
			g.touchMember(s, m.id)
			g.bump(s)
		}
		m.clientID, m.clientHost = r.ClientID, r.ClientHost
		m.classic = nil
	}
	if !m.wants(topics, pattern) || m.assignor != assignor {
		m.topics, m.pattern, m.assignor = topics, pattern, assignor
		g.touchMember(s, m.id)
		g.topicsVersion = 0
		g.bump(s)
	}
	if r.RebalanceTimeout > 0 && r.RebalanceTimeout != m.rebalanceTimeout {
		m.rebalanceTimeout = r.RebalanceTimeout.Round(time.Millisecond)
		g.touchMember(s, m.id)
	}
}

// leaveConsumer lets a member go: for good, or, when it is static, for as long as its session lasts.
func (s *Shard) leaveConsumer(r *HeartbeatRequest) (*HeartbeatResponse, error) {
	g, ok := s.named(r.Group)
	if !ok || g.protocol != ProtocolConsumer || g.members[r.Member] == nil {
		return nil, mq.Errorf(mq.UnknownMemberID, "group %q has no member %.80q", r.Group, r.Member)
	}
	if err := g.checkInstance(r.Member, r.Instance); err != nil {
		return nil, err
	}
	m := g.members[r.Member]
	if r.Epoch == EpochLeaveStatic {
		m.epoch = EpochLeaveStatic
		if g.setOwned(m, m.assigned, nil) {
			g.later(s)
		}
		g.touchMember(s, m.id)
		g.alive(s, m)
	} else {
		g.remove(s, m)
	}
	return &HeartbeatResponse{Member: r.Member, Epoch: r.Epoch, HeartbeatInterval: s.heartbeatInterval(g)}, nil
}
