package metadata

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

func (b *bench) fence(nodes ...mq.NodeID) {
	b.t.Helper()
	for _, node := range nodes {
		b.must(fenceCommand(int32(node), b.brokerEpoch(node)))
	}
}

// restart registers a new incarnation of a node; dir 0: with the directory that it has always had.
func (b *bench) restart(node, dir int32, suspects ...mq.PartitionID) {
	b.t.Helper()
	c := registerCommand(node, b.index+1000)
	if dir != 0 {
		c.GetRegisterBroker().DirId = dirOf(dir)
	}
	for _, id := range suspects {
		c.GetRegisterBroker().Suspects = append(c.GetRegisterBroker().Suspects, PartitionRecord(id))
	}
	b.must(c)
}

func (b *bench) configure(topic byte, key, value string) {
	b.t.Helper()
	id := topicOf(topic)
	b.must(&metadatapb.Command{Kind: &metadatapb.Command_AlterTopicConfigs{AlterTopicConfigs: &metadatapb.AlterTopicConfigs{
		Id: id[:], Changes: []*metadatapb.ConfigChange{{Key: key, Value: value}},
	}}})
}

// wantPartition compares leader, in-sync set and eligible replicas of partition 0 of topic 1.
func (b *bench) wantPartition(what string, leader mq.NodeID, isr, eligible []mq.NodeID) {
	b.t.Helper()
	if p := b.partition(1, 0); p.Leader != leader || !slices.Equal(p.ISR, isr) || !slices.Equal(p.Eligible, eligible) {
		b.t.Errorf("%s: leader %d, in sync %v, eligible %v; want %d, %v, %v", what, p.Leader, p.ISR, p.Eligible, leader, isr, eligible)
	}
	checkReload(b.t, b.store)
}

type nodes = []mq.NodeID

func TestWhoLeftWhenCommitsStoppedIsElectedAfterAllDied(t *testing.T) {
	b := newCluster(t, 3)
	b.must(createCommand(1, "t", []int32{1, 2, 3}))
	b.fence(3)
	b.wantPartition("one dead", 1, nodes{1, 2}, nil)
	b.fence(1)
	b.wantPartition("two dead", 2, nodes{2}, nodes{1})
	b.fence(2)
	b.wantPartition("all dead", mq.NoNode, nodes{2}, nodes{1})
	b.restart(3, 0)
	b.wantPartition("3 left while commits went on", mq.NoNode, nodes{2}, nodes{1})
	b.restart(1, 0)
	b.wantPartition("1 has all that was committed", 1, nodes{1}, nodes{2})
	b.restart(2, 0)
	b.wantPartition("2 follows", 1, nodes{1}, nodes{2})
	p := b.partition(1, 0)
	b.must(changeCommand(&metadatapb.PartitionChange{
		Partition: PartitionRecord(partitionOf(1, 0)), PartitionEpoch: p.PartitionEpoch, LeaderEpoch: int32(p.LeaderEpoch),
		Isr: []*metadatapb.ISRMember{{NodeId: 1}, {NodeId: 3, BrokerEpoch: b.brokerEpoch(3)}},
	}))
	b.wantPartition("commits go on without 2", 1, nodes{1, 3}, nil)
}

func TestEligibleReplicaMustStillHoldWhatItHeld(t *testing.T) {
	for name, back := range map[string]func(b *bench){
		"damage":            func(b *bench) { b.restart(1, 0, partitionOf(1, 0)) },
		"another directory": func(b *bench) { b.restart(1, 77) },
		"that directory and then its own": func(b *bench) {
			b.restart(1, 77)
			b.restart(1, 0)
		},
	} {
		b := newCluster(t, 3)
		b.must(createCommand(1, "t", []int32{1, 2, 3}))
		b.fence(3, 1, 2)
		back(b)
		b.wantPartition(name, mq.NoNode, nodes{2}, nil)
		b.restart(2, 0)
		b.wantPartition(name+", and the other", 2, nodes{2}, nil)
	}
}

