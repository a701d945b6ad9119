package metadata

import (
	"slices"
	"testing"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

func (b *bench) partition(topic byte, index int32) *Partition {
	return b.store.Image().Partition(partitionOf(topic, index))
}

func (b *bench) brokerEpoch(node mq.NodeID) uint64 { return b.store.Image().Broker(node).Epoch }

func TestNewIncarnationNeverContinuesALeaderEpoch(t *testing.T) {
	b := newCluster(t, 2)
	b.must(createCommand(0, "alone", []int32{1}, []int32{2}))
	b.must(createCommand(1, "t", []int32{1, 2}, []int32{2, 1}))
	b.must(registerCommand(1, 101))
	for i, want := range []Partition{
		{Leader: 1, LeaderEpoch: 1, PartitionEpoch: 1},
		{Leader: 2, LeaderEpoch: 0, PartitionEpoch: 0}, // not there at all
		{Leader: 1, LeaderEpoch: 1, PartitionEpoch: 1},
		{Leader: 2, LeaderEpoch: 0, PartitionEpoch: 0}, // it follows there
	} {
		if p := b.partition(byte(i/2), int32(i%2)); p.Leader != want.Leader || p.LeaderEpoch != want.LeaderEpoch || p.PartitionEpoch != want.PartitionEpoch {
			t.Errorf("partition %d: %+v", i, *p)
		}
	}
	checkReload(t, b.store)
}

func TestRegisteringTwiceIsOnce(t *testing.T) {
	b := newCluster(t, 1)
	b.must(createCommand(1, "t", []int32{1}))
	first := b.must(registerCommand(1, 101)).GetRegisterBroker().GetBrokerEpoch()
	again := b.must(registerCommand(1, 101)).GetRegisterBroker().GetBrokerEpoch()
	if first != again || b.partition(1, 0).LeaderEpoch != 1 {
		t.Errorf("broker epoch %d, then %d; leader epoch %d", first, again, b.partition(1, 0).LeaderEpoch)
	}
}

func TestFencedBrokerLosesLeadershipsAndInSyncPlaces(t *testing.T) {
	b := newCluster(t, 3)
	b.must(createCommand(1, "t", []int32{1, 2, 3}, []int32{2, 1, 3}))
	b.must(createCommand(2, "alone", []int32{1}))
	b.refuse(mq.StaleBrokerEpoch, fenceCommand(1, b.brokerEpoch(1)+1))
	b.refuse(mq.InvalidRequest, fenceCommand(9, 1))
	b.must(fenceCommand(1, b.brokerEpoch(1)))
	if p := b.partition(1, 0); p.Leader != 2 || p.LeaderEpoch != 1 || !slices.Equal(p.ISR, []mq.NodeID{2, 3}) {
		t.Errorf("led by it: %+v", *p)
	}
	if p := b.partition(1, 1); p.Leader != 2 || p.LeaderEpoch != 0 || p.PartitionEpoch != 1 || !slices.Equal(p.ISR, []mq.NodeID{2, 3}) {
		t.Errorf("followed by it: %+v", *p)
	}
	if p := b.partition(2, 0); p.Leader != mq.NoNode || !slices.Equal(p.ISR, []mq.NodeID{1}) {
		t.Errorf("only there: %+v", *p)
	}
	b.must(registerCommand(1, 100)) // it was silent only
	if p := b.partition(2, 0); p.Leader != 1 || p.LeaderEpoch != 2 {
		t.Errorf("only there, after its return: %+v", *p)
	}
	if p := b.partition(1, 0); p.Leader != 2 || len(p.ISR) != 2 {
		t.Errorf("it came back in sync by itself: %+v", *p)
	}
	checkReload(t, b.store)
}

func TestReplicaThatLostWhatItPromisedLeavesTheInSyncSet(t *testing.T) {
	b := newCluster(t, 2)
	b.must(createCommand(1, "t", []int32{1, 2}, []int32{1, 2}))
	b.must(createCommand(2, "alone", []int32{1}))
	again := registerCommand(1, 101)
	again.GetRegisterBroker().Suspects = []*metadatapb.PartitionRef{
		PartitionRecord(partitionOf(2, 0)), PartitionRecord(partitionOf(1, 0)), PartitionRecord(partitionOf(9, 9)),
	}
	b.must(again)
	if p := b.partition(1, 0); p.Leader != 2 || !slices.Equal(p.ISR, []mq.NodeID{2}) {
		t.Errorf("damaged: %+v", *p)
	}
	if p := b.partition(1, 1); p.Leader != 1 || len(p.ISR) != 2 {
		t.Errorf("whole: %+v", *p)
	}
	if p := b.partition(2, 0); p.Leader != 1 || len(p.ISR) != 1 || p.LeaderEpoch != 1 {
		t.Errorf("damaged and the last: %+v", *p)
	}
}

func TestEmptyDiskIsNotElected(t *testing.T) {
	b := newCluster(t, 2)
	b.must(createCommand(1, "t", []int32{1, 2}))
	b.must(createCommand(2, "alone", []int32{1}))
	other := registerCommand(1, 101)
	other.GetRegisterBroker().DirId = dirOf(77)
	b.must(other)
	if p := b.partition(1, 0); p.Leader != 2 || !slices.Equal(p.ISR, []mq.NodeID{2}) {
		t.Errorf("with another replica: %+v", *p)
	}
	if p := b.partition(2, 0); p.Leader != mq.NoNode || !slices.Equal(p.ISR, []mq.NodeID{1}) {
		t.Errorf("alone: %+v", *p)
	}
}

func TestPartitionChangesAreCompareAndSet(t *testing.T) {
	b := newCluster(t, 3)
	b.must(createCommand(1, "t", []int32{1, 2}))
	id := PartitionRecord(partitionOf(1, 0))
	member := func(node int32, epoch uint64) *metadatapb.ISRMember {
		return &metadatapb.ISRMember{NodeId: node, BrokerEpoch: epoch}
	}
	verdictOf := func(c *metadatapb.PartitionChange) mq.Code {
		return codes(b.must(changeCommand(c)).GetChangePartitions().GetVerdicts())[0]
	}
	steps := []struct {
		what   string
		change *metadatapb.PartitionChange
		want   mq.Code
	}{
		{"an old partition epoch", &metadatapb.PartitionChange{Partition: id, PartitionEpoch: 5, LeaderEpoch: -1}, mq.FencedLeaderEpoch},
		{"a coming leader epoch", &metadatapb.PartitionChange{Partition: id, LeaderEpoch: 1}, mq.UnknownLeaderEpoch},
		{"an ISR with a stranger", &metadatapb.PartitionChange{Partition: id, Isr: []*metadatapb.ISRMember{member(3, 0)}}, mq.InvalidRequest},
		{"an ISR without the leader", &metadatapb.PartitionChange{Partition: id, Isr: []*metadatapb.ISRMember{member(2, 0)}}, mq.InvalidRequest},
		{"a member twice", &metadatapb.PartitionChange{Partition: id, Isr: []*metadatapb.ISRMember{member(1, 0), member(1, 0)}}, mq.InvalidRequest},
		{"a smaller ISR", &metadatapb.PartitionChange{Partition: id, Isr: []*metadatapb.ISRMember{member(1, 0)}}, mq.None},
		{"an old incarnation", &metadatapb.PartitionChange{
			Partition: id, PartitionEpoch: 1,
			Isr: []*metadatapb.ISRMember{member(1, 0), member(2, b.brokerEpoch(2)-1)},
		}, mq.StaleBrokerEpoch},
		{"the present incarnation", &metadatapb.PartitionChange{
			Partition: id, PartitionEpoch: 1,
			Isr: []*metadatapb.ISRMember{member(2, b.brokerEpoch(2)), member(1, b.brokerEpoch(1))},
		}, mq.None},
		{"a leader out of sync", &metadatapb.PartitionChange{Partition: id, PartitionEpoch: 2, LeaderEpoch: -1, Leader: new(int32(3))}, mq.InvalidRequest},
		{"another leader", &metadatapb.PartitionChange{Partition: id, PartitionEpoch: 2, LeaderEpoch: -1, Leader: new(int32(2))}, mq.None},
		{"other replicas", &metadatapb.PartitionChange{
			Partition: id, PartitionEpoch: 3, LeaderEpoch: 1, Replicas: []int32{3, 2}, Isr: []*metadatapb.ISRMember{member(2, 0)},
		}, mq.None},
		{"a missing partition", &metadatapb.PartitionChange{Partition: PartitionRecord(partitionOf(1, 7))}, mq.UnknownTopicOrPartition},
	}
	for _, s := range steps {
		if got := verdictOf(s.change); got != s.want {
			t.Errorf("%s: %v, want %v", s.what, got, s.want)
		}
	}
	p := b.partition(1, 0)
	if p.Leader != 2 || p.LeaderEpoch != 2 || p.PartitionEpoch != 4 || !slices.Equal(p.Replicas, []mq.NodeID{3, 2}) || !slices.Equal(p.ISR, []mq.NodeID{2}) {
		t.Errorf("in the end: %+v", *p)
	}
	b.must(fenceCommand(3, b.brokerEpoch(3)))
	join := &metadatapb.PartitionChange{Partition: id, PartitionEpoch: 4, LeaderEpoch: 2, Isr: []*metadatapb.ISRMember{member(2, 0), member(3, 0)}}
	if got := verdictOf(join); got != mq.InvalidRequest {
		t.Errorf("a fenced broker joins: %v", got)
	}
	checkReload(t, b.store)
}

func TestPlacementSpreadsLeadersReplicasAndRacks(t *testing.T) {
	b := newCluster(t, 4) // racks r1, r0, r1, r0
	placed, err := PlaceTopic(b.store.Image(), 40, 2)
	if err != nil {
		t.Fatal(err)
	}
	leaders, replicas := map[mq.NodeID]int{}, map[mq.NodeID]int{}
	for _, p := range placed {
		leaders[p[0]]++
		for _, id := range p {
			replicas[id]++
		}
		if p[0]%2 == p[1]%2 {
			t.Errorf("%v are in one rack", p)
		}
	}
	for id := mq.NodeID(1); id <= 4; id++ {
		if leaders[id] != 10 || replicas[id] != 20 {
			t.Errorf("broker %d leads %d and has %d", id, leaders[id], replicas[id])
		}
	}
	if placed, err = PlaceTopic(b.store.Image(), 40, 3); err != nil {
		t.Fatal(err)
	}
	next := map[[2]mq.NodeID]int{}
	for _, p := range placed {
		next[[2]mq.NodeID{p[0], p[1]}]++
	}
	for pair, n := range next {
		if n > 5 {
			t.Errorf("when broker %d dies, broker %d leads %d of the 10 that it led", pair[0], pair[1], n)
		}
	}
	b.must(fenceCommand(4, b.brokerEpoch(4)))
	if _, err := PlaceTopic(b.store.Image(), 1, 4); mq.CodeOf(err) != mq.InvalidReplicationFactor {
		t.Errorf("4 replicas on 3 live brokers: %v", err)
	}
	if _, err := PlaceTopic(b.store.Image(), -1, 1); mq.CodeOf(err) != mq.InvalidPartitions {
		t.Errorf("-1 partitions: %v", err)
	}
	if placed, err := PlaceTopic(b.store.Image(), 0, 0); err != nil || len(placed) != 1 || len(placed[0]) != 3 {
		t.Errorf("defaults: %v, %v", placed, err)
	}
}

// A broker whose recovery may have lost partitions without a trace keeps its place only where it names what it has.
func TestBrokerInDoubtKeepsItsPlaceOnlyWhereItIsWhole(t *testing.T) {
	b := newBench(t)
	b.must(formCommand())
	b.must(registerCommand(1, 100))
	b.must(registerCommand(2, 200))
	b.must(createCommand(1, "orders", []int32{1, 2}, []int32{2, 1}, []int32{1, 2}))
	doubting := registerCommand(1, 101)
	doubting.GetRegisterBroker().Doubt = true
	doubting.GetRegisterBroker().Whole = []*metadatapb.PartitionRef{PartitionRecord(partitionOf(1, 2)), PartitionRecord(partitionOf(1, 1))}
	doubting.GetRegisterBroker().Suspects = []*metadatapb.PartitionRef{PartitionRecord(partitionOf(1, 1))}
	if level := featureLevelOf(doubting); level != 2 {
		t.Errorf("it needs feature level %d", level)
	}
	b.must(doubting)
	for i, want := range [][]mq.NodeID{{2}, {2}, {1, 2}} {
		if p := b.store.Image().Partition(partitionOf(1, int32(i))); !slices.Equal(p.ISR, want) || i < 2 && p.Leader != 2 {
			t.Errorf("partition %d: %+v, want %v in sync", i, p, want)
		}
	}
	checkReload(t, b.store)
}
