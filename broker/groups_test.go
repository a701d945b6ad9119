package broker_test

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/broker"
	"github.com/rustmq/rustmq/broker/coordinator"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// eventually asks again while the coordinator is not ready.
func eventually[R any](t testing.TB, ask func() (R, error)) R {
	t.Helper()
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		got, err := ask()
		switch mq.CodeOf(err) {
		case mq.CoordinatorLoadInProgress, mq.NotCoordinator, mq.CoordinatorNotAvailable:
			if time.Since(began) < 20*time.Second {
				continue
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
}

// loaded lists the groups once all that is coordinated here is read.
func (f *fixture) loaded() *quicproto.ListGroupsResponse {
	f.t.Helper()
	return eventually(f.t, func() (*quicproto.ListGroupsResponse, error) {
		list, err := f.ListGroups(f.t.Context(), alice)
		if err == nil && len(list.Loading) > 0 {
			err = mq.Errorf(mq.CoordinatorLoadInProgress, "partitions %v", list.Loading)
		}
		return list, err
	})
}

// commitFor commits an offset for partitions of a topic, in order, as nobody's.
func (f *fixture) commitFor(name, topic string, offset mq.Offset, partitions ...int32) []mq.Code {
	f.t.Helper()
	req := &quicproto.CommitOffsetsRequest{Group: name, Epoch: -1, Topics: []quicproto.TopicOffsets{{Topic: topic}}}
	for _, p := range partitions {
		req.Topics[0].Offsets = append(req.Topics[0].Offsets, quicproto.CommittedOffset{Partition: p, Offset: offset, LeaderEpoch: 3, Metadata: "note"})
	}
	return eventually(f.t, func() (*quicproto.CommitOffsetsResponse, error) { return f.CommitOffsets(f.t.Context(), alice, req) }).Topics[0]
}

// committed is what is committed for one partition.
func (f *fixture) committed(name, topic string, partition int32) mq.Offset {
	f.t.Helper()
	req := &quicproto.FetchOffsetsRequest{Group: name, Epoch: -1, Topics: []quicproto.TopicPartitions{{Topic: topic, Partitions: []int32{partition}}}}
	return eventually(f.t, func() (*quicproto.FetchOffsetsResponse, error) { return f.FetchOffsets(f.t.Context(), alice, req) }).Topics[0].Offsets[0].Offset
}

func TestOffsetsAreCommittedAndFetched(t *testing.T) {
	f := newFixture(t, 1)
	f.coordinate(5)
	f.create("orders", 3)
	found, err := f.FindCoordinator(t.Context(), alice, "billing")
	f.must(err)
	if found.Node != self || found.Partition != coordinator.PartitionOf("billing", 5) {
		t.Errorf("%+v", found)
	}
	if codes := f.commitFor("billing", "orders", 7, 0, 2, 9); !slices.Equal(codes, []mq.Code{mq.None, mq.None, mq.UnknownTopicOrPartition}) {
		t.Errorf("committed: %v", codes)
	}
	if codes := f.commitFor("billing", "gone", 7, 0); !slices.Equal(codes, []mq.Code{mq.UnknownTopicOrPartition}) {
		t.Errorf("committed: %v", codes)
	}
	for p, want := range []mq.Offset{7, -1, 7} {
		if got := f.committed("billing", "orders", int32(p)); got != want {
			t.Errorf("partition %d: %d, want %d", p, got, want)
		}
	}
	all, err := f.FetchOffsets(t.Context(), alice, &quicproto.FetchOffsetsRequest{All: true, Group: "billing", Epoch: -1})
	f.must(err)
	if len(all.Topics) != 1 || len(all.Topics[0].Offsets) != 2 || all.Topics[0].Offsets[1].Metadata != "note" {
		t.Errorf("%+v", all)
	}
	if got := f.committed("other", "orders", 0); got != -1 {
		t.Errorf("of a group that is not known: %d", got)
	}
}

func TestGroupIsListedDescribedResetAndDeleted(t *testing.T) {
	f := newFixture(t, 1)
	f.coordinate(3)
	f.create("orders", 2)
	f.produce("orders", 1, batch(t, 5, 1000), mq.DurabilityAll)
	if _, err := f.FindCoordinator(t.Context(), alice, "billing"); err != nil {
		t.Fatal(err)
	}
	f.commitFor("billing", "orders", 2, 1)
	list := f.loaded()
	if len(list.Groups) != 1 || list.Groups[0].Group != "billing" || list.Groups[0].State != "Empty" {
		t.Errorf("%+v", list)
	}
	d, err := f.DescribeGroup(t.Context(), alice, "billing")
	f.must(err)
	want := quicproto.GroupPartition{Topic: "orders", Partition: 1, Committed: 2, End: 5, Metadata: "note"}
	if len(d.Partitions) != 1 || d.Partitions[0] != want {
		t.Errorf("%+v", d.Partitions)
	}
	reset := &quicproto.ResetOffsetsRequest{Group: "billing", Topics: []quicproto.TopicOffsets{{Topic: "orders", Offsets: []quicproto.CommittedOffset{{Partition: 0, Offset: 4}}}}}
	f.must(f.ResetOffsets(t.Context(), alice, reset))
	if got := f.committed("billing", "orders", 0); got != 4 {
		t.Errorf("reset to %d", got)
	}
	reset.Topics[0].Offsets[0].Partition = 7
	wantCode(t, "reset of a partition that is not there", f.ResetOffsets(t.Context(), alice, reset), mq.UnknownTopicOrPartition, "billing")
	gone, err := f.DeleteOffsets(t.Context(), alice, &quicproto.DeleteOffsetsRequest{
		Group: "billing", Topics: []quicproto.TopicPartitions{{Topic: "orders", Partitions: []int32{0}}},
	})
	f.must(err)
	if !slices.Equal(gone.Topics, []mq.Code{mq.None}) || f.committed("billing", "orders", 0) != -1 {
		t.Errorf("%+v", gone)
	}
	f.must(f.DeleteGroup(t.Context(), alice, "billing"))
	_, err = f.DescribeGroup(t.Context(), alice, "billing")
	wantCode(t, "describe what was deleted", err, mq.GroupIDNotFound, "billing")
}

// The topic is made by whoever needs it first, once, and is nobody's to change.
func TestTopicOfOffsetsIsMadeOnceAndIsTheClustersOwn(t *testing.T) {
	f := newFixture(t, 1)
	f.coordinate(4)
	var asking sync.WaitGroup
	for i := range 8 {
		asking.Go(func() {
			if _, err := f.FindCoordinator(t.Context(), alice, fmt.Sprint("group", i)); err != nil {
				t.Error(err)
			}
		})
	}
	asking.Wait()
	if n := f.proposals(); n != 1 {
		t.Errorf("%d commands", n)
	}
	m, err := f.Metadata(t.Context(), alice, &quicproto.MetadataRequest{All: true})
	f.must(err)
	if len(m.Topics) != 1 || m.Topics[0].Name != mq.OffsetsTopic || !m.Topics[0].Internal || len(m.Topics[0].Partitions) != 4 {
		t.Errorf("%+v", m.Topics)
	}
	_, err = f.OpenProduce(t.Context(), alice, mq.OffsetsTopic)
	wantCode(t, "produce", err, mq.InvalidTopic, mq.OffsetsTopic)
	_, err = f.CreateTopic(t.Context(), alice, &quicproto.CreateTopicRequest{Name: mq.OffsetsTopic, Partitions: 1, Replicas: 1})
	wantCode(t, "create", err, mq.InvalidTopic, mq.OffsetsTopic)
	wantCode(t, "delete", f.DeleteTopic(t.Context(), alice, mq.OffsetsTopic), mq.InvalidTopic, mq.OffsetsTopic)
	wantCode(t, "alter", f.AlterTopic(t.Context(), alice, &quicproto.AlterTopicRequest{Name: mq.OffsetsTopic, Partitions: 9}), mq.InvalidTopic, mq.OffsetsTopic)
}

// Two brokers that ask at once make one topic: who comes second takes the other's.
func TestTopicOfOffsetsThatAnotherBrokerMakesIsTaken(t *testing.T) {
	f := newFixture(t, 1)
	f.coordinate(4)
	f.rival = createCommand(mq.OffsetsTopic, 2, self)
	found, err := f.FindCoordinator(t.Context(), alice, "billing")
	f.must(err)
	if found.Partition != coordinator.PartitionOf("billing", 2) {
		t.Errorf("%+v", found)
	}
}

func TestTopicOfOffsetsIsNotMadeWithFewerReplicasBecauseBrokersAreAway(t *testing.T) {
	f := newFixture(t, 2)
	f.coordinate(2)
	f.decide(fence(other, f.Image()))
	_, err := f.FindCoordinator(t.Context(), alice, "billing")
	wantCode(t, "find", err, mq.CoordinatorNotAvailable, mq.OffsetsTopic)
}

// Of the three nodes that formed the cluster one is a broker already.
func TestTopicOfOffsetsWaitsForBrokersThatHaveNotComeYet(t *testing.T) {
	f := newFixture(t, 1)
	f.coordinate(2)
	for node := int32(1); node <= 3; node++ {
		f.decide(&metadatapb.Command{Kind: &metadatapb.Command_AddController{AddController: &metadatapb.AddController{
			NodeId: node, DirId: bytes.Repeat([]byte{byte(node)}, 16), MaxFeatureLevel: 1,
			Endpoint: &metadatapb.Endpoint{Listener: "rpc", Host: "::1", Port: uint32(9100 + node)},
		}}})
	}
	_, err := f.FindCoordinator(t.Context(), alice, "billing")
	wantCode(t, "find", err, mq.CoordinatorNotAvailable, mq.OffsetsTopic, "3 replicas", "default.replication.factor")
	for node := int32(2); node <= 3; node++ {
		f.register(node)
	}
	f.must2(f.FindCoordinator(t.Context(), alice, "billing"))
	if got := len(f.Image().TopicByName(mq.OffsetsTopic).Partition(0).Replicas); got != 3 {
		t.Errorf("%d replicas", got)
	}
}

func TestGroupsNeedPermission(t *testing.T) {
	f := newFixture(t, 1)
	f.coordinate(1)
	f.create("orders", 1)
	if _, err := f.FindCoordinator(t.Context(), alice, "billing"); err != nil {
		t.Fatal(err)
	}
	f.commitFor("billing", "orders", 1, 0)
	f.policy.refuses(func(_ broker.Operation, r broker.Resource) bool { return r.Group == "billing" })
	_, err := f.FindCoordinator(t.Context(), alice, "billing")
	wantCode(t, "find", err, mq.GroupAuthorizationFailed, "alice", "describe", "billing")
	_, err = f.CommitOffsets(t.Context(), alice, &quicproto.CommitOffsetsRequest{Group: "billing"})
	wantCode(t, "commit", err, mq.GroupAuthorizationFailed, "read", "billing")
	_, err = f.FetchOffsets(t.Context(), alice, &quicproto.FetchOffsetsRequest{Group: "billing"})
	wantCode(t, "fetch", err, mq.GroupAuthorizationFailed, "describe", "billing")
	_, err = f.DescribeGroup(t.Context(), alice, "billing")
	wantCode(t, "describe", err, mq.GroupAuthorizationFailed, "describe", "billing")
	wantCode(t, "delete", f.DeleteGroup(t.Context(), alice, "billing"), mq.GroupAuthorizationFailed, "delete", "billing")
	_, err = f.OpenGroup(t.Context(), alice, &quicproto.OpenGroup{Group: "billing", Member: "m"}, nil)
	wantCode(t, "join", err, mq.GroupAuthorizationFailed, "read", "billing")
	list, err := f.ListGroups(t.Context(), alice)
	if err != nil || len(list.Groups) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	f.policy.refuses(func(op broker.Operation, r broker.Resource) bool { return r.Topic == "orders" && op == broker.OpRead })
	if codes := f.commitFor("billing", "orders", 5, 0); !slices.Equal(codes, []mq.Code{mq.TopicAuthorizationFailed}) {
		t.Errorf("committed for a topic that may not be read: %v", codes)
	}
}

// TestGroupsAreListedWhileOthersLoad: a partition whose groups are not known yet hides no others, and is named.
func TestGroupsAreListedWhileOthersLoad(t *testing.T) {
	f := newFixture(t, 1)
	f.coordinate(2)
	f.create("orders", 1)
	f.must2(f.FindCoordinator(t.Context(), alice, "billing"))
	names := make([]string, 2) // of a group in each partition
	for i := 0; names[0] == "" || names[1] == ""; i++ {
		name := fmt.Sprint("group-", i)
		names[coordinator.PartitionOf(name, 2)] = name
	}
	for _, name := range names {
		f.commitFor(name, "orders", 7, 0)
	}
	if list := f.loaded(); len(list.Groups) != 2 {
		t.Fatalf("%+v", list)
	}
	part := f.partition(mq.OffsetsTopic, 1)
	f.must(part.Follow(part.Epoch()+1, other))
	f.must(part.Lead(part.Epoch()+1, 1000, replicasOf(self, other))) // which does not commit: the next coordinator waits for its log
	f.groups().Reconcile()
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		list, err := f.ListGroups(t.Context(), alice)
		f.must(err)
		if len(list.Groups) == 1 && list.Groups[0].Group == names[0] && slices.Equal(list.Loading, []int32{1}) {
			return
		}
		if time.Since(began) > 20*time.Second {
			t.Fatalf("%+v", list)
		}
	}
}
