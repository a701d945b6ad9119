package group

import (
	"hash/fnv"
	"regexp"
	"slices"
	"strings"
)

// lookAtTopics compares what members subscribe to with what was there when it was last looked at. A difference makes another group epoch.
func (g *group) lookAtTopics(s *Shard) {
	if g.protocol != ProtocolConsumer || s.topics.version == 0 || s.planted.topicsIgnored && g.topicsHash != 0 || g.topicsVersion == s.topics.version {
		return
	}
	if g.epoch != g.targetEpoch {
		g.later(s)
	}
	g.topicsVersion = s.topics.version
	if hash := g.hashTopics(s.topics); hash != g.topicsHash {
		g.topicsHash = hash
		g.bump(s)
	}
}

// hashTopics is a number of all that targets are made of, but for the members.
func (g *group) hashTopics(topics *Topics) uint64 {
	racks := false
	wanted := make(map[string]*Topic)
	for _, m := range g.members {
		racks = racks || m.rack != ""
	}
	for _, m := range g.byID() {
		for _, t := range g.subscribed(topics, m) {
			wanted[t.Name] = t
		}
	}
	if len(wanted) == 0 {
		return 0
	}
	h := fnv.New64a()
	number := func(n int) { _, _ = h.Write([]byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)}) }
	for _, name := range sortedKeys(wanted) {
		t := wanted[name]
		_, _ = h.Write(t.ID[:])
		number(int(t.Partitions))
		if !racks {
			continue
		}
		for _, of := range t.Racks {
			number(len(of))
			for _, rack := range of {
				number(len(rack))
				_, _ = h.Write([]byte(rack))
			}
		}
	}
	return h.Sum64()
}

// subscribed are the topics that there are of those that a member wants, by name.
func (g *group) subscribed(topics *Topics, m *member) []*Topic {
	if m.pattern == "" {
		var found []*Topic
		for _, name := range m.topics {
			if t := topics.names[name]; t != nil {
				found = append(found, t)
			}
		}
		return found
	}
	pattern := g.compiled(m.pattern)
	named := make(map[string]bool, len(m.topics))
	for _, name := range m.topics {
		named[name] = true
	}
	var found []*Topic
	for _, t := range topics.byName {
		if named[t.Name] || (!t.Internal || strings.Contains(m.pattern, t.Name)) && matches(pattern, t.Name) {
			found = append(found, t)
		}
	}
	return found
}

// compiled is a member's pattern, or nil for one that is none, which only another program may have taken: it finds nothing.
func (g *group) compiled(pattern string) *regexp.Regexp {
	if known, ok := g.patterns[pattern]; ok {
		return known
	}
	if len(g.patterns) > 2*len(g.members) {
		clear(g.patterns)
	}
	made, err := compile(pattern)
	if err != nil {
		made = nil
	}
	g.patterns[pattern] = made
	return made
}

func matches(pattern *regexp.Regexp, name string) bool {
	return pattern != nil && pattern.MatchString(name)
}

// subscribes says whether any member wants a topic.
func (g *group) subscribes(topic string) bool {
	for _, m := range g.members {
		for _, name := range m.topics {
			if name == topic {
				return true
			}
		}
		if m.pattern == "" {
			continue
		}
		if matches(g.compiled(m.pattern), topic) {
			return true
		}
	}
	return false
}

// retarget makes the target of the group epoch, when there is none. Without topics it would take everything from everybody.
func (g *group) retarget(s *Shard) {
	if g.epoch == g.targetEpoch || s.topics.version == 0 {
		return
	}
	members := g.byID()
	input := make([]Subscriber, len(members))
	for i, m := range members {
		input[i] = Subscriber{Member: m.id, Instance: m.instance, Rack: m.rack, Topics: g.subscribed(s.topics, m), Has: m.target}
	}
	for i, target := range Assign(g.assignor(s), input) {
		if m := members[i]; !target.Equal(m.target) {
			m.target = target
			g.touchTarget(s, m.id)
		}
	}
	g.targetEpoch = g.epoch
	g.touchHead(s)
}

// assignor is the one that most members prefer, of those that they may: a member may have named one that was taken off the list since.
func (g *group) assignor(s *Shard) string {
	votes := make(map[string]int)
	for _, m := range g.members {
		if slices.Contains(s.cfg.Assignors, m.assignor) {
			votes[m.assignor]++
		}
	}
	best := s.cfg.Assignors[0]
	for _, name := range sortedKeys(votes) {
		if votes[name] > votes[best] {
			best = name
		}
	}
	return best
}
