package broker_test

import (
	"context"
	"math"
	"testing"
	"time"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto/server"
)

// bucket is an object store that has what it was given.
type bucket struct {
	batches []mq.Batch
	err     error
}

func (b *bucket) Read(_ context.Context, _ mq.PartitionID, from mq.Offset, _ int) ([]byte, mq.Offset, error) {
	if b.err != nil {
		return nil, 0, b.err
	}
	for _, batch := range b.batches {
		if batch.NextOffset() > from {
			return batch, batch.NextOffset(), nil
		}
	}
	return nil, 0, mq.Errorf(mq.OffsetOutOfRange, "nothing there")
}

func (*bucket) OffsetByTime(context.Context, mq.PartitionID, mq.Offset, int64) (mq.Offset, int64, bool, error) {
	return 0, 0, false, nil
}

// tiered makes topic orders with one partition, which the other broker leads, and of which offsets 0 to 29 are in the object store.
func tiered(t *testing.T) *fixture {
	f := newFixture(t, 2)
	f.decide(&metadatapb.Command{Kind: &metadatapb.Command_CreateTopic{CreateTopic: &metadatapb.CreateTopic{
		Name: "orders", Id: []byte("orders0000000000"), Assignments: []*metadatapb.ReplicaAssignment{{Replicas: []int32{int32(other)}}},
	}}})
	return f
}

func (f *fixture) commit(object uint64, first, end mq.Offset) {
	f.t.Helper()
	id := mq.PartitionID{Topic: f.Image().TopicByName("orders").ID}
	f.decide(&metadatapb.Command{Kind: &metadatapb.Command_AllocateObjectIds{AllocateObjectIds: &metadatapb.AllocateObjectIDs{Count: 1}}})
	f.decide(&metadatapb.Command{Kind: &metadatapb.Command_CommitObject{CommitObject: &metadatapb.CommitObject{
		ObjectId: object, Key: "objects/one", Size: 1000, NodeId: int32(other), Ranges: []*metadatapb.RangeCommit{{
			Partition: metadata.PartitionRecord(id), First: int64(first), End: int64(end), Bytes: 100,
		}},
	}}})
	for at := first; at < end; at += 10 {
		b := batch(f.t, 10, 1)
		b.SetBaseOffset(at)
		f.bucket.batches = append(f.bucket.batches, b)
	}
}

func (f *fixture) openedTiered() server.Reader {
	f.t.Helper()
	r, err := f.OpenTiered(f.t.Context(), alice, "orders", 0, mq.NoEpoch)
	f.must(err)
	return r
}

func TestAnyBrokerReadsWhatIsTiered(t *testing.T) {
	f := tiered(t)
	f.commit(1, 0, 30)
	r := f.openedTiered()
	next := mq.Offset(5)
	for _, want := range []mq.Offset{10, 20, 30} {
		if r.Source(next) != server.FromStore {
			t.Fatalf("source at %d: %v", next, r.Source(next))
		}
		got, err := r.Read(t.Context(), next, 1, nil)
		if err != nil || got.Next != want || len(got.Batches) != 1 || got.End != math.MaxInt64 || got.HighWatermark != 30 || got.LogStart != 0 {
			t.Fatalf("at %d: %+v, %v", next, got, err)
		}
		next = got.Next
	}
	if f.counts.TieredBytes.Load() == 0 {
		t.Error("nothing was counted")
	}
	// Where that ends is not the end: more may be there that this node does not know of.
	if r.Source(30) != server.FromElsewhere || r.Source(31) != server.FromElsewhere {
		t.Errorf("behind the tiered end: %v, %v", r.Source(30), r.Source(31))
	}
	_, err := r.Read(t.Context(), 30, 1, nil)
	wantCode(t, "at the tiered end", err, mq.NotLeaderOrFollower, "offset 30")
	f.commit(2, 30, 40)
	if got, err := r.Read(t.Context(), 30, 1, nil); err != nil || got.Next != 40 {
		t.Errorf("when there is more: %+v, %v", got, err)
	}
}

// TestNothingTieredIsReadInDoubt: who only reads says of nothing that it is out of range, gone or damaged.
func TestNothingTieredIsReadInDoubt(t *testing.T) {
	f := tiered(t)
	f.commit(1, 0, 30)
	r := f.openedTiered()
	for _, err := range []error{
		mq.Errorf(mq.OffsetOutOfRange, "nothing"), mq.Errorf(mq.ObjectStoreUnavailable, "away"), mq.Errorf(mq.Corrupt, "rot"), mq.Errorf(mq.RequestTimedOut, "late"),
	} {
		f.bucket.err = err
		_, got := r.Read(t.Context(), 0, 1, nil)
		wantCode(t, err.Error(), got, mq.NotLeaderOrFollower)
	}
	f.bucket.err = nil
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	f.bucket.err = canceled.Err()
	_, err := r.Read(canceled, 0, 1, nil)
	wantCode(t, "canceled", err, mq.Canceled)
	f.bucket.err = nil

	elsewhere := func(what string, from mq.Offset) {
		t.Helper()
		_, err := r.Read(t.Context(), from, 1, nil)
		wantCode(t, what, err, mq.NotLeaderOrFollower)
		if s := r.Source(from); s != server.FromElsewhere {
			t.Errorf("%s: source %v", what, s)
		}
	}
	f.stale = 11 * time.Second
	elsewhere("an image that is too old", 5)
	f.stale = 9 * time.Second
	if r.Source(5) != server.FromStore {
		t.Error("an image that is not too old is not read by")
	}
	id := f.Image().TopicByName("orders").ID
	f.decide(&metadatapb.Command{Kind: &metadatapb.Command_SetLogStarts{SetLogStarts: &metadatapb.SetLogStarts{
		Starts: []*metadatapb.LogStart{{Partition: metadata.PartitionRecord(mq.PartitionID{Topic: id}), Offset: 10, LeaderEpoch: -1}},
	}}})
	elsewhere("what was deleted", 9)
	if r.Source(10) != server.FromStore {
		t.Error("the log start is not read")
	}
	f.must(f.DeleteTopic(t.Context(), alice, "orders"))
	elsewhere("a topic that was deleted", 20)
	if _, _, _, end := r.Offsets(); end != -1 {
		t.Errorf("a topic that was deleted ends at %d", end)
	}
}

func TestOpenTieredNamesWhyItIsRefused(t *testing.T) {
	f := tiered(t)
	for _, c := range []struct {
		topic     string
		partition int32
		epoch     mq.Epoch
		code      mq.Code
	}{
		{"nowhere", 0, mq.NoEpoch, mq.UnknownTopicOrPartition},
		{"orders", 1, mq.NoEpoch, mq.UnknownTopicOrPartition},
		{"orders", 0, 1, mq.UnknownLeaderEpoch},
		{"orders", 0, 0, mq.None},
		{"orders", 0, mq.NoEpoch, mq.None},
	} {
		_, err := f.OpenTiered(t.Context(), alice, c.topic, c.partition, c.epoch)
		wantCode(t, c.topic, err, c.code)
	}
}

func TestTieredReaderAsksAgainWhenThePolicyMoved(t *testing.T) {
	f := tiered(t)
	f.commit(1, 0, 30)
	r := f.openedTiered()
	f.policy.deny(true)
	f.policy.epoch.Add(1)
	_, err := r.Read(t.Context(), 0, 1, nil)
	wantCode(t, "denied", err, mq.TopicAuthorizationFailed)
}
