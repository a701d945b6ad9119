package metadata

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

// replicate carries out what is planned until there is nothing left to plan, so many at a time, and says how many moves there were.
func (b *bench) replicate(replicas, limit int, topics ...*Topic) (moves int) {
	b.t.Helper()
	for {
		plan := PlanReplication(b.store.Image(), topics, replicas, limit)
		if len(plan.Moves) == 0 {
			return moves
		}
		moves += len(plan.Moves)
		result := b.must(&metadatapb.Command{Kind: &metadatapb.Command_ReassignPartitions{ReassignPartitions: &metadatapb.ReassignPartitions{Reassignments: plan.Moves}}})
		for i, code := range codes(result.GetReassignPartitions().GetVerdicts()) {
			if code != mq.None {
				b.t.Fatalf("%v: %v", plan.Moves[i], code)
			}
		}
		for i, t := range topics {
			topics[i] = b.store.Image().Topic(t.ID)
		}
	}
}

func (b *bench) allTopics() []*Topic { return slices.Collect(b.store.Image().Topics()) }

func targetsOf(t *Topic) (all [][]mq.NodeID) {
	for _, p := range t.All() {
		all = append(all, p.Targets())
	}
	return all
}

// refounded is a cluster that was restored on broker 1, of topics that had so many replicas, to which others have come.
func refounded(t *testing.T, brokers int32, factors ...int) *bench {
	t.Helper()
	b := newCluster(t, 5)
	for n, factor := range factors {
		var assignments [][]int32
		for i := range 12 {
			var nodes []int32
			for k := range factor {
				nodes = append(nodes, int32((i+k)%5+1))
			}
			assignments = append(assignments, nodes)
		}
		b.must(createCommand(byte(n+1), fmt.Sprint("t", factor), assignments...))
	}
	r := Refounding{Cluster: clusterID, Node: 1, Dir: mq.DirID(dirOf(1))}
	if _, err := b.store.Refound(r, func(func(*metadatapb.CommitObject) ([]error, error)) error { return nil }); err != nil {
		t.Fatal(err)
	}
	b.index = b.store.Image().Index
	for id := int32(1); id <= brokers; id++ {
		b.must(registerCommand(id, 200))
	}
	checkReload(t, b.store)
	return b
}

func TestRestoredPartitionsGetAsManyReplicasAsTheyHad(t *testing.T) {
	b := refounded(t, 4, 3, 1, 2) // racks r1, r0, r1, r0
	if moves := b.replicate(0, 5, b.allTopics()...); moves < 24 {
		t.Errorf("%d moves", moves)
	}
	replicas, leaders := map[mq.NodeID]int{}, map[mq.NodeID]int{}
	for _, topic := range b.allTopics() {
		for _, targets := range targetsOf(topic) {
			if want := ReplicationFactor(topic); len(targets) != want || topic.Name != fmt.Sprint("t", want) {
				t.Errorf("%s: %v", topic.Name, targets)
			}
			racks := map[string]bool{}
			for _, id := range targets {
				racks[b.store.Image().Broker(id).Rack] = true
				replicas[id]++
			}
			leaders[targets[0]]++
			if len(targets) > 1 && len(racks) < 2 {
				t.Errorf("%s: %v are all in one rack", topic.Name, targets)
			}
		}
	}
	for _, of := range []map[mq.NodeID]int{replicas, leaders} {
		if counts := slices.Collect(maps.Values(of)); len(of) != 4 || slices.Max(counts) > slices.Min(counts)+6 {
			t.Errorf("unevenly spread: replicas %v, leaders %v", replicas, leaders)
		}
	}
	if plan := PlanReplication(b.store.Image(), b.allTopics(), 0, 100); len(plan.Moves) != 0 || plan.Short != 0 || plan.Moving == 0 {
		t.Errorf("asked again: %+v", plan)
	}
}

func TestReplicationPlanSaysWhatItCannotDo(t *testing.T) {
	b := refounded(t, 2, 3)
	topics := b.allTopics()
	b.replicate(0, 100, topics...)
	if plan := PlanReplication(b.store.Image(), topics, 0, 100); plan.Short != 12 || len(plan.Moves) != 0 {
		t.Errorf("two brokers for three replicas: %+v", plan)
	}
	b.must(registerCommand(3, 200))
	if b.replicate(0, 100, topics...); PlanReplication(b.store.Image(), topics, 0, 100).Short != 0 {
		t.Error("three brokers are enough")
	}
	for _, targets := range targetsOf(topics[0]) {
		if len(targets) != 3 {
			t.Errorf("%v", targets)
		}
	}
}

func TestReplicationPlanLeavesAloneWhatIsEnough(t *testing.T) {
	b := newCluster(t, 4) // racks r1, r0, r1, r0
	b.must(createCommand(1, "t", []int32{3, 4}, []int32{1, 2}, []int32{2, 3}, []int32{4, 1}))
	b.reassign(3)
	topics := b.allTopics()
	if moves := b.replicate(0, 100, topics...); moves != 1 {
		t.Errorf("%d moves, want one: of the partition with one replica", moves)
	}
	// 2 and 4 are in the other rack, and 4 has less.
	if got, want := targetsOf(topics[0]), [][]mq.NodeID{{3, 4}, {1, 2}, {2, 3}, {4, 1}}; !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestReplicationPlanTreatsBrokersAsTheyAre(t *testing.T) {
	b := newCluster(t, 4)
	b.must(createCommand(1, "t", []int32{1, 2}))
	b.must(fenceCommand(2, b.brokerEpoch(2)))
	b.must(drainCommand(3, true))
	topics := b.allTopics()
	b.replicate(3, 100, topics...)
	// 2 is away and keeps its replica, 3 takes none.
	if got := targetsOf(topics[0])[0]; !slices.Contains(got, 2) || slices.Contains(got, 3) || len(got) != 3 {
		t.Errorf("got %v", got)
	}
	if plan := PlanReplication(b.store.Image(), topics, 4, 100); plan.Short != 1 || len(plan.Moves) != 0 {
		t.Errorf("%+v", plan)
	}
	b.replicate(1, 100, topics...)
	if got := targetsOf(topics[0])[0]; len(got) != 1 {
		t.Errorf("one replica: %v", got)
	}
}
