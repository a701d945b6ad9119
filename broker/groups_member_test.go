package broker_test

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rustmq/rustmq/broker/coordinator"
	"github.com/rustmq/rustmq/group"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/server"
)

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
		m.Heartbeat(&quicproto.Heartbeat{Number: a.Number})
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
	m1.Heartbeat(&quicproto.Heartbeat{Number: 1, Owns: true, Owned: []quicproto.GroupPartitions{{TopicID: id, Partitions: []int32{0, 1, 2, 3}}}})
	w2, m2 := f.join("billing", "m2")
	first := w2.next(t, m2)
	if len(indexes(first)) != 0 {
		t.Fatalf("assigned what another one has: %+v", first)
	}
	fewer := w1.next(t, m1)
	if len(indexes(fewer)) != 2 {
		t.Fatalf("%+v", fewer)
	}
	m1.Heartbeat(&quicproto.Heartbeat{Number: fewer.Number, Owns: true, Owned: fewer.Partitions})
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
	m1.Heartbeat(&quicproto.Heartbeat{Number: a.Number, Owns: true, Owned: a.Partitions})
	w2, m2 := f.join("billing", "m2") // of which nothing is heard
	_ = m2
	w2.next(t, m2)
	fewer := w1.next(t, m1)
	m1.Heartbeat(&quicproto.Heartbeat{Number: fewer.Number, Owns: true, Owned: fewer.Partitions})
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
		m.Heartbeat(&quicproto.Heartbeat{Number: a.Number, Owns: true, Owned: a.Partitions})
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

// Nor does it put out members of a group whose sessions are shorter than others.
func TestCoordinatorThatWasHeldUpSparesHastyGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, 1)
		var holdUp atomic.Bool
		f.coordinate(1, func(c *coordinator.Config) {
			image := c.Image
			c.Image = func() *metadata.Image {
				if holdUp.Swap(false) {
					time.Sleep(9 * time.Second)
				}
				return image()
			}
		})
		f.create("orders", 4)
		f.atNewestLevel()
		f.must(f.alterGroup("hasty", nil, sessionKey, "8000"))
		f.must2(f.FindCoordinator(t.Context(), alice, "hasty"))
		w, m := f.join("hasty", "m1")
		a := w.next(t, m)
		m.Heartbeat(&quicproto.Heartbeat{Number: a.Number, Owns: true, Owned: a.Partitions})
		time.Sleep(time.Second)
		holdUp.Store(true)
		time.Sleep(10 * time.Second)
		d, err := f.DescribeGroup(t.Context(), alice, "hasty")
		f.must(err)
		if len(d.Members) != 1 {
			t.Error("it was put out")
		}
		m.Detach()
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
		m.Heartbeat(&quicproto.Heartbeat{Number: a.Number, Owns: true, Owned: a.Partitions})
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

// A member that is put out though it speaks, here because it does not give up what it must, is told so at once.
func TestMemberThatIsPutOutIsToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, 1)
		f.coordinate(1, func(c *coordinator.Config) { c.Groups.HeartbeatInterval = 7 * time.Second }) // the minute is no multiple of it
		f.create("orders", 2)
		f.must2(f.FindCoordinator(t.Context(), alice, "billing"))
		w1, m1 := f.join("billing", "m1")
		a := w1.next(t, m1)
		m1.Heartbeat(&quicproto.Heartbeat{Number: a.Number, Owns: true, Owned: a.Partitions})
		var packets atomicCounter
		w1.heard = packets.next
		w2, m2 := f.join("billing", "m2")
		w2.next(t, m2)
		w2.heard = packets.next
		if fewer := w1.next(t, m1); len(indexes(fewer)) != 1 {
			t.Fatalf("%+v", fewer)
		}
		began := time.Now()
		err := <-w1.ended
		if took := time.Since(began); mq.CodeOf(err) != mq.UnknownMemberID || took < time.Minute-time.Second || took > time.Minute+10*time.Millisecond {
			t.Errorf("after %v: %v, want UNKNOWN_MEMBER_ID after the rebalance timeout of a minute", took, err)
		}
		m2.Detach()
	})
}

