package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	controlpb "github.com/rustmq/rustmq/api/control/v1"
	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/raft"
)

func decode(data []byte) (*metadatapb.Result, error) { return metadata.DecodeResult(data) }

var testTopic = mq.TopicID{0x70, 15: 0x7f}

// createTopic makes a topic of which partition i has its replicas on all brokers, from the i-th on.
func createTopic(partitions int, brokers ...int32) *metadatapb.Command {
	c := &metadatapb.CreateTopic{Id: testTopic[:], Name: "topic"}
	for i := range partitions {
		at := i % len(brokers)
		c.Assignments = append(c.Assignments, &metadatapb.ReplicaAssignment{Replicas: append(slices.Clone(brokers[at:]), brokers[:at]...)})
	}
	return &metadatapb.Command{Kind: &metadatapb.Command_CreateTopic{CreateTopic: c}}
}

func logStart(partition int32, offset int64) *metadatapb.Command {
	return &metadatapb.Command{Kind: &metadatapb.Command_SetLogStarts{SetLogStarts: &metadatapb.SetLogStarts{Starts: []*metadatapb.LogStart{
		{Partition: metadata.PartitionRecord(mq.PartitionID{Topic: testTopic, Index: partition}), Offset: offset, LeaderEpoch: -1},
	}}}}
}

// leads counts the partitions that a broker leads.
func leads(img *metadata.Image, node mq.NodeID) (n int) {
	for t := range img.Topics() {
		for _, p := range t.All() {
			if p.Leader == node {
				n++
			}
		}
	}
	return n
}

func inBubble(t *testing.T, f func(t *testing.T, c *cluster), plans ...Plan) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, plans...)
		defer c.end()
		f(t, c)
	})
}

func TestBrokerRegistersFollowsAndHoldsALease(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		b := c.broker(4)
		c.until("lease", b.Leased)
		result, err := b.Propose(t.Context(), createTopic(3, 4))
		if err != nil || mq.TopicID(result.GetCreateTopic().GetId()) != testTopic {
			t.Fatalf("%v, %v", result, err)
		}
		if b.Image().Topic(testTopic) == nil {
			t.Error("the image lacks what was proposed and answered")
		}
		if _, err := b.Propose(t.Context(), createTopic(3, 99)); err != nil {
			t.Errorf("a command that comes twice: %v", err)
		}
		other := createTopic(3, 4)
		other.GetCreateTopic().Id = append([]byte{1}, testTopic[1:]...)
		if result, err := b.Propose(t.Context(), other); mq.CodeOf(err) != mq.TopicAlreadyExists || Undecided(err) || result == nil {
			t.Errorf("a refusal: %v, %v", result, err)
		}
		for range 300 { // half a minute of nothing
			time.Sleep(100 * time.Millisecond)
			if left := b.LeaseLeft(); left < 900*time.Millisecond {
				t.Fatalf("a lease of %v is left", left)
			}
			if stale := b.Stale(); stale > 600*time.Millisecond {
				t.Fatalf("nothing was heard for %v", stale)
			}
		}
		if n := c.group.entries; n > 10 {
			t.Errorf("%d commands though nothing happened", n)
		}
		status := c.ctl[1].Status()
		if len(status.GetBrokers()) != 1 || !status.GetBrokers()[0].GetConnected() || status.GetBrokers()[0].GetImageIndex() != b.Image().Index {
			t.Errorf("status %v", status)
		}
	})
}

func TestKilledBrokerIsFencedAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		b4, b5 := c.broker(4), c.broker(5)
		c.broker(6)
		c.propose(createTopic(1000, 4, 5, 6))
		c.until("image", func() bool { return leads(b4.Image(), 6) == 333 })
		c.kill(6)
		took := c.until("new leaders", func() bool { return leads(b4.Image(), 6) == 0 && leads(b5.Image(), 6) == 0 })
		if took > 50*time.Millisecond { // of virtual time: there is nothing to wait for
			t.Errorf("it took %v", took)
		}
		if leads(b4.Image(), 4)+leads(b4.Image(), 5) != 1000 {
			t.Error("partitions without a leader")
		}
	})
}

