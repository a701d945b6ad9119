package node

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
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
	rolesAt  atomic.Uint64 // index of the image that all partitions have their roles of
	settings map[mq.TopicID]*atomic.Pointer[partition.Settings]
	last     *metadata.Image
	unopened map[mq.PartitionID]bool // are to run here and could not be opened yet; true: the log may have them from before the start
	unready  map[mq.PartitionID]bool // are open, and could not take the role yet that the last image gives them
	begun    bool                    // the first image was reconciled
	settled  bool                    // the recovery is over
	behind   bool                    // the image is the first one of recovered controllers: they may never have heard of what this node has
	changes  changes
	kept     atomic.Pointer[[]string] // what is set aside, for people

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
	now       func() time.Time        // the wall clock
	adjust    func(*partition.Config) // may be nil
	logger    *slog.Logger

	replicator *replicator // nil on a node that is alone
	reconciled func()      // is told when partitions have their roles of an image; nil: nobody is
	regain     *regain
	aside      *setAside // nil: nothing is ever set aside
}

func newPartitions(cfg partitionsConfig) *partitions {
	p := &partitions{
		partitionsConfig: cfg,
		settings:         make(map[mq.TopicID]*atomic.Pointer[partition.Settings]),
		last:             &metadata.Image{},
		unopened:         make(map[mq.PartitionID]bool),
		unready:          make(map[mq.PartitionID]bool),
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

const (
	// openWithin is how long partitions may take to open, all that are new in one image: their checkpoints are asked of the controllers, and who
	// waits for these takes no other role meanwhile.
	openWithin = 10 * time.Second
	// lookEvery is how often those are tried again that could not be opened or could not take their role, and how soon a leader gives up what it was found to be damaged of.
	lookEvery = time.Second
)

// run reconciles with each new image until ctx ends.
func (p *partitions) run(ctx context.Context) {
	watch := p.cluster.Watch()
	defer watch.Close()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		if img := watch.Image(); img != p.last || len(p.unopened)+len(p.unready) > 0 {
			p.reconcile(ctx, img)
		}
		p.resign(ctx)
		select {
		case <-watch.C():
		case <-look.C:
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

func (p *partitions) reconcile(ctx context.Context, img *metadata.Image) {
	ctx, cancel := context.WithTimeout(ctx, openWithin)
	defer cancel()
	delta, late := metadata.Diff(p.last, img), slices.AppendSeq(slices.Collect(maps.Keys(p.unopened)), maps.Keys(p.unready))
	next := maps.Clone(p.Table().All())
	if next == nil {
		next = make(map[mq.PartitionID]*partition.Partition)
	}
	changed := false
	p.behind = p.aside.behind(img.Generation())
	for _, t := range delta.Deleted {
		changed = p.deleteTopic(next, t) || changed
	}
	for _, t := range delta.Created {
		p.configure(t, t.MostInSync())
		for i, wanted := range t.All() {
			changed = p.apply(ctx, next, t, i, wanted) || changed
		}
	}
	for _, c := range delta.Changed {
		before, now := c.Old.MostInSync(), c.New.MostInSync()
		p.configure(c.New, max(before, now)) // a smaller minimum is not for roles and in-sync sets of older images
		for _, i := range c.Partitions {
			changed = p.apply(ctx, next, c.New, i, c.New.Partition(i)) || changed
			p.changes.see(p.node, c.Old.Partition(i), c.New.Partition(i))
		}
		changed = p.dropBehind(next, c) || changed
		if now < before {
			p.configure(c.New, now)
			for i, wanted := range c.New.All() { // what waited may be committed with it
				changed = p.apply(ctx, next, c.New, i, wanted) || changed
			}
		}
	}
	caughtUp := p.applyLate(ctx, next, img, late)
	if changed || caughtUp {
		p.table.Store(broker.NewTable(next))
	}
	p.rolesAt.Store(img.Index)
	if p.replicator != nil && (changed || caughtUp || concernsReplication(delta)) { // what was opened, or is led, later than its image said is in no delta
		p.replicator.reconcile(img, p.Table())
	}
	p.dropUnknown()
	p.keep(img)
	p.last, p.begun = img, true
	if p.reconciled != nil {
		p.reconciled()
	}
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
func (p *partitions) configure(t *metadata.Topic, minISR int) {
	at, ok := p.settings[t.ID]
	if !ok {
		at = new(atomic.Pointer[partition.Settings])
		p.settings[t.ID] = at
	}
	at.Store(&partition.Settings{
		MaxBatchBytes: int(t.Config.MaxMessageBytes),
		MinISR:        minISR,
		LogAppendTime: t.Config.LogAppendTime,
		ObjectAcks:    t.Config.ObjectAcks,
		Keyed:         t.Config.Cleanup.Compacts(),
	})
}

func (p *partitions) deleteTopic(table map[mq.PartitionID]*partition.Partition, t *metadata.Topic) (changed bool) {
	changed = p.deletePartitions(table, t, 0)
	delete(p.settings, t.ID)
	return changed
}

// dropBehind deletes the partitions that a topic has no more: only the controllers that were lost knew of them, when the others were recovered.
func (p *partitions) dropBehind(table map[mq.PartitionID]*partition.Partition, c metadata.TopicChange) (changed bool) {
	return p.deletePartitions(table, c.Old, c.New.Partitions())
}

// deletePartitions deletes what runs here of a topic, from a partition on.
func (p *partitions) deletePartitions(table map[mq.PartitionID]*partition.Partition, t *metadata.Topic, from int32) (changed bool) {
	for i := from; i < t.Partitions(); i++ {
		id := mq.PartitionID{Topic: t.ID, Index: i}
		delete(p.unopened, id)
		delete(p.unready, id)
		if part := table[id]; part != nil {
			p.end(part)
			delete(table, id)
			changed = true
		}
	}
	return changed
}

// end has a partition end that is not to run here any more, and its log go, unless only controllers that were lost may have known why it is here.
func (p *partitions) end(part *partition.Partition) {
	if !p.behind {
		part.Delete()
		return
	}
	part.Close()
	p.setAside(part.ID(), part.Topic())
}

// setAside keeps what the log has of a partition.
func (p *partitions) setAside(id mq.PartitionID, topic string) {
	p.aside.add(id, topic)
	p.logger.Error("the controllers that were recovered do not know that this node has a partition: what it has of it is set aside, and kept until its file is removed",
		"topic", topic, "partition", id.String(), "file", p.aside.path(id))
}

// keep writes down what is set aside, and has people told of it.
func (p *partitions) keep(img *metadata.Image) {
	if p.aside == nil {
		return
	}
	if p.behind {
		if err := p.aside.compared(img.Generation()); err != nil {
			p.logger.Error("what is set aside cannot be written down: it is tried again", "error", err)
		}
	}
	list := []string{}
	for _, id := range p.aside.list() {
		first, end, _ := p.log.Bounds(wal.StreamID(id.Key()))
		list = append(list, fmt.Sprintf("partition %s of topic %q is set aside: the recovered controllers do not know that it is here; the log has offsets %d to %d of it; %s says so",
			id, p.aside.topics[id], first, end, p.aside.path(id)))
	}
	p.kept.Store(&list)
}

// setAsides says what is set aside, a line for each partition. Any goroutine may call it.
func (p *partitions) setAsides() []string {
	if list := p.kept.Load(); list != nil {
		return *list
	}
	return nil
}

// apply opens a partition that is to run here and gives it its role. changed says that it was opened or closed, or took a role that it could not take before.
func (p *partitions) apply(
	ctx context.Context, table map[mq.PartitionID]*partition.Partition, t *metadata.Topic, index int32, wanted *metadata.Partition,
) (changed bool) {
	id := mq.PartitionID{Topic: t.ID, Index: index}
	part := table[id]
	if !slices.Contains(wanted.Replicas, p.node) {
		delete(p.unopened, id)
		delete(p.unready, id)
		if part == nil {
			return false
		}
		p.logger.Info("this node is no replica of a partition any more", "topic", t.Name, "partition", index)
		p.end(part)
		delete(table, id)
		return true
	}
	if part == nil {
		var err error
		if part, err = p.open(ctx, t, id, wanted); err != nil {
			if _, again := p.unopened[id]; !again {
				p.unopened[id] = !p.begun
				p.logger.Error("a partition cannot be opened yet: it is tried again", "topic", t.Name, "partition", index, "error", err)
			}
			return false
		}
		delete(p.unopened, id)
		table[id] = part
		changed = true
		if err := p.aside.taken(id); err != nil {
			p.logger.Error("a partition that was set aside runs again, and its file is still there", "error", err)
		}
	}
	return p.takeRole(ctx, part, wanted) || changed
}

// takeRole gives a partition its role, or notes that it is to be tried again. late says that it could not take it before.
func (p *partitions) takeRole(ctx context.Context, part *partition.Partition, wanted *metadata.Partition) (late bool) {
	id := part.ID()
	err := p.lead(ctx, part, wanted)
	late = p.unready[id]
	if err == nil {
		delete(p.unready, id)
		return late
	}
	// Of what is quarantined, and of an epoch that is over, only another image makes something else.
	if state, _ := part.State(); state == partition.StateQuarantined || mq.CodeOf(err) == mq.FencedLeaderEpoch {
		delete(p.unready, id)
		late = false
	} else {
		p.unready[id] = true
	}
	if !late {
		p.logger.Error("a partition cannot take its role: it refuses requests", "topic", part.Topic(), "partition", id.Index, "leader", wanted.Leader,
			"leader_epoch", int32(wanted.LeaderEpoch), "error", err)
	}
	return false
}

// resign asks the controllers to have others lead what this node leads and is quarantined here: nobody else knows of that.
func (p *partitions) resign(ctx context.Context) {
	command := &metadatapb.ChangePartitions{}
	for id, part := range p.Table().All() {
		if state, _ := part.State(); state != partition.StateQuarantined {
			continue
		}
		t := p.last.Topic(id.Topic)
		now := t.Partition(id.Index)
		heir := p.heir(now)
		if now.Leader != p.node || heir == mq.NoNode {
			continue
		}
		change := &metadatapb.PartitionChange{
			Partition: metadata.PartitionRecord(id), PartitionEpoch: now.PartitionEpoch, LeaderEpoch: int32(now.LeaderEpoch), Leader: new(int32(heir)),
		}
		for _, other := range now.ISR {
			if other != p.node {
				change.Isr = append(change.Isr, &metadatapb.ISRMember{NodeId: int32(other)})
			}
		}
		command.Changes = append(command.Changes, change)
		p.logger.Warn("a quarantined partition is given up", "topic", t.Name, "partition", id.Index, "to", heir)
	}
	if len(command.Changes) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, openWithin)
	defer cancel()
	if _, err := p.cluster.decide(ctx, &metadatapb.Command{Kind: &metadatapb.Command_ChangePartitions{ChangePartitions: command}}); err != nil {
		p.logger.Warn("quarantined partitions could not be given up", "partitions", len(command.Changes), "error", err)
	}
}

// heir is who is in sync beside this node and alive, if anybody is.
func (p *partitions) heir(of *metadata.Partition) mq.NodeID {
	for _, id := range of.ISR {
		if b := p.last.Broker(id); id != p.node && b != nil && !b.Fenced {
			return id
		}
	}
	return mq.NoNode
}

// applyLate tries those again that could not be opened, or could not take their role.
func (p *partitions) applyLate(
	ctx context.Context, table map[mq.PartitionID]*partition.Partition, img *metadata.Image, late []mq.PartitionID,
) (changed bool) {
	for _, id := range late {
		if _, unopened := p.unopened[id]; !unopened && !p.unready[id] {
			continue
		}
		t := img.Topic(id.Topic)
		changed = p.apply(ctx, table, t, id.Index, t.Partition(id.Index)) || changed
	}
	return changed
}

func (p *partitions) open(ctx context.Context, t *metadata.Topic, id mq.PartitionID, wanted *metadata.Partition) (*partition.Partition, error) {
	tiered, err := p.checkpoint(ctx, id)
	if err != nil {
		return nil, err
	}
	var found *partition.Recovered
	if !p.begun || p.unopened[id] {
		behind, err := p.mayOpen(id, wanted, tiered.End)
		if err == nil && behind {
			tiered, err = p.checkpoint(ctx, id) // again: a search may have ended since
		}
		if err != nil {
			return nil, err
		}
		found = p.recovery.Take(id)
	}
	if found == nil && p.aside.has(id) {
		if found, err = partition.Reread(ctx, p.log, id, p.now()); err != nil {
			return nil, err
		}
	}
	settings := p.settings[t.ID]
	cfg := partition.Config{
		ID: id, Topic: t.Name, Node: p.node, Log: p.log, Cold: p.cold, Tail: p.tail, Counters: p.counters,
		Settings:   func() partition.Settings { return *settings.Load() },
		Checkpoint: p.checkpoint, Committed: p.committed, Lease: p.lease, Logger: p.logger, Now: p.now,
	}
	cfg.KeepLocal = mq.InternalTopic(t.Name)
	if p.adjust != nil {
		p.adjust(&cfg)
	}
	return partition.Open(cfg, found, tiered)
}

// mayOpen has a partition of before the start wait whose log let go of what the object index does not have any more, because the controllers are back at an earlier state: opened now, it
// would pass for damaged. behind says that its log is such a one. Its leader has the rest looked for in the object store; a replica that others count on waits for the leader.
func (p *partitions) mayOpen(id mq.PartitionID, wanted *metadata.Partition, tiered mq.Offset) (behind bool, err error) {
	held, behind := p.recovery.Behind(id, p.log, tiered)
	if !behind || p.regain == nil {
		return false, nil
	}
	if wanted.Leader == p.node {
		searched, late := p.regain.ask(id, wanted.LeaderEpoch, tiered, tier.Gap{Log: held.Epochs, LogFirst: held.First, LogEnd: held.End})
		if searched || late && p.heir(wanted) != mq.NoNode {
			return true, nil
		}
	} else if !slices.Contains(wanted.ISR, p.node) && !slices.Contains(wanted.Eligible, p.node) {
		return true, nil
	}
	return true, mq.Errorf(mq.OffsetNotAvailable, "partition %s: the log begins at %d, and the object index ends at %d: what lost controllers had committed is looked for in the object store",
		id, held.First, tiered)
}

// checkpoint is what the last tier commit of a partition carried.
func (p *partitions) checkpoint(ctx context.Context, id mq.PartitionID) (partition.Checkpoint, error) {
	ctx, cancel := context.WithTimeout(ctx, openWithin) // who asks may hold up the node's end
	defer cancel()
	c, _, err := p.cluster.Checkpoint(ctx, id)
	if err != nil {
		return partition.Checkpoint{}, mq.Wrapf(err, "look up the checkpoint of partition %s", id)
	}
	return partition.Checkpoint{End: c.End, Producers: c.ProducerState, Epochs: c.Epochs}, nil
}

// lead gives the partition the role that the controller decided.
func (p *partitions) lead(ctx context.Context, part *partition.Partition, wanted *metadata.Partition) error {
	if state, err := part.State(); state == partition.StateQuarantined {
		if wanted.Leader == mq.NoNode || wanted.Leader == p.node || slices.Contains(wanted.ISR, p.node) || slices.Contains(wanted.Eligible, p.node) {
			return err
		}
		return part.Refetch(wanted.LeaderEpoch, wanted.Leader)
	}
	switch wanted.Leader {
	case p.node:
		if err := p.prepare(ctx, part, wanted); err != nil {
			return err
		}
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

// prepare has a partition that is about to be led here go on at the tiered end if its log is not what was tiered, as can be after an unclean election or the loss of a
// disk, and says what is lost by an unclean one. After a loss of controllers it looks first what they had committed: this log may have less.
func (p *partitions) prepare(ctx context.Context, part *partition.Partition, wanted *metadata.Partition) error {
	_, high, end, _ := part.Offsets()
	unclean := wanted.Unclean() && part.LeaderEpoch() < wanted.LeaderEpoch
	setBack := p.setBack(part, wanted)
	if !unclean && !setBack && wanted.TieredEnd <= end {
		return nil
	}
	id := part.ID()
	if setBack {
		if searched, late := p.regain.ask(id, wanted.LeaderEpoch, wanted.TieredEnd, tier.Gap{}); !searched && !late {
			return mq.Errorf(mq.OffsetNotAvailable, "partition %s: what lost controllers had committed is looked for in the object store", id)
		}
	}
	tiered, err := p.checkpoint(ctx, id)
	if err != nil {
		return err
	}
	if tiered.End < wanted.TieredEnd {
		return mq.Errorf(mq.OffsetNotAvailable, "partition %s: the tiered end is %d, its checkpoint here is at %d", id, wanted.TieredEnd, tiered.End)
	}
	from, _, err := part.Rebase(tiered)
	if err != nil {
		return err
	}
	if unclean {
		_, _, now, _ := part.Offsets()
		p.logger.Error("unclean election: this node leads a partition and may lack what others acknowledged; they cut their logs to its own",
			"topic", part.Topic(), "partition", id.Index,
			"leader_epoch", int32(wanted.LeaderEpoch), "lost_from", int64(max(from, now)), "replaced_from", int64(from), "log_end_before", int64(end), "log_end", int64(now),
			"high_watermark", int64(high), "tiered_end", int64(wanted.TieredEnd))
	}
	return nil
}

// setBack says whether a partition that this node is to lead, and does not lead, was set back by a recovery of the controllers since its log was written.
func (p *partitions) setBack(part *partition.Partition, wanted *metadata.Partition) bool {
	if state, _ := part.State(); state == partition.StateLeader || p.regain == nil {
		return false
	}
	newest := mq.NoEpoch
	if latest, ok := part.Epochs().Latest(); ok {
		newest = latest.Epoch
	}
	return wanted.SetBack(newest)
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

// dropUnknown frees what the log holds of partitions that do not run here any more and are not set aside: their topics were deleted, or they were given to others, while
// the node was away. With that, and once every partition is open that the log may know, the recovery is over.
func (p *partitions) dropUnknown() {
	if p.settled {
		return
	}
	wanted := false
	for _, before := range p.unopened {
		wanted = wanted || before
	}
	for _, id := range p.recovery.Partitions() {
		if p.unopened[id] {
			continue
		}
		p.recovery.Take(id)
		if p.behind && !p.aside.has(id) {
			p.setAside(id, "")
		}
		if p.aside.has(id) {
			continue
		}
		p.log.Drop(wal.StreamID(id.Key()))
		p.logger.Info("dropped the log of a partition that this node has no more", "partition", id.String())
	}
	if !wanted {
		p.recovery.Settle()
		p.settled = true
	}
}

// lapse has those who wait for a leader without a lease look for another one.
func (p *partitions) lapse() {
	if p.lease == nil || p.lease() == nil {
		return
	}
	for _, part := range p.Table().All() {
		part.Lapse()
	}
}

// expireProducers forgets producers that went idle.
func (p *partitions) expireProducers() {
	now := p.now()
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
