package metadata

import (
	"cmp"
	"slices"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

// PlaceTopic chooses replicas for the partitions of a new topic: what a CreateTopic command needs. 0 partitions or replicas mean
// the cluster's default. It is a pure function of the image. Errors: InvalidPartitions, InvalidReplicationFactor.
func PlaceTopic(img *Image, partitions, replicas int) ([][]mq.NodeID, error) {
	if partitions == 0 {
		partitions = int(img.Defaults.Partitions)
	}
	return placeFrom(img, 0, partitions, replicas)
}

// PlacePartitions chooses replicas for partitions that are added to a topic.
func PlacePartitions(img *Image, t *Topic, add int) ([][]mq.NodeID, error) {
	return placeFrom(img, int(t.count), add, len(t.Partition(0).Targets()))
}

func placeFrom(img *Image, existing, add, replicas int) ([][]mq.NodeID, error) {
	if add < 1 || add > mq.MaxPartitionsPerTopic-existing {
		return nil, mq.Errorf(mq.InvalidPartitions, "%d partitions and %d more: from 1 to %d are allowed", existing, add, mq.MaxPartitionsPerTopic)
	}
	loads := brokerLoads(img)
	if replicas == 0 {
		replicas = img.Defaults.Replicas(len(loads))
	}
	if replicas < 1 || replicas > min(len(loads), mq.MaxReplicationFactor) {
		return nil, mq.Errorf(mq.InvalidReplicationFactor, "%d replicas: there are %d live brokers that take replicas", replicas, len(loads))
	}
	assignments := make([][]mq.NodeID, add)
	for i := range assignments {
		assignments[i] = placeOne(loads, replicas)
	}
	return assignments, nil
}

// brokerLoad is what a broker has been given already.
type brokerLoad struct {
	id                mq.NodeID
	rack              string
	leaders, replicas int
}

// brokerLoads counts for each live broker that takes replicas what it has, ascending by id.
func brokerLoads(img *Image) []brokerLoad {
	var loads []brokerLoad
	for _, b := range img.brokers {
		if !b.Fenced && !b.ShuttingDown && !b.Draining {
			loads = append(loads, brokerLoad{id: b.ID, rack: b.Rack})
		}
	}
	count := func(id mq.NodeID, leads bool) {
		if at, ok := slices.BinarySearchFunc(loads, id, func(l brokerLoad, id mq.NodeID) int { return cmp.Compare(l.id, id) }); ok {
			loads[at].replicas++
			if leads {
				loads[at].leaders++
			}
		}
	}
	for t := range img.Topics() {
		for _, p := range t.All() {
			for i, id := range p.Targets() {
				count(id, i == 0)
			}
		}
	}
	return loads
}

// placeOne takes the broker that is preferred leader of the fewest partitions, then brokers with the fewest replicas, in racks that have none yet as
// long as there are such. It counts what it takes.
func placeOne(loads []brokerLoad, replicas int) []mq.NodeID {
	chosen := make([]int, 0, replicas)
	for len(chosen) < replicas {
		best := -1
		for i := range loads {
			if !slices.Contains(chosen, i) && (best < 0 || better(loads, chosen, i, best)) {
				best = i
			}
		}
		chosen = append(chosen, best)
	}
	ids := make([]mq.NodeID, replicas)
	for n, i := range chosen {
		ids[n] = loads[i].id
		loads[i].replicas++
		if n == 0 {
			loads[i].leaders++
		}
	}
	if replicas > 1 { // when a leader dies, the next in the list leads: not the same one for all that it led
		turn := loads[chosen[0]].leaders % (replicas - 1)
		ids = slices.Concat(ids[:1], ids[1+turn:], ids[1:1+turn])
	}
	return ids
}

// better says whether broker a is the better next replica than broker b, beside those chosen.
func better(loads []brokerLoad, chosen []int, a, b int) bool {
	la, lb := &loads[a], &loads[b]
	if len(chosen) == 0 {
		return cmp.Or(cmp.Compare(la.leaders, lb.leaders), cmp.Compare(la.replicas, lb.replicas), cmp.Compare(la.id, lb.id)) < 0
	}
	return betterBeside(loads, chosen, a, b)
}

// betterBeside is better for a replica that need not lead.
func betterBeside(loads []brokerLoad, chosen []int, a, b int) bool {
	la, lb := &loads[a], &loads[b]
	return cmp.Or(
		cmp.Compare(inRack(loads, chosen, la.rack), inRack(loads, chosen, lb.rack)),
		cmp.Compare(la.replicas, lb.replicas),
		cmp.Compare(la.id, lb.id),
	) < 0
}

func inRack(loads []brokerLoad, chosen []int, rack string) int {
	n := 0
	for _, i := range chosen {
		if loads[i].rack == rack {
			n++
		}
	}
	return n
}

// PlanElections lists at most limit changes that give a leader to partitions without one, where there is somebody to elect: what
// ChangePartitions proposes. The state machine elects by itself when brokers come and go; this is for what changed otherwise,
// as unclean.leader.election.enable. It is a pure function of the image.
func PlanElections(img *Image, limit int) []*metadatapb.PartitionChange {
	return planLeaders(img, limit, func(t *Topic, p *Partition) mq.NodeID {
		if p.Leader != mq.NoNode {
			return mq.NoNode
		}
		leader, _ := img.elect(t, p)
		return leader
	})
}

// PlanBalance lists at most limit changes that bring leaderships back to preferred leaders that are alive and in sync. It is a pure
// function of the image.
func PlanBalance(img *Image, limit int) []*metadatapb.PartitionChange {
	return planLeaders(img, limit, func(t *Topic, p *Partition) mq.NodeID {
		preferred, err := img.Preferred(t, p)
		if p.Leader == mq.NoNode || p.Leader == preferred || err != nil {
			return mq.NoNode
		}
		return preferred
	})
}

// Preferred is the preferred leader of one of a topic's partitions. LeaderNotAvailable: it cannot lead now without loss, or wants to stop.
func (img *Image) Preferred(t *Topic, p *Partition) (mq.NodeID, error) {
	preferred := p.Replicas[0]
	switch b := img.broker(preferred); {
	case b == nil || b.Fenced:
		return preferred, mq.Errorf(mq.LeaderNotAvailable, "broker %d, the preferred leader, is fenced", preferred)
	case b.ShuttingDown:
		return preferred, mq.Errorf(mq.LeaderNotAvailable, "broker %d, the preferred leader, is shutting down", preferred)
	case img.standingOf(t, p, preferred) != inSync:
		return preferred, mq.Errorf(mq.LeaderNotAvailable, "broker %d, the preferred leader, is not in sync", preferred)
	}
	return preferred, nil
}

// PlanShutdown lists at most limit changes that let a broker stop without anybody noticing: first its leaderships go to others in sync, then
// it leaves in-sync sets that are large enough without it. An empty plan says that it may stop: what it still leads or holds
// nobody else can. It is a pure function of the image.
func PlanShutdown(img *Image, node mq.NodeID, limit int) []*metadatapb.PartitionChange {
	changes := planLeaders(img, limit, func(t *Topic, p *Partition) mq.NodeID {
		if p.Leader != node {
			return mq.NoNode
		}
		others := *p
		others.Replicas = without(p.Replicas, node)
		if leader, as := img.elect(t, &others); as == inSync && !img.broker(leader).ShuttingDown {
			return leader
		}
		return mq.NoNode
	})
	if len(changes) > 0 {
		return changes
	}
	return planChanges(img, limit, func(t *Topic, p *Partition) *metadatapb.PartitionChange {
		if p.Leader == mq.NoNode || p.Leader == node || !slices.Contains(p.ISR, node) || len(p.ISR) <= t.MinInSync(p) {
			return nil
		}
		c := &metadatapb.PartitionChange{}
		for _, id := range without(p.ISR, node) {
			c.Isr = append(c.Isr, &metadatapb.ISRMember{NodeId: int32(id)})
		}
		return c
	})
}

// planLeaders asks for the leader that each partition should get, or none for no change.
func planLeaders(img *Image, limit int, leaderOf func(*Topic, *Partition) mq.NodeID) []*metadatapb.PartitionChange {
	return planChanges(img, limit, func(t *Topic, p *Partition) *metadatapb.PartitionChange {
		if leader := leaderOf(t, p); leader != mq.NoNode {
			return &metadatapb.PartitionChange{Leader: new(int32(leader))}
		}
		return nil
	})
}

// planChanges asks for what should change in each partition, nil for nothing, in the order of their ids.
func planChanges(img *Image, limit int, change func(*Topic, *Partition) *metadatapb.PartitionChange) []*metadatapb.PartitionChange {
	var changes []*metadatapb.PartitionChange
	for _, t := range sortedTopics(img) {
		for i, p := range t.All() {
			if len(changes) >= limit {
				return changes
			}
			if c := change(t, p); c != nil {
				c.Partition = PartitionRecord(mq.PartitionID{Topic: t.ID, Index: i})
				c.PartitionEpoch, c.LeaderEpoch = p.PartitionEpoch, int32(mq.NoEpoch)
				changes = append(changes, c)
			}
		}
	}
	return changes
}

func sortedTopics(img *Image) []*Topic { return slices.SortedFunc(img.Topics(), compareTopics) }