func TestBrokerThatDiesWithTheLeaderIsFencedByTheNext(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		b4 := c.broker(4)
		c.broker(5)
		c.propose(createTopic(10, 4, 5))
		c.kill(5)
		c.kill(1)
		c.group.elect(2)
		if took := c.until("new leaders", func() bool { return leads(b4.Image(), 5) == 0 && leads(b4.Image(), 4) == 10 }); took > 300*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	})
}

// A broker that starts before anybody leads says once that it waits: a controller that is not open yet answers 404.
func TestBrokerWaitsForTheFirstLeaderAndSaysSoOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		var said bytes.Buffer
		c.logger = slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelInfo}))
		c.group.elect(mq.NoNode)
		c.kill(2)
		c.serve(2, http.NewServeMux()) // which answers nothing yet
		b := c.client(4, true)
		time.Sleep(time.Minute)
		c.group.elect(1)
		if _, err := b.Registered(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.kill(4)
		if lines := strings.Split(strings.TrimSpace(said.String()), "\n"); len(lines) != 2 || strings.Contains(said.String(), "ERROR") {
			t.Errorf("it says %d lines:\n%s", len(lines), said.String())
		}
	})
}

// A broker whose program is too old for the cluster is told so, for good: it waits for no newer one.
func TestBrokerThatIsTooOldIsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		c.old = true
		b := c.client(4, true)
		if _, err := b.Registered(t.Context()); mq.CodeOf(err) != mq.UnsupportedVersion || !strings.Contains(err.Error(), "it speaks feature level 0, the cluster is at 1") {
			t.Errorf("got %v", err)
		}
	})
}

// Rule 8: one whose disk hangs acknowledges nothing, is replaced though it looks alive to all, and comes back by itself.
func TestBrokerThatIsUnfitIsReplacedUntilItIsFitAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		var hangs atomic.Bool
		c.unfit = func(node mq.NodeID) error {
			if node == 5 && hangs.Load() {
				return mq.Errorf(mq.KafkaStorageError, "the disk hangs")
			}
			return nil
		}
		b4, b5 := c.broker(4), c.broker(5)
		c.propose(createTopic(2, 4, 5))
		c.until("leases", func() bool { return b4.Leased() && b5.Leased() && leads(b4.Image(), 5) == 1 })
		before, _ := b5.Registered(t.Context())
		hangs.Store(true)
		if took := c.until("the end of the lease", func() bool { return !b5.Leased() }); took > 300*time.Millisecond {
			t.Errorf("it may acknowledge for another %v", took)
		}
		if took := c.until("another leader", func() bool { return leads(b4.Image(), 4) == 2 }); took > 2*time.Second {
			t.Errorf("it took %v", took)
		}
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			if b5.Leased() || !c.group.stores[1].store.Image().Broker(5).Fenced {
				t.Fatal("it is let back while its disk hangs")
			}
		}
		hangs.Store(false)
		c.until("a lease again", b5.Leased)
		if after, err := b5.Registered(t.Context()); err != nil || after <= before {
			t.Errorf("epoch %d after %d, %v", after, before, err)
		}
	})
}

