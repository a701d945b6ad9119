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
	return placeFrom(img, int(t.count), add, len(t.Partition(0).Replicas))
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
		return nil, mq.Errorf(mq.InvalidReplicationFactor, "%d replicas: there are %d live brokers", replicas, len(loads))
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

// brokerLoads counts for each live broker what it has, ascending by id.
func brokerLoads(img *Image) []brokerLoad {
	var loads []brokerLoad
	for _, b := range img.brokers {
		if !b.Fenced {
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
			for i, id := range p.Replicas {
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
	return ids
}

// better says whether broker a is the better next replica than broker b, beside those chosen.
func better(loads []brokerLoad, chosen []int, a, b int) bool {
	la, lb := &loads[a], &loads[b]
	if len(chosen) == 0 {
		return cmp.Or(cmp.Compare(la.leaders, lb.leaders), cmp.Compare(la.replicas, lb.replicas), cmp.Compare(la.id, lb.id)) < 0
	}
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
		preferred := p.Replicas[0]
		if p.Leader == mq.NoNode || p.Leader == preferred || img.standingOf(t, p, preferred) != inSync {
			return mq.NoNode
		}
		return preferred
	})
}

// planLeaders asks for the leader that each partition should get, in the order of their ids.
func planLeaders(img *Image, limit int, leaderOf func(*Topic, *Partition) mq.NodeID) []*metadatapb.PartitionChange {
	var changes []*metadatapb.PartitionChange
	for _, t := range sortedTopics(img) {
		for i, p := range t.All() {
			if len(changes) >= limit {
				return changes
			}
			if leader := leaderOf(t, p); leader != mq.NoNode {
				changes = append(changes, &metadatapb.PartitionChange{
					Partition: PartitionRecord(mq.PartitionID{Topic: t.ID, Index: i}), PartitionEpoch: p.PartitionEpoch,
					LeaderEpoch: int32(mq.NoEpoch), Leader: new(int32(leader)),
				})
			}
		}
	}
	return changes
}

func sortedTopics(img *Image) []*Topic { return slices.SortedFunc(img.Topics(), compareTopics) }