// What a request makes due while the coordinator looks after its members happens when it is due, and not a second later.
func TestWhatBecomesDueWhileOthersAreLookedAtIsNotLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const delay = 300 * time.Millisecond
		f := newFixture(t, 1)
		f.coordinate(1, func(c *coordinator.Config) {
			c.Groups.HeartbeatInterval, c.Groups.InitialRebalanceDelay = time.Second, delay
		})
		f.create("orders", 2)
		f.must2(f.FindCoordinator(t.Context(), alice, "billing"))
		w, m := f.join("billing", "m1")
		answered := make(chan time.Duration, 1)
		var once sync.Once
		w.heard = func() uint64 { // the loop asks when it has seen what is due of this shard
			once.Do(func() {
				began := time.Now()
				f.must(f.groups().Handle("classic", &group.JoinRequest{
					Group: "classic", NewMember: "c", SessionTimeout: 10 * time.Second, RebalanceTimeout: 10 * time.Second, ProtocolType: "consumer",
					Protocols: []group.ClassicProtocol{{Name: "range"}},
				}, func(_ group.Response, err error) {
					if err != nil {
						t.Error(err)
					}
					answered <- time.Since(began)
				}))
			})
			return 0
		}
		w.next(t, m)
		if took := <-answered; took > delay+10*time.Millisecond {
			t.Errorf("a first generation is formed after %v, want %v", took, delay)
		}
		m.Detach()
	})
}

// What a member said before it heard of its last assignment, in the same epoch, does not give away what it was assigned there: it may consume that by now.
func TestHeartbeatThatCrossesAnAssignmentGivesNothingAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, 1)
		f.coordinate(1)
		f.create("orders", 4)
		f.must2(f.FindCoordinator(t.Context(), alice, "billing"))
		w1, m1 := f.join("billing", "m1")
		a := w1.next(t, m1)
		m1.Heartbeat(&quicproto.Heartbeat{Number: a.Number, Owns: true, Owned: a.Partitions})
		w2, m2 := f.join("billing", "m2")
		before := w2.next(t, m2)
		fewer := w1.next(t, m1)
		m1.Heartbeat(&quicproto.Heartbeat{Number: fewer.Number, Owns: true, Owned: fewer.Partitions})
		got := <-w2.assigned // of which it takes note later
		if got.Epoch != before.Epoch || got.Number == before.Number || len(indexes(got)) != 2 {
			t.Fatalf("%+v after %+v: it was to get two partitions in the same epoch", got, before)
		}
		_, m3 := f.join("billing", "m3")
		_, m4 := f.join("billing", "m4") // now it is to have only one
		m2.Heartbeat(&quicproto.Heartbeat{Number: before.Number, Owns: true})
		time.Sleep(time.Second)
		req := &quicproto.CommitOffsetsRequest{Group: "billing", Member: "m2", Epoch: got.Epoch, Topics: []quicproto.TopicOffsets{{
			Topic: "orders", TopicID: got.Partitions[0].TopicID, Offsets: []quicproto.CommittedOffset{{Partition: indexes(got)[0], Offset: 1}},
		}}}
		if resp, err := f.CommitOffsets(t.Context(), alice, req); err != nil || resp.Topics[0][0] != mq.None {
			t.Errorf("a commit for what it was assigned, of which it has not heard yet that it is to give it up: %+v, %v", resp, err)
		}
		m2.Heartbeat(&quicproto.Heartbeat{Number: got.Number, Owns: true, Owned: got.Partitions})
		if less := <-w2.assigned; len(indexes(less)) != 1 || less.Epoch != got.Epoch {
			t.Errorf("%+v", less)
		}
		for _, m := range []server.Member{m1, m2, m3, m4} {
			m.Detach()
		}
	})
}