// A broker that is cut off from the controllers stops acting as a leader before it is fenced, and comes back with another epoch.
func TestLeaseOfABrokerThatIsCutOffEndsBeforeItIsFenced(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		b4, b5 := c.broker(4), c.broker(5)
		c.propose(createTopic(2, 5, 4))
		c.until("lease", func() bool { return b4.Leased() && b5.Leased() })
		time.Sleep(time.Second)
		before, _ := b5.Registered(t.Context())
		for id := range mq.NodeID(3) {
			c.net.part(5, id+1)
		}
		toLapse := c.until("end of the lease", func() bool { return !b5.Leased() })
		timing := c.ctl[1].cfg.Timing
		if toLapse < timing.Lease-timing.Heartbeat-timing.Confirm || toLapse > 1500*time.Millisecond { // from the leader's last proof before the last heartbeat
			t.Errorf("the lease was over after %v", toLapse)
		}
		if b := c.group.stores[1].store.Image().Broker(5); b.Fenced {
			t.Error("it was fenced while it had a lease")
		}
		if stale := b5.Stale(); stale < toLapse-timing.KeepAlive || stale > toLapse+timing.KeepAlive {
			t.Errorf("after %v without the controllers its image is stale for %v", toLapse, stale)
		}
		toFence := c.until("fencing", func() bool { return c.group.stores[1].store.Image().Broker(5).Fenced })
		if sum := toLapse + toFence; sum > 2200*time.Millisecond {
			t.Errorf("it was fenced after %v", sum)
		}
		c.until("new leader", func() bool { return leads(b4.Image(), 4) == 2 })
		for id := range mq.NodeID(3) {
			c.net.heal(5, id+1)
		}
		c.until("lease again", b5.Leased)
		if after, err := b5.Registered(t.Context()); err != nil || after <= before {
			t.Errorf("epoch %d after %d, %v", after, before, err)
		}
		c.until("image", func() bool { return b5.Image().Index == c.group.stores[1].store.Image().Index })
	})
}

// A broker that was cut off while the metadata had no room could not be replaced, nor register again: it goes on as it was.
func TestBrokerThatCouldNotBeFencedGoesOn(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		b4 := c.broker(4)
		c.until("lease", b4.Leased)
		before, _ := b4.Registered(t.Context())
		c.group.mu.Lock()
		c.group.refuse = func() error { return mq.Errorf(mq.StorageFull, "no room") }
		c.group.mu.Unlock()
		for id := range mq.NodeID(3) {
			c.net.part(4, id+1)
		}
		c.until("end of the lease", func() bool { return !b4.Leased() })
		time.Sleep(5 * time.Second)
		for id := range mq.NodeID(3) {
			c.net.heal(4, id+1)
		}
		c.until("lease again", b4.Leased)
		for range 50 {
			time.Sleep(100 * time.Millisecond)
			if !b4.Leased() {
				t.Fatal("it lost its lease again")
			}
		}
		if after, err := b4.Registered(t.Context()); err != nil || after != before {
			t.Errorf("epoch %d after %d, %v", after, before, err)
		}
	})
}

// The image goes on where it was, and no lease lapses, when another controller is elected soon.
func TestBrokerFollowsTheNextLeader(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		b := c.broker(4)
		c.propose(createTopic(100, 4))
		c.until("lease and image", func() bool { return b.Leased() && b.Image().Topic(testTopic) != nil })
		before := b.Image().Topic(testTopic)
		leader := mq.NodeID(1)
		for round := range 6 {
			c.group.elect(mq.NoNode)
			if round == 3 {
				c.kill(leader)
			}
			time.Sleep(300 * time.Millisecond)
			for leader = leader%3 + 1; c.ctl[leader] == nil || c.close[leader] == nil; leader = leader%3 + 1 {
			}
			c.group.elect(leader)
			for range 1000 {
				time.Sleep(time.Millisecond)
				if !b.Leased() {
					t.Fatalf("round %d: the lease is over", round)
				}
			}
			c.propose(logStart(int32(round), 5))
			c.until("the change", func() bool {
				return b.Image().Partition(mq.PartitionID{Topic: testTopic, Index: int32(round)}).LogStart == 5
			})
			if b.Leader() != addressOf(leader) {
				t.Errorf("it takes %s for the leader", b.Leader())
			}
		}
		if b.Image().Topic(testTopic).Partition(99) != before.Partition(99) {
			t.Error("what did not change was sent again")
		}
		if epoch, _ := b.Registered(t.Context()); epoch != b.Image().Broker(4).Epoch || b.Image().Broker(4).Fenced {
			t.Error("it had to register again")
		}
	})
}

// A deposed controller that does not know it grants no leases that outlive the next one's first session.
func TestControllerThatCannotReachAMajorityGrantsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		b := c.broker(4)
		c.until("lease", b.Leased)
		c.group.mu.Lock()
		c.group.broken[1] = true
		c.group.mu.Unlock()
		if took := c.until("end of the lease", func() bool { return !b.Leased() }); took > 1500*time.Millisecond {
			t.Errorf("the lease went on for %v", took)
		}
		time.Sleep(5 * time.Second)
		if b.Leased() {
			t.Error("a lease without a proof")
		}
		if c.group.stores[1].store.Image().Broker(4).Fenced {
			t.Error("a broker that heartbeats was fenced")
		}
	})
}

