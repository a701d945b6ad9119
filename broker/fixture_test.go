package broker_test

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/broker"
	"github.com/rustmq/rustmq/broker/coordinator"
	"github.com/rustmq/rustmq/group"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/server"
	"github.com/rustmq/rustmq/raft"
	"github.com/rustmq/rustmq/wal"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// self is the node of the broker under test; other is registered too and does nothing.
const (
	self  mq.NodeID = 1
	other mq.NodeID = 2
)

var clusterID = mq.ClusterID{0xc1, 15: 1}

// alice is who asks.
var alice = &server.Session{ID: 1, Principal: "alice"}

// fixture is a broker over the real state machine, log and partitions, on a disk in memory. What node does between them, it does
// at once and in order.
type fixture struct {
	*broker.Broker

	t      testing.TB
	store  *metadata.Store
	disk   *crashfs.FS
	log    *wal.Log
	level  uint32
	policy *policy
	room   *room
	cold   cold
	table  atomic.Pointer[broker.Table]
	stale  time.Duration

	reconciled atomic.Pointer[*coordinator.Coordinator] // what coordinates groups here; nil: nobody does
	bucket     bucket
	counts     partition.Counters
	raft       *adminpb.RaftStatusResponse // what AskController says; nil: something

	mu       sync.Mutex
	index    uint64
	proposed int                 // commands so far, those of the set-up left out
	refuse   error               // what Propose says instead of deciding
	rival    *metadatapb.Command // is decided before the next one; nil: nothing
}

// newFixture makes a broker of a cluster with so many brokers, self and maybe other.
func newFixture(t testing.TB, brokers int) *fixture {
	t.Helper()
	return newFixtureAt(t, 1, brokers)
}

// newFixtureAt makes one whose cluster is at a feature level.
func newFixtureAt(t testing.TB, level uint32, brokers int) *fixture {
	t.Helper()
	f := &fixture{t: t, disk: crashfs.New(1), policy: &policy{}, level: level}
	var err error
	f.store, err = metadata.Open(metadata.Options{Path: filepath.Join(t.TempDir(), "metadata.db"), NoSync: true})
	f.must(err)
	f.log, _, err = wal.Open(wal.Options{
		FS: f.disk, Dir: "wal", SegmentBytes: 4 << 20, QueueBytes: 4 << 20, PromiseDelay: time.Millisecond,
		Rand: bytes.NewReader(make([]byte, 64)),
	}, func(wal.Entry) error { return nil })
	f.must(err)
	f.room = &room{log: f.log}
	f.table.Store(broker.NewTable(nil))
	t.Cleanup(f.close)
	f.Broker = f.again()
	f.decide(&metadatapb.Command{Kind: &metadatapb.Command_FormCluster{
		FormCluster: &metadatapb.FormCluster{ClusterId: clusterID[:], FeatureLevel: level},
	}})
	for node := self; int(node) <= brokers; node++ {
		f.register(int32(node))
	}
	f.proposed = 0
	return f
}

// register has a broker come.
func (f *fixture) register(node int32) {
	f.decide(&metadatapb.Command{Kind: &metadatapb.Command_RegisterBroker{RegisterBroker: &metadatapb.RegisterBroker{
		ClusterId: clusterID[:], NodeId: node, Incarnation: 1, DirId: bytes.Repeat([]byte{byte(node)}, 16), MaxFeatureLevel: f.level,
		Endpoints: []*metadatapb.Endpoint{{Listener: broker.ListenerQUIC, Host: "::1", Port: uint32(9000 + node)}},
	}}})
}

// again is a broker as the next run of the node makes it.
func (f *fixture) again() *broker.Broker {
	return broker.New(broker.Config{
		Cluster: clusterID, Node: self, Software: "rustmq test", Controller: f, Partitions: f, Room: f.room, Policy: f.policy, Operations: f,
		Cold: &f.bucket, Counters: &f.counts, Random: &counter{}, Logger: slog.New(slog.DiscardHandler),
	})
}

