package group

// reconcile takes a member as near to its target as is safe now, given what it owns (nil when it did not say) and the epoch that it knows of, and
// says whether what it may consume has changed. A partition goes from one member to another in three steps, each of which is written down:
//
//  1. it is taken out of what the old owner is assigned, which stays in its epoch and still owns it;
//  2. the old owner says in a heartbeat what it owns, and the partition is not among it: now nobody owns it, and the old owner is in
//     another epoch, so that no commit for it can come late;
//  3. the new owner heartbeats, and is assigned it.
func (g *group) reconcile(s *Shard, m *member, owned Partitions, known int32) bool {
	before := m.assigned
	if len(m.revoking) > 0 {
		if owned == nil || owned.meets(m.revoking) {
			return false
		}
		g.give(s, m, m.assigned, nil)
		if !s.planted.epochKept {
			g.advance(s, m, m.toEpoch, known)
		}
	}
	if m.epoch == g.targetEpoch && m.assigned.Equal(m.target) {
		return !before.Equal(m.assigned)
	}
	keep := m.assigned.and(m.target)
	lose := m.assigned.minus(m.target)
	if len(lose) > 0 && (owned == nil || owned.meets(lose)) && !s.planted.takenAtOnce {
		m.toEpoch = g.targetEpoch
		g.give(s, m, keep, lose)
		g.mustRevoke(s, m)
		return true
	}
	free := m.target.filter(func(p partition) bool {
		owner := g.owners[p]
		return (owner == nil || owner == m || s.planted.ownersIgnored) && !keep.Has(p.topic, p.index)
	})
	if next := keep.plus(free); !next.Equal(m.assigned) {
		g.give(s, m, next, nil)
	}
	g.advance(s, m, g.targetEpoch, known)
	return !before.Equal(m.assigned)
}

// advance takes a member to another epoch. It may not hear of it, and speak of the one that it knows again.
func (g *group) advance(s *Shard, m *member, epoch, known int32) {
	if m.epoch != epoch {
		m.previous, m.epoch, m.toEpoch = known, epoch, 0
		g.touchMember(s, m.id)
	}
}

// give changes what a member owns; what becomes free is told to who waits for it.
func (g *group) give(s *Shard, m *member, assigned, revoking Partitions) {
	if g.setOwned(m, assigned, revoking) {
		g.later(s)
	}
	g.touchMember(s, m.id)
}

// wake tells those members for whom a heartbeat would change what they may consume.
func (g *group) wake(s *Shard) {
	for _, m := range g.byID() {
		if m.classic == nil && g.waits(m) { // the others hear of it otherwise
			s.effects.Wakes = append(s.effects.Wakes, Wake{Group: g.id, Member: m.id})
		}
	}
}

func (g *group) waits(m *member) bool {
	if len(m.revoking) > 0 || m.epoch == EpochLeaveStatic {
		return false // it was told, or is not there
	}
	if !m.assigned.within(m.target) {
		return true
	}
	for _, t := range m.target {
		for _, index := range t.Partitions {
			if g.owners[partition{t.Topic, index}] == nil {
				return true
			}
		}
	}
	return false
}

// state is what the group is doing.
func (g *group) state() State {
	if g.protocol == ProtocolClassic {
		return g.classic.state
	}
	switch {
	case len(g.members) == 0:
		return StateEmpty
	case g.epoch != g.targetEpoch:
		return StateAssigning
	}
	for _, m := range g.members {
		if m.epoch != g.targetEpoch && m.epoch != EpochLeaveStatic || !m.assigned.Equal(m.target) {
			return StateReconciling
		}
	}
	return StateStable
}