func TestLostAnswerIsToldAsUndecided(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		b := c.client(7, false)
		c.group.mu.Lock()
		c.group.lose = func() error { c.net.kill(1); return errors.New("nobody hears this") }
		c.group.mu.Unlock()
		c.serve(4, http.NewServeMux()) // so that it is not fenced
		c.broker4(t)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err := b.Propose(ctx, createTopic(1, 4))
		if !Undecided(err) {
			t.Fatal(err)
		}
		if c.group.stores[2].store.Image().Topic(testTopic) == nil {
			t.Error("the test shows nothing: the command was not carried out")
		}
		c.group.mu.Lock()
		c.group.lose = func() error { return makeUndecided(mq.Errorf(mq.NotController, "deposed meanwhile")) }
		c.group.mu.Unlock()
		c.group.elect(2)
		_, err = b.Propose(t.Context(), logStart(0, 1))
		if !Undecided(err) || mq.CodeOf(err) != mq.NotController {
			t.Errorf("a leader that was deposed meanwhile: %v", err)
		}
	})
}

// A command that does no harm twice is proposed until its answer is heard, but with pauses: errors that come at once must not be a storm.
func TestCommandThatMayBeDoneTwiceIsProposedAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		b := c.client(7, false)
		c.serve(4, http.NewServeMux()) // so that it is not fenced
		c.broker4(t)
		if _, err := b.Propose(t.Context(), createTopic(1, 4)); err != nil {
			t.Fatal(err)
		}
		const lost = 20
		times, began := 0, time.Now()
		c.group.mu.Lock()
		c.group.lose = func() error {
			if times++; times > lost {
				return nil
			}
			return makeUndecided(mq.Errorf(mq.NotController, "deposed meanwhile"))
		}
		c.group.mu.Unlock()
		if _, err := b.ProposeAgain(t.Context(), logStart(0, 1)); err != nil || times != lost+1 {
			t.Errorf("proposed %d times: %v", times, err)
		}
		if took := time.Since(began); took < lost*firstPause {
			t.Errorf("%d answers were lost within %v", lost, took)
		}
	})
}

// broker4 registers broker 4 without a client.
func (c *cluster) broker4(t *testing.T) {
	t.Helper()
	c.group.mu.Lock()
	defer c.group.mu.Unlock()
	for _, l := range c.group.stores {
		l.apply(encode(t, registerCommand(4, 1)))
	}
}

// What certainly did not reach a leader is proposed again, and what never does ends decided.
func TestProposalLooksForALeader(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		b := c.client(7, false)
		c.kill(1)
		c.group.elect(mq.NoNode)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := b.Propose(ctx, registerCommand(7, 1)); err == nil || Undecided(err) {
			t.Errorf("without a leader: %v", err)
		}
		go func() {
			time.Sleep(time.Second)
			c.group.elect(3)
		}()
		if _, err := b.Propose(t.Context(), registerCommand(7, 1)); err != nil {
			t.Error(err)
		}
	})
}

func TestNobodySpeaksForAnother(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		b := c.client(7, false)
		if _, err := b.Propose(t.Context(), registerCommand(8, 1)); mq.CodeOf(err) != mq.ClusterAuthorizationFailed || Undecided(err) {
			t.Errorf("a registration of another node: %v", err)
		}
		commit := &metadatapb.Command{Kind: &metadatapb.Command_CommitObject{CommitObject: &metadatapb.CommitObject{NodeId: 8}}}
		if _, err := b.Propose(t.Context(), commit); mq.CodeOf(err) != mq.ClusterAuthorizationFailed {
			t.Errorf("another node's object: %v", err)
		}
		stream := b.service(addressOf(1)).Heartbeat(t.Context())
		if err := stream.Send(&controlpb.HeartbeatRequest{NodeId: 8}); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Receive(); mq.CodeOf(failureOf(err).err) != mq.ClusterAuthorizationFailed {
			t.Errorf("a heartbeat of another node: %v", err)
		}
		_, _ = stream.CloseRequest(), stream.CloseResponse()
		stranger := c.client(-1, false)
		if _, err := stranger.service(addressOf(1)).Status(t.Context(), connect.NewRequest(&controlpb.StatusRequest{})); err == nil {
			t.Error("a stranger is answered")
		}
		c.kill(-1)
	})
}

