package broker_test

import (
	"context"
	"runtime"
	"testing"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/server"
)

func TestProducingToATopicThatIsNotThereIsRefused(t *testing.T) {
	f := newFixture(t, 1)
	_, err := f.OpenProduce(t.Context(), alice, "orders")
	wantCode(t, "no such topic", err, mq.UnknownTopicOrPartition, `"orders"`)
	_, err = f.OpenProduce(t.Context(), alice, "or/ders")
	wantCode(t, "no topic's name", err, mq.InvalidTopic)
}

func TestAppendNamesWhyItIsRefused(t *testing.T) {
	f := newFixture(t, 2)
	f.create("orders", 2, "max.message.bytes", "1024")
	f.replicated("pairs", 2, 2, "min.insync.replicas", "2")
	f.create("broken", 2)
	f.partition("broken", 0).Quarantine(mq.Errorf(mq.Corrupt, "rot at 7"))
	followed := int32(-1)
	led := int32(-1)
	for i, p := range f.Image().TopicByName("pairs").All() {
		if p.Leader == self {
			led = i
		} else {
			followed = i
		}
	}
	if followed < 0 || led < 0 {
		t.Fatal("the test wants a partition that each of the two brokers leads")
	}
	f.must(f.partition("pairs", led).Lead(1, 0, []partition.Replica{{Node: self, Incarnation: 1}}))

	for _, c := range []struct {
		name      string
		topic     string
		partition int32
		records   int
		acks      mq.Durability
		code      mq.Code
		about     string
		room      bool // it was found out after room in the log was taken
	}{
		{"below the first partition", "orders", -1, 1, mq.DurabilityAll, mq.UnknownTopicOrPartition, "no partition -1, but 2", false},
		{"beyond the last partition", "orders", 2, 1, mq.DurabilityAll, mq.UnknownTopicOrPartition, "no partition 2, but 2", false},
		{"on another broker", "orders", 1, 1, mq.DurabilityAll, mq.NotLeaderOrFollower, "node 1", false},
		{"led by another", "pairs", followed, 1, mq.DurabilityAll, mq.NotLeaderOrFollower, "node 2", true},
		{"quarantined", "broken", 0, 1, mq.DurabilityLeader, mq.PartitionQuarantined, "rot at 7", true},
		{"a batch too large", "orders", 0, 100, mq.DurabilityAll, mq.MessageTooLarge, "1024", true},
		{"acks that do not exist", "orders", 0, 1, 4, mq.InvalidRequiredAcks, "", true},
		{"too few in sync", "pairs", led, 1, mq.DurabilityAll, mq.NotEnoughReplicas, "1 replicas are in sync, 2 are needed", true},
		{"too few in sync for the object store", "pairs", led, 1, mq.DurabilityObject, mq.NotEnoughReplicas, "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := f.room.asked.Load()
			a := f.produce(c.topic, c.partition, batch(t, c.records, 1), c.acks)
			wantCode(t, c.name, a.Err, c.code, c.about)
			if a.Timestamp != -1 {
				t.Errorf("a refusal has the timestamp %d", a.Timestamp)
			}
			if got := f.room.asked.Load() - before; got == 1 != c.room {
				t.Errorf("room in the log was asked for %d times", got)
			}
		})
	}
	if a := f.produce("pairs", led, batch(t, 1, 1), mq.DurabilityLeader); a.Err != nil || a.Mark != mq.MarkLocal {
		t.Errorf("acks=leader needs no others in sync: %+v", a)
	}
}

func TestRefusedBatchesTakeNoRoom(t *testing.T) {
	f := newFixture(t, 1)
	f.create("orders", 1, "max.message.bytes", "1024")
	p, err := f.OpenProduce(t.Context(), alice, "orders")
	f.must(err)
	large := batch(t, 10_000, 1)
	for refused := 0; refused < 3*(4<<20); refused += len(large) { // three times what the log lets wait
		wantCode(t, "too large", send(t.Context(), p, 0, large, mq.DurabilityAll).answer(t).Err, mq.MessageTooLarge)
	}
	if a := send(t.Context(), p, 0, batch(t, 1, 1), mq.DurabilityAll).answer(t); a.Err != nil || a.Base != 0 {
		t.Errorf("got %+v", a)
	}
}

