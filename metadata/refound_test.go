package metadata

import (
	"slices"
	"testing"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/raft"
)

// newCopied is a cluster as a copy of its metadata may have it: a topic with a partition that the object store has ten records of and one whose log start lies above what is there,
// garbage, and a join token.
func newCopied(t *testing.T) (b *bench, one, two mq.PartitionID) {
	t.Helper()
	b = newCluster(t, 3)
	b.must(createCommand(1, "t", []int32{1, 2, 3}, []int32{2, 3, 1}))
	b.must(objectIDsCommand(10))
	one, two = partitionOf(1, 0), partitionOf(1, 1)
	b.commit(1, 1, rangeOf(one, 0, 0, 10))
	b.commit(1, 2) // garbage
	b.must(putTokenCommand(1, 2, 1, 1000))
	b.must(logStartCommand(two, 7))
	return b, one, two
}

func TestRefoundingKeepsTheDataAndForgetsTheCluster(t *testing.T) {
	b, one, two := newCopied(t)
	before := b.store.Image()
	r := Refounding{Cluster: mq.ClusterID{7}, Node: 9, Dir: mq.DirID{9}, Conf: []byte("conf")}
	var verdicts []error
	found, err := b.store.Refound(r, func(commit func(*metadatapb.CommitObject) ([]error, error)) (err error) {
		// An id that was leased after the copy was made, ranges of old epochs, one of which continues nothing.
		verdicts, err = commit(commitCommand(1, 500, rangeOf(one, 0, 10, 20), rangeOf(one, 0, 30, 40)).GetCommitObject())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if found.Topics != 1 || found.Partitions != 2 || found.Replicated != 2 || !slices.Equal(found.Lowered, []mq.PartitionID{two}) {
		t.Errorf("%+v", found)
	}
	if len(verdicts) != 2 || verdicts[0] != nil || mq.CodeOf(verdicts[1]) != mq.OffsetOutOfRange {
		t.Errorf("verdicts %v", verdicts)
	}
	img := b.store.Image()
	if at := b.store.Position(); raft.Generation(at.Index) != 1 || at.Index != img.Index || string(at.Conf) != "conf" {
		t.Errorf("%+v", at)
	}
	if img.ClusterID != r.Cluster || img.FeatureLevel != before.FeatureLevel || len(img.Controllers()) != 0 || len(img.Brokers()) != 1 || img.Brokers()[0].ID != 9 || img.Brokers()[0].Dir != r.Dir {
		t.Errorf("%+v", img)
	}
	p := img.Partition(one)
	if p.Leader != 9 || !slices.Equal(p.Replicas, []mq.NodeID{9}) || !slices.Equal(p.ISR, p.Replicas) || p.TieredEnd != 20 || p.LeaderEpoch <= before.Partition(one).LeaderEpoch {
		t.Errorf("%+v", p)
	}
	if p := img.Partition(two); p.LogStart != 0 {
		t.Errorf("%+v", p)
	}
	if list := bounds(b.ranges(one, 0, 10)); !slices.Equal(list, [][2]mq.Offset{{0, 10}, {10, 20}}) {
		t.Errorf("ranges %v", list)
	}
	if c, ok, err := b.store.Checkpoint(one); err != nil || !ok || c.End != 20 || string(c.ProducerState) != "producers at 20" {
		t.Errorf("%+v, %v, %v", c, ok, err)
	}
	if got := b.garbage(); len(got) != 0 {
		t.Errorf("garbage %v", got)
	}
	checkReload(t, b.store)

	// It goes on: the broker registers, and gets ids and epochs that nobody had.
	b.index = img.Index
	register := registerCommand(9, 1)
	register.GetRegisterBroker().ClusterId, register.GetRegisterBroker().DirId = r.Cluster[:], r.Dir[:]
	b.must(register)
	if now := b.partition(1, 0); now.Leader != 9 || now.LeaderEpoch <= p.LeaderEpoch {
		t.Errorf("%+v", now)
	}
	if first := b.must(objectIDsCommand(1)).GetAllocate().GetFirst(); first <= 500 {
		t.Errorf("object id %d", first)
	}
	b.refuse(mq.InconsistentClusterID, registerCommand(1, 5))
}

func TestRefoundingThatFailsChangesNothing(t *testing.T) {
	b := newCluster(t, 1)
	b.must(createCommand(1, "t", []int32{1}))
	before, at := b.digest(), b.store.Position()
	_, err := b.store.Refound(Refounding{Cluster: mq.ClusterID{7}, Node: 9, Dir: mq.DirID{9}, Conf: []byte("conf")},
		func(func(*metadatapb.CommitObject) ([]error, error)) error {
			return mq.Errorf(mq.ObjectStoreUnavailable, "away")
		})
	if mq.CodeOf(err) != mq.ObjectStoreUnavailable || b.digest() != before || b.store.Position().Index != at.Index {
		t.Errorf("%v", err)
	}
	checkReload(t, b.store)
}
