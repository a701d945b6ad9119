package node

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"gocloud.dev/blob/memblob"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
	"github.com/rustmq/rustmq/wal"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// unreachable is a cluster whose controllers do not answer for a while what the object store has.
type unreachable struct {
	*controller
	failures int
}

func (u *unreachable) Checkpoint(ctx context.Context, id mq.PartitionID) (metadata.Checkpoint, bool, error) {
	if u.failures--; u.failures >= 0 {
		return metadata.Checkpoint{}, false, mq.Errorf(mq.RequestTimedOut, "the controller is behind")
	}
	return u.controller.Checkpoint(ctx, id)
}

// oneRecord runs a node with a topic of one partition, which gets a record, and gives the partition's id.
func oneRecord(t *testing.T, cfg Config, seams Seams) (id mq.PartitionID) {
	n, err := StartWith(t.Context(), cfg, slog.New(slog.DiscardHandler), seams)
	if err != nil {
		t.Fatal(err)
	}
	id.Topic = mq.TopicID{1}
	create := &metadatapb.CreateTopic{Name: "orders", Id: id.Topic[:], Assignments: []*metadatapb.ReplicaAssignment{{Replicas: []int32{int32(cfg.Node.ID)}}}}
	if _, err := n.cluster.Propose(t.Context(), &metadatapb.Command{Kind: &metadatapb.Command_CreateTopic{CreateTopic: create}}); err != nil {
		t.Fatal(err)
	}
	b, err := mq.NewBatchBuilder(mq.CompressionNone, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Append(mq.Record{Value: []byte("one")}); err != nil {
		t.Fatal(err)
	}
	batch, err := b.Build(nil, -1, -1, -1)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.dataLog.Reserve(t.Context(), partition.LogBytes(batch)); err != nil {
		t.Fatal(err)
	}
	done := make(appended, 1)
	n.partitions.Table().Get(id).Append(batch, mq.DurabilityAll, done)
	if r := <-done; r.Err != nil {
		t.Fatal(r.Err)
	}
	if err := n.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return id
}

type appended chan partition.AppendResult

func (a appended) Complete(r partition.AppendResult) { a <- r }

// A partition that cannot be opened, because the controllers do not say where its log goes on, keeps what the log has of it, and is opened later.
func TestPartitionThatCannotBeOpenedYetKeepsItsLog(t *testing.T) {
	cfg := Default()
	cfg.Node.DataDir, cfg.WAL.SegmentSize = "/data", MiB
	path := filepath.Join(t.TempDir(), "metadata.db")
	synctest.Test(t, func(t *testing.T) {
		bucket := memblob.OpenBucket(nil)
		defer bucket.Close()
		fs := crashfs.New(1)
		id := oneRecord(t, cfg, Seams{FS: fs, Bucket: bucket, Headless: true, Metadata: metadata.Options{Path: path, NoSync: true}})

		store, err := metadata.Open(metadata.Options{Path: path, NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		recovery := partition.NewRecovery(time.Now())
		log, found, err := wal.Open(wal.Options{FS: fs, Dir: "/data/wal", SegmentBytes: int64(MiB)}, func(e wal.Entry) error {
			if e.Stream == identityStream {
				return nil
			}
			return recovery.Visit(e)
		})
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		recovery.Finish(found)
		p := newPartitions(partitionsConfig{
			node: mq.NodeID(cfg.Node.ID), log: log, recovery: recovery, cluster: &unreachable{&controller{store: store}, 3},
			tail: partition.NewTailBudget(1 << 20), now: time.Now, logger: slog.New(slog.DiscardHandler),
		})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			p.run(ctx)
		}()
		if err := p.wait(ctx, store.Image().Index); err != nil {
			t.Fatal(err)
		}
		if part := p.Table().Get(id); part != nil {
			t.Fatal("the partition is open without its checkpoint")
		}
		time.Sleep(4 * lookEvery)
		part := p.Table().Get(id)
		if part == nil {
			t.Fatal("the partition is not opened later")
		}
		if _, _, end, _ := part.Offsets(); end != 1 {
			t.Errorf("the log ends at %d: the record that was acknowledged is gone", end)
		}
		stop()
		<-ended
		p.closeAll()
	})
}

// granted is a lease of a registration.
type granted uint64

func (g granted) Leased() bool  { return g != 0 }
func (g granted) Epoch() uint64 { return uint64(g) }

// A broker that was fenced, and is registered again, acknowledges nothing in the roles that it had before.
func TestLeaseIsForTheRolesOfItsRegistration(t *testing.T) {
	for _, c := range []struct {
		lease granted
		roles uint64
		good  bool
	}{{0, 9, false}, {7, 9, true}, {9, 9, true}, {12, 9, false}} {
		if err := leaseOf(1, c.lease, func() uint64 { return c.roles })(); (err == nil) != c.good {
			t.Errorf("lease of registration %d, roles of image %d: %v", c.lease, c.roles, err)
		}
	}
}

// twoBrokers is a node in whose metadata there is a second broker, which does not exist, and a topic that both replicate, with this minimum in sync.
func twoBrokers(t *testing.T, minISR string) (n *Node, id mq.PartitionID) {
	cfg := Default()
	cfg.Node.DataDir, cfg.WAL.SegmentSize = "/data", MiB
	bucket := memblob.OpenBucket(nil)
	n, err := StartWith(t.Context(), cfg, slog.New(slog.DiscardHandler), Seams{
		FS: crashfs.New(1), Bucket: bucket, Headless: true, Metadata: metadata.Options{Path: filepath.Join(t.TempDir(), "metadata.db"), NoSync: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = n.Close(context.Background())
		_ = bucket.Close()
	})
	id, dir := mq.PartitionID{Topic: mq.TopicID{1}}, mq.DirID{2}
	propose(t, n, &metadatapb.Command{Kind: &metadatapb.Command_RegisterBroker{RegisterBroker: &metadatapb.RegisterBroker{
		ClusterId: n.id.Cluster[:], NodeId: int32(n.id.Node) + 1, Incarnation: 7, DirId: dir[:], MaxFeatureLevel: metadata.FeatureLevel,
	}}})
	propose(t, n, &metadatapb.Command{Kind: &metadatapb.Command_CreateTopic{CreateTopic: &metadatapb.CreateTopic{
		Name: "orders", Id: id.Topic[:], Assignments: []*metadatapb.ReplicaAssignment{{Replicas: []int32{int32(n.id.Node), int32(n.id.Node) + 1}}},
		Configs: []*metadatapb.ConfigEntry{{Key: "min.insync.replicas", Value: minISR}},
	}}})
	return n, id
}

func propose(t *testing.T, n *Node, command *metadatapb.Command) {
	t.Helper()
	if _, err := n.cluster.Propose(t.Context(), command); err != nil {
		t.Fatal(err)
	}
}

// A leader in whose log damage is found has another in-sync replica lead.
func TestQuarantinedLeaderIsReplaced(t *testing.T) {
	n, id := twoBrokers(t, "1")
	other := n.id.Node + 1
	n.partitions.Table().Get(id).Quarantine(mq.Errorf(mq.Corrupt, "found by this test"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	watch := n.cluster.Watch()
	defer watch.Close()
	for watch.Image().Topic(id.Topic).Partition(0).Leader != other {
		select {
		case <-watch.C():
		case <-ctx.Done():
			t.Fatalf("%+v", watch.Image().Topic(id.Topic).Partition(0))
		}
	}
}

// roleEnds notes the minimum in sync at the moment at which a role ends.
type roleEnds struct {
	settings *atomic.Pointer[partition.Settings]
	minISR   int
}

func (r *roleEnds) News(n partition.News) {
	if n == partition.NewsRole {
		r.minISR = r.settings.Load().MinISR
	}
}

// A leader that hears in one image that it was replaced and that fewer replicas suffice commits nothing by that, with the in-sync set that it knew.
func TestSmallerMinimumIsNotForOlderRoles(t *testing.T) {
	n, id := twoBrokers(t, "2")
	log, _, err := wal.Open(wal.Options{FS: crashfs.New(2), Dir: "wal", SegmentBytes: int64(MiB)}, func(wal.Entry) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p := newPartitions(partitionsConfig{
		node: n.id.Node, log: log, recovery: partition.NewRecovery(time.Now()), cluster: &controller{store: n.store},
		tail: partition.NewTailBudget(1 << 20), now: time.Now, logger: slog.New(slog.DiscardHandler),
	})
	defer p.closeAll()
	p.reconcile(t.Context(), n.store.Image())
	now := n.store.Image().Topic(id.Topic).Partition(0)
	propose(t, n, &metadatapb.Command{Kind: &metadatapb.Command_ChangePartitions{ChangePartitions: &metadatapb.ChangePartitions{
		Changes: []*metadatapb.PartitionChange{{
			Partition: metadata.PartitionRecord(id), PartitionEpoch: now.PartitionEpoch, LeaderEpoch: int32(now.LeaderEpoch), Leader: new(int32(n.id.Node) + 1),
		}},
	}}})
	propose(t, n, &metadatapb.Command{Kind: &metadatapb.Command_AlterTopicConfigs{AlterTopicConfigs: &metadatapb.AlterTopicConfigs{
		Id: id.Topic[:], Changes: []*metadatapb.ConfigChange{{Key: "min.insync.replicas", Value: "1"}},
	}}})
	ends := &roleEnds{settings: p.settings[id.Topic]}
	p.Table().Get(id).Watch(ends)
	p.reconcile(t.Context(), n.store.Image())
	if ends.minISR != 2 {
		t.Errorf("the leader that was replaced saw a minimum of %d, it is of 2", ends.minISR)
	}
	if now := ends.settings.Load().MinISR; now != 1 {
		t.Errorf("the minimum is %d afterwards", now)
	}
}

// A replica that is to lead after an unclean election needs what is in the object store of the partition, which the controllers do not say for a while: it leads
// when they do, and its followers are replicated to then.
func TestPartitionThatCannotBeLedYetIsLedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, id := twoBrokers(t, "1")
		self, other := n.id.Node, n.id.Node+1
		led := func() *metadata.Partition { return n.store.Image().Topic(id.Topic).Partition(0) }
		change := func(c *metadatapb.PartitionChange) {
			c.Partition, c.PartitionEpoch, c.LeaderEpoch = metadata.PartitionRecord(id), led().PartitionEpoch, int32(led().LeaderEpoch)
			propose(t, n, &metadatapb.Command{Kind: &metadatapb.Command_ChangePartitions{ChangePartitions: &metadatapb.ChangePartitions{
				Changes: []*metadatapb.PartitionChange{c},
			}}})
		}
		log, _, err := wal.Open(wal.Options{FS: crashfs.New(2), Dir: "wal", SegmentBytes: int64(MiB)}, func(wal.Entry) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		p := newPartitions(partitionsConfig{
			node: self, log: log, recovery: partition.NewRecovery(time.Now()), cluster: &controller{store: n.store},
			tail: partition.NewTailBudget(1 << 20), now: time.Now, logger: slog.New(slog.DiscardHandler),
		})
		p.replicator = &replicator{
			node: self, cluster: p.cluster, logger: p.logger, lookup: func(id mq.PartitionID) *partition.Partition { return p.Table().Get(id) },
			dial: func(context.Context, mq.NodeID) (net.Conn, error) { return nil, syscall.ECONNREFUSED },
			take: func(streamServer) {},
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			p.run(ctx)
		}()
		defer p.closeAll()
		defer func() { <-ended }()
		defer stop()
		change(&metadatapb.PartitionChange{Leader: new(int32(other))})
		change(&metadatapb.PartitionChange{Isr: []*metadatapb.ISRMember{{NodeId: int32(other)}}})
		propose(t, n, &metadatapb.Command{Kind: &metadatapb.Command_AlterTopicConfigs{AlterTopicConfigs: &metadatapb.AlterTopicConfigs{
			Id: id.Topic[:], Changes: []*metadatapb.ConfigChange{{Key: "unclean.leader.election.enable", Value: "true"}},
		}}})
		if err := p.wait(ctx, n.store.Image().Index); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		p.cluster = &unreachable{&controller{store: n.store}, 3}
		propose(t, n, &metadatapb.Command{Kind: &metadatapb.Command_FenceBroker{FenceBroker: &metadatapb.FenceBroker{
			NodeId: int32(other), BrokerEpoch: n.store.Image().Broker(other).Epoch,
		}}})
		if err := p.wait(ctx, n.store.Image().Index); err != nil {
			t.Fatal(err)
		}
		part := p.Table().Get(id)
		if led().Leader != self || part.LeaderEpoch() == led().LeaderEpoch {
			t.Fatalf("%+v, and it is led in epoch %d", led(), part.LeaderEpoch())
		}
		if s := p.replicator.peers.Status(); len(s) != 0 { // to begin that now would be to begin it in vain
			t.Errorf("it is replicated to %+v before it is led", s)
		}
		time.Sleep(4 * lookEvery)
		if part.LeaderEpoch() != led().LeaderEpoch {
			t.Errorf("it is led in epoch %d, not %d", part.LeaderEpoch(), led().LeaderEpoch)
		}
		if s := p.replicator.peers.Status(); len(s) != 1 || s[0].Partitions != 1 {
			t.Errorf("it is replicated to %+v", s)
		}
	})
}

// A broker that is removed is not dialed any more, also by who hears in one image that it holds nothing and that it is removed.
func TestRemovedBrokerIsNotReplicatedTo(t *testing.T) {
	n, id := twoBrokers(t, "1")
	self, other := n.id.Node, n.id.Node+1
	log, _, err := wal.Open(wal.Options{FS: crashfs.New(2), Dir: "wal", SegmentBytes: int64(MiB)}, func(wal.Entry) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p := newPartitions(partitionsConfig{
		node: self, log: log, recovery: partition.NewRecovery(time.Now()), cluster: &controller{store: n.store},
		tail: partition.NewTailBudget(1 << 20), now: time.Now, logger: slog.New(slog.DiscardHandler),
	})
	p.replicator = &replicator{node: self, take: func(streamServer) {}, cluster: p.cluster, logger: p.logger, dial: func(context.Context, mq.NodeID) (net.Conn, error) { return nil, syscall.ECONNREFUSED }}
	defer p.closeAll()
	p.reconcile(t.Context(), n.store.Image())
	if s := p.replicator.peers.Status(); len(s) != 1 || s[0].Node != other {
		t.Fatalf("%+v", s)
	}
	for _, c := range []*metadatapb.Command{
		{Kind: &metadatapb.Command_ReassignPartitions{ReassignPartitions: &metadatapb.ReassignPartitions{Reassignments: []*metadatapb.Reassignment{
			{Partition: metadata.PartitionRecord(id), Targets: []int32{int32(self)}},
		}}}},
		{Kind: &metadatapb.Command_FenceBroker{FenceBroker: &metadatapb.FenceBroker{NodeId: int32(other), BrokerEpoch: n.store.Image().Broker(other).Epoch}}},
		{Kind: &metadatapb.Command_RemoveBroker{RemoveBroker: &metadatapb.RemoveBroker{NodeId: int32(other)}}},
	} {
		propose(t, n, c)
	}
	if n.store.Image().Broker(other) != nil {
		t.Fatal("the broker is there")
	}
	p.reconcile(t.Context(), n.store.Image())
	if s := p.replicator.peers.Status(); len(s) != 0 {
		t.Errorf("it is replicated to %+v", s)
	}
}
