package metadata

import (
	"testing"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

func formedBy(nodes ...int32) *metadatapb.Command {
	c := formCommand()
	for _, node := range nodes {
		c.GetFormCluster().Controllers = append(c.GetFormCluster().Controllers, controllerRecordOf(uint64(node), node, 0))
	}
	return c
}

func TestRaftIDNeverComesAgain(t *testing.T) {
	b := newBench(t)
	b.must(formedBy(1, 2, 3))
	add := func(node, dir int32) uint64 {
		return b.must(addControllerCommand(node, dir)).GetAddController().GetRaftId()
	}
	if got := add(2, 0); got != 2 {
		t.Errorf("a member that is added again has raft id %d, want 2", got)
	}
	first := add(2, 77)
	if first <= 1<<31-1 || add(2, 77) != first {
		t.Errorf("with an empty disk it has raft id %d, then %d", first, add(2, 77))
	}
	b.must(removeControllerCommand(2))
	b.must(removeControllerCommand(first))
	b.must(removeControllerCommand(first))
	b.refuse(mq.InvalidRequest, registerControllerCommand(controllerRecordOf(2, 2, 0)))
	if again := add(2, 77); again <= first {
		t.Errorf("after its removal it has raft id %d again, after %d", again, first)
	}
	b.must(removeControllerCommand(1))
	b.must(removeControllerCommand(3))
	last := b.store.Image().Controllers()[0].RaftID
	b.refuse(mq.InvalidRequest, removeControllerCommand(last)) // the last
	checkReload(t, b.store)
	if got := b.store.Image().Controllers(); len(got) != 1 || got[0].Node != 2 || got[0].RaftID <= first || got[0].Endpoint.Host == "" {
		t.Errorf("controllers %+v", got)
	}
}

func TestControllerOfAnOldClusterRecordsItselfOnce(t *testing.T) {
	b := newBench(t)
	b.must(formCommand())
	b.refuse(mq.InvalidRequest, registerControllerCommand(controllerRecordOf(7, 1, 0)))
	b.must(registerControllerCommand(controllerRecordOf(1, 1, 0)))
	b.refuse(mq.InvalidRequest, registerControllerCommand(controllerRecordOf(2, 2, 0)))
	b.refuse(mq.InvalidRequest, registerControllerCommand(controllerRecordOf(1, 1, 9)))
	before := b.store.Image()
	moved := controllerRecordOf(1, 1, 0)
	moved.GetEndpoint().Host = "elsewhere"
	b.must(registerControllerCommand(moved))
	d := Diff(before, b.store.Image())
	if len(d.Controllers) != 1 || d.Controllers[0].Endpoint.Host != "elsewhere" || len(d.RemovedControllers) != 0 || d.Empty() {
		t.Errorf("the delta is %+v", d)
	}
	if d := Diff(b.store.Image(), &Image{}); len(d.RemovedControllers) != 1 {
		t.Errorf("the delta is %+v", d)
	}
}

func TestControllersThatCannotBeAreRefused(t *testing.T) {
	for what, change := range map[string]func(*metadatapb.Controller){
		"node 0":              func(c *metadatapb.Controller) { c.NodeId = 0 },
		"no directory":        func(c *metadatapb.Controller) { c.DirId = make([]byte, 16) },
		"another raft id":     func(c *metadatapb.Controller) { c.RaftId = 8 },
		"a port that is none": func(c *metadatapb.Controller) { c.GetEndpoint().Port = 1 << 16 },
		"a node twice":        func(c *metadatapb.Controller) { c.NodeId, c.RaftId = 1, 1 },
		"a host that is none": func(c *metadatapb.Controller) { c.GetEndpoint().Host = string(make([]byte, 256)) },
	} {
		b := newBench(t)
		c := formedBy(1, 2)
		change(c.GetFormCluster().GetControllers()[1])
		if _, err := b.do(c); mq.CodeOf(err) != mq.InvalidRequest {
			t.Errorf("%s: %v", what, err)
		}
	}
	b := newBench(t)
	b.must(formedBy(1))
	for dir := range int32(maxControllers - 1) {
		b.must(addControllerCommand(2, 100+dir))
	}
	b.refuse(mq.InvalidRequest, addControllerCommand(3, 0))
}

func TestBrokerThatStopsLosesNothingAndJoinsNothing(t *testing.T) {
	b := newCluster(t, 3)
	b.must(createCommand(1, "t", []int32{1, 2, 3}, []int32{2, 1, 3}))
	b.must(createCommand(4, "two", []int32{1, 2}))
	b.must(createCommand(2, "alone", []int32{1}))
	b.refuse(mq.StaleBrokerEpoch, shutdownCommand(1, b.brokerEpoch(1)+1))
	b.must(shutdownCommand(1, b.brokerEpoch(1)))
	b.must(shutdownCommand(1, b.brokerEpoch(1)))
	if p := b.partition(1, 0); p.Leader != 1 {
		t.Errorf("its leaderships move by themselves: %+v", *p)
	}
	batches := 0
	for changes := PlanShutdown(b.store.Image(), 1, 1); len(changes) > 0; changes = PlanShutdown(b.store.Image(), 1, 1) {
		b.must(changeCommand(changes[0]))
		batches++
	}
	if batches != 5 { // two leaderships, three in-sync places
		t.Errorf("%d batches", batches)
	}
	b.wantPartition("three replicas", 2, nodes{2, 3}, nil)
	if p := b.partition(2, 0); p.Leader != 1 {
		t.Errorf("what only it has: %+v", *p)
	}
	join := &metadatapb.PartitionChange{
		Partition: PartitionRecord(partitionOf(1, 0)), PartitionEpoch: b.partition(1, 0).PartitionEpoch, LeaderEpoch: -1,
		Isr: []*metadatapb.ISRMember{{NodeId: 1}, {NodeId: 2}, {NodeId: 3}},
	}
	if got := codes(b.must(changeCommand(join)).GetChangePartitions().GetVerdicts())[0]; got != mq.InvalidRequest {
		t.Errorf("it joins an in-sync set: %v", got)
	}
	b.must(createCommand(3, "new", []int32{1, 2}))
	if p := b.partition(3, 0); p.Leader != 2 || len(p.ISR) != 1 {
		t.Errorf("a new partition: %+v", *p)
	}
	if placed, err := PlaceTopic(b.store.Image(), 4, 1); err != nil || len(placed) != 4 || placed[0][0] == 1 || placed[1][0] == 1 {
		t.Errorf("placed on it: %v, %v", placed, err)
	}
	b.restart(1, 0)
	if b.store.Image().Broker(1).ShuttingDown {
		t.Error("it is still shutting down after a restart")
	}
	checkReload(t, b.store)
}

func TestBrokerIsRemovedOnlyWhenItIsGoneAndHoldsNothing(t *testing.T) {
	b := newCluster(t, 3)
	b.must(createCommand(1, "t", []int32{1, 2}))
	b.refuse(mq.InvalidRequest, removeBrokerCommand(3)) // alive
	b.fence(2, 3)
	b.refuse(mq.InvalidRequest, removeBrokerCommand(2)) // a replica
	before := b.store.Image()
	b.must(removeBrokerCommand(3))
	b.must(removeBrokerCommand(3))
	if d := Diff(before, b.store.Image()); len(d.RemovedBrokers) != 1 || b.store.Image().Broker(3) != nil {
		t.Errorf("the delta is %+v", d)
	}
	checkReload(t, b.store)
	b.restart(3, 0)
	if b.store.Image().Broker(3) == nil {
		t.Error("its id cannot come back")
	}
}

// What a recovered history hands out is above all that the lost one did, and nobody who registered there goes on by that.
func TestRecoveryLeavesWhatTheLostHandedOutBehind(t *testing.T) {
	b := newBench(t)
	b.must(formedBy(1, 2, 3))
	b.must(registerCommand(1, 100))
	b.must(registerCommand(2, 200))
	b.must(createCommand(1, "orders", []int32{1, 2}))
	b.must(putTokenCommand(1, 4, 1000, 5000))
	ids := func(dir int32) []uint64 {
		return []uint64{
			b.must(&metadatapb.Command{Kind: &metadatapb.Command_AllocateProducerIds{AllocateProducerIds: &metadatapb.AllocateProducerIDs{Count: 1}}}).GetAllocate().GetFirst(),
			b.must(objectIDsCommand(1)).GetAllocate().GetFirst(),
			b.must(addControllerCommand(2, dir)).GetAddController().GetRaftId(),
		}
	}
	earlier := ids(77)
	before := b.store.Image()
	b.recover()
	now := b.store.Image()
	p, q := before.Partition(partitionOf(1, 0)), now.Partition(partitionOf(1, 0))
	if q.Leader != p.Leader || q.LeaderEpoch < p.LeaderEpoch+1<<20 || q.PartitionEpoch < p.PartitionEpoch+1<<20 || !q.Unclean() {
		t.Errorf("%+v became %+v", p, q)
	}
	if before.Generation() != 0 || now.Generation() != 1 || now.Broker(1).Epoch != 1<<40 || now.Broker(2).Epoch != 1<<40 {
		t.Errorf("generation %d, brokers %+v", now.Generation(), now.Brokers())
	}
	b.refuse(mq.ClusterAuthorizationFailed, useTokenCommand(1, 4, 1001))
	for i, id := range ids(78) {
		if id < earlier[i]+1<<20 {
			t.Errorf("id %d after %d", id, earlier[i])
		}
	}
	if got := b.must(registerCommand(1, 100)).GetRegisterBroker().GetBrokerEpoch(); got != 1<<40 {
		t.Errorf("the same run of a broker registers and has epoch %d", got)
	}
	checkReload(t, b.store)
}

// A node that ran alone is recorded when others have been, too, but not once it may have been removed.
func TestFounderThatIsNotRecordedIsRecordedLate(t *testing.T) {
	b := newBench(t)
	b.must(formCommand())
	added := b.must(addControllerCommand(2, 77)).GetAddController().GetRaftId()
	b.refuse(mq.InvalidRequest, registerControllerCommand(controllerRecordOf(7, 1, 0)))
	b.must(registerControllerCommand(controllerRecordOf(1, 1, 0)))
	if next := b.must(addControllerCommand(3, 78)).GetAddController().GetRaftId(); next != added+1 {
		t.Errorf("raft id %d after %d", next, added)
	}
	b.must(removeControllerCommand(1))
	b.refuse(mq.InvalidRequest, registerControllerCommand(controllerRecordOf(1, 1, 0)))
	checkReload(t, b.store)
}