// A controller that starts has its listener open before it answers anything there.
func TestControllerThatIsStartingIsPassedOver(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		for _, leader := range []mq.NodeID{2, 3} {
			starting := leader - 1
			c.kill(starting)
			c.group.elect(leader)
			c.serve(starting, http.NewServeMux())
			if _, err := c.client(6+leader, false).Propose(t.Context(), registerCommand(6+leader, 1)); err != nil {
				t.Errorf("while controller %d starts: %v", starting, err)
			}
		}
	})
}

func TestRangesAndCheckpointsArePagedAndFresh(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		b := c.broker(4)
		c.propose(createTopic(1, 4))
		c.propose(&metadatapb.Command{Kind: &metadatapb.Command_AllocateObjectIds{AllocateObjectIds: &metadatapb.AllocateObjectIDs{Count: 10_000}}})
		id := mq.PartitionID{Topic: testTopic}
		if _, ok, err := b.Checkpoint(t.Context(), id, true); ok || err != nil {
			t.Errorf("a checkpoint of nothing: %v", err)
		}
		const n = maxRangesPage + 7
		commit := &metadatapb.CommitObject{ObjectId: 1, Key: "objects/1", Size: 1 << 20, NodeId: 4}
		for i := range int64(n) {
			commit.Ranges = append(commit.Ranges, &metadatapb.RangeCommit{
				Partition: metadata.PartitionRecord(id), First: i, End: i + 1, Bytes: 100, Position: 10, Crc: 7, MinTime: 3, MaxTime: 4,
				ProducerState: []byte("state"), Epochs: []*metadatapb.EpochStart{{}},
			})
		}
		c.propose(&metadatapb.Command{Kind: &metadatapb.Command_CommitObject{CommitObject: commit}})
		c.net.part(4, 2) // it is not asked
		var got []metadata.Range
		for from := mq.Offset(0); ; {
			page, err := b.Ranges(t.Context(), id, from, 1<<20, from%2 == 0)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			got = append(got, page...)
			from = page[len(page)-1].End
		}
		want, err := c.group.stores[1].store.Ranges(id, 0, n+1)
		if err != nil || len(want) != n || !slices.Equal(got, want) {
			t.Errorf("%d ranges, want %d, %v", len(got), len(want), err)
		}
		point, ok, err := b.Checkpoint(t.Context(), id, true)
		if !ok || err != nil || point.End != n || string(point.ProducerState) != "state" || len(point.Epochs) != 1 {
			t.Errorf("checkpoint %+v, %v, %v", point, ok, err)
		}
		if _, err := b.Ranges(t.Context(), id, 0, 0, false); mq.CodeOf(err) != mq.InvalidRequest {
			t.Errorf("no ranges were asked for: %v", err)
		}
		c.group.mu.Lock()
		c.group.broken[1] = true
		c.group.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := b.Ranges(ctx, id, 0, 1, true); err == nil {
			t.Error("linearizable without a majority")
		}
	})
}

// A watcher that does not read keeps nobody waiting, and is told what is when it reads again, not all that was.
func TestSlowWatcherSkipsAhead(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		c.broker(4)
		b := c.client(7, false)
		c.propose(createTopic(100, 4))
		watch := c.group.stores[1].store.Watch()
		defer watch.Close()
		stream, err := b.service(addressOf(1)).Watch(t.Context(), connect.NewRequest(&controlpb.WatchRequest{NodeId: 7}))
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		const changes = 150 // of some 3 KB each, into a window of 64 KiB
		for i := range int64(changes) {
			all := logStart(0, i+1)
			for p := range int32(99) {
				all.GetSetLogStarts().Starts = append(all.GetSetLogStarts().Starts, logStart(p+1, i+1).GetSetLogStarts().GetStarts()...)
			}
			c.propose(all)
			synctest.Wait()
		}
		reader, images := metadata.NewImageReader(nil), 0
		for stream.Receive() {
			img, err := reader.Add(stream.Msg().GetPage())
			if err != nil {
				t.Fatal(err)
			}
			if img == nil {
				continue
			}
			images++
			if img.Index == watch.Image().Index {
				break
			}
		}
		if images < 3 || images > changes/2 {
			t.Errorf("%d images of %d changes", images, changes)
		}
	})
}

