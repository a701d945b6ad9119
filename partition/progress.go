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

// Progress is what a leader knows of its replicas, at one moment.
type Progress struct {
	Epoch          mq.Epoch
	PartitionEpoch int32 // of the in-sync set
	EpochStart     mq.Offset
	HighWatermark  mq.Offset
	LogEnd         mq.Offset
	ISR            []mq.NodeID
	Followers      []FollowerProgress
	Expected       []mq.NodeID // followers that the watermark waits for, though nobody asked for them yet
	Asked          bool        // another in-sync set was proposed, and it is not told yet what came of it
	Doubt          bool        // of an earlier proposal it will not be told: it may still be decided
}

// maxDoubted bounds the different sets whose fate is unknown; only after so many outcomes were lost in a row, with none decided between.
const maxDoubted = 16

// progress is what a leader knows of its followers, within one epoch. It is pure: no clock, no lock.
//
// The controllers decide about the in-sync set by compare-and-set on the partition epoch, so of all that was proposed at one partition epoch
// at most one is decided, and a newer partition epoch ends them all. Until then each of them may be the set that the next leader is
// chosen from.
type progress struct {
	self           mq.NodeID
	partitionEpoch int32
	isr            []mq.NodeID
	proposed       []mq.NodeID   // asked for, the answer is awaited; nil: none is
	doubted        [][]mq.NodeID // asked for, the answer was lost
	expected       []mq.NodeID   // to be asked for as soon as they have all below the watermark, which waits for them therefore
	followers      []FollowerProgress
	planted        Planted
}

func newProgress(self mq.NodeID, partitionEpoch int32, isr []Replica, bugs Planted) *progress {
	g := &progress{self: self, partitionEpoch: partitionEpoch, planted: bugs}
	g.isr = g.nodes(isr)
	return g
}

// decide notes the in-sync set that the controllers decided on: what was proposed is over with that. What is known already changes nothing
// but the incarnations, and what is older than that nothing at all.
func (g *progress) decide(partitionEpoch int32, isr []Replica) {
	switch {
	case partitionEpoch == g.partitionEpoch:
		g.nodes(isr)
	case partitionEpoch > g.partitionEpoch:
		g.partitionEpoch, g.isr = partitionEpoch, g.nodes(isr)
		g.proposed, g.doubted, g.expected = nil, nil, nil
	}
}

// propose notes an in-sync set that is asked for. One whose answer is still awaited becomes one of the doubted.
func (g *progress) propose(partitionEpoch int32, isr []Replica) error {
	if partitionEpoch != g.partitionEpoch {
		return mq.Errorf(mq.FencedLeaderEpoch, "in-sync set proposed at partition epoch %d, it is %d", partitionEpoch, g.partitionEpoch)
	}
	nodes := make([]mq.NodeID, len(isr))
	for i, r := range isr {
		nodes[i] = r.Node
	}
	if !slices.Contains(nodes, g.self) {
		return mq.Errorf(mq.InvalidRequest, "in-sync set %v without the leader %d", nodes, g.self)
	}
	g.unsettled()
	if len(g.doubted) >= maxDoubted && !slices.Equal(nodes, g.isr) {
		return mq.Errorf(mq.TooManyRequests, "it is not known what came of %d proposed in-sync sets", len(g.doubted))
	}
	g.proposed, g.expected = g.nodes(isr), nil
	return nil
}

// refused forgets the proposal whose answer is awaited: it was not decided, and will not be.
func (g *progress) refused() { g.proposed = nil }

// unsettled notes that the answer to the proposal will not come.
func (g *progress) unsettled() {
	if g.proposed == nil {
		return
	}
	if g.planted.DoubtIgnored {
		g.refused()
		return
	}
	if !slices.ContainsFunc(g.doubted, func(s []mq.NodeID) bool { return slices.Equal(s, g.proposed) }) {
		g.doubted = append(g.doubted, g.proposed)
	}
	g.proposed = nil
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
	if f := &g.followers[i]; r.Incarnation > f.Incarnation && !g.planted.IncarnationIgnored {
		*f = FollowerProgress{r, -1}
	}
	return &g.followers[i]
}

// acked notes that r holds everything below end.
func (g *progress) acked(r Replica, end mq.Offset) error {
	f := g.follower(r)
	if r.Incarnation < f.Incarnation && !g.planted.IncarnationIgnored {
		return mq.Errorf(mq.StaleBrokerEpoch, "node %d acknowledges as incarnation %d, but %d has begun", r.Node, r.Incarnation, f.Incarnation)
	}
	f.End = max(f.End, end)
	return nil
}

// replicated is the end of what every replica holds that is in sync, or may be by what was proposed, or is expected to be, and this node. ok is false
// while one of these sets is smaller than minISR.
func (g *progress) replicated(local mq.Offset, minISR int) (end mq.Offset, ok bool) {
	if g.planted.MinISRIgnored {
		minISR = 1
	}
	if len(g.isr) < minISR || g.proposed != nil && len(g.proposed) < minISR {
		return 0, false
	}
	for _, set := range g.doubted {
		if len(set) < minISR {
			return 0, false
		}
	}
	end = local
	slowest := g.slowest()
	for i, f := range g.followers {
		if f.End < end && g.counts(f.Node) && i != slowest {
			end = f.End
		}
	}
	return end, true
}

// slowest is of a planted bug: which follower the watermark does not wait for.
func (g *progress) slowest() int {
	slowest := -1
	for i, f := range g.followers {
		if g.planted.SlowestIgnored && g.counts(f.Node) && (slowest < 0 || f.End < g.followers[slowest].End) {
			slowest = i
		}
	}
	return slowest
}

// counts says whether the watermark waits for node.
func (g *progress) counts(node mq.NodeID) bool {
	return slices.Contains(g.isr, node) || slices.Contains(g.proposed, node) && !g.planted.ProposedIgnored || slices.Contains(g.expected, node) ||
		slices.ContainsFunc(g.doubted, func(set []mq.NodeID) bool { return slices.Contains(set, node) })
}
