package node

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rustmq/rustmq/broker"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
	"github.com/rustmq/rustmq/tier"
	"github.com/rustmq/rustmq/wal"
)

// partitions is the reconciler: it makes what runs on this node equal to what
// the Image says, and it is the only thing that opens and closes partitions. One
// goroutine (run) changes it; everyone reads the table.
type partitions struct {
	partitionsConfig

	uploader atomic.Pointer[tier.Uploader] // nil before it is open and after it is closed
	table    atomic.Pointer[broker.Table]
	settings map[mq.TopicID]*atomic.Pointer[partition.Settings]
	last     *metadata.Image

	mu      sync.Mutex
	applied uint64 // index of the image that the table is true to
	moved   chan struct{}
}

// partitionsConfig is what the reconciler works with; cluster, cold, lease and replicator are set before it runs.
type partitionsConfig struct {
	node      mq.NodeID
	log       *wal.Log
	recovery  *partition.Recovery
	cluster   cluster
	cold      partition.Cold
	lease     func() error // nil: there is nobody who could replace this node
	tail      *partition.TailBudget
	counters  *partition.Counters
	committed func(*partition.Partition)
	logger    *slog.Logger

	replicator *replicator // nil on a node that is alone
}

func newPartitions(cfg partitionsConfig) *partitions {
	p := &partitions{
		partitionsConfig: cfg,
		settings:         make(map[mq.TopicID]*atomic.Pointer[partition.Settings]),
		last:             &metadata.Image{},
		moved:            make(chan struct{}),
	}
	p.table.Store(broker.NewTable(nil))
	return p
}

// Table implements broker.Partitions.
func (p *partitions) Table() *broker.Table { return p.table.Load() }

// Sources lists what the uploader may upload.
func (p *partitions) Sources() []tier.Source {
	all := p.Table().All()
	out := make([]tier.Source, 0, len(all))
	for _, part := range all {
		out = append(out, part)
	}
	return out
}

// run reconciles with each new image until ctx ends.
func (p *partitions) run(ctx context.Context) {
	watch := p.cluster.Watch()
	defer watch.Close()
	for {
		p.reconcile(watch.Image())
		select {
		case <-watch.C():
		case <-ctx.Done():
			return
		}
	}
}

// wait returns when this node runs what the image with this index says, or later.
func (p *partitions) wait(ctx context.Context, index uint64) error {
	for {
		p.mu.Lock()
		applied, moved := p.applied, p.moved
		p.mu.Unlock()
		if applied >= index {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return mq.Errorf(mq.RequestTimedOut, "it was decided, but this node is not there yet: %w", context.Cause(ctx))
		}
	}
}

func (p *partitions) reconcile(img *metadata.Image) {
	delta := metadata.Diff(p.last, img)
	next := maps.Clone(p.Table().All())
	if next == nil {
		next = make(map[mq.PartitionID]*partition.Partition)
	}
	changed := false
	for _, t := range delta.Deleted {
		changed = p.deleteTopic(next, t) || changed
	}
	for _, t := range delta.Created {
		p.configure(t)
		for i, wanted := range t.All() {
			changed = p.apply(next, t, i, wanted) || changed
		}
	}
	for _, c := range delta.Changed {
		p.configure(c.New)
		for _, i := range c.Partitions {
			changed = p.apply(next, c.New, i, c.New.Partition(i)) || changed
		}
	}
	if changed {
		p.table.Store(broker.NewTable(next))
	}
	if p.replicator != nil && concernsReplication(delta) {
		p.replicator.reconcile(img, p.Table())
	}
	p.last = img
	p.mu.Lock()
	p.applied = img.Index
	close(p.moved)
	p.moved = make(chan struct{})
	p.mu.Unlock()
}

// concernsReplication says whether a change can be one of who replicates what to whom.
func concernsReplication(d *metadata.Delta) bool {
	if len(d.Brokers)+len(d.RemovedBrokers)+len(d.Created)+len(d.Deleted) > 0 {
		return true
	}
	for _, c := range d.Changed {
		for _, i := range c.Partitions {
			before, now := c.Old.Partition(i), c.New.Partition(i)
			if before == nil || before.PartitionEpoch != now.PartitionEpoch || before.LeaderEpoch != now.LeaderEpoch {
				return true
			}
		}
	}
	return false
}

// configure makes a topic's settings what its partitions see at their next append.
func (p *partitions) configure(t *metadata.Topic) {
	at, ok := p.settings[t.ID]
	if !ok {
		at = new(atomic.Pointer[partition.Settings])
		p.settings[t.ID] = at
	}
	at.Store(&partition.Settings{
		MaxBatchBytes: int(t.Config.MaxMessageBytes),
		MinISR:        t.MostInSync(),
		LogAppendTime: t.Config.LogAppendTime,
	})
}

