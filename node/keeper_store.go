package node

import (
	"cmp"
	"context"
	"errors"
	"time"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/tier"
)

const (
	// collectEvery is how often garbage is looked for. It is less where garbage is deleted sooner.
	collectEvery = time.Minute
	// checkpointsKept are the newest ones: the last is what a cluster is restored from, the one before it is for when that is damaged.
	checkpointsKept = 2
	// graceSteps is how finely the grace is measured: garbage waits for this part of it more at most.
	graceSteps = 8
)

// moment is how far the metadata was applied at a time.
type moment struct {
	at    time.Time
	index uint64
}

// observe notes how far the metadata is applied now. Every controller does, so that the grace of garbage does not begin anew when another one leads.
func (k *keeper) observe(now time.Time) {
	if n := len(k.moments); n > 0 && now.Sub(k.moments[n-1].at) < k.cfg.DeleteDelay/graceSteps {
		return
	}
	k.moments = append(k.moments, moment{now, k.store.Position().Index})
	for len(k.moments) > 1 && now.Sub(k.moments[1].at) >= k.cfg.DeleteDelay {
		k.moments = k.moments[1:]
	}
}

// level notes when the cluster begins to say since when garbage is garbage.
func (k *keeper) level(img *metadata.Image) {
	if k.leveled == 0 && img.FeatureLevel >= metadata.KeepingLevel {
		k.leveled = k.store.Position().Index
	}
}

// discardable says whether something was garbage already at an index. Of what became garbage before the cluster said when, it is only known that it was when that began.
func (k *keeper) discardable(o metadata.Object, safe uint64) bool {
	return cmp.Or(o.Garbage, k.leveled) <= safe
}

// waited is the index up to which all that was decided was decided at least the grace ago; 0: nothing is known to be.
func (k *keeper) waited(now time.Time) uint64 {
	if len(k.moments) == 0 || now.Sub(k.moments[0].at) < k.cfg.DeleteDelay {
		return 0
	}
	return k.moments[0].index
}

// prefix is where everything of this cluster lies in the bucket.
func (k *keeper) prefix() string { return bucketPrefix(k.cluster) }

// bucketPrefix is where everything lies that a cluster writes into its bucket. A cluster that is restored is another one: so it writes under another prefix.
func bucketPrefix(cluster mq.ClusterID) string { return cluster.String() + "/" }

// checkpoint copies the metadata into the bucket, if anything has changed since the last time.
func (k *keeper) checkpoint(ctx context.Context, _ *metadata.Image) error {
	at := k.store.Position()
	if k.durable == 0 {
		newest, err := tier.NewestCheckpoint(ctx, k.objects, k.prefix())
		if err == nil && newest != nil && newest.Index <= at.Index {
			k.durable = newest.Index
			k.counts.copied.Store(newest)
		}
		if err != nil && mq.CodeOf(err) != mq.Corrupt {
			return err
		}
	}
	if k.durable == at.Index {
		return nil
	}
	body, at, err := k.store.Snapshot()
	if err != nil {
		return err
	}
	defer body.Close()
	c := &tier.Checkpoint{Cluster: k.cluster, Node: k.node, Index: at.Index, Term: at.Term, Written: time.Now().UnixMilli()}
	if err := tier.WriteCheckpoint(ctx, k.objects, k.prefix(), c, body); err != nil {
		return err
	}
	k.durable = at.Index
	k.counts.checkpoints.Add(1)
	k.counts.copied.Store(c)
	k.logger.Debug("the metadata was copied into the object store", "index", at.Index, "bytes", c.Bytes(), "key", c.Key)
	return tier.TrimCheckpoints(ctx, k.objects, k.prefix(), checkpointsKept)
}

// collect deletes garbage from the bucket that was garbage for the whole grace, and of which a checkpoint says so: a cluster that is restored from that one does not look
// for it. What lies under another prefix is another cluster's, and is only forgotten.
func (k *keeper) collect(ctx context.Context, _ *metadata.Image) error {
	safe := min(k.durable, k.waited(time.Now()))
	if safe == 0 || k.leveled == 0 {
		return nil
	}
	var errs []error
	for after := uint64(0); ctx.Err() == nil && k.raft.Status().Term == k.term; {
		garbage, err := k.store.Garbage(after, keepBatch)
		if err != nil || len(garbage) == 0 {
			return errors.Join(append(errs, err)...)
		}
		after = garbage[len(garbage)-1].ID
		errs = append(errs, k.discard(ctx, garbage, safe))
	}
	return errors.Join(errs...)
}

// discard deletes those of some garbage that went before an index, and forgets what is deleted.
func (k *keeper) discard(ctx context.Context, garbage []metadata.Object, safe uint64) error {
	var keys []string
	var own []metadata.Object
	gone := &metadatapb.RemoveObjects{}
	for _, o := range garbage {
		switch {
		case !k.discardable(o, safe):
		case tier.Holds(k.prefix(), o.Key):
			keys, own = append(keys, o.Key), append(own, o)
		default:
			gone.ObjectIds = append(gone.ObjectIds, o.ID)
		}
	}
	errs := tier.DeleteObjects(ctx, k.objects, keys)
	for i, err := range errs {
		if err == nil {
			gone.ObjectIds = append(gone.ObjectIds, own[i].ID)
			k.counts.deleted.Add(1)
			k.counts.deletedBytes.Add(own[i].Size)
		}
	}
	if len(gone.ObjectIds) > 0 {
		_, err := k.decide(ctx, &metadatapb.Command{Kind: &metadatapb.Command_RemoveObjects{RemoveObjects: gone}})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
