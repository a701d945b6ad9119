package node

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/raft"
	"github.com/rustmq/rustmq/tier"
)

// The leading controller keeps house in what the object store has: it moves log starts for retention, drops ranges that nobody needs, copies the metadata into the
// bucket, and deletes objects. It has the whole index on its own disk, and it needs no partition's leader for any of this. One that leads no more, and does not know
// it, does no harm: what it proposes is refused, garbage never becomes anything else, and its checkpoints are older than the others.

const (
	// reclaimEvery is how often the index is looked through for what deleted topics and moved log starts have left, and reclaimLimit how many ranges go at once.
	reclaimEvery = 10 * time.Second
	reclaimLimit = 1000
	// reclaimSteps bounds one round: other chores wait meanwhile.
	reclaimSteps = 1000
	// keepBatch is how many partitions or objects are of one command, and keepPage how many ranges are read at once.
	keepBatch = 500
	keepPage  = 256
	// keepAgain is how soon a chore is tried again that failed, and tried first by a controller that has begun to lead.
	keepAgain = 10 * time.Second
	// keepTimeout bounds one proposal.
	keepTimeout = 10 * time.Second
)

// keeper is the housekeeping of one controller. All but its counts belong to its goroutine.
type keeper struct {
	node    mq.NodeID
	cluster mq.ClusterID
	raft    *raft.Node
	store   *metadata.Store
	objects *tier.Store // nil: this controller has none
	cfg     ObjectStoreConfig
	logger  *slog.Logger

	chores  []chore
	term    uint64 // in which the chores are due as they say; 0: none
	moments []moment
	// durable is the index of the newest checkpoint that is known to be in the bucket; 0: none is.
	durable uint64
	// leveled is up to where the metadata was applied when this controller first saw that the cluster says since when garbage is garbage; 0: not yet.
	leveled uint64

	counts keeperCounts
}

// keeperCounts are for metrics.
type keeperCounts struct {
	trimmed, checkpoints, deleted, deletedBytes, failed atomic.Int64
	stored                                              atomic.Pointer[stored]          // nil: this controller does not lead, or has not looked yet
	copied                                              atomic.Pointer[tier.Checkpoint] // the newest copy of the metadata that this controller knows of
}

// chore is something that is done again and again.
type chore struct {
	name  string
	every time.Duration
	do    func(context.Context, *metadata.Image) error
	due   time.Time
	ill   atomic.Pointer[error] // of the last try; nil: it worked
}

func (n *Node) newKeeper(objects *tier.Store) *keeper {
	k := &keeper{
		node: n.id.Node, cluster: n.id.Cluster, raft: n.raft, store: n.store, objects: objects, cfg: n.cfg.ObjectStore, logger: n.logger,
	}
	k.chores = []chore{
		{name: "retention", every: k.cfg.RetentionInterval, do: k.retain},
		{name: "reclaim", every: min(reclaimEvery, k.cfg.RetentionInterval), do: k.reclaim},
		{name: "count", every: min(storedEvery, k.cfg.RetentionInterval), do: k.count},
	}
	if objects != nil {
		k.chores = append(k.chores,
			chore{name: "checkpoint", every: k.cfg.CheckpointInterval, do: k.checkpoint},
			chore{name: "collect", every: min(collectEvery, k.cfg.DeleteDelay/graceSteps), do: k.collect},
		)
	}
	return k
}

// openKeeper starts the housekeeping of a controller.
func (n *Node) openKeeper(ctx context.Context) error {
	if !n.hasRole(RoleController) {
		return nil
	}
	objects, err := n.sharedObjects(ctx)
	if err != nil {
		return err
	}
	if objects == nil {
		n.logger.Warn("this controller has no object_store.url: while it leads, the metadata is not copied to the object store, and nothing is deleted there")
	}
	k := n.newKeeper(objects)
	n.keeper.Store(k)
	n.background(k.run)
	return nil
}

// tickEvery is how often it is looked what is due.
func (k *keeper) tickEvery() time.Duration {
	return min(time.Second, k.cfg.RetentionInterval, k.cfg.CheckpointInterval, k.cfg.DeleteDelay/graceSteps)
}

func (k *keeper) run(ctx context.Context) {
	ticker := time.NewTicker(k.tickEvery())
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			k.tick(ctx, now)
		}
	}
}