func TestAnswerNamesTheDurabilityThatWasReached(t *testing.T) {
	f := newFixture(t, 2)
	f.replicated("orders", 1, 2)
	part := f.partition("orders", 0)
	p, err := f.OpenProduce(t.Context(), alice, "orders")
	f.must(err)
	follower := partition.Replica{Node: other, Incarnation: 1}

	none := send(t.Context(), p, 0, batch(t, 1, 1), mq.DurabilityNone).answer(t)
	if none.Err != nil || none.Base != 0 || none.Mark > mq.MarkLocal {
		t.Errorf("acks=none: %+v", none)
	}
	all := send(t.Context(), p, 0, batch(t, 1, 1), mq.DurabilityAll)
	object := send(t.Context(), p, 0, batch(t, 1, 1), mq.DurabilityObject)
	leader := send(t.Context(), p, 0, batch(t, 1, 1), mq.DurabilityLeader).answer(t)
	if leader.Err != nil || leader.Base != 3 || leader.Mark != mq.MarkLocal {
		t.Errorf("acks=leader: %+v", leader)
	}
	if len(all) != 0 || len(object) != 0 {
		t.Fatal("acknowledged, though no follower has it")
	}
	f.must(part.Acked(follower, 0, 4))
	if a := all.answer(t); a.Err != nil || a.Base != 1 || a.Mark != mq.MarkReplicated {
		t.Errorf("acks=all: %+v", a)
	}
	if len(object) != 0 {
		t.Fatal("acknowledged, though the object store does not have it")
	}
	part.TieredTo(3)
	if a := object.answer(t); a.Err != nil || a.Base != 2 || a.Mark != mq.MarkObject {
		t.Errorf("acks=object: %+v", a)
	}
	for _, done := range []future{all, object} {
		if len(done) != 0 {
			t.Error("answered twice")
		}
	}
}

func TestDuplicateIsAnsweredWithItsFirstOffset(t *testing.T) {
	f := newFixture(t, 1)
	f.create("orders", 1)
	id, err := f.InitProducerID(t.Context(), alice, &quicproto.InitProducerIDRequest{ProducerID: mq.NoProducerID, ProducerEpoch: mq.NoProducerEpoch})
	f.must(err)
	send := func(epoch mq.ProducerEpoch, sequence int32, count int) server.Appended {
		return f.produce("orders", 0, batchBy(t, id.ProducerID, epoch, sequence, count, 1), mq.DurabilityAll)
	}
	for i := range 3 {
		if a := send(0, int32(2*i), 2); a.Err != nil || a.Base != mq.Offset(2*i) || a.Duplicate {
			t.Fatalf("batch %d: %+v", i, a)
		}
	}
	if a := send(0, 2, 2); a.Err != nil || a.Base != 2 || !a.Duplicate || a.Mark != mq.MarkReplicated {
		t.Errorf("repeated: %+v", a)
	}
	wantCode(t, "a gap", send(0, 8, 1).Err, mq.OutOfOrderSequence)
	wantCode(t, "cut otherwise", send(0, 3, 2).Err, mq.InvalidRequest)
	next, err := f.InitProducerID(t.Context(), alice, &quicproto.InitProducerIDRequest{ProducerID: id.ProducerID, ProducerEpoch: 0})
	f.must(err)
	if a := send(next.ProducerEpoch, 0, 1); a.Err != nil || a.Base != 6 {
		t.Errorf("the next epoch: %+v", a)
	}
	wantCode(t, "the epoch before", send(0, 6, 1).Err, mq.InvalidProducerEpoch)
}

func TestOpenProducerFollowsItsTopic(t *testing.T) {
	f := newFixture(t, 1)
	first := f.create("orders", 1)
	p, err := f.OpenProduce(t.Context(), alice, "orders")
	f.must(err)
	append1 := func(index int32, records int) server.Appended {
		return send(t.Context(), p, index, batch(t, records, 1), mq.DurabilityAll).answer(t)
	}
	wantTopic := func(partitions int32, maxBatch int) {
		t.Helper()
		if id, n, most := p.Topic(); id != first.ID || n != partitions || most != maxBatch {
			t.Errorf("topic %s with %d partitions, batches of %d bytes; want %s, %d, %d", id, n, most, first.ID, partitions, maxBatch)
		}
	}
	wantTopic(1, mq.DefaultMaxBatchBytes)
	wantCode(t, "before there is a second", append1(1, 1).Err, mq.UnknownTopicOrPartition)
	f.must(f.AlterTopic(t.Context(), alice, &quicproto.AlterTopicRequest{Name: "orders", Partitions: 2, Set: pairs("max.message.bytes", "1024")}))
	wantTopic(2, 1024)
	f.must(append1(1, 1).Err)
	wantCode(t, "the new limit", append1(0, 100).Err, mq.MessageTooLarge)

	f.must(f.AlterTopic(t.Context(), alice, &quicproto.AlterTopicRequest{Name: "orders", Set: pairs("message.timestamp.type", "LogAppendTime")}))
	if a := append1(0, 1); a.Err != nil || a.Timestamp <= 1 {
		t.Errorf("the broker's clock is not told: %+v", a)
	}

	f.must(f.DeleteTopic(t.Context(), alice, "orders"))
	wantTopic(0, 0)
	wantCode(t, "deleted", append1(0, 1).Err, mq.UnknownTopicOrPartition)
	f.create("orders", 1)
	wantCode(t, "another topic of that name", append1(0, 1).Err, mq.UnknownTopicOrPartition)
	if _, high, end, _ := f.partition("orders", 0).Offsets(); high != 0 || end != 0 {
		t.Errorf("what was sent to the old topic is in the new one: %d, %d", high, end)
	}
}

