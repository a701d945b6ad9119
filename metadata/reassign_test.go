package metadata

import (
	"slices"
	"testing"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

// reassign is the verdict on one reassignment of partition 0 of topic 1.
func (b *bench) reassign(targets ...int32) mq.Code {
	b.t.Helper()
	return codes(b.must(reassignCommand(partitionOf(1, 0), targets...)).GetReassignPartitions().GetVerdicts())[0]
}

// inSync is the leader's proposal of an in-sync set for partition 0 of topic 1.
func (b *bench) inSync(isr ...int32) {
	b.t.Helper()
	p := b.partition(1, 0)
	c := &metadatapb.PartitionChange{Partition: PartitionRecord(partitionOf(1, 0)), PartitionEpoch: p.PartitionEpoch, LeaderEpoch: int32(p.LeaderEpoch)}
	for _, id := range isr {
		c.Isr = append(c.Isr, &metadatapb.ISRMember{NodeId: id, BrokerEpoch: b.brokerEpoch(mq.NodeID(id))})
	}
	if got := codes(b.must(changeCommand(c)).GetChangePartitions().GetVerdicts())[0]; got != mq.None {
		b.t.Errorf("in sync %v: %v", isr, got)
	}
}

func (b *bench) wantReplicas(what string, replicas, targets, removing []mq.NodeID) {
	b.t.Helper()
	if p := b.partition(1, 0); !slices.Equal(p.Replicas, replicas) || !slices.Equal(p.Targets(), targets) || !slices.Equal(p.Removing(), removing) {
		b.t.Errorf("%s: replicas %v, targets %v, removing %v; want %v, %v, %v", what, p.Replicas, p.Targets(), p.Removing(), replicas, targets, removing)
	}
	checkReload(b.t, b.store)
}

func TestReassignmentEndsWhenAllTargetsAreInSync(t *testing.T) {
	b := newCluster(t, 5)
	b.must(createCommand(1, "t", []int32{1, 2, 3}))
	if got := b.reassign(4, 3, 5); got != mq.None {
		t.Fatal(got)
	}
	b.wantReplicas("begun", nodes{1, 2, 3, 4, 5}, nodes{4, 3, 5}, nodes{1, 2})
	b.inSync(1, 2, 3, 4)
	b.wantReplicas("one of two is in sync", nodes{1, 2, 3, 4, 5}, nodes{4, 3, 5}, nodes{1, 2})
	b.inSync(1, 3, 4, 5)
	b.wantReplicas("all are in sync", nodes{4, 3, 5}, nodes{4, 3, 5}, nil)
	b.wantPartition("the leader was none of them", 4, nodes{4, 3, 5}, nil)
	if p := b.partition(1, 0); p.LeaderEpoch != 1 || p.Reassignment != nil {
		t.Errorf("in the end %+v", *p)
	}
	if got := b.reassign(3, 4, 5); got != mq.None {
		t.Fatal(got)
	}
	b.wantPartition("another order only: at once, and the leader moves by plan", 4, nodes{3, 4, 5}, nil)
	if plan := PlanBalance(b.store.Image(), 9); len(plan) != 1 || plan[0].GetLeader() != 3 {
		t.Errorf("the plan is %v", plan)
	}
	if got := b.reassign(5); got != mq.None {
		t.Fatal(got)
	}
	b.wantPartition("fewer, all in sync: at once", 5, nodes{5}, nil)
}

// A broker that gives a replica away drops its log. What it acknowledged must not count for one that it is given again: it was of another leader epoch.
func TestReplicaThatGoesEndsTheLeaderEpoch(t *testing.T) {
	b := newCluster(t, 4)
	b.must(createCommand(1, "t", []int32{1, 2, 3}))
	for _, step := range []struct {
		targets []int32
		leader  mq.NodeID
		epoch   mq.Epoch
	}{
		{[]int32{1, 2}, 1, 1},    // 3 goes
		{[]int32{1, 2, 3}, 1, 1}, // and is added with nothing
		{nil, 1, 2},              // and goes again
		{[]int32{2, 1}, 1, 2},    // nobody goes
	} {
		if got := b.reassign(step.targets...); got != mq.None {
			t.Fatal(got)
		}
		if p := b.partition(1, 0); p.Leader != step.leader || p.LeaderEpoch != step.epoch {
			t.Errorf("after %v: node %d leads in epoch %d, want %d in %d", step.targets, p.Leader, p.LeaderEpoch, step.leader, step.epoch)
		}
	}
	checkReload(t, b.store)
}

func TestReassignmentIsCancelledOrGoesElsewhere(t *testing.T) {
	b := newCluster(t, 5)
	b.must(createCommand(1, "t", []int32{2, 1}))
	if got := b.reassign(); got != mq.InvalidRequest {
		t.Errorf("nothing to cancel: %v", got)
	}
	stale := reassignCommand(partitionOf(1, 0), 1, 3)
	stale.GetReassignPartitions().GetReassignments()[0].PartitionEpoch = new(int32(7))
	if got := codes(b.must(stale).GetReassignPartitions().GetVerdicts())[0]; got != mq.FencedLeaderEpoch {
		t.Errorf("an old partition epoch: %v", got)
	}
	for _, targets := range [][]int32{{1, 1}, {9}} {
		if got := b.reassign(targets...); got != mq.InvalidReplicationFactor {
			t.Errorf("to %v: %v", targets, got)
		}
	}
	b.reassign(1, 3)
	b.inSync(2, 1)
	b.reassign(1, 4)
	b.wantReplicas("elsewhere", nodes{2, 1, 4}, nodes{1, 4}, nodes{2})
	if got := codes(b.must(changeCommand(&metadatapb.PartitionChange{
		Partition: PartitionRecord(partitionOf(1, 0)), PartitionEpoch: b.partition(1, 0).PartitionEpoch, LeaderEpoch: -1, Replicas: []int32{1, 2, 4},
	})).GetChangePartitions().GetVerdicts())[0]; got != mq.InvalidRequest {
		t.Errorf("replicas are changed meanwhile: %v", got)
	}
	b.reassign()
	b.wantReplicas("cancelled: as it was", nodes{2, 1}, nodes{2, 1}, nil)

	b.reassign(1, 3, 4)
	b.inSync(2, 1, 3)
	b.fence(1)
	b.fence(2)
	b.wantPartition("only one that is being added is in sync", 3, nodes{3}, nil)
	if got := b.reassign(); got != mq.InvalidRequest {
		t.Errorf("cancelled with nobody left in sync: %v", got)
	}
}

func TestReplicasThatAreBeingAddedDoNotRaiseTheMinimum(t *testing.T) {
	b := newCluster(t, 3)
	b.must(createCommand(1, "t", []int32{1}))
	b.reassign(1, 2, 3)
	topic := b.store.Image().TopicByName("t")
	if got := topic.MinInSync(topic.Partition(0)); got != 1 {
		t.Errorf("%d must be in sync while replicas are added", got)
	}
	b.must(&metadatapb.Command{Kind: &metadatapb.Command_CreatePartitions{CreatePartitions: &metadatapb.CreatePartitions{
		Id: topic.ID[:], Current: 1, Assignments: []*metadatapb.ReplicaAssignment{{Replicas: []int32{2, 3, 1}}},
	}}})
	if placed, err := PlacePartitions(b.store.Image(), b.store.Image().TopicByName("t"), 1); err != nil || len(placed[0]) != 3 {
		t.Errorf("partitions that are added to it are placed as %v, %v", placed, err)
	}
	if got := b.store.Image().TopicByName("t").MostInSync(); got != 2 {
		t.Errorf("%d must be in sync where one partition has three replicas", got)
	}
	b.inSync(1, 2, 3)
	topic = b.store.Image().TopicByName("t")
	if got := topic.MinInSync(topic.Partition(0)); got != 2 {
		t.Errorf("%d must be in sync of three", got)
	}
}

func TestReassignmentHasNoMoreReplicasThanAPartitionCanHave(t *testing.T) {
	b := newCluster(t, 16)
	b.must(createCommand(1, "t", []int32{1, 2}))
	if got := b.reassign(3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16); got != mq.InvalidReplicationFactor {
		t.Errorf("16 replicas meanwhile: %v", got)
	}
}

func TestDrainPlanMovesReplicasWhereTheyFitBest(t *testing.T) {
	b := newCluster(t, 4) // racks r1, r0, r1, r0
	b.must(createCommand(1, "t", []int32{1, 2}, []int32{2, 1}, []int32{3, 4}, []int32{1, 4}))
	b.must(createCommand(2, "everywhere", []int32{1, 2, 3, 4}))
	moves := 0
	for plan := PlanDrain(b.store.Image(), 1, 2); len(plan) > 0; plan = PlanDrain(b.store.Image(), 1, 2) {
		b.must(&metadatapb.Command{Kind: &metadatapb.Command_ReassignPartitions{ReassignPartitions: &metadatapb.ReassignPartitions{Reassignments: plan}}})
		moves += len(plan)
	}
	var got [][]mq.NodeID
	for _, p := range b.store.Image().TopicByName("t").All() {
		got = append(got, p.Targets())
	}
	// 3 is in the rack of 1.
	if want := [][]mq.NodeID{{3, 2}, {2, 3}, {3, 4}, {3, 4}}; moves != 3 || !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("%d moves to %v, want %v", moves, got, want)
	}
}

