package broker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/broker"
	"github.com/rustmq/rustmq/broker/coordinator"
	"github.com/rustmq/rustmq/group"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/server"
)

// eventually asks again while the coordinator is not ready.
func eventually[R any](t testing.TB, ask func() (R, error)) R {
	t.Helper()
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		got, err := ask()
		switch mq.CodeOf(err) {
		case mq.CoordinatorLoadInProgress, mq.NotCoordinator, mq.CoordinatorNotAvailable:
			if time.Since(began) < 20*time.Second {
				continue
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
}

// commitFor commits an offset for partitions of a topic, in order, as nobody's.
func (f *fixture) commitFor(name, topic string, offset mq.Offset, partitions ...int32) []mq.Code {
	f.t.Helper()
	req := &quicproto.CommitOffsetsRequest{Group: name, Epoch: -1, Topics: []quicproto.TopicOffsets{{Topic: topic}}}
	for _, p := range partitions {
		req.Topics[0].Offsets = append(req.Topics[0].Offsets, quicproto.CommittedOffset{Partition: p, Offset: offset, LeaderEpoch: 3, Metadata: "note"})
	}
	return eventually(f.t, func() (*quicproto.CommitOffsetsResponse, error) { return f.CommitOffsets(f.t.Context(), alice, req) }).Topics[0]
}

// committed is what is committed for one partition.
func (f *fixture) committed(name, topic string, partition int32) mq.Offset {
	f.t.Helper()
	req := &quicproto.FetchOffsetsRequest{Group: name, Epoch: -1, Topics: []quicproto.TopicPartitions{{Topic: topic, Partitions: []int32{partition}}}}
	return eventually(f.t, func() (*quicproto.FetchOffsetsResponse, error) { return f.FetchOffsets(f.t.Context(), alice, req) }).Topics[0].Offsets[0].Offset
}

func TestOffsetsAreCommittedAndFetched(t *testing.T) {
	f := newFixture(t, 1)
	f.coordinate(5)
	f.create("orders", 3)
	found, err := f.FindCoordinator(t.Context(), alice, "billing")
	f.must(err)
	if found.Node != self || found.Partition != coordinator.PartitionOf("billing", 5) {
		t.Errorf("%+v", found)
	}
	if codes := f.commitFor("billing", "orders", 7, 0, 2, 9); !slices.Equal(codes, []mq.Code{mq.None, mq.None, mq.UnknownTopicOrPartition}) {
		t.Errorf("committed: %v", codes)
	}
	if codes := f.commitFor("billing", "gone", 7, 0); !slices.Equal(codes, []mq.Code{mq.UnknownTopicOrPartition}) {
		t.Errorf("committed: %v", codes)
	}
	for p, want := range []mq.Offset{7, -1, 7} {
		if got := f.committed("billing", "orders", int32(p)); got != want {
			t.Errorf("partition %d: %d, want %d", p, got, want)
		}
	}
	all, err := f.FetchOffsets(t.Context(), alice, &quicproto.FetchOffsetsRequest{All: true, Group: "billing", Epoch: -1})
	f.must(err)
	if len(all.Topics) != 1 || len(all.Topics[0].Offsets) != 2 || all.Topics[0].Offsets[1].Metadata != "note" {
		t.Errorf("%+v", all)
	}
	if got := f.committed("other", "orders", 0); got != -1 {
		t.Errorf("of a group that is not known: %d", got)
	}
}

func TestGroupIsListedDescribedResetAndDeleted(t *testing.T) {
	f := newFixture(t, 1)
	f.coordinate(3)
	f.create("orders", 2)
	f.produce("orders", 1, batch(t, 5, 1000), mq.DurabilityAll)
	if _, err := f.FindCoordinator(t.Context(), alice, "billing"); err != nil {
		t.Fatal(err)
	}
	f.commitFor("billing", "orders", 2, 1)
	list := eventually(t, func() (*quicproto.ListGroupsResponse, error) { return f.ListGroups(t.Context(), alice) })
	if len(list.Groups) != 1 || list.Groups[0].Group != "billing" || list.Groups[0].State != "Empty" {
		t.Errorf("%+v", list)
	}
	d, err := f.DescribeGroup(t.Context(), alice, "billing")
	f.must(err)
	want := quicproto.GroupPartition{Topic: "orders", Partition: 1, Committed: 2, End: 5, Metadata: "note"}
	if len(d.Partitions) != 1 || d.Partitions[0] != want {
		t.Errorf("%+v", d.Partitions)
	}
	reset := &quicproto.ResetOffsetsRequest{Group: "billing", Topics: []quicproto.TopicOffsets{{Topic: "orders", Offsets: []quicproto.CommittedOffset{{Partition: 0, Offset: 4}}}}}
	f.must(f.ResetOffsets(t.Context(), alice, reset))
	if got := f.committed("billing", "orders", 0); got != 4 {
		t.Errorf("reset to %d", got)
	}
	reset.Topics[0].Offsets[0].Partition = 7
	wantCode(t, "reset of a partition that is not there", f.ResetOffsets(t.Context(), alice, reset), mq.UnknownTopicOrPartition, "billing")
	gone, err := f.DeleteOffsets(t.Context(), alice, &quicproto.DeleteOffsetsRequest{
		Group: "billing", Topics: []quicproto.TopicPartitions{{Topic: "orders", Partitions: []int32{0}}},
	})
	f.must(err)
	if !slices.Equal(gone.Topics, []mq.Code{mq.None}) || f.committed("billing", "orders", 0) != -1 {
		t.Errorf("%+v", gone)
	}
	f.must(f.DeleteGroup(t.Context(), alice, "billing"))
	_, err = f.DescribeGroup(t.Context(), alice, "billing")
	wantCode(t, "describe what was deleted", err, mq.GroupIDNotFound, "billing")
}

// The topic is made by whoever needs it first, once, and is nobody's to change.
func TestTopicOfOffsetsIsMadeOnceAndIsTheClustersOwn(t *testing.T) {
	f := newFixture(t, 1)
	f.coordinate(4)
	var asking sync.WaitGroup
	for i := range 8 {
		asking.Go(func() {
			if _, err := f.FindCoordinator(t.Context(), alice, fmt.Sprint("group", i)); err != nil {
				t.Error(err)
			}
		})
	}
	asking.Wait()
	if n := f.proposals(); n != 1 {
		t.Errorf("%d commands", n)
	}
	m, err := f.Metadata(t.Context(), alice, &quicproto.MetadataRequest{All: true})
	f.must(err)
	if len(m.Topics) != 1 || m.Topics[0].Name != mq.OffsetsTopic || !m.Topics[0].Internal || len(m.Topics[0].Partitions) != 4 {
		t.Errorf("%+v", m.Topics)
	}
	_, err = f.OpenProduce(t.Context(), alice, mq.OffsetsTopic)
	wantCode(t, "produce", err, mq.InvalidTopic, mq.OffsetsTopic)
	_, err = f.CreateTopic(t.Context(), alice, &quicproto.CreateTopicRequest{Name: mq.OffsetsTopic, Partitions: 1, Replicas: 1})
	wantCode(t, "create", err, mq.InvalidTopic, mq.OffsetsTopic)
	wantCode(t, "delete", f.DeleteTopic(t.Context(), alice, mq.OffsetsTopic), mq.InvalidTopic, mq.OffsetsTopic)
	wantCode(t, "alter", f.AlterTopic(t.Context(), alice, &quicproto.AlterTopicRequest{Name: mq.OffsetsTopic, Partitions: 9}), mq.InvalidTopic, mq.OffsetsTopic)
}

// Two brokers that ask at once make one topic: who comes second takes the other's.
func TestTopicOfOffsetsThatAnotherBrokerMakesIsTaken(t *testing.T) {
	f := newFixture(t, 1)
	f.coordinate(4)
	f.rival = createCommand(mq.OffsetsTopic, 2, self)
	found, err := f.FindCoordinator(t.Context(), alice, "billing")
	f.must(err)
	if found.Partition != coordinator.PartitionOf("billing", 2) {
		t.Errorf("%+v", found)
	}
}

func TestTopicOfOffsetsIsNotMadeWithFewerReplicasBecauseBrokersAreAway(t *testing.T) {
	f := newFixture(t, 2)
	f.coordinate(2)
	f.decide(fence(other, f.Image()))
	_, err := f.FindCoordinator(t.Context(), alice, "billing")
	wantCode(t, "find", err, mq.CoordinatorNotAvailable, mq.OffsetsTopic)
}

// Of the three nodes that formed the cluster one is a broker already.
func TestTopicOfOffsetsWaitsForBrokersThatHaveNotComeYet(t *testing.T) {
	f := newFixture(t, 1)
	f.coordinate(2)
	for node := int32(1); node <= 3; node++ {
		f.decide(&metadatapb.Command{Kind: &metadatapb.Command_AddController{AddController: &metadatapb.AddController{
			NodeId: node, DirId: bytes.Repeat([]byte{byte(node)}, 16), MaxFeatureLevel: 1,
			Endpoint: &metadatapb.Endpoint{Listener: "rpc", Host: "::1", Port: uint32(9100 + node)},
		}}})
	}
	_, err := f.FindCoordinator(t.Context(), alice, "billing")
	wantCode(t, "find", err, mq.CoordinatorNotAvailable, mq.OffsetsTopic, "3 replicas", "default.replication.factor")
	for node := int32(2); node <= 3; node++ {
		f.register(node)
	}
	f.must2(f.FindCoordinator(t.Context(), alice, "billing"))
	if got := len(f.Image().TopicByName(mq.OffsetsTopic).Partition(0).Replicas); got != 3 {
		t.Errorf("%d replicas", got)
	}
}

func TestGroupsNeedPermission(t *testing.T) {
	f := newFixture(t, 1)
	f.coordinate(1)
	f.create("orders", 1)
	if _, err := f.FindCoordinator(t.Context(), alice, "billing"); err != nil {
		t.Fatal(err)
	}
	f.commitFor("billing", "orders", 1, 0)
	f.policy.refuses(func(_ broker.Operation, r broker.Resource) bool { return r.Group == "billing" })
	_, err := f.FindCoordinator(t.Context(), alice, "billing")
	wantCode(t, "find", err, mq.GroupAuthorizationFailed, "alice", "describe", "billing")
	_, err = f.CommitOffsets(t.Context(), alice, &quicproto.CommitOffsetsRequest{Group: "billing"})
	wantCode(t, "commit", err, mq.GroupAuthorizationFailed, "read", "billing")
	_, err = f.FetchOffsets(t.Context(), alice, &quicproto.FetchOffsetsRequest{Group: "billing"})
	wantCode(t, "fetch", err, mq.GroupAuthorizationFailed, "describe", "billing")
	_, err = f.DescribeGroup(t.Context(), alice, "billing")
	wantCode(t, "describe", err, mq.GroupAuthorizationFailed, "describe", "billing")
	wantCode(t, "delete", f.DeleteGroup(t.Context(), alice, "billing"), mq.GroupAuthorizationFailed, "delete", "billing")
	_, err = f.OpenGroup(t.Context(), alice, &quicproto.OpenGroup{Group: "billing", Member: "m"}, nil)
	wantCode(t, "join", err, mq.GroupAuthorizationFailed, "read", "billing")
	list, err := f.ListGroups(t.Context(), alice)
	if err != nil || len(list.Groups) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	f.policy.refuses(func(op broker.Operation, r broker.Resource) bool { return r.Topic == "orders" && op == broker.OpRead })
	if codes := f.commitFor("billing", "orders", 5, 0); !slices.Equal(codes, []mq.Code{mq.TopicAuthorizationFailed}) {
		t.Errorf("committed for a topic that may not be read: %v", codes)
	}
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
	f := newFixture(t, 1)
	f.coordinate(1)
	f.create("orders", 1)
	f.must2(f.FindCoordinator(t.Context(), alice, "billing"))
	f.commitFor("billing", "orders", 0, 0)
	part := f.partition(mq.OffsetsTopic, 0)
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
	began := time.Now()
	for i := mq.Offset(0); ; i++ {
		f.commitFor("billing", "orders", i, all...)
		part.TieredTo(logEnd(part))
		now := f.Image().Partition(part.ID())
		if now.LogStart > 0 {
			f.must(part.SetLogStart(now.LogStart))
			for p := range all {
				if got := f.committed("billing", "orders", int32(p)); got != i {
					t.Fatalf("partition %d: %d, want %d", p, got, i)
				}
			}
			f.must(part.Follow(part.Epoch()+1, other))
			f.must(part.Lead(part.Epoch()+1, 1000, replicasOf(self)))
			f.groups().Reconcile()
			for p := range all {
				if got := f.committed("billing", "orders", int32(p)); got != i {
					t.Fatalf("partition %d: %d after the log was cut, want %d", p, got, i)
				}
			}
			return
		}
		if time.Since(began) > 30*time.Second {
			t.Fatalf("no snapshot after %d commits", i)
		}
	}
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

// memberWatcher hands on what a member is told.
type memberWatcher struct {
	assigned chan *quicproto.Assignment
	ended    chan error
	heard    func() uint64
}

func newWatcher() *memberWatcher {
	return &memberWatcher{assigned: make(chan *quicproto.Assignment, 16), ended: make(chan error, 1), heard: func() uint64 { return 0 }}
}

func (w *memberWatcher) Assigned(a *quicproto.Assignment) { w.assigned <- a }
func (w *memberWatcher) Ended(err error)                  { w.ended <- err }
func (w *memberWatcher) Heard() uint64                    { return w.heard() }

// next is the next assignment, which it takes note of.
func (w *memberWatcher) next(t testing.TB, m server.Member) *quicproto.Assignment {
	t.Helper()
	select {
	case a := <-w.assigned:
		m.Heartbeat(&quicproto.Heartbeat{Epoch: a.Epoch})
		return a
	case err := <-w.ended:
		t.Fatalf("it ended: %v", err)
	case <-time.After(20 * time.Second):
		t.Fatal("no assignment")
	}
	return nil
}

func (f *fixture) join(name, member string) (*memberWatcher, server.Member) {
	f.t.Helper()
	w := newWatcher()
	m := eventually(f.t, func() (server.Member, error) {
		return f.OpenGroup(f.t.Context(), alice, &quicproto.OpenGroup{
			Group: name, Member: member, Rebalance: time.Minute, Subscription: quicproto.Subscription{Topics: []string{"orders"}},
		}, w)
	})
	return w, m
}

func indexes(a *quicproto.Assignment) (all []int32) {
	for _, t := range a.Partitions {
		all = append(all, t.Partitions...)
	}
	slices.Sort(all)
	return all
}

// Two members share a topic; when partitions are added and when one leaves the other is told at once, without asking.
func TestMembersAreToldOfWhatTheyGetAtOnce(t *testing.T) {
	f := newFixture(t, 1)
	f.coordinate(1)
	id := f.create("orders", 4).ID
	f.must2(f.FindCoordinator(t.Context(), alice, "billing"))
	w1, m1 := f.join("billing", "m1")
	if got := w1.next(t, m1); !slices.Equal(indexes(got), []int32{0, 1, 2, 3}) || got.Partitions[0].Topic != "orders" {
		t.Fatalf("%+v", got)
	}
	m1.Heartbeat(&quicproto.Heartbeat{Epoch: 1, Owns: true, Owned: []quicproto.GroupPartitions{{TopicID: id, Partitions: []int32{0, 1, 2, 3}}}})
	w2, m2 := f.join("billing", "m2")
	first := w2.next(t, m2)
	if len(indexes(first)) != 0 {
		t.Fatalf("assigned what another one has: %+v", first)
	}
	fewer := w1.next(t, m1)
	if len(indexes(fewer)) != 2 {
		t.Fatalf("%+v", fewer)
	}
	m1.Heartbeat(&quicproto.Heartbeat{Epoch: fewer.Epoch, Owns: true, Owned: fewer.Partitions})
	var second *quicproto.Assignment
	for second == nil || len(indexes(second)) != 2 {
		second = w2.next(t, m2)
	}
	// More partitions.
	f.must(f.AlterTopic(t.Context(), alice, &quicproto.AlterTopicRequest{Name: "orders", Partitions: 6}))
	f.groups().Reconcile()
	for len(indexes(second)) != 3 {
		second = w2.next(t, m2)
	}
	// One leaves.
	f.must(m1.Leave(t.Context()))
	for len(indexes(second)) != 6 {
		second = w2.next(t, m2)
	}
	d, err := f.DescribeGroup(t.Context(), alice, "billing")
	f.must(err)
	if len(d.Members) != 1 || d.Members[0].Member != "m2" || len(d.Partitions) != 6 || d.Partitions[3].Member != "m2" {
		t.Errorf("%+v", d)
	}
	m2.Detach()
}

// A member that comes back within its session goes on where it was, and nobody else notices; its old stream is told.
func TestMemberThatComesBackChangesNothing(t *testing.T) {
	f := newFixture(t, 1)
	f.coordinate(1)
	f.create("orders", 4)
	f.must2(f.FindCoordinator(t.Context(), alice, "billing"))
	w1, m1 := f.join("billing", "m1")
	a := w1.next(t, m1)
	for _, detached := range []bool{true, false} {
		if detached {
			m1.Detach()
		}
		w := newWatcher()
		m, err := f.OpenGroup(t.Context(), alice, &quicproto.OpenGroup{
			Epoch: a.Epoch, Group: "billing", Member: "m1", Rebalance: time.Minute, Subscription: quicproto.Subscription{Topics: []string{"orders"}}, Owned: a.Partitions,
		}, w)
		f.must(err)
		again := w.next(t, m)
		if again.Epoch != a.Epoch || again.Changed && !slices.Equal(indexes(again), indexes(a)) {
			t.Fatalf("%+v, was %+v", again, a)
		}
		if !detached {
			if err := <-w1.ended; mq.CodeOf(err) != mq.FencedMemberEpoch {
				t.Errorf("the old stream: %v", err)
			}
		}
		w1, m1 = w, m
	}
	m1.Detach()
}

// Members whose coordinator is replaced are told to look for the next one, and go on there.
func TestMembersGoOnAtTheNextCoordinator(t *testing.T) {
	f := newFixture(t, 1)
	f.coordinate(1)
	f.create("orders", 4)
	f.must2(f.FindCoordinator(t.Context(), alice, "billing"))
	w, m := f.join("billing", "m1")
	a := w.next(t, m)
	part := f.partition(mq.OffsetsTopic, 0)
	f.must(part.Follow(part.Epoch()+1, other))
	f.groups().Reconcile()
	if err := <-w.ended; mq.CodeOf(err) != mq.NotCoordinator {
		t.Fatalf("%v", err)
	}
	f.must(part.Lead(part.Epoch()+1, 1000, replicasOf(self)))
	f.groups().Reconcile()
	w = newWatcher()
	m = eventually(t, func() (server.Member, error) {
		return f.OpenGroup(t.Context(), alice, &quicproto.OpenGroup{
			Epoch: a.Epoch, Group: "billing", Member: "m1", Rebalance: time.Minute, Subscription: quicproto.Subscription{Topics: []string{"orders"}}, Owned: a.Partitions,
		}, w)
	})
	if again := w.next(t, m); again.Epoch != a.Epoch {
		t.Errorf("%+v, was %+v", again, a)
	}
	m.Detach()
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

// Who lives stays, though it says nothing; who is not heard of any more is put out after the session timeout.
func TestSessionIsTheMembersLiveness(t *testing.T) { synctest.Test(t, sessionIsTheMembersLiveness) }

func sessionIsTheMembersLiveness(t *testing.T) {
	f := newFixture(t, 1)
	f.coordinate(1, func(c *coordinator.Config) {
		c.Groups.SessionTimeout, c.Groups.HeartbeatInterval = 3*time.Second, time.Second
	})
	f.create("orders", 4)
	f.must2(f.FindCoordinator(t.Context(), alice, "billing"))
	w1, m1 := f.join("billing", "m1")
	var packets atomicCounter
	w1.heard = packets.next
	a := w1.next(t, m1)
	m1.Heartbeat(&quicproto.Heartbeat{Epoch: a.Epoch, Owns: true, Owned: a.Partitions})
	w2, m2 := f.join("billing", "m2") // of which nothing is heard
	_ = m2
	w2.next(t, m2)
	fewer := w1.next(t, m1)
	m1.Heartbeat(&quicproto.Heartbeat{Epoch: fewer.Epoch, Owns: true, Owned: fewer.Partitions})
	for got := fewer; len(indexes(got)) != 4; {
		got = w1.next(t, m1)
	}
	select {
	case err := <-w1.ended:
		t.Fatalf("it was put out though it lives: %v", err)
	case <-time.After(5 * time.Second):
	}
	m1.Detach()
}

// A coordinator that was held up for longer than sessions last puts nobody out for what it did not hear meanwhile.
func TestCoordinatorThatWasHeldUpPutsNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, 1)
		var holdUp atomic.Bool
		f.coordinate(1, func(c *coordinator.Config) {
			c.Groups.SessionTimeout, c.Groups.HeartbeatInterval = 40*time.Second, 5*time.Second
			image := c.Image
			c.Image = func() *metadata.Image {
				if holdUp.Swap(false) {
					time.Sleep(5 * time.Minute)
				}
				return image()
			}
		})
		f.create("orders", 4)
		f.must2(f.FindCoordinator(t.Context(), alice, "billing"))
		w, m := f.join("billing", "m1")
		a := w.next(t, m)
		m.Heartbeat(&quicproto.Heartbeat{Epoch: a.Epoch, Owns: true, Owned: a.Partitions})
		time.Sleep(10 * time.Second)
		holdUp.Store(true) // the next one to look at the image is the loop
		time.Sleep(5*time.Minute + 10*time.Second)
		for _, want := range []int{1, 0} {
			d, err := f.DescribeGroup(t.Context(), alice, "billing")
			f.must(err)
			if len(d.Members) != want {
				t.Errorf("%d members, want %d", len(d.Members), want)
			}
			time.Sleep(time.Minute) // in which nothing is heard of it
		}
	})
}