func TestBrokerThatLeavesLeadsNothingFirst(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		b4, b5 := c.broker(4), c.broker(5)
		c.propose(createTopic(20, 5, 4))
		c.until("image", func() bool { return leads(b5.Image(), 5) == 10 })
		if err := b5.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := leads(c.group.stores[1].store.Image(), 5); n > 0 || !b5.Leased() {
			t.Errorf("it leads %d", n)
		}
		for _, p := range b5.Image().Topic(testTopic).All() {
			if p.Leader != 4 || p.LeaderEpoch > 1 {
				t.Errorf("%+v", p)
			}
		}
		c.kill(5)
		c.until("fencing", func() bool { return b4.Image().Broker(5).Fenced })
	}, Plans(time.Minute)...)
}

func TestBrokerThatIsDrainedHasItsReplicasMoved(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		b4 := c.broker(4)
		c.broker(5)
		c.propose(createTopic(drainAtOnce+20, 5))
		c.propose(&metadatapb.Command{Kind: &metadatapb.Command_DrainBroker{DrainBroker: &metadatapb.DrainBroker{NodeId: 5, Drain: true}}})
		drain := func() metadata.Drain { return metadata.DrainOf(b4.Image(), 5) }
		c.until("moves", func() bool { return drain().Moving > 0 })
		time.Sleep(time.Second)
		synctest.Wait()
		if got, want := drain(), (metadata.Drain{Replicas: drainAtOnce + 20, Moving: drainAtOnce}); got != want {
			t.Fatalf("%+v, want %+v", got, want)
		}
		for drain().Replicas > 0 {
			var changes []*metadatapb.PartitionChange
			for i, p := range c.group.stores[1].store.Image().Topic(testTopic).All() {
				if p.Reassignment != nil {
					changes = append(changes, &metadatapb.PartitionChange{
						Partition: metadata.PartitionRecord(mq.PartitionID{Topic: testTopic, Index: i}), PartitionEpoch: p.PartitionEpoch, LeaderEpoch: -1,
						Isr: []*metadatapb.ISRMember{{NodeId: 4}, {NodeId: 5}},
					})
				}
			}
			if len(changes) == 0 {
				t.Fatalf("nothing moves: %+v", drain())
			}
			c.propose(&metadatapb.Command{Kind: &metadatapb.Command_ChangePartitions{ChangePartitions: &metadatapb.ChangePartitions{Changes: changes}}})
			time.Sleep(time.Second)
			synctest.Wait()
		}
	}, Plans(time.Minute)...)
}

func TestControllerThatLostTheLeadershipPlansNothing(t *testing.T) {
	var made atomic.Int32
	plan := Plan{Name: "count", Every: 100 * time.Millisecond, Commands: func(*metadata.Image) ([]*metadatapb.Command, error) { made.Add(1); return nil, nil }}
	inBubble(t, func(t *testing.T, c *cluster) {
		time.Sleep(time.Second)
		synctest.Wait()
		if n := made.Load(); n < 9 {
			t.Errorf("made %d times in a second", n)
		}
		c.group.elect(mq.NoNode)
		synctest.Wait()
		before := made.Load()
		time.Sleep(time.Second)
		synctest.Wait()
		if made.Load() != before {
			t.Error("a plan was made without the leadership")
		}
	}, plan)
}

