package replication

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
	"github.com/rustmq/rustmq/wal"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// assigned is what the controllers have decided about a partition.
type assigned struct {
	leader         mq.NodeID
	leaderEpoch    mq.Epoch
	partitionEpoch int32
	replicas, isr  []mq.NodeID
}

// registered is what they know of a broker.
type registered struct {
	epoch  uint64
	fenced bool
}

// controllers are the metadata, without raft: what is decided is so at once, and brokers hear of it when they look.
type controllers struct {
	mu         sync.Mutex
	index      uint64 // grows with each change; broker epochs are of it
	partitions map[mq.PartitionID]assigned
	brokers    map[mq.NodeID]registered
	minISR     int
	answer     func(Outcome) Outcome    // what a proposal's answer becomes on its way
	pick       func(candidates int) int // which one is elected
	proposed   int
}

// elect gives every partition whose leader is no longer alive another one of its in-sync set, or none. The caller holds mu.
func (c *controllers) elect() {
	for id, p := range c.partitions {
		if b, ok := c.brokers[p.leader]; ok && !b.fenced && slices.Contains(p.isr, p.leader) {
			continue
		}
		candidates := slices.DeleteFunc(slices.Clone(p.replicas), func(r mq.NodeID) bool {
			return !slices.Contains(p.isr, r) || c.brokers[r].fenced
		})
		next := mq.NoNode
		if len(candidates) > 0 {
			next = candidates[c.pick(len(candidates))]
		}
		if next == p.leader {
			continue
		}
		c.lead(id, next)
	}
}

// lead makes node the leader. The caller holds mu.
func (c *controllers) lead(id mq.PartitionID, node mq.NodeID) {
	p := c.partitions[id]
	p.leader = node
	p.leaderEpoch++
	p.partitionEpoch++
	c.partitions[id] = p
	c.index++
}

// leave takes node out of in-sync sets, of which the last member never leaves. The caller holds mu.
func (c *controllers) leave(node mq.NodeID, of func(mq.PartitionID) bool) {
	for id, p := range c.partitions {
		if len(p.isr) > 1 && slices.Contains(p.isr, node) && of(id) {
			p.isr = slices.DeleteFunc(slices.Clone(p.isr), func(n mq.NodeID) bool { return n == node })
			p.partitionEpoch++
			c.partitions[id] = p
			c.index++
		}
	}
}

// fence declares node dead: it leaves the in-sync sets and its partitions are led by others.
func (c *controllers) fence(node mq.NodeID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index++
	b := c.brokers[node]
	b.fenced = true
	c.brokers[node] = b
	c.leave(node, func(mq.PartitionID) bool { return true })
	c.elect()
}

// register begins a new run of node. What it led it leads in a new epoch, if anybody does, and it is out of sync where it is suspect.
func (c *controllers) register(node mq.NodeID, suspects []mq.PartitionID) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index++
	c.brokers[node] = registered{epoch: c.index}
	c.leave(node, func(id mq.PartitionID) bool { return slices.Contains(suspects, id) })
	for id, p := range c.partitions {
		if p.leader == node {
			c.lead(id, mq.NoNode)
		}
	}
	c.elect()
	return c.brokers[node].epoch
}

// propose is what a broker's Propose does.
func (c *controllers) propose(_ context.Context, changes []Change) []Outcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]Outcome, len(changes))
	for i, change := range changes {
		c.proposed++
		out[i] = c.answer(c.decide(change))
	}
	return out
}

func (c *controllers) decide(change Change) Outcome {
	p := c.partitions[change.Partition]
	if change.PartitionEpoch != p.partitionEpoch || change.LeaderEpoch != p.leaderEpoch {
		return OutcomeRefused
	}
	var isr []mq.NodeID
	for _, r := range change.ISR {
		b := c.brokers[r.Node]
		joins := !slices.Contains(p.isr, r.Node)
		if joins && b.fenced || r.Incarnation != 0 && r.Incarnation != b.epoch {
			return OutcomeRefused
		}
		isr = append(isr, r.Node)
	}
	p.isr = isr
	p.partitionEpoch++
	c.partitions[change.Partition] = p
	c.index++
	return OutcomeDecided
}

// image is a copy of what is decided.
func (c *controllers) image() (uint64, map[mq.PartitionID]assigned, map[mq.NodeID]registered) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.index, maps.Clone(c.partitions), maps.Clone(c.brokers)
}

func (c *controllers) partition(id mq.PartitionID) assigned {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.partitions[id]
}

// cluster is brokers, controllers and a network, in one process.
type cluster struct {
	t       testing.TB
	ctl     *controllers
	net     *network
	brokers map[mq.NodeID]*broker
	cfg     Config // of every broker, as far as it is the same
	fs      func(mq.NodeID) (wal.FS, string)
	logger  *slog.Logger

	planted   partition.Planted    // in every partition that is opened from then on
	diskDelay func() time.Duration // of each sync; nil: none
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
	server     *http.Server
	client     *http.Client
	epoch      uint64
	deaf       atomic.Bool // hears of no new image
	slow       atomic.Bool // its disk takes long for a sync
	stop       context.CancelFunc
	reconciles sync.WaitGroup

	mu         sync.Mutex
	partitions map[mq.PartitionID]*partition.Partition
}

// id is partition i of the topic that there is.
func id(i int) mq.PartitionID { return mq.PartitionID{Topic: mq.TopicID{7}, Index: int32(i)} }