func TestEligibleReplicaTakesThePlaceOfTheLastInSyncThatLostSomething(t *testing.T) {
	b := newCluster(t, 3)
	b.must(createCommand(1, "t", []int32{1, 2, 3}))
	b.fence(3, 1, 2)
	b.restart(2, 0, partitionOf(1, 0))
	b.wantPartition("the heir is dead", mq.NoNode, nodes{1}, nil)
	b.restart(1, 0)
	b.wantPartition("the heir is back", 1, nodes{1}, nil)

	b = newCluster(t, 3)
	b.must(createCommand(1, "t", []int32{1, 2, 3}))
	b.fence(3, 1)
	b.restart(1, 0)
	b.wantPartition("alive and eligible", 2, nodes{2}, nodes{1})
	b.restart(2, 77)
	b.wantPartition("the heir is alive", 1, nodes{1}, nil)
}

func TestLostDirectoryIsNotForgottenAndHelpsWhenItIsBack(t *testing.T) {
	b := newCluster(t, 1)
	b.must(createCommand(1, "t", []int32{1}))
	b.restart(1, 77)
	b.wantPartition("on an empty disk", mq.NoNode, nodes{1}, nil)
	b.restart(1, 77)
	b.wantPartition("once more", mq.NoNode, nodes{1}, nil)
	if p := b.partition(1, 0); string(p.LostDir[:]) != string(dirOf(1)) {
		t.Errorf("lost directory %v", p.LostDir)
	}
	if plan := PlanElections(b.store.Image(), 10); len(plan) != 0 {
		t.Errorf("the plan hides the loss: %v", plan)
	}
	p := b.partition(1, 0)
	got := codes(b.must(changeCommand(&metadatapb.PartitionChange{
		Partition: PartitionRecord(partitionOf(1, 0)), PartitionEpoch: p.PartitionEpoch, LeaderEpoch: -1, Leader: new(int32(1)),
	})).GetChangePartitions().GetVerdicts())[0]
	if got != mq.InvalidRequest {
		t.Errorf("elected all the same: %v", got)
	}
	b.restart(1, 0)
	b.wantPartition("on its own disk", 1, nodes{1}, nil)
	if p := b.partition(1, 0); !p.LostDir.IsZero() || p.UncleanEpoch != 0 {
		t.Errorf("it still says that something was lost: %+v", *p)
	}
}

func TestUncleanElectionIsAllowedByTheTopicAndSaysSo(t *testing.T) {
	b := newCluster(t, 3)
	b.must(createCommand(1, "t", []int32{1, 2, 3}))
	b.fence(3, 2, 1)
	b.restart(3, 0)
	b.wantPartition("not allowed", mq.NoNode, nodes{1}, nodes{2})
	b.configure(1, "unclean.leader.election.enable", "true")
	plan := PlanElections(b.store.Image(), 10)
	if len(plan) != 1 || plan[0].GetLeader() != 3 {
		t.Fatalf("the plan is %v", plan)
	}
	b.must(changeCommand(plan[0]))
	b.wantPartition("allowed", 3, nodes{3}, nil)
	p := b.partition(1, 0)
	if p.UncleanEpoch != p.LeaderEpoch || p.LeaderEpoch == 0 {
		t.Errorf("it does not say that it was unclean: %+v", *p)
	}
	b.restart(2, 0)
	b.wantPartition("what 2 held is not what was committed any more", 3, nodes{3}, nil)
	b.fence(3)
	if p := b.partition(1, 0); p.Leader != 2 || p.UncleanEpoch != p.LeaderEpoch {
		t.Errorf("at once when the last one in sync dies: %+v", *p)
	}
	b.restart(1, 0)
	b.fence(2)
	b.restart(2, 0)
	if p := b.partition(1, 0); p.UncleanEpoch == 0 || p.UncleanEpoch > p.LeaderEpoch {
		t.Errorf("later: %+v", *p)
	}
}