func (f *fixture) close() {
	for _, p := range f.Table().All() {
		p.Close()
	}
	_ = f.log.Close()
	_ = f.store.Close()
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// decide applies a command that must be taken.
func (f *fixture) decide(c *metadatapb.Command) {
	f.t.Helper()
	_, err := f.Propose(context.Background(), c)
	f.must(err)
}

// Image implements broker.Controller.
func (f *fixture) Image() *metadata.Image { return f.store.Image() }

// Leader implements broker.Controller.
func (f *fixture) Leader() mq.NodeID { return self }

// Stale implements broker.Controller.
func (f *fixture) Stale() time.Duration { return f.stale }

// CatchUp implements broker.Controller.
func (f *fixture) CatchUp(context.Context) error { return nil }

// Propose implements broker.Controller: on return the partitions run that the command made.
func (f *fixture) Propose(_ context.Context, c *metadatapb.Command) (*metadatapb.Result, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.proposed++
	if f.refuse != nil {
		return nil, f.refuse
	}
	if rival := f.rival; rival != nil {
		f.rival = nil
		if result, err := f.apply(rival); err != nil {
			return result, err
		}
	}
	return f.apply(c)
}

// apply decides a command. The caller holds mu.
func (f *fixture) apply(c *metadatapb.Command) (*metadatapb.Result, error) {
	data, err := metadata.EncodeCommand(c)
	if err != nil {
		return nil, err
	}
	f.index++
	results, err := f.store.Apply([]raft.Entry{{Index: f.index, Term: 1, Data: data}}, raft.Position{Index: f.index, Term: 1})
	if err != nil {
		return nil, err
	}
	result, err := metadata.DecodeResult(results[0])
	if err == nil {
		f.reconcile()
	}
	return result, err
}

// proposals is how many commands there were.
func (f *fixture) proposals() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.proposed
}

// reconcile opens what is new and drops what is gone.
func (f *fixture) reconcile() {
	next := make(map[mq.PartitionID]*partition.Partition)
	for t := range f.Image().Topics() {
		for i, wanted := range t.All() {
			if !slices.Contains(wanted.Replicas, self) {
				continue
			}
			id := mq.PartitionID{Topic: t.ID, Index: i}
			if next[id] = f.Table().Get(id); next[id] == nil {
				next[id] = f.open(t, id, wanted)
			}
		}
	}
	for id, p := range f.Table().All() {
		if next[id] == nil {
			p.Delete()
		}
	}
	f.table.Store(broker.NewTable(next))
	if c := f.reconciled.Load(); c != nil {
		(*c).Reconcile()
	}
}

func (f *fixture) open(t *metadata.Topic, id mq.PartitionID, wanted *metadata.Partition) *partition.Partition {
	p, err := partition.Open(partition.Config{
		ID: id, Topic: t.Name, Node: self, Log: f.log, Cold: &f.cold, Tail: partition.NewTailBudget(16 << 20), Now: time.Now,
		Settings: func() partition.Settings {
			now := f.Image().Topic(t.ID)
			if now == nil {
				now = t
			}
			return partition.Settings{
				MaxBatchBytes: int(now.Config.MaxMessageBytes), MinISR: now.Config.MinInSync(len(wanted.Replicas)), LogAppendTime: now.Config.LogAppendTime,
			}
		},
	}, nil, partition.Checkpoint{})
	f.must(err)
	if wanted.Leader != self {
		f.must(p.Follow(wanted.LeaderEpoch, wanted.Leader))
		return p
	}
	isr := make([]partition.Replica, len(wanted.ISR))
	for i, n := range wanted.ISR {
		isr[i] = partition.Replica{Node: n, Incarnation: 1}
	}
	f.must(p.Lead(wanted.LeaderEpoch, wanted.PartitionEpoch, isr))
	return p
}

// Table implements broker.Partitions.
func (f *fixture) Table() *broker.Table { return f.table.Load() }

// create makes a topic with one replica per partition.
func (f *fixture) create(name string, partitions int32, configs ...string) *quicproto.CreateTopicResponse {
	f.t.Helper()
	return f.replicated(name, partitions, 1, configs...)
}

// replicated makes a topic; configs are keys and values in turn.
func (f *fixture) replicated(name string, partitions int32, replicas int16, configs ...string) *quicproto.CreateTopicResponse {
	f.t.Helper()
	resp, err := f.CreateTopic(f.t.Context(), alice, &quicproto.CreateTopicRequest{
		Name: name, Partitions: partitions, Replicas: replicas, Configs: pairs(configs...),
	})
	f.must(err)
	return resp
}