func TestDeletingATopicAnswersWhatWaits(t *testing.T) {
	f := newFixture(t, 2)
	f.replicated("orders", 1, 2)
	p, err := f.OpenProduce(t.Context(), alice, "orders")
	f.must(err)
	done := send(t.Context(), p, 0, batch(t, 1, 1), mq.DurabilityAll)
	f.must(f.DeleteTopic(t.Context(), alice, "orders"))
	wantCode(t, "deleted", done.answer(t).Err, mq.UnknownTopicOrPartition)
}

func TestWaitingForRoomHoldsUpNobodyElse(t *testing.T) {
	f := newFixture(t, 1)
	f.create("orders", 1)
	f.must(f.produce("orders", 0, batch(t, 1, 1), mq.DurabilityAll).Err)
	held := make(chan struct{})
	f.room.held.Store(&held)
	p, err := f.OpenProduce(t.Context(), alice, "orders")
	f.must(err)
	done := make(future, 2)
	returned := make(chan struct{})
	go func() {
		defer close(returned)
		p.Append(context.Background(), 0, batch(t, 1, 1), mq.DurabilityAll, done)
	}()
	for f.room.inside.Load() == 0 {
		runtime.Gosched()
	}
	// Its partition is read meanwhile, and described.
	r, err := f.OpenFetch(t.Context(), alice, "orders", 0, mq.NoEpoch, mq.IsolationCommitted)
	f.must(err)
	defer r.Close()
	if got, err := r.Read(t.Context(), 0, 1000, nil); err != nil || got.Next != 1 || got.LogEnd != 1 {
		t.Errorf("read while an append waits for room: %+v, %v", got, err)
	}
	if len(done) != 0 {
		t.Fatal("answered without room")
	}
	close(held)
	if a := done.answer(t); a.Err != nil || a.Base != 1 {
		t.Errorf("got %+v", a)
	}
	<-returned
}

func TestWhoGivesUpWaitingForRoomHasAppendedNothing(t *testing.T) {
	f := newFixture(t, 1)
	f.create("orders", 1)
	held := make(chan struct{})
	f.room.held.Store(&held)
	p, err := f.OpenProduce(t.Context(), alice, "orders")
	f.must(err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantCode(t, "gave up", send(ctx, p, 0, batch(t, 1, 1), mq.DurabilityAll).answer(t).Err, mq.Canceled)
	f.room.held.Store(nil)

	f.room.err.Store(mq.Errorf(mq.StorageFull, "the disk is full"))
	a := send(t.Context(), p, 0, batch(t, 1, 1), mq.DurabilityAll).answer(t)
	wantCode(t, "full", a.Err, mq.StorageFull, "the disk is full")
	if !mq.StorageFull.Retriable() {
		t.Error("a client would give up")
	}
	f.room.err.Store(nil)
	if a := send(t.Context(), p, 0, batch(t, 1, 1), mq.DurabilityAll).answer(t); a.Err != nil || a.Base != 0 {
		t.Errorf("with room again: %+v", a)
	}
}

func TestAppendsAfterTheirStreamEndedAreStillAnswered(t *testing.T) {
	f := newFixture(t, 2)
	f.replicated("orders", 1, 2)
	p, err := f.OpenProduce(t.Context(), alice, "orders")
	f.must(err)
	ctx, cancel := context.WithCancel(t.Context())
	done := send(ctx, p, 0, batch(t, 1, 1), mq.DurabilityAll)
	cancel() // the batch is in the log: whether it is durable does not depend on who waits
	if a := send(t.Context(), p, 0, batch(t, 1, 1), mq.DurabilityLeader).answer(t); a.Err != nil {
		t.Fatal(a.Err)
	}
	if len(done) != 0 {
		t.Fatal("answered before a follower had it")
	}
	f.must(f.partition("orders", 0).Acked(partition.Replica{Node: other, Incarnation: 1}, 0, 2))
	if a := done.answer(t); a.Err != nil || a.Base != 0 || a.Mark != mq.MarkReplicated {
		t.Errorf("got %+v", a)
	}
}
