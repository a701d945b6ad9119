package metadata

import (
	"cmp"
	"slices"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

// Reassignment is a change of replicas that is under way (KIP-455). Immutable. Meanwhile the partition's replicas are those that
// it had, in their order, and then those that are being added. It ends by itself when all targets are in sync: then the
// targets are the replicas, and a leader that is none of them gives way to one of them.
type Reassignment struct {
	// Targets are the replicas that the partition is to have, preferred leader first.
	Targets []mq.NodeID
	// Adding are those of them that it did not have, in the order of the targets.
	Adding []mq.NodeID
}

func (r *Reassignment) equal(o *Reassignment) bool {
	return r == o || r != nil && o != nil && slices.Equal(r.Targets, o.Targets) && slices.Equal(r.Adding, o.Adding)
}

// Targets are the replicas that the partition is to have: those that it has, unless it is being reassigned. The caller must not change
// the slice.
func (p *Partition) Targets() []mq.NodeID {
	if p.Reassignment == nil {
		return p.Replicas
	}
	return p.Reassignment.Targets
}

// Removing are the replicas that a reassignment takes away when it ends.
func (p *Partition) Removing() []mq.NodeID { return minus(p.Replicas, p.Targets()) }

// original are the replicas as they were before a reassignment.
func (p *Partition) original() []mq.NodeID {
	if p.Reassignment == nil {
		return p.Replicas
	}
	return minus(p.Replicas, p.Reassignment.Adding)
}

func (m *machine) reassignPartitions(c *metadatapb.ReassignPartitions) *metadatapb.Result {
	verdicts := make([]*metadatapb.Verdict, len(c.GetReassignments()))
	for i, r := range c.GetReassignments() {
		verdicts[i] = verdict(m.reassignPartition(r))
	}
	return &metadatapb.Result{Value: &metadatapb.Result_ReassignPartitions{
		ReassignPartitions: &metadatapb.ReassignPartitionsResult{Verdicts: verdicts},
	}}
}

// reassignPartition begins a reassignment, changes the aim of one, or cancels it. Replicas that were being added and are no longer wanted go
// at once.
func (m *machine) reassignPartition(c *metadatapb.Reassignment) error {
	id, p, err := m.partitionOf(c.GetPartition())
	if err != nil {
		return err
	}
	if c.PartitionEpoch != nil {
		if err := checkPartitionEpoch(id, p, c.GetPartitionEpoch()); err != nil {
			return err
		}
	}
	next := m.transition(m.topic(id.Topic), p)
	targets, original := nodeIDs(c.GetTargets()), p.original()
	switch {
	case len(targets) > 0:
		if err := m.img.checkReplicas(targets); err != nil {
			return mq.Wrapf(err, "partition %s", id)
		}
		adding := minus(targets, original)
		if n := len(original) + len(adding); n > mq.MaxReplicationFactor {
			return mq.Errorf(mq.InvalidReplicationFactor, "partition %s: it would have %d replicas meanwhile, %d are allowed: move fewer at once", id, n,
				mq.MaxReplicationFactor)
		}
		next.p.Replicas = slices.Concat(original, adding)
		next.p.Reassignment = &Reassignment{Targets: targets, Adding: adding}
		if slices.Equal(targets, original) {
			next.p.Reassignment = nil
		}
	case p.Reassignment == nil:
		return mq.Errorf(mq.InvalidRequest, "partition %s is not being reassigned: there is nothing to cancel", id)
	default:
		next.p.Replicas, next.p.Reassignment = original, nil
	}
	next.p.ISR = slices.DeleteFunc(slices.Clone(p.ISR), func(id mq.NodeID) bool { return !slices.Contains(next.p.Replicas, id) })
	if len(next.p.ISR) == 0 {
		return mq.Errorf(mq.InvalidRequest, "partition %s: only %v are in sync, and would be no replicas any more", id, p.ISR)
	}
	if changed := next.finish(); changed != nil {
		m.putPartition(id, changed)
	}
	return nil
}

// complete ends a reassignment of which all targets are in sync.
func (c *transition) complete() {
	r := c.p.Reassignment
	if r == nil || c.p.lost() || len(minus(r.Targets, c.p.ISR)) > 0 {
		return
	}
	c.p.Replicas, c.p.ISR, c.p.Reassignment = r.Targets, r.Targets, nil
}

// minus is ids without those that are gone, in their order.
func minus(ids, gone []mq.NodeID) []mq.NodeID {
	return slices.DeleteFunc(slices.Clone(ids), func(id mq.NodeID) bool { return slices.Contains(gone, id) })
}

// PlanDrain lists at most limit reassignments that take a broker's replicas to others, to racks that have none of the partition
// as long as there are such: what ReassignPartitions proposes. Partitions that no other broker can take are left out. It is a pure function of the image.
func PlanDrain(img *Image, node mq.NodeID, limit int) []*metadatapb.Reassignment {
	loads := slices.DeleteFunc(brokerLoads(img), func(l brokerLoad) bool { return l.id == node })
	var plan []*metadatapb.Reassignment
	for _, t := range sortedTopics(img) {
		for i, p := range t.All() {
			if len(plan) >= limit {
				return plan
			}
			at := slices.Index(p.Targets(), node)
			if at < 0 {
				continue
			}
			heir := placeInstead(loads, p.Targets(), at)
			if heir == mq.NoNode {
				continue
			}
			targets := slices.Clone(p.Targets())
			targets[at] = heir
			plan = append(plan, &metadatapb.Reassignment{
				Partition: PartitionRecord(mq.PartitionID{Topic: t.ID, Index: i}), PartitionEpoch: new(p.PartitionEpoch), Targets: nodeNumbers(targets),
			})
		}
	}
	return plan
}

// Drain is how far it is that a broker has given its replicas away.
type Drain struct {
	// Replicas are those that it has, Moving those of them that are being moved elsewhere, and Stuck those that no other broker can take now.
	Replicas, Moving, Stuck int
}

// DrainOf counts a broker's replicas. It is a pure function of the image.
func DrainOf(img *Image, node mq.NodeID) Drain {
	var d Drain
	for t := range img.Topics() {
		for _, p := range t.All() {
			switch {
			case !slices.Contains(p.Replicas, node):
			case slices.Contains(p.Targets(), node):
				d.Replicas++
				d.Stuck++
			default:
				d.Replicas++
				d.Moving++
			}
		}
	}
	if d.Stuck > 0 {
		d.Stuck -= len(PlanDrain(img, node, d.Stuck))
	}
	return d
}

// placeInstead takes the best broker for one place among replicas, and counts it; none when all brokers have one.
func placeInstead(loads []brokerLoad, replicas []mq.NodeID, at int) mq.NodeID {
	var others []int
	for i := range loads {
		if slices.Contains(replicas, loads[i].id) {
			others = append(others, i)
		}
	}
	compare := func(a, b *brokerLoad) int {
		leaders := 0
		if at == 0 { // the preferred leader
			leaders = cmp.Compare(a.leaders, b.leaders)
		}
		return cmp.Or(cmp.Compare(inRack(loads, others, a.rack), inRack(loads, others, b.rack)), leaders, cmp.Compare(a.replicas, b.replicas),
			cmp.Compare(a.id, b.id))
	}
	best := -1
	for i := range loads {
		if !slices.Contains(others, i) && (best < 0 || compare(&loads[i], &loads[best]) < 0) {
			best = i
		}
	}
	if best < 0 {
		return mq.NoNode
	}
	loads[best].replicas++
	if at == 0 {
		loads[best].leaders++
	}
	return loads[best].id
}
