package replication

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
	"github.com/rustmq/rustmq/wal"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// cluster is brokers, controllers and a network, in one process.
type cluster struct {
	t       testing.TB
	ctl     *controllers
	net     *network
	brokers map[mq.NodeID]*broker
	cfg     Config // of every broker, as far as it is the same
	fs      func(mq.NodeID) (wal.FS, string)
	logger  *slog.Logger

	bugs      bugs
	diskDelay func() time.Duration // of each sync; nil: none
	hearing   func() time.Duration // how long news of the controllers take
	leaseTime time.Duration        // how long a broker may acknowledge without hearing of them; they do not wait for that: safety does not rest on it
}

// bugs are planted in the brokers and the controllers.
type bugs struct {
	partition partition.Planted
	peers     planted
	metadata  metadata.Planted
}

// broker is one process and its disk.
type broker struct {
	cluster *cluster
	id      mq.NodeID
	disk    *crashfs.FS // nil: a real one

	up         bool
	log        *wal.Log
	tail       *partition.TailBudget
	follower   *Follower
	peers      *Peers
	answers    atomic.Pointer[Follower] // whom streams of leaders reach
	unlisten   func()
	run        uint64        // its number
	dir        int           // which disk it has
	epoch      atomic.Uint64 // as it registered last
	serving    uint64        // the epoch that it speaks as; the reconciler's own
	rolesAt    atomic.Uint64 // index of the image that its partitions have their roles of
	leaseEnd   atomic.Int64  // nanoseconds since 1970
	deaf       atomic.Bool   // hears nothing of the controllers
	slow       atomic.Bool   // its disk takes long for a sync
	stop       context.CancelFunc
	reconciles sync.WaitGroup

	mu         sync.Mutex
	partitions map[mq.PartitionID]*partition.Partition
}

// id is partition i of the topic that there is.
func id(i int) mq.PartitionID { return mq.PartitionID{Topic: topicID, Index: int32(i)} }

// newCluster makes brokers 1 to n with so many partitions, each of which all replicate; partition i is led by broker 1 + i % n.
func newCluster(t testing.TB, n, partitions, minISR int, seed uint64) *cluster {
	return newClusterWith(t, n, partitions, minISR, seed, bugs{})
}

func newClusterWith(t testing.TB, n, partitions, minISR int, seed uint64, planted bugs) *cluster {
	c := &cluster{
		t: t, net: newNetwork(), brokers: make(map[mq.NodeID]*broker), logger: slog.New(slog.DiscardHandler), bugs: planted,
		hearing: func() time.Duration { return time.Millisecond }, leaseTime: time.Hour,
	}
	var all []mq.NodeID
	for i := range n {
		all = append(all, mq.NodeID(1+i))
	}
	var assignments [][]mq.NodeID
	for i := range partitions {
		assignments = append(assignments, append(slices.Clone(all[i%n:]), all[:i%n]...))
	}
	c.ctl = newControllers(t, n, minISR, assignments, planted.metadata)
	for _, node := range all {
		c.brokers[node] = &broker{cluster: c, id: node, disk: crashfs.New(seed + uint64(node))}
	}
	return c
}

func (c *cluster) start() *cluster {
	for _, node := range slices.Sorted(maps.Keys(c.brokers)) {
		c.brokers[node].start()
	}
	return c
}

// close ends everything: a bubble needs that.
func (c *cluster) close() {
	for _, b := range c.brokers {
		b.end()
	}
	c.ctl.pending.Wait()
	if c.net.delay != nil {
		time.Sleep(time.Second) // for those who sleep: time ends with the test
	}
}

