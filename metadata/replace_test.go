package metadata

import (
	"slices"
	"testing"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

func (b *bench) replace(object uint64, replacements ...*metadatapb.Replacement) []mq.Code {
	b.t.Helper()
	return codes(b.must(replaceCommand(object, replacements...)).GetReplaceRanges().GetVerdicts())
}

// newReplaceBench has two partitions of which the first two hundred offsets lie in objects 1 to 20, ten offsets each.
func newReplaceBench(t *testing.T) (b *bench, one, two mq.PartitionID) {
	b = newCluster(t, 2)
	b.must(createCommand(1, "t", []int32{1, 2}, []int32{2, 1}))
	b.must(changeCommand(&metadatapb.PartitionChange{Partition: PartitionRecord(partitionOf(1, 1)), LeaderEpoch: -1, Leader: new(int32(1))}))
	b.must(objectIDsCommand(1000))
	one, two = partitionOf(1, 0), partitionOf(1, 1)
	for i := range int64(20) {
		b.commit(1, uint64(i+1), rangeOf(one, 0, 10*i, 10*i+10), rangeOf(two, 1, 10*i, 10*i+10))
	}
	return b, one, two
}

// refs names ranges as they are there now.
func (b *bench) refs(id mq.PartitionID, from mq.Offset, count int) (refs []*metadatapb.RangeRef) {
	b.t.Helper()
	for _, r := range b.ranges(id, from, count) {
		refs = append(refs, refOf(int64(r.First), int64(r.End), r.ObjectID))
	}
	return refs
}

func TestReplacementIsDecidedPerPartition(t *testing.T) {
	b, one, two := newReplaceBench(t)
	got := b.replace(100, replacementOf(one, b.refs(one, 0, 5)...), replacementOf(two, refOf(10, 20, 2), refOf(20, 30, 4)), replacementOf(partitionOf(9, 0), refOf(0, 10, 1)))
	if !slices.Equal(got, []mq.Code{mq.None, mq.OffsetOutOfRange, mq.UnknownTopicOrPartition}) {
		t.Errorf("got %v", got)
	}
	want := Range{First: 0, End: 50, MinTime: 0, MaxTime: 50, Position: 20, Bytes: 200, CRC: 9, Rewrites: 1, ObjectID: 100, Key: "objects/100", ObjectSize: 1 << 20}
	if r := b.ranges(one, 33, 1)[0]; r != want {
		t.Errorf("got %+v, want %+v", r, want)
	}
	if r := b.ranges(one, 0, 100); len(r) != 16 {
		t.Errorf("ranges %v", bounds(r))
	}
	if len(b.garbage()) != 0 {
		t.Errorf("garbage %v: the other partition needs them", b.garbage())
	}
	b.replace(101, replacementOf(two, b.refs(two, 0, 3)...))
	if got := b.garbage(); !slices.Equal(got, []uint64{1, 2, 3}) {
		t.Errorf("garbage %v", got)
	}
	if r := b.ranges(two, 0, 1)[0]; r.LeaderEpoch != 1 || r.Rewrites != 1 {
		t.Errorf("got %+v", r)
	}
	keyed := replacementOf(one, b.refs(one, 0, 16)...)
	keyed.ByKey = true
	b.replace(102, keyed)
	if r := b.ranges(one, 0, 1)[0]; r.Rewrites != 2 || !r.ByKey || r.End != 200 || b.partition(1, 0).TieredEnd != 200 {
		t.Errorf("got %+v", r)
	}
	checkReload(t, b.store)
}

// TestOfTwoCompactorsOneReplaces has two read the same ranges. It does not matter who leads, nor who comes first.
func TestOfTwoCompactorsOneReplaces(t *testing.T) {
	b, one, _ := newReplaceBench(t)
	first, second := replacementOf(one, b.refs(one, 0, 5)...), replacementOf(one, b.refs(one, 40, 5)...)
	b.must(fenceCommand(1, b.store.Image().Broker(1).Epoch)) // the first one's leadership is over
	if got := b.replace(100, first); got[0] != mq.None {
		t.Errorf("the first: %v", got)
	}
	if got := b.replace(101, second); got[0] != mq.OffsetOutOfRange {
		t.Errorf("the second: %v", got)
	}
	if got := b.garbage(); !slices.Equal(got, []uint64{101}) {
		t.Errorf("garbage %v", got)
	}
	before := b.digest()
	if got := b.replace(100, first); got[0] != mq.None || b.digest() != before {
		t.Errorf("proposed again: %v", got)
	}
	b.refuse(mq.InvalidRequest, replaceCommand(101, second)) // may be deleted at any time
	checkReload(t, b.store)
}

func TestReplacementBelowTheLogStart(t *testing.T) {
	b, one, _ := newReplaceBench(t)
	b.must(logStartCommand(one, 27))
	trimmed := replacementOf(one, b.refs(one, 27, 4)...) // from 20 on
	trimmed.First = 28
	if got := b.replace(100, trimmed); got[0] != mq.InvalidRequest {
		t.Errorf("offset 27 would be missing: %v", got)
	}
	trimmed.First = 25
	if got := b.replace(101, trimmed); got[0] != mq.None {
		t.Errorf("what is below the log start is left out: %v", got)
	}
	if got := bounds(b.ranges(one, 27, 2)); !slices.Equal(got, [][2]mq.Offset{{25, 60}, {60, 70}}) {
		t.Errorf("ranges %v", got)
	}
	for b.must(reclaimCommand(100)).GetReclaimRanges().GetMore() {
	}
	if got := bounds(b.ranges(one, 0, 2)); !slices.Equal(got, [][2]mq.Offset{{25, 60}, {60, 70}}) {
		t.Errorf("ranges %v after reclaiming", got)
	}
	gone := replacementOf(one, refOf(0, 10, 1), refOf(10, 20, 2))
	if got := b.replace(102, gone); got[0] != mq.OffsetOutOfRange {
		t.Errorf("what was reclaimed: %v", got)
	}
}

func TestReplacementIsChecked(t *testing.T) {
	b, one, _ := newReplaceBench(t)
	object := uint64(100)
	for what, spoil := range map[string]func(*metadatapb.Replacement){
		"no partition":       func(r *metadatapb.Replacement) { r.Partition = nil },
		"nothing old":        func(r *metadatapb.Replacement) { r.Old = nil },
		"begins later":       func(r *metadatapb.Replacement) { r.First++ },
		"begins sooner":      func(r *metadatapb.Replacement) { r.First, r.Old = 5, r.Old[1:] },
		"ends sooner":        func(r *metadatapb.Replacement) { r.End-- },
		"ends later":         func(r *metadatapb.Replacement) { r.End++ },
		"negative":           func(r *metadatapb.Replacement) { r.First = -1 },
		"a gap":              func(r *metadatapb.Replacement) { r.Old = slices.Delete(r.Old, 1, 2) },
		"out of order":       func(r *metadatapb.Replacement) { slices.Reverse(r.Old) },
		"twice the same":     func(r *metadatapb.Replacement) { r.Old = slices.Insert(r.Old, 1, r.Old[0]) },
		"no bytes":           func(r *metadatapb.Replacement) { r.Bytes = 0 },
		"beyond the object":  func(r *metadatapb.Replacement) { r.Position = 1<<20 - 199 },
		"an object's itself": func(r *metadatapb.Replacement) { r.Old[0].ObjectId = object },
	} {
		r := replacementOf(one, b.refs(one, 0, 4)...)
		spoil(r)
		if got := b.replace(object, r); got[0] != mq.InvalidRequest {
			t.Errorf("%s: %v", what, got)
		}
		object++
	}
	if got := b.ranges(one, 0, 100); len(got) != 20 {
		t.Errorf("ranges %v", bounds(got))
	}
	good := replacementOf(one, b.refs(one, 0, 4)...)
	b.refuse(mq.InvalidRequest, replaceCommand(1001, good)) // never leased
	many := replaceCommand(200, good, &metadatapb.Replacement{Old: make([]*metadatapb.RangeRef, MaxReplaced-3)})
	b.refuse(mq.InvalidRequest, many)
	empty := replaceCommand(200)
	empty.GetReplaceRanges().Replacements = make([]*metadatapb.Replacement, MaxReplaced+1)
	b.refuse(mq.InvalidRequest, empty)
}

func TestReplacementNeedsItsFeatureLevel(t *testing.T) {
	b := newBench(t)
	form := formCommand()
	form.GetFormCluster().FeatureLevel = CompactionLevel - 1
	b.must(form)
	b.refuse(mq.UnsupportedVersion, replaceCommand(1, replacementOf(partitionOf(1, 0), refOf(0, 10, 1))))
}