func (p *partitions) deleteTopic(table map[mq.PartitionID]*partition.Partition, t *metadata.Topic) (changed bool) {
	for i := range t.Partitions() {
		id := mq.PartitionID{Topic: t.ID, Index: i}
		if part := table[id]; part != nil {
			part.Delete()
			delete(table, id)
			changed = true
		}
	}
	delete(p.settings, t.ID)
	return changed
}

// apply opens a partition that is to run here and gives it its role.
func (p *partitions) apply(table map[mq.PartitionID]*partition.Partition, t *metadata.Topic, index int32, wanted *metadata.Partition) (opened bool) {
	id := mq.PartitionID{Topic: t.ID, Index: index}
	part := table[id]
	if !slices.Contains(wanted.Replicas, p.node) {
		if part == nil {
			return false
		}
		p.logger.Info("this node is no replica of a partition any more: what it has of it goes", "topic", t.Name, "partition", index)
		part.Delete()
		delete(table, id)
		return true
	}
	if part == nil {
		var err error
		if part, err = p.open(t, id); err != nil {
			p.logger.Error("a partition cannot be opened: it stays offline until the node is restarted",
				"topic", t.Name, "partition", index, "error", err)
			return false
		}
		table[id] = part
		opened = true
	}
	if err := p.lead(part, wanted); err != nil {
		p.logger.Error("a partition cannot be led: it refuses requests", "topic", t.Name, "partition", index,
			"leader_epoch", int32(wanted.LeaderEpoch), "error", err)
	}
	return opened
}

func (p *partitions) open(t *metadata.Topic, id mq.PartitionID) (*partition.Partition, error) {
	tiered, err := p.checkpoint(context.Background(), id)
	if err != nil {
		return nil, err
	}
	settings := p.settings[t.ID]
	return partition.Open(partition.Config{
		ID: id, Topic: t.Name, Node: p.node, Log: p.log, Cold: p.cold, Tail: p.tail, Counters: p.counters,
		Settings:   func() partition.Settings { return *settings.Load() },
		Checkpoint: p.checkpoint, Committed: p.committed, Lease: p.lease,
		Logger: p.logger, Now: time.Now,
	}, p.recovery.Take(id), tiered)
}

// checkpoint is what the last tier commit of a partition carried.
func (p *partitions) checkpoint(ctx context.Context, id mq.PartitionID) (partition.Checkpoint, error) {
	c, _, err := p.cluster.Checkpoint(ctx, id)
	if err != nil {
		return partition.Checkpoint{}, mq.Wrapf(err, "look up the checkpoint of partition %s", id)
	}
	return partition.Checkpoint{End: c.End, Producers: c.ProducerState, Epochs: c.Epochs}, nil
}

// lead gives the partition the role that the controller decided.
func (p *partitions) lead(part *partition.Partition, wanted *metadata.Partition) error {
	if state, err := part.State(); state == partition.StateQuarantined {
		if wanted.Leader == mq.NoNode || wanted.Leader == p.node || slices.Contains(wanted.ISR, p.node) || slices.Contains(wanted.Eligible, p.node) {
			return err
		}
		return part.Refetch(wanted.LeaderEpoch, wanted.Leader)
	}
	switch wanted.Leader {
	case p.node:
		if err := part.Lead(wanted.LeaderEpoch, wanted.PartitionEpoch, p.replicas(wanted.ISR)); err != nil {
			return err
		}
		part.TieredTo(wanted.TieredEnd) // in case the answer to our own commit was lost
		if start, _, _, _ := part.Offsets(); wanted.LogStart > start {
			return part.SetLogStart(wanted.LogStart)
		}
		return nil
	case mq.NoNode:
		part.Offline(mq.Errorf(mq.LeaderNotAvailable, "no in-sync replica is alive"))
		return nil
	default:
		return part.Follow(wanted.LeaderEpoch, wanted.Leader)
	}
}

// replicas names the incarnations of the nodes that the image knows.
func (p *partitions) replicas(nodes []mq.NodeID) []partition.Replica {
	img := p.cluster.Image()
	out := make([]partition.Replica, len(nodes))
	for i, n := range nodes {
		out[i].Node = n
		if b := img.Broker(n); b != nil {
			out[i].Incarnation = b.Epoch
		}
	}
	return out
}

// dropUnknown ends the recovery, once every partition of the image is open: it frees what the log holds of partitions that no
// image knows, for their topics were deleted while the node was away.
func (p *partitions) dropUnknown() {
	for _, id := range p.recovery.Partitions() {
		p.recovery.Take(id)
		p.log.Drop(wal.StreamID(id.Key()))
		p.logger.Info("dropped the log of a partition whose topic was deleted", "partition", id.String())
	}
	p.recovery.Settle()
}

// expireProducers forgets producers that went idle.
func (p *partitions) expireProducers(now time.Time) {
	for _, part := range p.Table().All() {
		part.ExpireProducers(now)
	}
}

// closeAll ends every partition; the log keeps their records.
func (p *partitions) closeAll() {
	if p.replicator != nil {
		p.replicator.close()
	}
	for _, part := range p.Table().All() {
		part.Close()
	}
}