// start begins a run of the broker.
func (b *broker) start() {
	b.cluster.t.Helper()
	recovery := partition.NewRecovery(time.Now())
	options := wal.Options{Dir: "wal", SegmentBytes: 256 << 10, QueueBytes: 8 << 20, PromiseDelay: time.Millisecond, Rand: bytes.NewReader(bytes.Repeat([]byte{byte(b.id)}, 64))}
	if b.disk != nil {
		options.FS = b.disk
		if delay := b.cluster.diskDelay; delay != nil {
			b.disk.Hook(func(c crashfs.Call) error {
				switch {
				case c.Op != crashfs.OpSync:
				case b.slow.Load():
					time.Sleep(50*time.Millisecond + delay())
				default:
					time.Sleep(delay())
				}
				return nil
			})
		}
	} else {
		options.FS, options.Dir = b.cluster.fs(b.id)
		options.SegmentBytes, options.QueueBytes = 0, 0
	}
	log, found, err := wal.Open(options, recovery.Visit)
	if err != nil {
		b.cluster.t.Fatalf("broker %d: open the log: %v", b.id, err)
	}
	recovery.Finish(found)
	b.log, b.tail = log, partition.NewTailBudget(64<<20)
	b.partitions = make(map[mq.PartitionID]*partition.Partition)
	b.run = b.cluster.ctl.run()
	b.register(recovery)
	b.unlisten = b.cluster.net.serve(b.id, &b.answers)
	ctx, stop := context.WithCancel(context.Background())
	b.stop, b.up = stop, true
	b.reconciles.Go(func() { b.watch(ctx, recovery) })
}

// register has this run registered, also anew when it was declared dead and is not.
func (b *broker) register(found *partition.Recovery) {
	b.epoch.Store(b.cluster.ctl.register(b.id, b.run, b.dir, found))
	b.renew()
}

// renew gives the broker a lease.
func (b *broker) renew() { b.leaseEnd.Store(time.Now().Add(b.cluster.leaseTime).UnixNano()) }

// lease is what a partition asks before it acknowledges.
func (b *broker) lease() error {
	switch {
	case b.lapsed() > 0:
		return mq.Errorf(mq.NotLeaderOrFollower, "broker %d does not reach the controllers", b.id)
	case b.rolesAt.Load() < b.epoch.Load():
		return mq.Errorf(mq.NotLeaderOrFollower, "broker %d is registered anew", b.id)
	}
	return nil
}

// lapsed is for how long the broker has had no lease.
func (b *broker) lapsed() time.Duration {
	return time.Duration(time.Now().UnixNano() - b.leaseEnd.Load())
}

// serve has replication speak as the broker is registered.
func (b *broker) serve(epoch uint64) {
	if b.serving == epoch {
		return
	}
	b.unserve()
	self := partition.Replica{Node: b.id, Incarnation: epoch}
	logger := b.cluster.logger.With("broker", b.id)
	cfg := b.cluster.cfg
	cfg.Self, cfg.Logger, cfg.Propose, cfg.planted = self, logger, b.cluster.ctl.propose, b.cluster.bugs.peers
	follower, peers := NewFollower(FollowerConfig{Self: self, Lookup: b.partition, Logger: logger}), Open(cfg)
	b.mu.Lock()
	b.follower, b.peers = follower, peers
	b.mu.Unlock()
	b.serving = epoch
	b.answers.Store(follower)
}

func (b *broker) unserve() {
	if b.serving != 0 {
		b.answers.Store(nil)
		b.peers.Close()
		b.follower.Close()
		b.serving = 0
	}
}

// end ends the run.
func (b *broker) end() {
	if !b.up {
		return
	}
	b.up = false
	b.stop()
	b.reconciles.Wait()
	b.unserve()
	b.cluster.net.breakIf(func(from, to mq.NodeID) bool { return from == b.id || to == b.id })
	b.unlisten()
	for _, p := range b.all() {
		p.Close()
	}
	_ = b.log.Close() // of a crashed one it fails
}

// crash ends the run as a power cut does: what was not synced may be gone. kill says that only the process dies.
func (b *broker) crash(kill bool) {
	b.cluster.net.breakIf(func(from, to mq.NodeID) bool { return from == b.id || to == b.id })
	b.disk.CutAt(1)
	b.end()
	if kill {
		b.disk.Kill()
	} else {
		b.disk.Crash()
	}
}

func (b *broker) all() []*partition.Partition {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Values(b.partitions))
}