func TestBrokerThatIsDrainedGetsNoReplicasUntilThatIsEnded(t *testing.T) {
	b := newCluster(t, 3)
	b.must(createCommand(1, "t", []int32{1, 2}, []int32{2, 3}))
	for range 2 { // asked twice
		b.must(drainCommand(3, true))
	}
	b.must(registerCommand(3, 77)) // another run of the node
	if !b.store.Image().Broker(3).Draining {
		t.Fatal("a registration ended it")
	}
	placed, err := PlaceTopic(b.store.Image(), 4, 2)
	if err != nil || slices.ContainsFunc(placed, func(p []mq.NodeID) bool { return slices.Contains(p, 3) }) {
		t.Errorf("placed %v, %v", placed, err)
	}
	if _, err := PlaceTopic(b.store.Image(), 1, 3); mq.CodeOf(err) != mq.InvalidReplicationFactor {
		t.Errorf("three replicas on two brokers that take some: %v", err)
	}
	if got, want := DrainOf(b.store.Image(), 3), (Drain{Replicas: 1}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	b.must(createCommand(2, "everywhere", []int32{1, 2, 3}))
	if got, want := DrainOf(b.store.Image(), 3), (Drain{Replicas: 2, Stuck: 1}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	b.must(&metadatapb.Command{Kind: &metadatapb.Command_ReassignPartitions{
		ReassignPartitions: &metadatapb.ReassignPartitions{Reassignments: PlanDrain(b.store.Image(), 3, 10)},
	}})
	if got, want := DrainOf(b.store.Image(), 3), (Drain{Replicas: 2, Moving: 1, Stuck: 1}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	b.must(drainCommand(3, false))
	if placed, err := PlaceTopic(b.store.Image(), 1, 3); err != nil || len(placed[0]) != 3 {
		t.Errorf("placed %v, %v", placed, err)
	}
	b.refuse(mq.InvalidRequest, drainCommand(9, true)) // nobody knows it
}
