package partition

import (
	"slices"

	"github.com/rustmq/rustmq/mq"
)

// Replica is one incarnation of a member of the replica set. Incarnation is the broker epoch that the controllers gave it: what
// one incarnation acknowledged says nothing about what the next one holds.
type Replica struct {
	Node        mq.NodeID
	Incarnation uint64
}

// FollowerProgress is how far a follower has come.
type FollowerProgress struct {
	Replica
	End mq.Offset // what it holds on its disk; -1: has not said yet
}

// progress is what a leader knows of its followers, within one epoch. It is pure: no clock, no lock.
type progress struct {
	self      mq.NodeID
	isr       []mq.NodeID
	proposed  []mq.NodeID // while a change of the in-sync set is being decided; nil: none is
	followers []FollowerProgress
}

func newProgress(self mq.NodeID, isr []Replica) *progress {
	g := &progress{self: self}
	g.decide(isr)
	return g
}

// decide notes the in-sync set that the controllers decided on; a proposal is over with that.
func (g *progress) decide(isr []Replica) {
	g.isr, g.proposed = g.nodes(isr), nil
}

// propose notes an in-sync set that was asked for, nil that the request was refused. As long as it is not known what came of
// it, either set may be the one that the next leader is chosen from.
func (g *progress) propose(isr []Replica) {
	if isr == nil {
		g.proposed = nil
		return
	}
	g.proposed = g.nodes(isr)
}

// nodes are the nodes of a set. A member in a newer incarnation than the one heard of has to speak again.
func (g *progress) nodes(isr []Replica) []mq.NodeID {
	nodes := make([]mq.NodeID, len(isr))
	for i, r := range isr {
		nodes[i] = r.Node
		if r.Node != g.self {
			g.follower(r)
		}
	}
	return nodes
}

// follower finds or makes what is known of r's node, as of r's incarnation if that is newer.
func (g *progress) follower(r Replica) *FollowerProgress {
	i := slices.IndexFunc(g.followers, func(f FollowerProgress) bool { return f.Node == r.Node })
	if i < 0 {
		g.followers = append(g.followers, FollowerProgress{r, -1})
		return &g.followers[len(g.followers)-1]
	}
	if f := &g.followers[i]; r.Incarnation > f.Incarnation {
		*f = FollowerProgress{r, -1}
	}
	return &g.followers[i]
}

// acked notes that r holds everything below end.
func (g *progress) acked(r Replica, end mq.Offset) error {
	f := g.follower(r)
	if r.Incarnation < f.Incarnation {
		return mq.Errorf(mq.StaleBrokerEpoch, "node %d acknowledges as incarnation %d, but %d has begun", r.Node, r.Incarnation, f.Incarnation)
	}
	f.End = max(f.End, end)
	return nil
}

// replicated is the end of what every in-sync replica holds, those of a proposed set included, and this node. ok is false
// while the set is smaller than minISR.
func (g *progress) replicated(local mq.Offset, minISR int) (end mq.Offset, ok bool) {
	if len(g.isr) < minISR {
		return 0, false
	}
	end = local
	for _, f := range g.followers {
		if slices.Contains(g.isr, f.Node) || slices.Contains(g.proposed, f.Node) {
			end = min(end, f.End)
		}
	}
	return end, true
}
