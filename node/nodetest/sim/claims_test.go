package sim

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/history"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
	"github.com/rustmq/rustmq/tier"
	"github.com/rustmq/rustmq/tier/faultstore"
)

var some = mq.PartitionID{Topic: mq.TopicID{1}, Index: 2}

func acked(epoch mq.Epoch, last mq.Offset, reached mq.Mark) partition.Acknowledgement {
	return partition.Acknowledgement{Partition: some, Epoch: epoch, Base: last, Last: last, Reached: reached}
}

func TestTwoWhoAcknowledgeInOneEpochAreFound(t *testing.T) {
	var c claims
	c.note(1, acked(3, 0, mq.MarkReplicated))
	c.note(1, acked(3, 1, mq.MarkReplicated))
	c.note(2, acked(4, 2, mq.MarkReplicated))
	if len(c.wrong) > 0 {
		t.Fatalf("%v of two leaders in two epochs", c.wrong)
	}
	c.note(2, acked(3, 2, mq.MarkLocal))
	if len(c.wrong) != 1 || c.wrong[0].Kind != "two leaders" {
		t.Fatalf("%v of two leaders in one epoch", c.wrong)
	}
}

func TestLeaderThatGoesOnForLongAfterTheNextIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c claims
		c.note(1, acked(3, 0, mq.MarkLocal))
		c.note(2, acked(4, 0, mq.MarkReplicated))
		time.Sleep(zombieAtMost)
		c.note(1, acked(3, 1, mq.MarkLocal))
		if len(c.wrong) > 0 {
			t.Fatalf("%v of one that has its lease", c.wrong)
		}
		time.Sleep(time.Millisecond)
		c.note(2, acked(4, 1, mq.MarkReplicated))
		c.note(1, acked(3, 2, mq.MarkLocal))
		if len(c.wrong) != 1 || c.wrong[0].Kind != "zombie" {
			t.Fatalf("%v of one whose lease is over", c.wrong)
		}
	})
}

// logOf has a record at each offset, of the epochs that are given.
func logOf(t *testing.T, epochs ...mq.Epoch) (r history.Replica) {
	t.Helper()
	for i, e := range epochs {
		builder, err := mq.NewBatchBuilder(mq.CompressionNone, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := builder.Append(mq.Record{Value: []byte("a record")}); err != nil {
			t.Fatal(err)
		}
		b, err := builder.Build(nil, mq.NoProducerID, mq.NoProducerEpoch, mq.NoSequence)
		if err != nil {
			t.Fatal(err)
		}
		b.SetBaseOffset(mq.Offset(i))
		b.SetLeaderEpoch(e)
		r.Batches = append(r.Batches, b)
	}
	return r
}

func TestWhatALeaderAloneAcknowledgedGoesWithAFailoverOnly(t *testing.T) {
	for _, c := range []struct {
		name  string
		log   []mq.Epoch
		last  mq.Epoch
		next  mq.NodeID // who leads epoch 4; 0: nobody knows
		wiped bool
		lost  bool
	}{
		{name: "it is there", log: []mq.Epoch{3, 3}, last: 5, next: 1},
		{name: "another led", log: []mq.Epoch{3, 4}, last: 4, next: 2},
		{name: "nobody knows who led", log: []mq.Epoch{3, 4}, last: 4},
		{name: "more than one epoch lies between", log: []mq.Epoch{3, 5}, last: 5, next: 1},
		{name: "its disk was lost", log: []mq.Epoch{3, 4}, last: 4, next: 1, wiped: true},
		{name: "it led itself, and has other records", log: []mq.Epoch{3, 4}, last: 4, next: 1, lost: true},
		{name: "it led itself, and has none", log: []mq.Epoch{3}, last: 4, next: 1, lost: true},
		{name: "nobody has led since", log: []mq.Epoch{3}, last: 3, lost: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var told claims
			told.note(1, acked(3, 1, mq.MarkLocal))
			if c.next != 0 {
				told.note(c.next, acked(4, 7, mq.MarkReplicated))
			}
			if c.wiped {
				told.forget(1)
			}
			if found := told.checkLocal(some, logOf(t, c.log...), c.last); (len(found) > 0) != c.lost {
				t.Errorf("found %v", found)
			}
		})
	}
}

func TestWhatIsNotInTheObjectStoreIsFound(t *testing.T) {
	var c claims
	c.note(1, acked(3, 4, mq.MarkObject))
	found, err := c.checkObjects(t.Context(), faultstore.New())
	if err != nil || len(found) != 1 || found[0].Kind != "lost" {
		t.Fatalf("%v, %v of an empty store", found, err)
	}
	for _, r := range []struct {
		ranges []tier.RangeInfo
		end    mq.Offset
	}{
		{nil, 0},
		{[]tier.RangeInfo{{First: 3, End: 7}, {First: 0, End: 4}}, 7},
		{[]tier.RangeInfo{{First: 0, End: 3}, {First: 4, End: 9}}, 3},
	} {
		if end := covered(r.ranges); end != r.end {
			t.Errorf("%v reach up to %d", r.ranges, end)
		}
	}
}

func TestTopicThatLacksWhatWasAcknowledgedIsFound(t *testing.T) {
	there := &client.TopicDescription{Name: "extra", Partitions: make([]client.PartitionDescription, 2)}
	for _, p := range []promisedTopic{{partitions: 3}, {partitions: 2, records: 1}} {
		if found := p.check(there); len(found) != 1 || found[0].Kind != "lost" {
			t.Errorf("%+v: found %v", p, found)
		}
	}
	if found := (&promisedTopic{partitions: 2}).check(there); len(found) > 0 {
		t.Errorf("found %v", found)
	}
}