// tick does what is due, if this controller leads.
func (k *keeper) tick(ctx context.Context, now time.Time) {
	k.observe(now)
	status, img := k.raft.Status(), k.store.Image()
	k.level(img)
	if !status.Leading || img.ClusterID.IsZero() {
		k.term = 0
		k.counts.stored.Store(nil)
		k.counts.copied.Store(nil)
		return
	}
	if k.term != status.Term {
		k.term, k.durable = status.Term, 0
		for i := range k.chores {
			k.chores[i].due = now.Add(min(k.chores[i].every, keepAgain))
		}
	}
	for i := range k.chores {
		c := &k.chores[i]
		if now.Before(c.due) {
			continue
		}
		err := c.do(ctx, k.store.Image())
		c.due = now.Add(c.every)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			c.due = now.Add(min(c.every, keepAgain))
			k.counts.failed.Add(1)
			if c.ill.Swap(&err) == nil {
				k.logger.Warn("housekeeping fails; it is tried again", "chore", c.name, "error", err)
			}
		case c.ill.Swap(nil) != nil:
			k.logger.Info("housekeeping works again", "chore", c.name)
		}
	}
}

// decide has a command decided by this controller, which leads.
func (k *keeper) decide(ctx context.Context, command *metadatapb.Command) (*metadatapb.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	return decideBy(ctx, k.raft, command)
}

// retain moves log starts up to where retention wants them.
func (k *keeper) retain(ctx context.Context, img *metadata.Image) error {
	now := time.Now().UnixMilli()
	var errs []error
	starts := make([]*metadatapb.LogStart, 0, keepBatch)
	flush := func() {
		if len(starts) == 0 {
			return
		}
		result, err := k.decide(ctx, &metadatapb.Command{Kind: &metadatapb.Command_SetLogStarts{SetLogStarts: &metadatapb.SetLogStarts{Starts: starts}}})
		errs = append(errs, err)
		for _, v := range result.GetSetLogStarts().GetVerdicts() {
			if metadata.VerdictError(v) == nil {
				k.counts.trimmed.Add(1)
			}
		}
		starts = starts[:0]
	}
	for t := range img.Topics() {
		if !t.Config.Cleanup.Deletes() || t.Config.RetentionMs < 0 && t.Config.RetentionBytes < 0 {
			continue
		}
		for i, p := range t.All() {
			if ctx.Err() != nil || k.raft.Status().Term != k.term {
				return errors.Join(errs...)
			}
			if p.TieredEnd <= p.LogStart {
				continue
			}
			id := mq.PartitionID{Topic: t.ID, Index: i}
			start, err := metadata.RetentionStart(t.Config, p.LogStart, now, func(from mq.Offset) ([]metadata.Range, error) {
				return k.store.Ranges(id, from, keepPage)
			})
			if err != nil {
				errs = append(errs, mq.Wrapf(err, "retention of %s %d", t.Name, i))
			}
			if start <= p.LogStart {
				continue
			}
			k.logger.Debug("retention moves a log start", "topic", t.Name, "partition", i, "from", int64(p.LogStart), "to", int64(start))
			if starts = append(starts, &metadatapb.LogStart{Partition: metadata.PartitionRecord(id), LeaderEpoch: int32(mq.NoEpoch), Offset: int64(start)}); len(starts) == keepBatch {
				flush()
			}
		}
	}
	flush()
	return errors.Join(errs...)
}

// reclaim drops what deleted topics and moved log starts have left in the index, in steps.
func (k *keeper) reclaim(ctx context.Context, _ *metadata.Image) error {
	for range reclaimSteps {
		pending, err := k.store.ReclaimPending()
		if err != nil || !pending {
			return err
		}
		if _, err := k.decide(ctx, &metadatapb.Command{Kind: &metadatapb.Command_ReclaimRanges{ReclaimRanges: &metadatapb.ReclaimRanges{Limit: reclaimLimit}}}); err != nil {
			return err
		}
	}
	return nil
}

// keeperMetrics are what the leading controller does; on others they stand still.
func keeperMetrics() (metrics []metric) {
	for _, m := range []struct {
		name, help string
		count      func(*keeperCounts) *atomic.Int64
	}{
		{"rustmq_retention_log_starts_total", "Log starts that retention has moved.", func(k *keeperCounts) *atomic.Int64 { return &k.trimmed }},
		{"rustmq_metadata_checkpoints_total", "Copies of the metadata written into the object store.", func(k *keeperCounts) *atomic.Int64 { return &k.checkpoints }},
		{"rustmq_tier_deleted_objects_total", "Objects deleted from the object store.", func(k *keeperCounts) *atomic.Int64 { return &k.deleted }},
		{"rustmq_tier_deleted_bytes_total", "Bytes of the objects deleted from the object store.", func(k *keeperCounts) *atomic.Int64 { return &k.deletedBytes }},
		{"rustmq_housekeeping_failures_total", "Rounds of retention and of other housekeeping in the object store that failed.", func(k *keeperCounts) *atomic.Int64 { return &k.failed }},
	} {
		metrics = append(metrics, metric{name: m.name, help: m.help, kind: counter, value: func(s *sample) float64 { return float64(m.count(s.keeper).Load()) }})
	}
	return metrics
}