func (b *broker) partition(id mq.PartitionID) *partition.Partition {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.partitions[id]
}

// watch takes over images, a little after they were decided.
func (b *broker) watch(ctx context.Context, recovery *partition.Recovery) {
	watch := b.cluster.ctl.store.Watch()
	defer watch.Close()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	var seen uint64
	for {
		if !b.deaf.Load() {
			img := watch.Image()
			if img.Index != seen {
				seen = img.Index
				b.reconcile(recovery, img)
			}
			if self := img.Broker(b.id); !self.Fenced && self.Epoch == b.epoch.Load() {
				b.renew()
			}
		}
		select {
		case <-ticker.C:
		case <-watch.C():
			time.Sleep(b.cluster.hearing())
		case <-ctx.Done():
			return
		}
	}
}

func (b *broker) reconcile(recovery *partition.Recovery, img *metadata.Image) {
	self := img.Broker(b.id)
	if self.Incarnation != b.run { // another process speaks for this node now
		return
	}
	follow := make(map[mq.NodeID][]Assignment)
	for i, a := range img.Topic(topicID).All() {
		p := b.open(recovery, id(int(i)))
		err := b.role(p, a, img)
		dying := b.disk != nil && b.disk.Cut() // its log has failed, and its partitions with it
		if err != nil && !dying && mq.CodeOf(err) != mq.KafkaStorageError && mq.CodeOf(err) != mq.PartitionQuarantined {
			b.cluster.t.Errorf("broker %d: partition %d: %v", b.id, i, err)
		}
		if a.Leader != b.id {
			continue
		}
		for _, r := range a.Replicas {
			if r != b.id {
				follow[r] = append(follow[r], Assignment{p, a.LeaderEpoch})
			}
		}
	}
	b.rolesAt.Store(img.Index)
	b.serve(self.Epoch)
	for node := range b.cluster.brokers {
		if node != b.id {
			r := img.Broker(node)
			b.peers.Set(Peer{Node: node, Incarnation: r.Epoch, Fenced: r.Fenced, Dial: b.cluster.net.dialer(b.id, node)}, follow[node])
		}
	}
}

// role gives p the role that was decided.
func (b *broker) role(p *partition.Partition, a *metadata.Partition, img *metadata.Image) error {
	if state, err := p.State(); state == partition.StateQuarantined {
		if a.Leader == mq.NoNode || a.Leader == b.id || slices.Contains(a.ISR, b.id) || slices.Contains(a.Eligible, b.id) {
			return err
		}
		return p.Refetch(a.LeaderEpoch, a.Leader)
	}
	switch a.Leader {
	case b.id:
		return p.Lead(a.LeaderEpoch, a.PartitionEpoch, replicas(img, a.ISR))
	case mq.NoNode:
		p.Offline(mq.Errorf(mq.LeaderNotAvailable, "no leader"))
		return nil
	}
	return p.Follow(a.LeaderEpoch, a.Leader)
}

