package metadata

import (
	"cmp"
	"slices"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

// ReplicationFactor is how many replicas a topic's partitions are to have: as many as before the cluster was restored, or as that one has that has the most.
func ReplicationFactor(t *Topic) int {
	factor := int(t.Restored)
	for _, p := range t.All() {
		factor = max(factor, len(p.Targets()))
	}
	return factor
}

// Replication is a plan that brings partitions to a number of replicas.
type Replication struct {
	Moves []*metadatapb.Reassignment // at most as many as were asked for
	// Short partitions have, or will have by the plan, fewer replicas than they are to have: there are too few brokers that take some.
	Short int
	// Moving partitions are reassigned already.
	Moving int
}

// PlanReplication plans at most limit reassignments that give partitions of some topics as many replicas as they are to have: what ReassignPartitions proposes. replicas
// says how many; 0: each topic's [ReplicationFactor]. A partition keeps the replicas that it has, but none of brokers that are not known or are drained, and none beyond a
// broker's share of all replicas; others come to racks that have none of the partition as long as there are such, and of them that one is the preferred leader that is it
// of the fewest. Partitions that have enough, and those that are being reassigned to enough, stay as they are. It is a pure function of the image.
func PlanReplication(img *Image, topics []*Topic, replicas, limit int) Replication {
	p := replication{img: img, loads: brokerLoads(img)}
	p.gather(topics, replicas)
	for _, w := range p.wanting {
		if len(p.plan.Moves) < limit {
			p.place(w)
		}
	}
	return p.plan
}

// replication is a plan in the making.
type replication struct {
	img     *Image
	loads   []brokerLoad
	share   int // of a broker, in replicas
	wanting []wanting
	plan    Replication
}

// wanting is a partition that has not what it is to have.
type wanting struct {
	id        mq.PartitionID
	partition *Partition
	factor    int
	away      []mq.NodeID // of its replicas: on brokers that take none now, and may be back
}

// gather finds who wants other replicas, and takes what these have out of the loads.
func (p *replication) gather(topics []*Topic, replicas int) {
	for _, t := range topics {
		factor := cmp.Or(replicas, ReplicationFactor(t))
		for i, part := range t.All() {
			if part.Reassignment != nil {
				p.plan.Moving++
			}
			away, lost := p.unavailable(part.Targets())
			goal := min(factor, len(away)+len(p.loads))
			if goal < factor {
				p.plan.Short++
			}
			if has := len(part.Targets()); !lost && (has == factor || has < factor && has >= goal) {
				continue
			}
			there := 0 // of its replicas, on brokers that take some
			for _, id := range part.Targets() {
				if p.load(id) >= 0 {
					there++
				}
			}
			p.wanting = append(p.wanting, wanting{mq.PartitionID{Topic: t.ID, Index: i}, part, goal, away[:min(len(away), max(0, goal-there))]})
			p.count(part.Targets(), -1)
		}
	}
	all := 0
	for i := range p.loads {
		all += p.loads[i].replicas
	}
	for _, w := range p.wanting {
		all += w.factor - len(w.away)
	}
	if n := len(p.loads); n > 0 {
		p.share = (all + n - 1) / n
	}
}

// unavailable are those of some replicas that are on brokers that take none now, but may be back; lost says that others are on brokers that are not known, or are to have none.
func (p *replication) unavailable(targets []mq.NodeID) (away []mq.NodeID, lost bool) {
	for _, id := range targets {
		switch b := p.img.broker(id); {
		case b == nil || b.Draining:
			lost = lost || b == nil
		case p.load(id) < 0:
			away = append(away, id)
		}
	}
	return away, lost
}

// load is the place of a broker among the loads; less than 0: it takes no replicas now.
func (p *replication) load(id mq.NodeID) int {
	return slices.IndexFunc(p.loads, func(l brokerLoad) bool { return l.id == id })
}

// count adds a partition to the loads, so many times.
func (p *replication) count(targets []mq.NodeID, times int) {
	for n, id := range targets {
		if i := p.load(id); i >= 0 {
			p.loads[i].replicas += times
			if n == 0 {
				p.loads[i].leaders += times
			}
		}
	}
}

// place chooses the replicas of one partition, and counts them.
func (p *replication) place(w wanting) {
	var chosen []int // of loads
	for _, id := range w.partition.Targets() {
		if i := p.load(id); i >= 0 && len(chosen)+len(w.away) < w.factor && p.loads[i].replicas < p.share {
			chosen = append(chosen, i)
		}
	}
	for len(chosen)+len(w.away) < w.factor {
		best := -1
		for i := range p.loads {
			if !slices.Contains(chosen, i) && (best < 0 || betterBeside(p.loads, chosen, i, best)) {
				best = i
			}
		}
		if best < 0 {
			break
		}
		chosen = append(chosen, best)
	}
	if len(chosen) == 0 {
		return // whoever has replicas is away, and nobody else takes any
	}
	slices.SortStableFunc(chosen, func(a, b int) int { return cmp.Compare(p.loads[a].leaders, p.loads[b].leaders) })
	var targets []mq.NodeID
	for _, i := range chosen {
		targets = append(targets, p.loads[i].id)
	}
	targets = append(targets, w.away...)
	p.count(targets, 1)
	p.plan.Moves = append(p.plan.Moves, &metadatapb.Reassignment{
		Partition: PartitionRecord(w.id), PartitionEpoch: new(w.partition.PartitionEpoch), Targets: nodeNumbers(targets),
	})
}
