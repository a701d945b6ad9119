package group

import (
	"regexp"
)

// group is one group. Of a classic one classic is set, and members are none; of one with the consumer protocol it is the other way round.
type group struct {
	id         string
	protocol   Protocol
	emptySince int64 // in ms since 1970; 0 with members

	epoch         int32
	targetEpoch   int32
	topicsHash    uint64
	topicsVersion uint64 // of the topics that topicsHash was looked up in; not kept
	members       map[string]*member
	instances     map[string]*member
	owners        map[partition]*member // by what members have been assigned and not given up
	patterns      map[string]*regexp.Regexp

	classic *classic
	offsets offsets

	bytes        int64 // that it was counted to hold
	membersBytes int64 // of them, those of members

	changes  changes
	written  bool // there are records of it
	settling bool // it is in the shard's list of those whose target is to be made
}

func newGroup(id string) *group {
	return &group{id: id, protocol: ProtocolClassic, classic: newClassic()}
}

// changes are what of a group is to be written by the end of a call: the parts by name, whose state is looked up then.
type changes struct {
	listed  bool // the group is in the shard's list
	more    bool // of more than offsets: what members hold may be another thing
	head    bool
	classic bool
	members map[string]bool
	targets map[string]bool
	offsets map[string]map[int32]bool
}

func (c *changes) none() bool {
	return !c.head && !c.classic && len(c.members)+len(c.targets)+len(c.offsets) == 0
}

func (g *group) touch(s *Shard) {
	g.changes.more = true
	g.list(s)
}

// list is touch for what is of no member.
func (g *group) list(s *Shard) {
	if !g.changes.listed {
		g.changes.listed = true
		s.touched = append(s.touched, g)
	}
}

func (g *group) touchHead(s *Shard) {
	g.changes.head = true
	g.touch(s)
}

func (g *group) touchMember(s *Shard, id string) {
	if g.changes.members == nil {
		g.changes.members = make(map[string]bool)
	}
	g.changes.members[id] = true
	g.touch(s)
}

func (g *group) touchTarget(s *Shard, id string) {
	if g.changes.targets == nil {
		g.changes.targets = make(map[string]bool)
	}
	g.changes.targets[id] = true
	g.touch(s)
}

func (g *group) touchOffset(s *Shard, topic string, index int32) {
	if g.changes.offsets == nil {
		g.changes.offsets = make(map[string]map[int32]bool)
	}
	if g.changes.offsets[topic] == nil {
		g.changes.offsets[topic] = make(map[int32]bool)
	}
	g.changes.offsets[topic][index] = true
	g.list(s)
}

// size is the number of members.
func (g *group) size() int {
	if g.protocol == ProtocolConsumer {
		return len(g.members)
	}
	return len(g.classic.members)
}

// vanished says whether there is nothing that makes it a group, and never was.
func (g *group) vanished() bool {
	return !g.written && g.changes.none() && g.size() == 0 && g.offsets.n == 0 && len(g.classicPending()) == 0
}

func (g *group) classicPending() map[string]pendingMember {
	if g == nil || g.classic == nil {
		return nil
	}
	return g.classic.pending
}

// noteSize keeps since when the group has no members, as far as is written down, and says whether that is new.
func (g *group) noteSize(nowMs int64) bool {
	n := len(g.members)
	if g.classic != nil {
		n = len(g.classic.saved.GetMembers())
	}
	switch {
	case n == 0 && g.emptySince == 0:
		g.emptySince = nowMs
	case n > 0 && g.emptySince != 0:
		g.emptySince = 0
	default:
		return false
	}
	return true
}

// become changes the protocol of a group without members.
func (g *group) become(s *Shard, p Protocol) {
	if g.protocol == p {
		return
	}
	g.protocol = p
	g.touchHead(s)
	if p == ProtocolConsumer {
		// The epoch goes on from the generation: a commit of one can never pass for one of the other.
		g.epoch, g.targetEpoch = max(g.epoch, g.classic.generation), max(g.epoch, g.classic.generation)
		g.classic = nil
		g.makeConsumer()
		return
	}
	g.members, g.instances, g.owners, g.patterns = nil, nil, nil, nil
	g.classic = newClassic()
	g.classic.generation = g.epoch
	g.changes.classic = true
}

func (g *group) makeConsumer() {
	g.members, g.instances = make(map[string]*member), make(map[string]*member)
	g.owners, g.patterns = make(map[partition]*member), make(map[string]*regexp.Regexp)
}