// What a plan asks for and raft does not take, as while it has no room or hands its leadership over, is asked for again, though nothing else changes any more.
func TestPlanThatWasNotDecidedIsMadeAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		b4 := c.broker(4)
		c.broker(5)
		c.propose(createTopic(10, 5, 4))
		c.kill(5)
		c.until("new leaders", func() bool { return leads(b4.Image(), 4) == 10 })
		var changes []*metadatapb.PartitionChange
		for i, p := range b4.Image().Topic(testTopic).All() {
			changes = append(changes, &metadatapb.PartitionChange{
				Partition: metadata.PartitionRecord(mq.PartitionID{Topic: testTopic, Index: i}), PartitionEpoch: p.PartitionEpoch, LeaderEpoch: -1, Leader: new(int32(-1)),
			})
		}
		refused := 0
		vacate := &metadatapb.Command{Kind: &metadatapb.Command_ChangePartitions{ChangePartitions: &metadatapb.ChangePartitions{Changes: changes}}}
		c.group.mu.Lock()
		c.group.refuse = func() error { // all but the first one, for a while
			if refused++; refused == 1 || refused > 4 {
				return nil
			}
			return mq.Errorf(mq.StorageFull, "there is no room")
		}
		c.group.mu.Unlock()
		c.propose(vacate)
		c.until("no leaders", func() bool { return leads(b4.Image(), 4) == 0 })
		if took := c.until("leaders again", func() bool { return leads(b4.Image(), 4) == 10 }); took > 2*time.Second || refused < 5 {
			t.Errorf("it took %v and %d proposals", took, refused)
		}
	}, Plans(time.Minute)...)
}

// What a plan asks for and the state machine refuses may be refused for ever: it is asked for more and more seldom, so that a cluster where nothing happens is quiet.
func TestPlanThatIsRefusedIsMadeAgainMoreAndMoreSeldom(t *testing.T) {
	made := 0
	vain := Plan{Name: "vain", Commands: func(*metadata.Image) ([]*metadatapb.Command, error) {
		made++
		return []*metadatapb.Command{{Kind: &metadatapb.Command_DeleteTopic{DeleteTopic: &metadatapb.DeleteTopic{Id: bytes.Repeat([]byte{9}, 16)}}}}, nil
	}}
	inBubble(t, func(t *testing.T, c *cluster) {
		c.broker(4)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if made < 20 || made > 60 {
			t.Errorf("it was made %d times in 10 minutes", made)
		}
	}, vain)
}

// A preferred leader that is back leads again, but only when for a while no broker has come or gone.
func TestPreferredLeaderLeadsAgainAfterAPause(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		b4 := c.broker(4)
		c.broker(5)
		c.propose(createTopic(10, 5, 4))
		c.kill(5)
		c.until("new leaders", func() bool { return leads(b4.Image(), 4) == 10 })
		c.broker(5)
		for i, p := range c.group.stores[1].store.Image().Topic(testTopic).All() {
			c.propose(&metadatapb.Command{Kind: &metadatapb.Command_ChangePartitions{ChangePartitions: &metadatapb.ChangePartitions{
				Changes: []*metadatapb.PartitionChange{{
					Partition: metadata.PartitionRecord(mq.PartitionID{Topic: testTopic, Index: i}), PartitionEpoch: p.PartitionEpoch, LeaderEpoch: -1,
					Isr: []*metadatapb.ISRMember{{NodeId: 4}, {NodeId: 5}},
				}},
			}}})
		}
		took := c.until("preferred leaders", func() bool { return leads(b4.Image(), 5) == 5 })
		if took < 9*time.Second || took > 11*time.Second {
			t.Errorf("after %v", took)
		}
	}, Plans(10*time.Second)...)
}

func TestPlanIsMadeAgainThoughNothingChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pending atomic.Bool
		pending.Store(true)
		c := newTestCluster(t, Plan{Name: "again", Every: time.Second, Commands: func(*metadata.Image) ([]*metadatapb.Command, error) {
			if !pending.Load() {
				return nil, nil
			}
			return []*metadatapb.Command{{Kind: &metadatapb.Command_ReclaimRanges{ReclaimRanges: &metadatapb.ReclaimRanges{Limit: 10}}}}, nil
		}})
		defer c.end()
		time.Sleep(5500 * time.Millisecond)
		synctest.Wait()
		if n := c.group.entries; n < 5 {
			t.Errorf("%d commands", n)
		}
		pending.Store(false)
		before := c.group.entries
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if c.group.entries != before {
			t.Error("commands though nothing was pending")
		}
	})
}

