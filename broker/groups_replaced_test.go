package broker_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rustmq/rustmq/broker/coordinator"
	"github.com/rustmq/rustmq/group"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
	"github.com/rustmq/rustmq/quicproto"
)

// coordinated is a broker that coordinates a group, which has committed something for topic orders, of so many partitions; and the partition that this is in.
func coordinated(t *testing.T, partitions int32) (*fixture, *partition.Partition) {
	t.Helper()
	f := newFixture(t, 1)
	f.coordinate(1)
	f.create("orders", partitions)
	f.must2(f.FindCoordinator(t.Context(), alice, "billing"))
	f.commitFor("billing", "orders", 0, 0)
	return f, f.partition(mq.OffsetsTopic, 0)
}

// A coordinator that is replaced answers nothing more, and the next one knows what was acknowledged.
func TestNextCoordinatorKnowsWhatWasCommitted(t *testing.T) {
	f := newFixture(t, 1)
	f.coordinate(1)
	f.create("orders", 1)
	f.must2(f.FindCoordinator(t.Context(), alice, "billing"))
	part := f.partition(mq.OffsetsTopic, 0)
	for i := range 20 {
		f.commitFor("billing", "orders", mq.Offset(100+i), 0)
		if got := f.committed("billing", "orders", 0); got != mq.Offset(100+i) {
			t.Fatalf("round %d: %d", i, got)
		}
		epoch := part.Epoch()
		f.must(part.Follow(epoch+1, other))
		_, err := f.FetchOffsets(t.Context(), alice, &quicproto.FetchOffsetsRequest{Group: "billing", All: true, Epoch: -1})
		if code := mq.CodeOf(err); code != mq.NotCoordinator && code != mq.CoordinatorLoadInProgress {
			t.Fatalf("round %d: a coordinator that was replaced answers with %v", i, err)
		}
		f.must(part.Lead(epoch+2, int32(i)+100, replicasOf(self)))
		f.groups().Reconcile()
		if got := f.committed("billing", "orders", 0); got != mq.Offset(100+i) {
			t.Fatalf("round %d: %d after a new leader", i, got)
		}
	}
}

// Commits and kills at the same time: what was acknowledged is there, and no offset goes back.
func TestCoordinatorIsReplacedDuringCommits(t *testing.T) {
	f, part := coordinated(t, 1)
	ctx, stop := context.WithCancel(t.Context())
	var committer sync.WaitGroup
	var acked mq.Offset
	committer.Go(func() {
		for i := mq.Offset(1); ctx.Err() == nil; i++ {
			req := &quicproto.CommitOffsetsRequest{Group: "billing", Epoch: -1, Topics: []quicproto.TopicOffsets{{
				Topic: "orders", Offsets: []quicproto.CommittedOffset{{Offset: i}},
			}}}
			if resp, err := f.CommitOffsets(t.Context(), alice, req); err == nil && resp.Topics[0][0] == mq.None {
				acked = i
			}
		}
	})
	for range 30 {
		time.Sleep(2 * time.Millisecond)
		epoch := part.Epoch()
		f.must(part.Follow(epoch+1, other))
		f.must(part.Lead(epoch+2, int32(epoch)+100, replicasOf(self)))
		f.groups().Reconcile()
	}
	stop()
	committer.Wait()
	if got := f.committed("billing", "orders", 0); acked == 0 || got < acked {
		t.Errorf("%d is committed, %d was acknowledged", got, acked)
	}
}

// A snapshot is made when the log has grown, the log start moves to it, and what is read from there is everything.
func TestLogOfGroupsIsCutAtItsSnapshots(t *testing.T) {
	f := newFixture(t, 1)
	f.coordinate(1, func(c *coordinator.Config) { c.SnapshotBytes = 4 << 10 })
	f.create("orders", 20)
	f.must2(f.FindCoordinator(t.Context(), alice, "billing"))
	var all []int32
	for p := range int32(20) {
		all = append(all, p)
	}
	part := f.partition(mq.OffsetsTopic, 0)
	const last = mq.Offset(49)
	for i := range last + 1 { // few enough that the disk keeps all of it: the store of this test has nothing
		f.commitFor("billing", "orders", i, all...)
	}
	check := func(when string) {
		t.Helper()
		for p := range all {
			if got := f.committed("billing", "orders", int32(p)); got != last {
				t.Fatalf("partition %d: %d %s, want %d", p, got, when, last)
			}
		}
	}
	began := time.Now()
	for f.Image().Partition(part.ID()).LogStart == 0 {
		if time.Since(began) > 30*time.Second {
			t.Fatal("no snapshot")
		}
		part.TieredTo(logEnd(part))
		time.Sleep(time.Millisecond)
	}
	f.must(part.SetLogStart(f.Image().Partition(part.ID()).LogStart))
	check("when the log is cut")
	f.must(part.Follow(part.Epoch()+1, other))
	f.must(part.Lead(part.Epoch()+1, 1000, replicasOf(self)))
	f.groups().Reconcile()
	check("after the log was cut")
}