func TestLowerMinimumForgetsEligibleReplicasOfALeader(t *testing.T) {
	b := newCluster(t, 3)
	b.must(createCommand(1, "t", []int32{1, 2, 3}))
	b.fence(3, 2)
	b.wantPartition("minimum 2", 1, nodes{1}, nodes{2})
	b.configure(1, "min.insync.replicas", "1")
	b.wantPartition("minimum 1: commits go on", 1, nodes{1}, nil)
	b.configure(1, "min.insync.replicas", "2")
	b.wantPartition("minimum 2 again", 1, nodes{1}, nil)

	b = newCluster(t, 3)
	b.must(createCommand(1, "t", []int32{1, 2, 3}))
	b.fence(3, 2, 1)
	b.must(&metadatapb.Command{Kind: &metadatapb.Command_SetClusterConfigs{SetClusterConfigs: &metadatapb.SetClusterConfigs{
		Changes: []*metadatapb.ConfigChange{{Key: "min.insync.replicas", Value: "1"}},
	}}})
	b.wantPartition("nobody leads, so nothing is committed", mq.NoNode, nodes{1}, nodes{2})
	b.restart(2, 0)
	b.wantPartition("and it can be elected", 2, nodes{2}, nil)
}

func TestPreferredLeaderIsBackByPlanInBatches(t *testing.T) {
	b := newCluster(t, 3)
	b.must(createCommand(1, "t", []int32{1, 2}, []int32{1, 3}, []int32{2, 1}, []int32{1, 2}))
	b.fence(1)
	b.restart(1, 0)
	if plan := PlanBalance(b.store.Image(), 10); len(plan) != 0 {
		t.Errorf("it is not in sync yet: %v", plan)
	}
	for i, isr := range [][]int32{{1, 2}, {1, 3}, {2, 1}, {1, 2}} {
		change := &metadatapb.PartitionChange{Partition: PartitionRecord(partitionOf(1, int32(i))), PartitionEpoch: 1, LeaderEpoch: -1}
		for _, id := range isr {
			change.Isr = append(change.Isr, &metadatapb.ISRMember{NodeId: id})
		}
		b.must(changeCommand(change))
	}
	for _, want := range []string{"[0 1]", "[3]", "[]"} {
		var got []int32
		for _, c := range PlanBalance(b.store.Image(), 2) {
			got = append(got, c.GetPartition().GetPartition())
			b.must(changeCommand(c))
		}
		if fmt.Sprint(got) != want {
			t.Errorf("partitions %v, want %s", got, want)
		}
	}
}

// BenchmarkFenceLeaderOf333 is the fence of a broker that leads a third of 1,000 partitions and follows in the others, the synced
// transaction included.
func BenchmarkFenceLeaderOf333(b *testing.B) {
	bench := thousandPartitions(b)
	for b.Loop() {
		bench.fence(1)
		b.StopTimer()
		bench.restart(1, 0)
		bench.allInSync()
		b.StartTimer()
	}
}

// BenchmarkReturnOfLeaderOf333 is the registration of such a broker that was not fenced: each partition that it leads gets a new epoch.
func BenchmarkReturnOfLeaderOf333(b *testing.B) {
	bench := thousandPartitions(b)
	for b.Loop() {
		bench.restart(1, 0)
	}
}

// thousandPartitions are spread over three brokers, on a disk that is synced.
func thousandPartitions(b *testing.B) *bench {
	s, err := Open(Options{Path: filepath.Join(b.TempDir(), "metadata.db")})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	bench := &bench{t: b, store: s}
	bench.must(formCommand())
	for id := range int32(3) {
		bench.must(registerCommand(id+1, 100))
	}
	replicas := make([][]int32, 1000)
	for i := range replicas {
		replicas[i] = []int32{int32(i%3) + 1, int32(i+1)%3 + 1, int32(i+2)%3 + 1}
	}
	bench.must(createCommand(1, "t", replicas...))
	return bench
}

// allInSync makes all replicas of topic "t" in sync, and the preferred ones leaders.
func (b *bench) allInSync() {
	b.t.Helper()
	changes := &metadatapb.ChangePartitions{}
	for i, p := range b.store.Image().TopicByName("t").All() {
		c := &metadatapb.PartitionChange{
			Partition: PartitionRecord(partitionOf(1, i)), PartitionEpoch: p.PartitionEpoch, LeaderEpoch: -1, Leader: new(int32(p.Replicas[0])),
		}
		for _, id := range p.Replicas {
			c.Isr = append(c.Isr, &metadatapb.ISRMember{NodeId: int32(id)})
		}
		changes.Changes = append(changes.Changes, c)
	}
	b.must(&metadatapb.Command{Kind: &metadatapb.Command_ChangePartitions{ChangePartitions: changes}})
}

