package broker_test

import (
	"bytes"
	"testing"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/broker"
	"github.com/rustmq/rustmq/group"
	"github.com/rustmq/rustmq/kafkaproto"
	"github.com/rustmq/rustmq/mq"
)

// kafka is the broker as Kafka's listener sees it.
func (f *fixture) kafka() *broker.Kafka {
	return broker.NewKafka(f.Broker, func() kafkaproto.LogDir { return kafkaproto.LogDir{Path: "/data/wal", Total: 1000, Usable: 10} })
}

// TestOnlyTheLeaderSaysWhereLogsPart has a consumer that is ahead of the log: the leader says where that parts from what the consumer has, a follower that it does not lead.
func TestOnlyTheLeaderSaysWhereLogsPart(t *testing.T) {
	f := newFixture(t, 1)
	f.create("orders", 1)
	f.must(f.produce("orders", 0, batch(t, 3, 1), mq.DurabilityAll).Err)
	part := f.partition("orders", 0)
	led := part.LeaderEpoch()
	open := func() kafkaproto.Reader {
		r, err := f.kafka().OpenFetch(t.Context(), asker, "orders", 0, led, "")
		f.must(err)
		t.Cleanup(r.Close)
		return r
	}
	before := open()
	if last, end, err := before.EpochEnd(led); err != nil || last != led || end != 3 {
		t.Errorf("the leader's log: epoch %d up to %d, %v", last, end, err)
	}
	f.must(part.Follow(led+1, other))
	for name, r := range map[string]kafkaproto.Reader{"opened before": before, "opened after": open()} {
		last, end, err := r.EpochEnd(led)
		if last != mq.NoEpoch || end != -1 {
			t.Errorf("%s: a follower says that the log ends at epoch %d, offset %d", name, last, end)
		}
		wantCode(t, name, err, mq.NotLeaderOrFollower)
		_, err = r.Read(t.Context(), 100, 1000)
		wantCode(t, name, err, mq.NotLeaderOrFollower)
	}
}

// TestOnlyWhatIsThereIsReadElsewhere has a client in another rack ask for what is there no more: the leader, and nobody else, says that it is out of range. The replica in the client's rack,
// sent there, would send it back, and so on without end.
func TestOnlyWhatIsThereIsReadElsewhere(t *testing.T) {
	f := newFixture(t, 2)
	f.decide(&metadatapb.Command{Kind: &metadatapb.Command_RegisterBroker{RegisterBroker: &metadatapb.RegisterBroker{
		ClusterId: clusterID[:], NodeId: int32(other), Incarnation: 2, DirId: bytes.Repeat([]byte{byte(other)}, 16), MaxFeatureLevel: f.level, Rack: "far",
		Endpoints: []*metadatapb.Endpoint{{Listener: broker.ListenerQUIC, Host: "::1", Port: 9002}, {Listener: broker.ListenerKafka, Host: "::1", Port: 9092}},
	}}})
	f.replicated("orders", 1, 2)
	r, err := f.kafka().OpenFetch(t.Context(), asker, "orders", 0, mq.NoEpoch, "far")
	f.must(err)
	defer r.Close()
	if to := r.Elsewhere(-1); to != mq.NoNode {
		t.Errorf("below the log start: node %d", to)
	}
	_, err = r.Read(t.Context(), -1, 1000)
	wantCode(t, "below the log start", err, mq.OffsetOutOfRange)
}

// TestOffsetsOfADeletedTopicAreNotTheNextOnes has a topic made anew while its coordinator does not hear of it.
func TestOffsetsOfADeletedTopicAreNotTheNextOnes(t *testing.T) {
	f := newFixture(t, 1)
	f.coordinate(1)
	f.create("orders", 1)
	f.create("bills", 1)
	_, err := f.FindCoordinator(t.Context(), alice, "g")
	f.must(err)
	f.commitFor("g", "bills", 3, 0)
	_, err = (*f.reconciled.Load()).Do(t.Context(), "g", &group.CommitRequest{
		Group: "g", Generation: group.NoGeneration, Topics: []group.TopicOffsets{{Topic: "orders", ID: mq.TopicID{9}, Offsets: []group.Offset{{Offset: 700}}}},
	})
	f.must(err)
	all, err := f.kafka().FetchOffsets(t.Context(), asker, kafkaproto.Membership{Group: "g", Epoch: -1}, nil)
	if err != nil || len(all) != 1 || all[0].Name != "bills" || all[0].Offsets[0].Offset != 3 {
		t.Errorf("all: %+v, %v", all, err)
	}
	one := []kafkaproto.TopicOffsets{{Name: "orders", Offsets: []kafkaproto.CommittedOffset{{}}}}
	if one, err = f.kafka().FetchOffsets(t.Context(), asker, kafkaproto.Membership{Group: "g", Epoch: -1}, one); err != nil || one[0].Offsets[0].Offset != -1 {
		t.Errorf("the one that there is: %+v, %v", one, err)
	}
}

// TestKafkaCommitsAsManyOffsetsAsItLikes: each is committed, or told what is wrong with it, wherever it stands.
func TestKafkaCommitsAsManyOffsetsAsItLikes(t *testing.T) {
	f := newFixture(t, 1)
	f.coordinate(1)
	f.create("orders", 2)
	f.create("bills", 1)
	f.must2(f.FindCoordinator(t.Context(), alice, "g"))
	f.loaded()
	offsets := make([]kafkaproto.CommittedOffset, mq.MaxOffsetsPerCommit+2)
	for i := range offsets {
		offsets[i].Offset = mq.Offset(i)
	}
	unknown, last := mq.MaxOffsetsPerCommit, mq.MaxOffsetsPerCommit+1
	offsets[unknown].Partition, offsets[last].Partition = 7, 1
	topics := []kafkaproto.TopicOffsets{{Name: "orders", Offsets: offsets}, {Name: "bills", Offsets: []kafkaproto.CommittedOffset{{Offset: 5}}}}
	m := kafkaproto.Membership{Group: "g", Member: "it says who it is, and is no member", Epoch: -1}
	f.must(f.kafka().CommitOffsets(t.Context(), asker, m, topics))
	for i, o := range offsets {
		if want := map[bool]mq.Code{true: mq.UnknownTopicOrPartition}[i == unknown]; mq.CodeOf(o.Err) != want {
			t.Fatalf("offset %d: %v", i, o.Err)
		}
	}
	for _, c := range []struct {
		topic     string
		partition int32
		want      mq.Offset
	}{{"orders", 0, mq.MaxOffsetsPerCommit - 1}, {"orders", 1, mq.Offset(last)}, {"bills", 0, 5}} {
		if got := f.committed("g", c.topic, c.partition); got != c.want {
			t.Errorf("partition %d of %s is committed at %d, want %d", c.partition, c.topic, got, c.want)
		}
	}
}