// newCluster makes brokers 1 to n with so many partitions, each of which all replicate; partition i is led by broker 1 + i % n.
func newCluster(t testing.TB, n, partitions, minISR int, seed uint64) *cluster {
	c := &cluster{
		t: t, net: newNetwork(), brokers: make(map[mq.NodeID]*broker), logger: slog.New(slog.DiscardHandler),
		ctl: &controllers{
			partitions: make(map[mq.PartitionID]assigned), brokers: make(map[mq.NodeID]registered), minISR: minISR,
			answer: func(o Outcome) Outcome { return o }, pick: func(int) int { return 0 },
		},
	}
	var all []mq.NodeID
	for i := range n {
		all = append(all, mq.NodeID(1+i))
	}
	for i := range partitions {
		order := append(slices.Clone(all[i%n:]), all[:i%n]...)
		c.ctl.partitions[id(i)] = assigned{leader: order[0], replicas: order, isr: order}
	}
	for _, node := range all {
		c.brokers[node] = &broker{cluster: c, id: node, disk: crashfs.New(seed + uint64(node))}
	}
	return c
}

func (c *cluster) start() *cluster {
	for _, b := range c.brokers {
		c.ctl.brokers[b.id] = registered{}
	}
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
	b.epoch = b.cluster.ctl.register(b.id, recovery.Suspects())
	self := partition.Replica{Node: b.id, Incarnation: b.epoch}
	logger := b.cluster.logger.With("broker", b.id)
	b.follower = NewFollower(FollowerConfig{Self: self, Peer: peerOf, Lookup: b.partition, Logger: logger})
	cfg := b.cluster.cfg
	cfg.Self, cfg.Logger, cfg.Propose = self, logger, b.cluster.ctl.propose
	b.peers = Open(cfg)
	b.client = b.cluster.net.client(b.id)
	b.server = b.cluster.net.serve(b.id, b.follower)
	ctx, stop := context.WithCancel(context.Background())
	b.stop, b.up = stop, true
	b.reconciles.Go(func() { b.run(ctx, recovery) })
}

// end ends the run.
func (b *broker) end() {
	if !b.up {
		return
	}
	b.up = false
	b.stop()
	b.reconciles.Wait()
	b.peers.Close()
	b.follower.Close()
	_ = b.server.Close()
	b.client.CloseIdleConnections()
	b.cluster.net.breakIf(func(from, to mq.NodeID) bool { return from == b.id || to == b.id })
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

// run looks at the image every millisecond: a poll is enough for tests.
func (b *broker) run(ctx context.Context, recovery *partition.Recovery) {
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	var seen uint64
	for {
		if index, partitions, brokers := b.cluster.ctl.image(); index != seen && !b.deaf.Load() {
			seen = index
			b.reconcile(recovery, partitions, brokers)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (b *broker) reconcile(recovery *partition.Recovery, partitions map[mq.PartitionID]assigned, brokers map[mq.NodeID]registered) {
	follow := make(map[mq.NodeID][]Assignment)
	for id, a := range partitions {
		p := b.open(recovery, id)
		err := b.role(p, a, brokers)
		dying := b.disk != nil && b.disk.Cut() // its log has failed, and its partitions with it
		if err != nil && !dying && mq.CodeOf(err) != mq.KafkaStorageError && mq.CodeOf(err) != mq.PartitionQuarantined {
			b.cluster.t.Errorf("broker %d: partition %s: %v", b.id, id, err)
		}
		if a.leader != b.id {
			continue
		}
		for _, r := range a.replicas {
			if r != b.id {
				follow[r] = append(follow[r], Assignment{p, a.leaderEpoch})
			}
		}
	}
	for node := range b.cluster.brokers {
		if node != b.id {
			r := brokers[node]
			b.peers.Set(Peer{Node: node, Incarnation: r.epoch, Fenced: r.fenced, Client: b.client, URL: urlOf(node)}, follow[node])
		}
	}
}

// role gives p the role that was decided.
func (b *broker) role(p *partition.Partition, a assigned, brokers map[mq.NodeID]registered) error {
	state, err := p.State()
	switch {
	case a.leader == b.id:
		isr := make([]partition.Replica, len(a.isr))
		for i, n := range a.isr {
			isr[i] = partition.Replica{Node: n, Incarnation: brokers[n].epoch}
		}
		return p.Lead(a.leaderEpoch, a.partitionEpoch, isr)
	case a.leader == mq.NoNode:
		p.Offline(mq.Errorf(mq.LeaderNotAvailable, "no leader"))
		return nil
	case state == partition.StateQuarantined && !slices.Contains(a.isr, b.id):
		return p.Refetch(a.leaderEpoch, a.leader)
	case state == partition.StateQuarantined:
		return err
	}
	return p.Follow(a.leaderEpoch, a.leader)
}

func (b *broker) open(recovery *partition.Recovery, id mq.PartitionID) *partition.Partition {
	if p := b.partition(id); p != nil {
		return p
	}
	settings := partition.Settings{MinISR: b.cluster.ctl.minISR}
	p, err := partition.Open(partition.Config{
		ID: id, Topic: "orders", Node: b.id, Log: b.log, Tail: b.tail, Now: time.Now, Logger: b.cluster.logger.With("broker", b.id),
		Settings: func() partition.Settings { return settings }, Planted: b.cluster.planted,
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
func (c *cluster) leader(i int) *broker { return c.brokers[c.ctl.partition(id(i)).leader] }

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
	c.t.Fatalf("partition %d: replicas differ for 20 s: %+v", i, c.ctl.partition(id(i)))
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
		if !slices.Contains(c.ctl.partition(id(i)).isr, b.id) {
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