// A fence is one command for all partitions, whatever became of them before.
func TestFenceMovesAllLeadershipsInOneCommand(t *testing.T) {
	b := newCluster(t, 3)
	replicas := make([][]int32, 1000)
	for i := range replicas {
		replicas[i] = []int32{int32(i%3) + 1, int32(i+1)%3 + 1, int32(i+2)%3 + 1}
	}
	b.must(createCommand(1, "t", replicas...))
	b.fence(1)
	leads := map[mq.NodeID]int{}
	for _, p := range b.store.Image().TopicByName("t").All() {
		leads[p.Leader]++
		if len(p.ISR) != 2 || slices.Contains(p.ISR, 1) {
			t.Fatalf("a partition is %+v", *p)
		}
	}
	if leads[1] != 0 || leads[2] != 667 || leads[3] != 333 {
		t.Errorf("brokers lead %v", leads)
	}
	b.restart(1, 0)
	b.allInSync()
	if plan := PlanBalance(b.store.Image(), 1000); len(plan) != 0 {
		t.Errorf("%d leaders are to move", len(plan))
	}
	checkReload(t, b.store)
}

// An operator may have one partition led by who is left, and no other, and only when nobody could lead it without loss.
func TestUncleanElectionOfOnePartition(t *testing.T) {
	b := newCluster(t, 3)
	b.must(createCommand(1, "t", []int32{1, 2, 3}, []int32{1, 2, 3}))
	id, other := partitionOf(1, 0), partitionOf(1, 1)
	b.refuse(mq.InvalidRequest, uncleanCommand(id, 0)) // it has a leader
	for _, id := range []mq.PartitionID{id, other} {   // 1 is alone in the set, the minimum is one: nobody else is eligible
		topic := topicOf(1)
		b.must(&metadatapb.Command{Kind: &metadatapb.Command_AlterTopicConfigs{AlterTopicConfigs: &metadatapb.AlterTopicConfigs{
			Id: topic[:], Changes: []*metadatapb.ConfigChange{{Key: "min.insync.replicas", Value: "1"}},
		}}})
		b.must(changeCommand(&metadatapb.PartitionChange{
			Partition: PartitionRecord(id), PartitionEpoch: b.store.Image().Partition(id).PartitionEpoch, LeaderEpoch: -1, Isr: []*metadatapb.ISRMember{{NodeId: 1}},
		}))
	}
	b.must(fenceCommand(1, b.brokerEpoch(1)))
	p := b.store.Image().Partition(id)
	if p.Leader != mq.NoNode {
		t.Fatalf("%+v", *p)
	}
	b.refuse(mq.FencedLeaderEpoch, uncleanCommand(id, p.PartitionEpoch-1))
	b.refuse(mq.InvalidRequest, uncleanCommand(id, p.PartitionEpoch, 1)) // it is fenced
	b.refuse(mq.InvalidRequest, uncleanCommand(id, p.PartitionEpoch, 9)) // it is nobody
	b.refuse(mq.UnknownTopicOrPartition, uncleanCommand(partitionOf(1, 7), 0))
	b.must(uncleanCommand(id, p.PartitionEpoch, 3))
	if now := b.store.Image().Partition(id); now.Leader != 3 || !slices.Equal(now.ISR, []mq.NodeID{3}) || !now.Unclean() || now.LeaderEpoch != p.LeaderEpoch+1 {
		t.Errorf("%+v", *now)
	}
	if now := b.store.Image().Partition(other); now.Leader != mq.NoNode || now.UncleanEpoch != 0 {
		t.Errorf("the other partition: %+v", *now)
	}
	b.restart(1, 0)
	if now := b.store.Image().Partition(id); now.Leader != 3 || slices.Contains(now.ISR, 1) {
		t.Errorf("when the old leader is back: %+v", *now)
	}
	b.must(changeCommand(&metadatapb.PartitionChange{
		Partition: PartitionRecord(other), PartitionEpoch: b.store.Image().Partition(other).PartitionEpoch, LeaderEpoch: -1, Leader: new(int32(-1)),
	}))
	b.refuse(mq.InvalidRequest, uncleanCommand(other, b.store.Image().Partition(other).PartitionEpoch)) // 1 can lead it without loss
	checkReload(t, b.store)
}
