package group

import (
	"maps"
	"slices"
)

// What one step of a sweep looks at, at most but for the last group.
const (
	sweepGroups  = 1000
	sweepOffsets = 50_000
)

// sweep forgets offsets that nobody came back for, and groups of which nothing is left. It goes on behind the group where it stopped.
func (s *Shard) sweep() {
	groups, looked := 0, 0
	for _, id := range sortedKeys(s.groups) {
		if id <= s.swept {
			continue
		}
		if groups == sweepGroups || looked >= sweepOffsets {
			s.timers.set(timer{at: s.now, kind: timerSweep})
			return
		}
		g := s.groups[id]
		groups, looked, s.swept = groups+1, looked+g.offsets.n, id
		s.expire(g)
	}
	s.swept = ""
	s.timers.set(timer{at: s.now.Add(s.cfg.OffsetsCheck), kind: timerSweep})
}

// expire forgets what a group has committed a retention ago: where it has members only of topics that nobody consumes, and else only when it
// has had none for as long.
func (s *Shard) expire(g *group) {
	if len(g.classicPending()) > 0 {
		return // somebody is about to come
	}
	empty := g.size() == 0
	cutoff := s.now.Add(-s.cfg.OffsetsRetention).UnixMilli()
	if empty && (g.emptySince == 0 || g.emptySince > cutoff && g.offsets.n > 0) {
		return // 0 when the last member has only just gone
	}
	for _, topic := range sortedKeys(g.offsets.topics) {
		if !empty && !s.planted.membersExpire {
			if yes, known := g.consumes(topic); yes || !known {
				continue
			}
		}
		at := g.offsets.topics[topic].at
		for _, index := range slices.Sorted(maps.Keys(at)) {
			if at[index].commitMs <= cutoff {
				g.offsets.remove(topic, index)
				g.touchOffset(s, topic, index)
			}
		}
	}
	if empty && g.offsets.n == 0 {
		s.forget(g)
	}
}
