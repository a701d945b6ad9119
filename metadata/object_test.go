package metadata

import (
	"fmt"
	"slices"
	"testing"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/raft"
)

func (b *bench) commit(node int32, object uint64, ranges ...*metadatapb.RangeCommit) []mq.Code {
	b.t.Helper()
	return codes(b.must(commitCommand(node, object, ranges...)).GetCommitObject().GetVerdicts())
}

func (b *bench) ranges(id mq.PartitionID, from mq.Offset, limit int) []Range {
	b.t.Helper()
	list, err := b.store.Ranges(id, from, limit)
	if err != nil {
		b.t.Fatal(err)
	}
	return list
}

// bounds is the first and end offsets of ranges.
func bounds(ranges []Range) (list [][2]mq.Offset) {
	for _, r := range ranges {
		list = append(list, [2]mq.Offset{r.First, r.End})
	}
	return list
}

func (b *bench) garbage() (ids []uint64) {
	b.t.Helper()
	objects, err := b.store.Garbage(0, 1000)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, o := range objects {
		ids = append(ids, o.ID)
	}
	return ids
}

// TestCommitIsDecidedPerRange is rule 12: one stale partition does not sink the object.
func TestCommitIsDecidedPerRange(t *testing.T) {
	b := newCluster(t, 2)
	b.must(createCommand(1, "t", []int32{1}, []int32{1}, []int32{2}, []int32{1}))
	b.must(objectIDsCommand(10))
	b.must(changeCommand(&metadatapb.PartitionChange{Partition: PartitionRecord(partitionOf(1, 1)), LeaderEpoch: -1, Leader: new(int32(1))}))
	got := b.commit(1, 1,
		rangeOf(partitionOf(1, 0), 0, 0, 10),
		rangeOf(partitionOf(1, 0), 0, 10, 20),
		rangeOf(partitionOf(1, 0), 0, 25, 30), // a gap
		rangeOf(partitionOf(1, 0), 0, 30, 40), // which this one hangs on
		rangeOf(partitionOf(1, 1), 0, 0, 10),  // epoch 0 is over
		rangeOf(partitionOf(1, 2), 0, 0, 10),  // led by another
		rangeOf(partitionOf(1, 3), 1, 0, 10),  // epoch 1 has not begun
		rangeOf(partitionOf(9, 0), 0, 0, 10),  // was deleted
		rangeOf(partitionOf(1, 3), 0, 10, 10), // empty
		rangeOf(partitionOf(1, 3), 0, 0, 7),
	)
	want := []mq.Code{
		mq.None, mq.None, mq.OffsetOutOfRange, mq.OffsetOutOfRange, mq.FencedLeaderEpoch, mq.NotLeaderOrFollower, mq.UnknownLeaderEpoch,
		mq.UnknownTopicOrPartition, mq.InvalidRequest, mq.None,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if list := bounds(b.ranges(partitionOf(1, 0), 0, 10)); !slices.Equal(list, [][2]mq.Offset{{0, 10}, {10, 20}}) {
		t.Errorf("ranges %v", list)
	}
	if p := b.partition(1, 0); p.TieredEnd != 20 {
		t.Errorf("tiered end %d", p.TieredEnd)
	}
	if len(b.garbage()) != 0 {
		t.Error("an object with ranges is garbage")
	}
	checkReload(t, b.store)
}

func TestCommitOfWhatNobodyWantsIsGarbage(t *testing.T) {
	b := newCluster(t, 1)
	b.must(createCommand(1, "t", []int32{1}))
	b.must(objectIDsCommand(10))
	b.commit(1, 3, rangeOf(partitionOf(1, 0), 0, 5, 10))
	b.commit(1, 4)
	if got := b.garbage(); !slices.Equal(got, []uint64{3, 4}) {
		t.Errorf("garbage %v", got)
	}
	b.refuse(mq.InvalidRequest, commitCommand(1, 3, rangeOf(partitionOf(1, 0), 0, 0, 10))) // may be deleted at any time
	b.must(&metadatapb.Command{Kind: &metadatapb.Command_RemoveObjects{RemoveObjects: &metadatapb.RemoveObjects{ObjectIds: []uint64{3, 4, 5}}}})
	if got := b.garbage(); len(got) != 0 {
		t.Errorf("garbage %v after it was deleted", got)
	}
}

// What lost controllers may have committed is no garbage because one leader's range of it is refused: another partition's may be needed.
func TestRefusedObjectOfBeforeARecoveryIsLeftAlone(t *testing.T) {
	b := newCluster(t, 2)
	b.must(createCommand(1, "t", []int32{1}, []int32{2}))
	b.must(objectIDsCommand(10))
	b.recover()
	epoch := b.partition(1, 0).LeaderEpoch
	if got := b.commit(1, 3, rangeOf(partitionOf(1, 0), 0, 0, 10)); got[0] != mq.FencedLeaderEpoch {
		t.Fatalf("got %v", got)
	}
	if got := b.commit(2, 3, rangeOf(partitionOf(1, 1), epoch, 0, 7)); got[0] != mq.None {
		t.Errorf("the other partition's: %v", got)
	}
	if got := b.commit(1, 3, rangeOf(partitionOf(1, 0), epoch, 0, 10)); got[0] != mq.None {
		t.Errorf("again: %v", got)
	}
	now := b.must(objectIDsCommand(10)).GetAllocate().GetFirst()
	if ObjectGeneration(3) != 0 || ObjectGeneration(now) != 1 {
		t.Errorf("id %d is of generation %d", now, ObjectGeneration(now))
	}
	b.commit(1, now, rangeOf(partitionOf(1, 0), epoch, 50, 60))
	if got := b.garbage(); !slices.Equal(got, []uint64{now}) {
		t.Errorf("garbage %v", got)
	}
	if p := b.partition(1, 0); !p.SetBack(epoch-1) || p.SetBack(epoch) || p.TieredEnd != 10 {
		t.Errorf("%+v", p)
	}
	checkReload(t, b.store)
}

// Of an object that lost controllers had committed the leaders bring their ranges one after the other: that the first of them is replaced, or not needed any more, before the last has
// come makes it no garbage. One that was known before the recovery is as any other.
func TestRegainedObjectIsNoGarbageWhileRangesMayCome(t *testing.T) {
	b := newCluster(t, 2)
	b.must(createCommand(1, "t", []int32{1}, []int32{2}))
	b.must(objectIDsCommand(10))
	b.commit(1, 2, rangeOf(partitionOf(1, 0), 0, 0, 10))
	b.recover()
	epoch := b.partition(1, 0).LeaderEpoch
	if got := b.commit(1, 3, rangeOf(partitionOf(1, 0), epoch, 10, 20)); got[0] != mq.None {
		t.Fatalf("got %v", got)
	}
	now := b.must(objectIDsCommand(10)).GetAllocate().GetFirst()
	if got := b.replace(now, replacementOf(partitionOf(1, 0), b.refs(partitionOf(1, 0), 0, 2)...)); got[0] != mq.None {
		t.Fatalf("got %v", got)
	}
	if got := b.garbage(); !slices.Equal(got, []uint64{2}) {
		t.Errorf("garbage %v", got)
	}
	if got := b.commit(2, 3, rangeOf(partitionOf(1, 1), epoch, 0, 7)); got[0] != mq.None {
		t.Errorf("the other partition's: %v", got)
	}
	checkReload(t, b.store)
}

// recover begins the next generation.
func (b *bench) recover() {
	b.t.Helper()
	data, err := RecoverCommand()
	if err != nil {
		b.t.Fatal(err)
	}
	b.index = (raft.Generation(b.index)+1)<<40 - 1
	if _, err := DecodeResult(b.apply(data)[0]); err != nil {
		b.t.Fatal(err)
	}
}

func TestCommitProposedTwiceIsOnce(t *testing.T) {
	b := newCluster(t, 1)
	b.must(createCommand(1, "t", []int32{1}, []int32{1}))
	b.must(objectIDsCommand(10))
	ranges := []*metadatapb.RangeCommit{rangeOf(partitionOf(1, 0), 0, 0, 10), rangeOf(partitionOf(1, 1), 0, 5, 10)}
	first := b.commit(1, 1, ranges...)
	before := b.digest()
	again := b.commit(1, 1, ranges...)
	if !slices.Equal(first, again) || b.digest() != before {
		t.Errorf("first %v, then %v", first, again)
	}
	other := commitCommand(1, 1, rangeOf(partitionOf(1, 1), 0, 0, 5))
	other.GetCommitObject().Key = "objects/other"
	b.refuse(mq.InvalidRequest, other)
}

func TestCommitIsChecked(t *testing.T) {
	b := newCluster(t, 1)
	b.must(createCommand(1, "t", []int32{1}))
	b.must(objectIDsCommand(10))
	good := rangeOf(partitionOf(1, 0), 0, 0, 10)
	b.refuse(mq.InvalidRequest, commitCommand(1, 0, good))
	b.refuse(mq.InvalidRequest, commitCommand(1, 11, good)) // never leased
	noKey := commitCommand(1, 1, good)
	noKey.GetCommitObject().Key = ""
	b.refuse(mq.InvalidRequest, noKey)
	noSize := commitCommand(1, 1, good)
	noSize.GetCommitObject().Size = 0
	b.refuse(mq.InvalidRequest, noSize)
	for what, spoil := range map[string]func(*metadatapb.RangeCommit){
		"negative first":      func(r *metadatapb.RangeCommit) { r.First = -1 },
		"backwards":           func(r *metadatapb.RangeCommit) { r.End = -1 },
		"no bytes":            func(r *metadatapb.RangeCommit) { r.Bytes = 0 },
		"beyond the object":   func(r *metadatapb.RangeCommit) { r.Position = 1<<20 - 99 },
		"overflowing":         func(r *metadatapb.RangeCommit) { r.Position = 1<<63 - 1 },
		"before the object":   func(r *metadatapb.RangeCommit) { r.Position = -1 },
		"epochs backwards":    func(r *metadatapb.RangeCommit) { r.Epochs = []*metadatapb.EpochStart{{Epoch: 1}, {Epoch: 0, Start: 3}} },
		"epoch behind end":    func(r *metadatapb.RangeCommit) { r.Epochs = []*metadatapb.EpochStart{{Epoch: 0, Start: 11}} },
		"much producer state": func(r *metadatapb.RangeCommit) { r.ProducerState = make([]byte, maxProducerStateBytes+1) },
		"no partition":        func(r *metadatapb.RangeCommit) { r.Partition = nil },
	} {
		r := rangeOf(partitionOf(1, 0), 0, 0, 10)
		spoil(r)
		if got := b.commit(1, 1+uint64(len(b.garbage())), r); got[0] != mq.InvalidRequest {
			t.Errorf("%s: %v", what, got)
		}
	}
}

// TestCheckpointIsExactAtTheTieredEnd is rule 10's part here: each commit carries the state at its range's end.
func TestCheckpointIsExactAtTheTieredEnd(t *testing.T) {
	b := newCluster(t, 1)
	b.must(createCommand(1, "t", []int32{1}))
	b.must(objectIDsCommand(10))
	id := partitionOf(1, 0)
	if _, ok, err := b.store.Checkpoint(id); ok || err != nil {
		t.Errorf("a checkpoint of nothing: %v", err)
	}
	second := rangeOf(id, 0, 10, 20)
	second.Epochs = EpochRecords(mq.EpochHistory{{Epoch: 0, Start: 0}, {Epoch: 3, Start: 12}})
	b.commit(1, 1, rangeOf(id, 0, 0, 10), second, rangeOf(id, 0, 99, 100))
	got, ok, err := b.store.Checkpoint(id)
	if err != nil || !ok || got.End != 20 || string(got.ProducerState) != "producers at 20" ||
		!slices.Equal(got.Epochs, mq.EpochHistory{{Epoch: 0, Start: 0}, {Epoch: 3, Start: 12}}) {
		t.Errorf("got %+v, %v, %v", got, ok, err)
	}
}

func TestRangesArePaged(t *testing.T) {
	b := newCluster(t, 1)
	b.must(createCommand(1, "t", []int32{1}, []int32{1}))
	b.must(objectIDsCommand(1000))
	id := partitionOf(1, 0)
	for i := range int64(50) {
		b.commit(1, uint64(i+1), rangeOf(id, 0, i*10, i*10+10), rangeOf(partitionOf(1, 1), 0, i*10, i*10+10))
	}
	for _, c := range []struct {
		from        mq.Offset
		limit       int
		first, size int64
	}{{0, 5, 0, 5}, {-3, 1, 0, 1}, {9, 5, 0, 5}, {10, 5, 10, 5}, {495, 5, 490, 1}, {500, 5, 0, 0}, {0, 0, 0, 0}, {0, 1000, 0, 50}} {
		got := b.ranges(id, c.from, c.limit)
		if int64(len(got)) != c.size || len(got) > 0 && got[0].First != mq.Offset(c.first) {
			t.Errorf("from %d, at most %d: %v", c.from, c.limit, bounds(got))
		}
	}
	r := b.ranges(id, 123, 1)[0]
	want := Range{First: 120, End: 130, MinTime: 120, MaxTime: 130, Position: 10, Bytes: 100, CRC: 7, ObjectID: 13, Key: "objects/13", ObjectSize: 1 << 20}
	if r != want {
		t.Errorf("got %+v, want %+v", r, want)
	}
}

func TestLogStartOnlyGrowsAndReclaimsInSteps(t *testing.T) {
	b := newCluster(t, 1)
	b.must(createCommand(1, "t", []int32{1}, []int32{1}))
	b.must(objectIDsCommand(1000))
	id := partitionOf(1, 0)
	for i := range int64(10) {
		b.commit(1, uint64(i+1), rangeOf(id, 0, i*10, i*10+10))
	}
	b.commit(1, 100, rangeOf(partitionOf(1, 1), 0, 0, 10), rangeOf(id, 0, 100, 110)) // shared
	b.must(logStartCommand(id, 55))
	b.must(logStartCommand(id, 40))
	if p := b.partition(1, 0); p.LogStart != 55 {
		t.Errorf("log start %d", p.LogStart)
	}
	reclaim := func(limit int32) (int32, bool) {
		r := b.must(reclaimCommand(limit)).GetReclaimRanges()
		return r.GetReclaimed(), r.GetMore()
	}
	if n, more := reclaim(3); n != 3 || !more {
		t.Errorf("first step: %d, %v", n, more)
	}
	if n, more := reclaim(100); n != 2 || more {
		t.Errorf("second step: %d, %v", n, more)
	}
	if pending, err := b.store.ReclaimPending(); pending || err != nil {
		t.Errorf("pending %v, %v", pending, err)
	}
	if got := b.garbage(); !slices.Equal(got, []uint64{1, 2, 3, 4, 5}) {
		t.Errorf("garbage %v", got)
	}
	if got := b.ranges(id, 0, 100); got[0].First != 50 || len(got) != 6 {
		t.Errorf("ranges %v", bounds(got))
	}
	b.must(logStartCommand(id, 110))
	reclaim(100)
	if got := b.garbage(); slices.Contains(got, 100) {
		t.Error("an object that another partition needs is garbage")
	}
	b.refuse(mq.InvalidRequest, reclaimCommand(0))
	b.refuse(mq.InvalidRequest, reclaimCommand(maxReclaim+1))
	checkReload(t, b.store)
}

// TestLogStartBeyondTheTieredEndLeavesAGap: what was deleted before it was uploaded need not be.
func TestLogStartBeyondTheTieredEndLeavesAGap(t *testing.T) {
	b := newCluster(t, 1)
	b.must(createCommand(1, "t", []int32{1}))
	b.must(objectIDsCommand(10))
	id := partitionOf(1, 0)
	b.commit(1, 1, rangeOf(id, 0, 0, 10))
	b.must(logStartCommand(id, 35))
	for first, want := range map[int64]mq.Code{36: mq.OffsetOutOfRange, 5: mq.OffsetOutOfRange} {
		if got := b.commit(1, 2+uint64(len(b.garbage())), rangeOf(id, 0, first, 50)); got[0] != want {
			t.Errorf("from %d: %v", first, got)
		}
	}
	if got := b.commit(1, 5, rangeOf(id, 0, 30, 50)); got[0] != mq.None {
		t.Errorf("the batch with the log start in it: %v", got)
	}
	if got := bounds(b.ranges(id, 35, 9)); !slices.Equal(got, [][2]mq.Offset{{30, 50}}) {
		t.Errorf("ranges %v", got)
	}
}

func TestDeletedTopicIsReclaimed(t *testing.T) {
	b := newCluster(t, 1)
	b.must(createCommand(1, "t", []int32{1}, []int32{1}))
	b.must(createCommand(2, "u", []int32{1}))
	b.must(objectIDsCommand(100))
	for i := range int64(6) {
		b.commit(1, uint64(i+1), rangeOf(partitionOf(1, 0), 0, i, i+1), rangeOf(partitionOf(1, 1), 0, i, i+1), rangeOf(partitionOf(2, 0), 0, i, i+1))
	}
	b.commit(1, 7, rangeOf(partitionOf(1, 0), 0, 6, 9))
	b.must(deleteCommand(1))
	b.refuse(mq.InvalidRequest, createCommand(1, "t", []int32{1})) // its ranges are still there
	for n := 0; ; n++ {
		r := b.must(reclaimCommand(4)).GetReclaimRanges()
		if !r.GetMore() {
			break
		}
		if n > 10 {
			t.Fatal("it does not end")
		}
	}
	if got := b.ranges(partitionOf(1, 0), 0, 10); len(got) != 0 {
		t.Errorf("ranges %v", bounds(got))
	}
	if _, ok, _ := b.store.Checkpoint(partitionOf(1, 1)); ok {
		t.Error("the checkpoint is still there")
	}
	if got := b.ranges(partitionOf(2, 0), 0, 10); len(got) != 6 {
		t.Errorf("the other topic has ranges %v", bounds(got))
	}
	if got := b.garbage(); !slices.Equal(got, []uint64{7}) {
		t.Errorf("garbage %v", got)
	}
	b.must(createCommand(1, "t", []int32{1}))
}

func TestGarbageIsPaged(t *testing.T) {
	b := newCluster(t, 1)
	b.must(objectIDsCommand(100))
	for i := range uint64(10) {
		b.commit(1, i*3+1)
	}
	page, err := b.store.Garbage(4, 2)
	if err != nil || fmt.Sprint(page) != "[{7 objects/7 1048576 0 6} {10 objects/10 1048576 0 7}]" {
		t.Errorf("got %v, %v", page, err)
	}
}