// While the log has no room nobody is answered, and so nobody is heard: nobody is put out for that.
func TestCoordinatorWithoutRoomPutsNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, 1)
		var full atomic.Bool
		f.coordinate(1, func(c *coordinator.Config) {
			c.Groups.SessionTimeout, c.Groups.HeartbeatInterval = 40*time.Second, 5*time.Second
			reserve := c.Reserve
			c.Reserve = func(ctx context.Context, bytes int64) error {
				if full.Load() {
					return mq.Errorf(mq.StorageFull, "full")
				}
				return reserve(ctx, bytes)
			}
		})
		f.create("orders", 4)
		f.must2(f.FindCoordinator(t.Context(), alice, "billing"))
		w, m := f.join("billing", "m1")
		var packets atomicCounter
		w.heard = packets.next
		a := w.next(t, m)
		m.Heartbeat(&quicproto.Heartbeat{Epoch: a.Epoch, Owns: true, Owned: a.Partitions})
		time.Sleep(10 * time.Second)
		full.Store(true)
		go f.commitFor("other", "orders", 7, 0)
		time.Sleep(5 * time.Minute)
		full.Store(false)
		time.Sleep(time.Minute)
		d, err := f.DescribeGroup(t.Context(), alice, "billing")
		f.must(err)
		if len(d.Members) != 1 || d.Members[0].Epoch != a.Epoch {
			t.Errorf("%+v", d.Members)
		}
		m.Detach()
	})
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
	eventually(t, func() (*quicproto.ListGroupsResponse, error) { return f.ListGroups(t.Context(), alice) })
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
			_, err := groups.All(b.Context(), &group.ListRequest{})
			if err == nil && groups.Figures().Offsets == 100_000 {
				break
			}
			if time.Since(began) > time.Minute {
				b.Fatal(errors.Join(err, errors.New("not loaded")))
			}
		}
	}
}