func pairs(text ...string) (configs []quicproto.Config) {
	for i := 0; i < len(text); i += 2 {
		configs = append(configs, quicproto.Config{Key: text[i], Value: text[i+1]})
	}
	return configs
}

// partition is a partition that runs here.
func (f *fixture) partition(topic string, index int32) *partition.Partition {
	f.t.Helper()
	t := f.Image().TopicByName(topic)
	if t == nil {
		f.t.Fatalf("there is no topic %q", topic)
	}
	p := f.Table().Get(mq.PartitionID{Topic: t.ID, Index: index})
	if p == nil {
		f.t.Fatalf("partition %d of %q does not run here", index, topic)
	}
	return p
}

// hide takes a partition off this node's table, as if it had not been opened yet.
func (f *fixture) hide(topic string, index int32) {
	f.t.Helper()
	id := f.partition(topic, index).ID()
	rest := make(map[mq.PartitionID]*partition.Partition)
	for other, p := range f.Table().All() {
		if other != id {
			rest[other] = p
		}
	}
	f.table.Store(broker.NewTable(rest))
}

// batch is so many records of a producer without idempotence, with timestamps ts, ts+1 and so on.
func batch(t testing.TB, count int, ts int64) mq.Batch {
	return batchBy(t, mq.NoProducerID, mq.NoProducerEpoch, mq.NoSequence, count, ts)
}

