package group

import (
	"maps"
	"slices"

	grouppb "github.com/rustmq/rustmq/api/group/v1"
)

// SnapshotStep says what a call of [Shard.Snapshot] was.
type SnapshotStep uint8

// The steps.
const (
	SnapshotBegun  SnapshotStep = iota // Records are the begin mark alone: the log may start there once the end is replicated
	SnapshotWrites                     // there is more
	SnapshotEnded                      // Records have the end mark: once they are replicated, the log may start at the begin mark
)

// snapshot is where the one that is written has got to.
type snapshot struct {
	last    uint64 // the greatest id that was ever used
	running bool
	groups  []string // that are still to be begun
	group   string   // the one that is being written, and what of it
	members []string
	topics  []string
	indexes []int32 // of the first of topics
}

// Snapshot writes down the next part of everything that is known, about maxBytes of it and at least one part. Other calls may come in between: what
// they change after the begin mark is in the log behind it. One that is not continued does no harm.
func (s *Shard) Snapshot(maxBytes int) (Effects, SnapshotStep) {
	n := &s.snap
	if !n.running {
		*n = snapshot{last: n.last + 1, running: true, groups: sortedKeys(s.groups)}
		s.figures.SinceSnapshot = 0
		s.emit("", &grouppb.Record{Kind: &grouppb.Record_SnapshotBegin{SnapshotBegin: &grouppb.SnapshotBegin{Id: n.last}}})
		return s.finish(), SnapshotBegun
	}
	before := s.figures.SinceSnapshot
	for n.group != "" || len(n.groups) > 0 {
		if int(s.figures.SinceSnapshot-before) >= maxBytes {
			return s.finish(), SnapshotWrites
		}
		s.snapshotGroup(maxBytes - int(s.figures.SinceSnapshot-before))
	}
	n.running = false
	s.emit("", &grouppb.Record{Kind: &grouppb.Record_SnapshotEnd{SnapshotEnd: &grouppb.SnapshotEnd{Id: n.last}}})
	s.figures.Snapshot = s.figures.SinceSnapshot
	return s.finish(), SnapshotEnded
}

// snapshotGroup writes of one group what there is room for, and at least something.
func (s *Shard) snapshotGroup(room int) {
	n := &s.snap
	begins := n.group == ""
	if begins {
		n.group, n.groups = n.groups[0], n.groups[1:]
	}
	g := s.groups[n.group]
	if g == nil || !g.written {
		n.group, n.members, n.topics, n.indexes = "", nil, nil, nil
		return
	}
	w := s.writer(g)
	if begins {
		n.members, n.topics, n.indexes = sortedKeys(g.members), sortedKeys(g.offsets.topics), nil
		w.head(g)
		w.classic(g)
	}
	start := s.figures.SinceSnapshot
	full := func() bool { return int(s.figures.SinceSnapshot-start)+w.bytes >= room }
	for ; len(n.members) > 0 && !full(); n.members = n.members[1:] {
		if g.members[n.members[0]] != nil {
			w.member(g, n.members[0])
			if last := len(w.change.Members) - 1; s.planted.snapshotForgets && last >= 0 {
				w.change.Members[last].Revoking = nil
			}
			w.target(g, n.members[0])
		}
	}
	for ; len(n.members) == 0 && len(n.topics) > 0 && !full(); n.topics = n.topics[1:] {
		t := g.offsets.topics[n.topics[0]]
		if t == nil {
			n.indexes = nil
			continue
		}
		if n.indexes == nil {
			n.indexes = slices.Sorted(maps.Keys(t.at))
		}
		for ; len(n.indexes) > 0 && !full(); n.indexes = n.indexes[1:] {
			if _, ok := t.at[n.indexes[0]]; ok {
				w.offset(g, n.topics[0], n.indexes[0])
			}
		}
		if len(n.indexes) > 0 {
			break
		}
		n.indexes = nil
	}
	w.flush()
	if len(n.members) == 0 && len(n.topics) == 0 {
		n.group = ""
	}
}
