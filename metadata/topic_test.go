package metadata

import (
	"fmt"
	"testing"
	"time"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

func TestNothingHappensBeforeTheClusterIsFormed(t *testing.T) {
	b := newBench(t)
	for _, c := range []*metadatapb.Command{
		registerCommand(1, 1), createCommand(1, "t", []int32{1}), objectIDsCommand(1), deleteCommand(1), reclaimCommand(1),
	} {
		b.refuse(mq.NotController, c)
	}
}

func TestClusterIsFormedOnce(t *testing.T) {
	b := newBench(t)
	b.must(formCommand())
	b.must(formCommand())
	other := formCommand()
	other.GetFormCluster().ClusterId = dirOf(3)
	b.refuse(mq.InconsistentClusterID, other)
	stranger := registerCommand(1, 1)
	stranger.GetRegisterBroker().ClusterId = dirOf(3)
	b.refuse(mq.InconsistentClusterID, stranger)
	if got := b.store.Image().ClusterID; got != clusterID {
		t.Errorf("cluster %v", got)
	}
}

func TestCreateTopic(t *testing.T) {
	b := newCluster(t, 3)
	b.must(createCommand(1, "orders", []int32{1, 2, 3}, []int32{2, 3, 1}))
	topic := b.store.Image().TopicByName("orders")
	if topic == nil || topic.Partitions() != 2 || topic.Partition(1).Leader != 2 || len(topic.Partition(1).ISR) != 3 || topic.Partition(2) != nil {
		t.Fatalf("got %+v", topic)
	}
	r := b.refuse(mq.TopicAlreadyExists, createCommand(2, "orders", []int32{1}))
	if id := topicOf(1); string(r.GetCreateTopic().GetId()) != string(id[:]) {
		t.Error("the refusal does not say which topic is there")
	}
	b.must(createCommand(1, "orders", []int32{1, 2, 3}, []int32{2, 3, 1})) // the same proposal again
	b.refuse(mq.InvalidRequest, createCommand(1, "other", []int32{1}))
	b.refuse(mq.InvalidTopic, createCommand(2, "a/b", []int32{1}))
	b.refuse(mq.InvalidPartitions, createCommand(2, "t"))
	b.refuse(mq.InvalidReplicationFactor, createCommand(2, "t", []int32{}))
	b.refuse(mq.InvalidReplicationFactor, createCommand(2, "t", []int32{1, 1}))
	b.refuse(mq.InvalidReplicationFactor, createCommand(2, "t", []int32{4}))
	b.refuse(mq.InvalidReplicationFactor, createCommand(2, "t", []int32{1, 2}, []int32{1}))
	badConfig := createCommand(2, "t", []int32{1})
	badConfig.GetCreateTopic().Configs = []*metadatapb.ConfigEntry{{Key: "retention.ms", Value: "x"}}
	b.refuse(mq.InvalidConfig, badConfig)
	badConfig.GetCreateTopic().Configs = []*metadatapb.ConfigEntry{{Key: "retention.ms", Value: "1"}, {Key: "retention.ms", Value: "1"}}
	b.refuse(mq.InvalidConfig, badConfig)
	badID := createCommand(2, "t", []int32{1})
	badID.GetCreateTopic().Id = []byte("short")
	b.refuse(mq.InvalidRequest, badID)
	checkReload(t, b.store)
}

func TestDeleteTopicAndCreateItAgain(t *testing.T) {
	b := newCluster(t, 1)
	b.must(createCommand(1, "t", []int32{1}, []int32{1}))
	b.must(deleteCommand(1))
	if b.store.Image().TopicByName("t") != nil || b.store.Image().PartitionCount() != 0 {
		t.Error("it is still there")
	}
	b.refuse(mq.UnknownTopicID, deleteCommand(1))
	b.must(createCommand(2, "t", []int32{1}))
	if got := b.store.Image().TopicByName("t").ID; got != topicOf(2) {
		t.Errorf("id %v", got)
	}
	checkReload(t, b.store)
}

func TestPartitionsAreAddedOnce(t *testing.T) {
	b := newCluster(t, 2)
	b.must(createCommand(1, "t", []int32{1, 2}))
	id := topicOf(1)
	add := func(current int32, replicas ...int32) *metadatapb.Command {
		return &metadatapb.Command{Kind: &metadatapb.Command_CreatePartitions{CreatePartitions: &metadatapb.CreatePartitions{
			Id: id[:], Current: current, Assignments: []*metadatapb.ReplicaAssignment{{Replicas: replicas}},
		}}}
	}
	b.must(add(1, 2, 1))
	b.refuse(mq.InvalidPartitions, add(1, 2, 1))
	b.refuse(mq.InvalidReplicationFactor, add(2, 2))
	if topic := b.store.Image().Topic(id); topic.Partitions() != 2 || topic.Partition(1).Leader != 2 {
		t.Errorf("got %+v", topic)
	}
	checkReload(t, b.store)
}

func TestTenThousandPartitionsAreCreatedInOneTransaction(t *testing.T) {
	b := newCluster(t, 3)
	placed, err := PlaceTopic(b.store.Image(), mq.MaxPartitionsPerTopic, 3)
	if err != nil {
		t.Fatal(err)
	}
	replicas := make([][]int32, len(placed))
	for i, p := range placed {
		replicas[i] = nodeNumbers(p)
	}
	start := time.Now()
	b.must(createCommand(1, "big", replicas...))
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	if got := b.store.Image().PartitionCount(); got != mq.MaxPartitionsPerTopic {
		t.Errorf("%d partitions", got)
	}
	b.refuse(mq.InvalidPartitions, createCommand(2, "bigger", append(replicas, []int32{1, 2, 3})...))
	checkReload(t, b.store)
}

func TestIDsAreNeverHandedOutTwice(t *testing.T) {
	b := newCluster(t, 1)
	producers := func(count int32) *metadatapb.Command {
		return &metadatapb.Command{Kind: &metadatapb.Command_AllocateProducerIds{AllocateProducerIds: &metadatapb.AllocateProducerIDs{Count: count}}}
	}
	for _, command := range []func(int32) *metadatapb.Command{producers, objectIDsCommand} {
		next := uint64(1)
		for _, count := range []int32{1, 1000, 7, maxAllocation} {
			if got := b.must(command(count)).GetAllocate(); got.GetFirst() != next || got.GetCount() != count {
				t.Errorf("got %v, want %d from %d", got, count, next)
			}
			next += uint64(count)
		}
		for _, count := range []int32{0, -1, maxAllocation + 1} {
			b.refuse(mq.InvalidRequest, command(count))
		}
	}
}

func TestCommandOfAHigherFeatureLevelIsRefused(t *testing.T) {
	b := newCluster(t, 1)
	data := encode(t, createCommand(1, "t", []int32{1}))
	data = append(data, 0x08, FeatureLevel+1) // feature_level: the last value counts
	if _, err := DecodeResult(b.apply(data)[0]); mq.CodeOf(err) != mq.UnsupportedVersion {
		t.Errorf("got %v", err)
	}
}

// TestUnknownLevelStopsTheReplica: what a newer program agreed on, this one cannot apply; it must not go on and differ.
func TestUnknownLevelStopsTheReplica(t *testing.T) {
	b := newCluster(t, 0)
	newer := registerCommand(1, 1)
	newer.GetRegisterBroker().MaxFeatureLevel = 9
	b.must(newer)
	raise := func(level uint32) []byte {
		return encode(t, &metadatapb.Command{Kind: &metadatapb.Command_SetFeatureLevel{
			SetFeatureLevel: &metadatapb.SetFeatureLevel{FeatureLevel: level},
		}})
	}
	for level, want := range map[uint32]mq.Code{0: mq.InvalidRequest, FeatureLevel: mq.None, 10: mq.UnsupportedVersion} {
		if _, err := DecodeResult(b.apply(raise(level))[0]); mq.CodeOf(err) != want {
			t.Errorf("level %d: %v, want %v", level, err, want)
		}
	}
	before := b.digest()
	b.index++
	_, err := b.store.Apply(entriesOf(b.index, raise(FeatureLevel+1)), positionAt(b.index))
	if mq.CodeOf(err) != mq.UnsupportedVersion {
		t.Errorf("got %v", err)
	}
	if b.digest() != before {
		t.Error("it changed something")
	}
}

func TestImageStaysAsItWas(t *testing.T) {
	b := newCluster(t, 1)
	b.must(createCommand(1, "t", []int32{1}, []int32{1}))
	old := b.store.Image()
	oldTopic := old.TopicByName("t")
	b.must(objectIDsCommand(5))
	b.must(commitCommand(1, 1, rangeOf(partitionOf(1, 0), 0, 0, 10)))
	for i := byte(2); i < 60; i++ {
		b.must(createCommand(i, fmt.Sprint("t", i), []int32{1}))
	}
	b.must(deleteCommand(1))
	if old.TopicByName("t") != oldTopic || old.TopicCount() != 1 || old.PartitionCount() != 2 || oldTopic.Partition(0).TieredEnd != 0 {
		t.Error("an old image changed")
	}
}