func batchBy(t testing.TB, id mq.ProducerID, epoch mq.ProducerEpoch, sequence int32, count int, ts int64) mq.Batch {
	t.Helper()
	w, err := mq.NewBatchBuilder(mq.CompressionNone, 0)
	for i := range count {
		if err == nil {
			err = w.Append(mq.Record{Value: []byte("value"), Timestamp: ts + int64(i)})
		}
	}
	var b mq.Batch
	if err == nil {
		b, err = w.Build(nil, id, epoch, sequence)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// future is a Completion that can be waited for. It has room for one answer too many, so that it is seen.
type future chan server.Appended

func (f future) Complete(a server.Appended) { f <- a }

// answer waits for the one answer.
func (f future) answer(t testing.TB) server.Appended {
	t.Helper()
	select {
	case a := <-f:
		return a
	case <-t.Context().Done():
	case <-time.After(time.Minute):
	}
	t.Fatal("no answer")
	return server.Appended{}
}

// send appends without waiting.
func send(ctx context.Context, p server.Producer, index int32, b mq.Batch, d mq.Durability) future {
	done := make(future, 2)
	p.Append(ctx, index, b, d, done)
	return done
}

// produce appends to a topic and waits for the answer.
func (f *fixture) produce(topic string, index int32, b mq.Batch, d mq.Durability) server.Appended {
	f.t.Helper()
	p, err := f.OpenProduce(f.t.Context(), alice, topic)
	f.must(err)
	return send(f.t.Context(), p, index, b, d).answer(f.t)
}

// wantCode checks an error's code, and that its text says what it is about.
func wantCode(t testing.TB, what string, err error, code mq.Code, about ...string) {
	t.Helper()
	if mq.CodeOf(err) != code {
		t.Errorf("%s: got %v, want %s", what, err, code)
		return
	}
	for _, text := range about {
		if err == nil || !bytes.Contains([]byte(err.Error()), []byte(text)) {
			t.Errorf("%s: %v does not say %q", what, err, text)
		}
	}
}

// asked is a question to the policy.
type asked struct {
	principal string
	op        broker.Operation
	topic     string
}

// policy is a Policy that remembers what it was asked.
type policy struct {
	epoch atomic.Uint64

	mu     sync.Mutex
	denies bool
	refuse func(broker.Operation, broker.Resource) bool // beside what denies says; nil: nothing
	all    []asked
}

func (p *policy) Epoch() uint64 { return p.epoch.Load() }

func (p *policy) Allow(principal string, op broker.Operation, r broker.Resource) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	about := r.Topic
	if r.Group != "" {
		about = "group " + r.Group
	}
	p.all = append(p.all, asked{principal, op, about})
	return !p.denies && (p.refuse == nil || !p.refuse(op, r))
}

// refuses has some things denied from now on.
func (p *policy) refuses(what func(broker.Operation, broker.Resource) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = what
}

// deny sets what is answered from now on, without telling that it changed.
func (p *policy) deny(denies bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.denies = denies
}

// questions gives what was asked since the last call.
func (p *policy) questions() []asked {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.all
	p.all = nil
	return all
}

// room is the log's, unless a test holds it or has it fail.
type room struct {
	log    *wal.Log
	asked  atomic.Int64
	err    atomic.Pointer[mq.Error]
	held   atomic.Pointer[chan struct{}]
	inside atomic.Int64 // that wait
}

func (r *room) Reserve(ctx context.Context, bytes int64) error {
	r.asked.Add(1)
	if err := r.err.Load(); err != nil {
		return err
	}
	if held := r.held.Load(); held != nil {
		r.inside.Add(1)
		defer r.inside.Add(-1)
		select {
		case <-*held:
		case <-ctx.Done():
			return mq.Wrapf(ctx.Err(), "wait for room")
		}
	}
	return r.log.Reserve(ctx, bytes)
}

// cold is an object store that does not answer: what is tiered in these tests is read from memory.
type cold struct{}

func (*cold) Read(context.Context, mq.PartitionID, mq.Offset, int) ([]byte, mq.Offset, error) {
	return nil, 0, mq.Errorf(mq.ObjectStoreUnavailable, "no answer")
}

func (*cold) OffsetByTime(context.Context, mq.PartitionID, mq.Offset, int64) (mq.Offset, int64, bool, error) {
	return 0, 0, false, mq.Errorf(mq.ObjectStoreUnavailable, "no answer")
}

// counter is a source of topic ids that do not repeat.
type counter struct{ n byte }

func (c *counter) Read(b []byte) (int, error) {
	c.n++
	for i := range b {
		b[i] = c.n
	}
	return len(b), nil
}

// coordinate has this broker coordinate groups, in a topic of so many partitions, and returns what it does that with.
func (f *fixture) coordinate(partitions int, change ...func(*coordinator.Config)) *coordinator.Coordinator {
	cfg := coordinator.Config{
		Node: self, Image: f.Image, Partition: func(id mq.PartitionID) *partition.Partition { return f.Table().Get(id) },
		Reserve: f.log.Reserve, Propose: f.Propose, Groups: group.DefaultConfig(),
	}
	for _, c := range change {
		c(&cfg)
	}
	groups := coordinator.Open(cfg)
	f.t.Cleanup(groups.Close)
	f.reconciled.Store(&groups)
	f.Broker = broker.New(broker.Config{
		Cluster: clusterID, Node: self, Controller: f, Partitions: f, Room: f.room, Policy: f.policy, Operations: f, Groups: groups, OffsetsPartitions: partitions,
		Random: &counter{}, Logger: slog.New(slog.DiscardHandler),
	})
	return groups
}

// groups is what coordinate made.
func (f *fixture) groups() *coordinator.Coordinator { return *f.reconciled.Load() }

// must2 is must for a call that gives something that is not looked at.
func (f *fixture) must2(_ any, err error) {
	f.t.Helper()
	f.must(err)
}

func replicasOf(nodes ...mq.NodeID) (all []partition.Replica) {
	for _, n := range nodes {
		all = append(all, partitionReplica(n))
	}
	return all
}

func partitionReplica(n mq.NodeID) partition.Replica {
	return partition.Replica{Node: n, Incarnation: 1}
}

func logEnd(p *partition.Partition) mq.Offset {
	_, _, end, _ := p.Offsets()
	return end
}

// atomicCounter counts how often it is asked.
type atomicCounter struct{ n atomic.Uint64 }

// createCommand is one that makes a topic whose partitions all have one replica.
func createCommand(name string, partitions int, on mq.NodeID) *metadatapb.Command {
	create := &metadatapb.CreateTopic{Name: name, Id: bytes.Repeat([]byte{0xaa}, 16)}
	for range partitions {
		create.Assignments = append(create.Assignments, &metadatapb.ReplicaAssignment{Replicas: []int32{int32(on)}})
	}
	return &metadatapb.Command{Kind: &metadatapb.Command_CreateTopic{CreateTopic: create}}
}

// fence is a command that fences a broker.
func fence(node mq.NodeID, img *metadata.Image) *metadatapb.Command {
	return &metadatapb.Command{Kind: &metadatapb.Command_FenceBroker{FenceBroker: &metadatapb.FenceBroker{NodeId: int32(node), BrokerEpoch: img.Broker(node).Epoch}}}
}

func (c *atomicCounter) next() uint64 { return c.n.Add(1) }
