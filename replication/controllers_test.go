package replication

import (
	"context"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
	"github.com/rustmq/rustmq/raft"
)

// controllers are the metadata as it is, but for raft: what is decided is so at once. Brokers hear of it a little later.
type controllers struct {
	t      testing.TB
	store  *metadata.Store
	minISR int
	answer func(Outcome) Outcome // what a proposal's answer becomes on its way
	late   func() time.Duration  // how long a proposal whose answer was lost is on its way itself; nil: none is

	mu       sync.Mutex // one command at a time
	runs     uint64     // of brokers, so far
	proposed int
	pending  sync.WaitGroup
}

var (
	clusterID = mq.ClusterID{0xc1, 15: 1}
	topicID   = mq.TopicID{7}
)

// newControllers has brokers 1 to n registered, and a topic with these replicas.
func newControllers(t testing.TB, n, minISR int, replicas [][]mq.NodeID, bugs metadata.Planted) *controllers {
	store, err := metadata.Open(metadata.Options{Path: filepath.Join(t.TempDir(), "metadata.db"), NoSync: true, Planted: bugs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	c := &controllers{t: t, store: store, minISR: minISR, answer: func(o Outcome) Outcome { return o }}
	c.must(&metadatapb.Command{Kind: &metadatapb.Command_FormCluster{FormCluster: &metadatapb.FormCluster{
		ClusterId: clusterID[:], FeatureLevel: metadata.FeatureLevel,
	}}})
	for i := range n {
		c.register(mq.NodeID(1+i), c.run(), 0, nil)
	}
	create := &metadatapb.CreateTopic{Id: topicID[:], Name: "orders", Configs: []*metadatapb.ConfigEntry{
		{Key: "min.insync.replicas", Value: strconv.Itoa(minISR)},
	}}
	for _, r := range replicas {
		create.Assignments = append(create.Assignments, &metadatapb.ReplicaAssignment{Replicas: numbers(r)})
	}
	c.must(&metadatapb.Command{Kind: &metadatapb.Command_CreateTopic{CreateTopic: create}})
	return c
}

func numbers(nodes []mq.NodeID) []int32 {
	out := make([]int32, len(nodes))
	for i, n := range nodes {
		out[i] = int32(n)
	}
	return out
}

// do applies one command.
func (c *controllers) do(command *metadatapb.Command) (*metadatapb.Result, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	data, err := metadata.EncodeCommand(command)
	if err != nil {
		return nil, err
	}
	at := raft.Position{Index: c.store.Position().Index + 1, Term: 1, Conf: []byte("conf")}
	results, err := c.store.Apply([]raft.Entry{{Index: at.Index, Term: 1, Data: data}}, at)
	if err != nil {
		return nil, err
	}
	return metadata.DecodeResult(results[0])
}

func (c *controllers) must(command *metadatapb.Command) *metadatapb.Result {
	result, err := c.do(command)
	if err != nil {
		c.t.Errorf("%v: %v", command, err)
	}
	return result
}

// run numbers a run of a broker.
func (c *controllers) run() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.runs++
	return c.runs
}

// register registers a run of node on one of its directories, and gives the broker epoch.
func (c *controllers) register(node mq.NodeID, run uint64, dir int, found *partition.Recovery) uint64 {
	id := mq.DirID{0xd1, byte(node), byte(dir)}
	command := &metadatapb.RegisterBroker{
		ClusterId: clusterID[:], NodeId: int32(node), Incarnation: run, DirId: id[:], MaxFeatureLevel: metadata.FeatureLevel,
	}
	if found != nil { // a new run says what it does not have, or what it has
		for _, s := range found.Suspects() {
			command.Suspects = append(command.Suspects, metadata.PartitionRecord(s))
		}
		doubt, whole := found.Doubt()
		command.Doubt = doubt
		for _, w := range whole {
			command.Whole = append(command.Whole, metadata.PartitionRecord(w))
		}
	}
	result := c.must(&metadatapb.Command{Kind: &metadatapb.Command_RegisterBroker{RegisterBroker: command}})
	return result.GetRegisterBroker().GetBrokerEpoch()
}

// fence declares node dead: it leaves the in-sync sets and its partitions are led by others.
func (c *controllers) fence(node mq.NodeID) {
	c.must(&metadatapb.Command{Kind: &metadatapb.Command_FenceBroker{FenceBroker: &metadatapb.FenceBroker{
		NodeId: int32(node), BrokerEpoch: c.store.Image().Broker(node).Epoch,
	}}})
}

// propose is what a broker's Propose does.
func (c *controllers) propose(_ context.Context, changes []Change) []Outcome {
	command := &metadatapb.ChangePartitions{}
	for _, change := range changes {
		asked := &metadatapb.PartitionChange{
			Partition: metadata.PartitionRecord(change.Partition), PartitionEpoch: change.PartitionEpoch, LeaderEpoch: int32(change.LeaderEpoch),
		}
		for _, r := range change.ISR {
			asked.Isr = append(asked.Isr, &metadatapb.ISRMember{NodeId: int32(r.Node), BrokerEpoch: r.Incarnation})
		}
		command.Changes = append(command.Changes, asked)
	}
	decide := func() *metadatapb.Result {
		return c.must(&metadatapb.Command{Kind: &metadatapb.Command_ChangePartitions{ChangePartitions: command}})
	}
	out := make([]Outcome, len(changes)) // unknown
	if delay := c.delay(); delay > 0 {
		c.pending.Go(func() {
			time.Sleep(delay)
			decide()
		})
		return out
	}
	result := decide()
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, v := range result.GetChangePartitions().GetVerdicts() {
		c.proposed++
		out[i] = OutcomeDecided
		if metadata.VerdictError(v) != nil {
			out[i] = OutcomeRefused
		}
		out[i] = c.answer(out[i])
	}
	return out
}

func (c *controllers) delay() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.late == nil {
		return 0
	}
	return c.late()
}

// change asks for something about a partition as an operator does, and says whether it was decided.
func (c *controllers) change(id mq.PartitionID, ask func(*metadatapb.PartitionChange)) bool {
	asked := &metadatapb.PartitionChange{Partition: metadata.PartitionRecord(id), PartitionEpoch: c.partition(id).PartitionEpoch, LeaderEpoch: -1}
	ask(asked)
	result := c.must(&metadatapb.Command{Kind: &metadatapb.Command_ChangePartitions{ChangePartitions: &metadatapb.ChangePartitions{
		Changes: []*metadatapb.PartitionChange{asked},
	}}})
	return metadata.VerdictError(result.GetChangePartitions().GetVerdicts()[0]) == nil
}

// move makes another member of the in-sync set the leader, or none again.
func (c *controllers) move(id mq.PartitionID, pick int) {
	isr := c.partition(id).ISR
	c.take(id, isr[pick%len(isr)])
}

// take makes node the leader, if it may be.
func (c *controllers) take(id mq.PartitionID, node mq.NodeID) {
	if slices.Contains(c.partition(id).ISR, node) {
		c.change(id, func(p *metadatapb.PartitionChange) { p.Leader = new(int32(node)) })
	}
}

// partition is what is decided about one.
func (c *controllers) partition(id mq.PartitionID) *metadata.Partition {
	return c.store.Image().Partition(id)
}

// replicas names the incarnations of nodes.
func replicas(img *metadata.Image, nodes []mq.NodeID) []partition.Replica {
	out := make([]partition.Replica, len(nodes))
	for i, n := range nodes {
		out[i] = partition.Replica{Node: n, Incarnation: img.Broker(n).Epoch}
	}
	return out
}