// Controller 3 misses what the others decide, who are lost. It is recovered. A broker that ran on has an image that is ahead of it, and an epoch of theirs; it follows
// all the same, has no lease before it does, and heeds none of the lost when one of these runs again.
func TestBrokerThatRanOnFollowsARecoveredController(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		b := c.broker(4)
		c.broker(5)
		c.propose(createTopic(2, 4, 5))
		third := c.group.stores[3]
		c.kill(3)
		c.group.mu.Lock()
		delete(c.group.stores, 3)
		c.group.mu.Unlock()
		c.kill(5)
		c.until("new leaders", func() bool { return leads(b.Image(), 4) == 2 })
		for i := range byte(10) {
			more := createTopic(1, 4)
			more.GetCreateTopic().Id, more.GetCreateTopic().Name = bytes.Repeat([]byte{i + 1}, 16), fmt.Sprint("lost-", i)
			c.propose(more)
		}
		c.until("image", func() bool { return b.Image().TopicCount() == 11 })
		c.kill(1)
		c.kill(2)
		lost := c.group
		data, err := metadata.RecoverCommand()
		if err != nil {
			t.Fatal(err)
		}
		at := raft.Position{Index: 1 << 40, Term: 9, Conf: []byte("conf")}
		if _, err := third.store.Apply([]raft.Entry{{Index: at.Index, Data: data}}, at); err != nil {
			t.Fatal(err)
		}
		c.group = &group{stores: map[mq.NodeID]*ledger{3: third}, leader: 3, term: 9, changed: make(chan struct{}), broken: map[mq.NodeID]bool{}}
		c.until("the end of the lease", func() bool { return !b.Leased() })
		c.startController(3)
		c.until("a lease of the recovered", b.Leased)
		if b.Image().Index < b.Epoch() || b.Epoch() < at.Index || b.Image().TopicCount() != 1 {
			t.Errorf("leased by epoch %d, with an image at %d", b.Epoch(), b.Image().Index)
		}
		c.until("the dead one is fenced", func() bool { return b.Image().Broker(5).Fenced })
		recovered := c.group
		c.group = lost
		c.startController(1)
		c.group = recovered
		c.net.part(4, 3)
		c.until("the end of the lease", func() bool { return !b.Leased() })
		index := b.Image().Index
		time.Sleep(10 * time.Second)
		if b.Leased() || b.Image().Index != index {
			t.Errorf("a lost controller is heeded: leased %v, image at %d", b.Leased(), b.Image().Index)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := b.Propose(ctx, createTopic(1, 4)); mq.CodeOf(err) != mq.RequestTimedOut && mq.CodeOf(err) != mq.NotController {
			t.Errorf("a command: %v", err)
		}
		c.net.heal(4, 3)
		c.until("a lease again", b.Leased)
	})
}

// Controllers say that one leads at an address where nobody is known to be. That is not believed, and commands wait for one that is.
func TestLeaderWhereNobodyIsKnownIsNotLookedFor(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		b := c.broker(4)
		c.until("lease", b.Leased)
		c.group.elect(9)
		c.until("the end of the lease", func() bool { return !b.Leased() })
		answered := make(chan error, 1)
		go func() {
			_, err := b.Propose(t.Context(), createTopic(1, 4))
			answered <- err
		}()
		time.Sleep(5 * time.Second)
		if leader := b.Leader(); !slices.Contains([]string{addressOf(1), addressOf(2), addressOf(3)}, leader) {
			t.Errorf("it looks at %s", leader)
		}
		c.group.elect(2)
		if err := <-answered; err != nil {
			t.Errorf("the command that waited: %v", err)
		}
		c.until("a lease again", b.Leased)
		if len(b.services) > 3 {
			t.Errorf("it keeps %d services", len(b.services))
		}
	})
}