// The log start waits for the object store to have a whole snapshot: what a cluster is restored from begins with one.
func TestLogOfGroupsIsNotCutBeforeItsSnapshotIsTiered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, 1)
		f.coordinate(1, func(c *coordinator.Config) { c.SnapshotBytes = 1 << 10 })
		f.create("orders", 1)
		f.must2(f.FindCoordinator(t.Context(), alice, "billing"))
		part := f.partition(mq.OffsetsTopic, 0)
		for i := range mq.Offset(50) {
			f.commitFor("billing", "orders", i, 0)
		}
		committed := logEnd(part)
		time.Sleep(time.Minute)
		end := logEnd(part)
		if end < committed+2 {
			t.Fatalf("there is no snapshot in [%d, %d)", committed, end)
		}
		part.TieredTo(committed + 1) // with its begin
		time.Sleep(time.Minute)
		if start := f.Image().Partition(part.ID()).LogStart; start != 0 {
			t.Errorf("the log start is %d, and the end of the snapshot is not tiered", start)
		}
		part.TieredTo(end)
		time.Sleep(time.Minute)
		if start := f.Image().Partition(part.ID()).LogStart; start != committed {
			t.Errorf("the log start is %d, want %d", start, committed)
		}
	})
}

// A coordinator that has not noticed yet that another one was in its place, and that its node leads again, writes nothing of what it knew before.
func TestCoordinatorWritesInItsOwnEpochOnly(t *testing.T) {
	f := newFixture(t, 1)
	f.coordinate(1)
	f.create("orders", 1)
	f.must2(f.FindCoordinator(t.Context(), alice, "billing"))
	f.commitFor("billing", "orders", 7, 0)
	part := f.partition(mq.OffsetsTopic, 0)
	f.must(part.Follow(part.Epoch()+1, other))
	f.must(part.Lead(part.Epoch()+1, 1000, replicasOf(self)))
	end := logEnd(part)
	_, err := f.CommitOffsets(t.Context(), alice, &quicproto.CommitOffsetsRequest{Group: "billing", Epoch: -1, Topics: []quicproto.TopicOffsets{{
		Topic: "orders", Offsets: []quicproto.CommittedOffset{{Offset: 3}},
	}}})
	wantCode(t, "commit", err, mq.NotCoordinator, mq.OffsetsTopic)
	if got := logEnd(part); got != end {
		t.Errorf("the log goes on from %d to %d", end, got)
	}
	f.groups().Reconcile()
	if got := f.committed("billing", "orders", 0); got != 7 {
		t.Errorf("committed: %d", got)
	}
}

// What is decided and not replicated is not told, and is forgotten with the leadership.
func TestNothingIsToldBeforeItIsReplicated(t *testing.T) {
	f := newFixture(t, 1)
	f.coordinate(1)
	f.create("orders", 1)
	f.must2(f.FindCoordinator(t.Context(), alice, "billing"))
	f.commitFor("billing", "orders", 1, 0)
	part := f.partition(mq.OffsetsTopic, 0)
	f.must(part.Lead(part.Epoch()+1, 1000, replicasOf(self, other)))
	f.groups().Reconcile()
	f.must(part.Acked(partitionReplica(other), part.Epoch(), logEnd(part)))
	f.loaded()
	answers := make(chan error, 2)
	req := &quicproto.CommitOffsetsRequest{Group: "billing", Epoch: -1, Topics: []quicproto.TopicOffsets{{
		Topic: "orders", Offsets: []quicproto.CommittedOffset{{Offset: 2}},
	}}}
	end := logEnd(part)
	go func() {
		_, err := f.CommitOffsets(t.Context(), alice, req)
		answers <- err
	}()
	for logEnd(part) == end {
		time.Sleep(time.Millisecond)
	}
	go func() { // reads see what was decided, and wait for it
		_, err := f.FetchOffsets(t.Context(), alice, &quicproto.FetchOffsetsRequest{Group: "billing", All: true, Epoch: -1})
		answers <- err
	}()
	select {
	case err := <-answers:
		t.Fatalf("told before it was replicated: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	f.must(part.Follow(part.Epoch()+1, other))
	for range 2 {
		if err := <-answers; mq.CodeOf(err) != mq.NotCoordinator {
			t.Errorf("%v", err)
		}
	}
}

// BenchmarkLoadGroups reads the log of a partition with 100,000 committed offsets, as a new leader does.
func BenchmarkLoadGroups(b *testing.B) {
	f := newFixture(b, 1)
	groups := f.coordinate(1)
	f.create("orders", 1000)
	f.must2(f.FindCoordinator(b.Context(), alice, "billing"))
	var all []int32
	for p := range int32(1000) {
		all = append(all, p)
	}
	for g := range 100 {
		f.commitFor(fmt.Sprintf("group-%d", g), "orders", 12345, all...)
	}
	part := f.partition(mq.OffsetsTopic, 0)
	for b.Loop() {
		f.must(part.Follow(part.Epoch()+1, other))
		f.must(part.Lead(part.Epoch()+1, 1000, replicasOf(self)))
		groups.Reconcile()
		for began := time.Now(); ; time.Sleep(100 * time.Microsecond) {
			_, loading, err := groups.All(b.Context(), &group.ListRequest{})
			if err == nil && len(loading) == 0 && groups.Figures().Offsets == 100_000 {
				break
			}
			if time.Since(began) > time.Minute {
				b.Fatal(errors.Join(err, errors.New("not loaded")))
			}
		}
	}
}
