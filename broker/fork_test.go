package broker_test

import (
	"bytes"
	"context"
	"testing"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/broker"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
)

func (f *fixture) forkPoint(topic string, partition int32, at mq.Offset) (mq.Offset, error) {
	resp, err := f.operate(context.Background(), alice, &adminpb.Request{Kind: &adminpb.Request_ForkPoint{ForkPoint: &adminpb.ForkPointRequest{
		Topic: topic, Partition: partition, Offset: int64(at),
	}}})
	return mq.Offset(resp.GetForkPoint().GetOffset()), err
}

func (f *fixture) fork(source, name string, points ...int64) error {
	_, err := f.operate(context.Background(), alice, &adminpb.Request{Kind: &adminpb.Request_ForkTopic{ForkTopic: &adminpb.ForkTopicRequest{
		Source: source, Name: name, Points: points,
	}}})
	return err
}

// A fork begins where a batch does, and only where the object store has come to.
func TestForkPointIsABatchBoundary(t *testing.T) {
	f := newFixture(t, 1)
	f.create("a", 2)
	part := f.partition("a", 0)
	for range 2 {
		f.produce("a", 0, batch(t, 3, 0), mq.DurabilityAll)
	}
	for at, code := range map[mq.Offset]mq.Code{7: mq.OffsetOutOfRange, -2: mq.OffsetOutOfRange} {
		if _, err := f.forkPoint("a", 0, at); mq.CodeOf(err) != code {
			t.Errorf("at %d: %v", at, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.operate(ctx, alice, &adminpb.Request{Kind: &adminpb.Request_ForkPoint{ForkPoint: &adminpb.ForkPointRequest{Topic: "a", Offset: -1}}}); err == nil {
		t.Error("the object store has nothing, and a fork can begin at the end")
	}
	part.TieredTo(6)
	for at, want := range map[mq.Offset]mq.Offset{-1: 6, 6: 6, 5: 3, 4: 3, 3: 3, 2: 0, 0: 0} {
		if got, err := f.forkPoint("a", 0, at); err != nil || got != want {
			t.Errorf("at %d: %d, %v, want %d", at, got, err, want)
		}
	}
	f.must(part.SetLogStart(1))
	if got, err := f.forkPoint("a", 0, 2); err != nil || got != 1 {
		t.Errorf("in the batch that the log begins in: %d, %v", got, err)
	}
	if _, err := f.forkPoint("a", 2, -1); mq.CodeOf(err) != mq.UnknownTopicOrPartition {
		t.Errorf("a partition that is not there: %v", err)
	}
	if _, err := f.forkPoint("b", 0, -1); mq.CodeOf(err) != mq.UnknownTopicOrPartition {
		t.Errorf("a topic that is not there: %v", err)
	}
}

func TestForkIsAuthorisedOnBothTopics(t *testing.T) {
	f := newFixture(t, 1)
	f.create("a", 1)
	if err := f.fork("a", "b", 0); mq.CodeOf(err) != mq.UnsupportedVersion {
		t.Errorf("below its feature level: %v", err)
	}
	f.decide(&metadatapb.Command{Kind: &metadatapb.Command_RegisterBroker{RegisterBroker: &metadatapb.RegisterBroker{
		ClusterId: clusterID[:], NodeId: int32(self), Incarnation: 3, DirId: bytes.Repeat([]byte{byte(self)}, 16), MaxFeatureLevel: metadata.FeatureLevel,
	}}})
	f.decide(&metadatapb.Command{Kind: &metadatapb.Command_SetFeatureLevel{SetFeatureLevel: &metadatapb.SetFeatureLevel{FeatureLevel: metadata.ForkLevel}}})
	f.policy.questions()
	f.must(f.fork("a", "b", 0))
	_, err := f.forkPoint("a", 0, -1)
	f.must(err)
	got := f.policy.questions()
	if len(got) != 3 || got[0] != (asked{"alice", broker.OpRead, "a"}) || got[1] != (asked{"alice", broker.OpCreate, "b"}) || got[2] != got[0] {
		t.Errorf("asked %v", got)
	}
	if b := f.store.Image().TopicByName("b"); b == nil || b.Partitions() != 1 {
		t.Errorf("%+v", b)
	}
	if err := f.fork("a", "b", 0); mq.CodeOf(err) != mq.TopicAlreadyExists {
		t.Errorf("a second time: %v", err)
	}
	if err := f.fork("a", "c", 0, 0); mq.CodeOf(err) != mq.InvalidPartitions {
		t.Errorf("more points than partitions: %v", err)
	}
	f.policy.deny(true)
	for _, err := range []error{f.fork("a", "d", 0), second(f.forkPoint("a", 0, -1))} {
		if mq.CodeOf(err) != mq.TopicAuthorizationFailed {
			t.Errorf("denied: %v", err)
		}
	}
}

func second[T any](_ T, err error) error { return err }
