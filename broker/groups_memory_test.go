package broker_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/rustmq/rustmq/broker/coordinator"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// TestGroupsOfANodeTakeNoMoreThanTheirMemoryTogether: whichever partition they belong to, and however often its coordinator is replaced.
func TestGroupsOfANodeTakeNoMoreThanTheirMemoryTogether(t *testing.T) {
	const most, note = 256 << 10, 4000
	f := newFixture(t, 1)
	f.coordinate(4, func(cfg *coordinator.Config) { cfg.MaxMemory = most })
	f.create("orders", 1)
	f.must2(f.FindCoordinator(t.Context(), alice, "billing"))
	commit := func(name string) mq.Code {
		_, err := f.CommitOffsets(t.Context(), alice, &quicproto.CommitOffsetsRequest{Group: name, Epoch: -1, Topics: []quicproto.TopicOffsets{{
			Topic: "orders", Offsets: []quicproto.CommittedOffset{{Metadata: strings.Repeat("x", note)}},
		}}})
		return mq.CodeOf(err)
	}
	f.loaded()
	names, touched := []string(nil), make(map[int32]bool)
	for code := mq.None; code == mq.None; {
		name := fmt.Sprint("group-", len(names))
		if code = commit(name); code == mq.None {
			names = append(names, name)
			touched[coordinator.PartitionOf(name, 4)] = true
		} else if code != mq.PolicyViolation {
			t.Fatal(code)
		}
	}
	held := f.groups().Figures().Bytes
	if held > most || held < most-2*note || len(touched) != 4 {
		t.Fatalf("%d groups of %d partitions hold %d bytes, and may hold %d", len(names), len(touched), held, most)
	}
	for round := range int32(3) {
		for index := range int32(4) {
			part := f.partition(mq.OffsetsTopic, index)
			epoch := part.Epoch()
			f.must(part.Follow(epoch+1, other))
			f.must(part.Lead(epoch+2, 100+round, replicasOf(self)))
		}
		f.groups().Reconcile()
		f.loaded()
		for _, name := range names { // all are known again, in coordinators that are new
			if f.committed(name, "orders", 0) != 0 {
				t.Fatalf("round %d: nothing is committed by %s", round, name)
			}
		}
	}
	if got := f.groups().Figures().Bytes; got != held {
		t.Errorf("after other coordinators have read them, groups that held %d bytes hold %d", held, got)
	}
	for i := range 4 { // room that is given back can be had, and no more
		f.must(f.DeleteGroup(t.Context(), alice, names[i]))
		if code := commit(fmt.Sprint("another-", i)); code != mq.None {
			t.Fatalf("after %d were deleted: %v", i+1, code)
		}
		if code := commit("one-more"); code != mq.PolicyViolation {
			t.Fatalf("one more than there is room for: %v", code)
		}
	}
}