func (b *broker) open(recovery *partition.Recovery, id mq.PartitionID) *partition.Partition {
	if p := b.partition(id); p != nil {
		return p
	}
	settings := partition.Settings{MinISR: b.cluster.ctl.minISR}
	p, err := partition.Open(partition.Config{
		ID: id, Topic: "orders", Node: b.id, Log: b.log, Tail: b.tail, Now: time.Now, Logger: b.cluster.logger.With("broker", b.id),
		Settings: func() partition.Settings { return settings }, Lease: b.lease, Planted: b.cluster.bugs.partition,
	}, recovery.Take(id), partition.Checkpoint{})
	if err != nil {
		b.cluster.t.Errorf("broker %d: %v", b.id, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.partitions[id] = p
	return p
}

// leader is the broker that leads partition i, as the controllers see it; nil: none.
func (c *cluster) leader(i int) *broker { return c.brokers[c.ctl.partition(id(i)).Leader] }

// future is the outcome of an append.
type future chan partition.AppendResult

func (f future) Complete(r partition.AppendResult) { f <- r }

// batch is one record of a producer, whose value says which it is.
func batch(t testing.TB, producer mq.ProducerID, epoch mq.ProducerEpoch, seq int32, size int) mq.Batch {
	t.Helper()
	b, err := mq.NewBatchBuilder(mq.CompressionNone, 0)
	if err != nil {
		t.Fatal(err)
	}
	value := bytes.Repeat([]byte{byte(producer), byte(seq), byte(seq >> 8)}, 1+size/3)
	if err := b.Append(mq.Record{Value: value, Timestamp: int64(seq)}); err != nil {
		t.Fatal(err)
	}
	out, err := b.Build(nil, producer, epoch, seq)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// send appends to partition i at broker b, without waiting.
func (b *broker) send(i int, data mq.Batch, want mq.Durability, done partition.Completion) {
	p := b.partition(id(i))
	if p == nil {
		done.Complete(partition.AppendResult{Err: mq.Errorf(mq.NotLeaderOrFollower, "not open yet")})
		return
	}
	if err := b.log.Reserve(context.Background(), partition.LogBytes(data)); err != nil {
		done.Complete(partition.AppendResult{Err: err})
		return
	}
	p.Append(data, want, done)
}

// produce appends to partition i and waits.
func (b *broker) produce(i int, data mq.Batch, want mq.Durability) partition.AppendResult {
	f := make(future, 1)
	b.send(i, data, want, f)
	return <-f
}

// stored is the log of partition i at broker b, whole: without the batches' leader epochs nothing is left out.
func (b *broker) stored(i int, end mq.Offset) []byte {
	b.cluster.t.Helper()
	p := b.partition(id(i))
	first, _, ok := b.log.Bounds(wal.StreamID(p.ID().Key()))
	var out []byte
	for at := first; ok && at < uint64(end); {
		data, next, err := b.log.Read(wal.StreamID(p.ID().Key()), at, 1<<20, nil)
		if err != nil {
			b.cluster.t.Fatalf("broker %d: read at %d: %v", b.id, at, err)
		}
		for rest := data; len(rest) > 0; {
			one, after, err := mq.NextBatch(rest)
			if err != nil {
				b.cluster.t.Fatal(err)
			}
			if one.NextOffset() <= end {
				out = append(out, one...)
			}
			rest = after
		}
		at = next
	}
	return out
}

// agree waits until all that run have the same log of partition i as the leader, all of it committed.
func (c *cluster) agree(i int) {
	c.t.Helper()
	for range 2000 {
		if c.agreed(i) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	for node, b := range c.brokers {
		if b.up {
			state, err := b.partition(id(i)).State()
			start, high, end, object := b.partition(id(i)).Offsets()
			progress, _ := b.partition(id(i)).Progress()
			c.t.Logf("broker %d: %v %v, start %d high %d end %d object %d; %+v", node, state, err, start, high, end, object, progress)
		}
	}
	c.t.Fatalf("partition %d: replicas differ for 20 s: %+v", i, *c.ctl.partition(id(i)))
}

func (c *cluster) agreed(i int) bool {
	l := c.leader(i)
	if l == nil || !l.up || l.partition(id(i)) == nil {
		return false
	}
	_, high, end, _ := l.partition(id(i)).Offsets()
	for _, b := range c.brokers {
		if !b.up {
			continue
		}
		p := b.partition(id(i))
		if p == nil {
			return false
		}
		if _, theirHigh, theirEnd, _ := p.Offsets(); theirHigh != high || theirEnd != end || high != end {
			return false
		}
		if !slices.Contains(c.ctl.partition(id(i)).ISR, b.id) {
			return false
		}
		if _, durable, ok := p.Durable(); b != l && (!ok || durable != end) {
			return false
		}
	}
	want := l.stored(i, end)
	for _, b := range c.brokers {
		if b.up && !bytes.Equal(b.stored(i, end), want) {
			c.t.Fatalf("partition %d: brokers %d and %d differ below the watermark", i, l.id, b.id)
		}
	}
	return true
}

// bubble runs a test in virtual time.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}
