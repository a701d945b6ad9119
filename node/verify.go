package node

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/tier"
)

// verifyAtOnce is how many objects are read at a time.
const verifyAtOnce = 4

// Verified is what was read of an object store.
type Verified struct {
	Cluster    mq.ClusterID
	Checkpoint tier.Checkpoint
	Objects    int
	Bytes      int64
	Ranges     int // in the index
	// Gone objects were deleted while others were read: a newer copy of the metadata does not name them.
	Gone int
	// Bad objects are damaged or missing.
	Bad int
}

// VerifyStore reads everything that a cluster has in an object store, by the newest copy of its metadata there, and verifies every byte: it needs no node. from names the cluster; zero: the
// only one in the store. bad is told of each object that is damaged, with the places, or missing, one call at a time. Errors are those of [RestoreCluster]; damage is none.
func VerifyStore(ctx context.Context, cfg Config, from mq.ClusterID, logger *slog.Logger, bad func(key string, reasons []string)) (_ *Verified, err error) {
	n := offline(cfg, Seams{}, logger)
	defer func() { err = errors.Join(err, n.Close(context.WithoutCancel(ctx))) }()
	if from, err = n.openObjectsOf(ctx, from); err != nil {
		return nil, err
	}
	scratch, err := os.MkdirTemp("", "rustmq-verify-")
	if err != nil {
		return nil, mq.Errorf(mq.KafkaStorageError, "make a directory for the metadata: %w", err)
	}
	n.onClose(func(context.Context) error { return os.RemoveAll(scratch) })
	n.seams.Metadata = metadata.Options{Path: filepath.Join(scratch, metadataFile), NoSync: true}
	if err := n.openStore(); err != nil {
		return nil, err
	}
	r := &restore{node: n, found: &Restored{From: from}}
	if err := r.loadCheckpoint(ctx); err != nil {
		return nil, err
	}
	v := &verification{node: n, bad: bad, found: Verified{Cluster: from, Checkpoint: r.found.Checkpoint}}
	for _, key := range r.found.Damaged {
		v.report(key, []string{"this copy of the metadata is damaged"})
	}
	if err := v.index(); err != nil {
		return nil, err
	}
	return &v.found, v.objects(ctx)
}

// verification is one under way.
type verification struct {
	node *Node
	bad  func(key string, reasons []string)

	mu    sync.Mutex
	found Verified
}

func (v *verification) report(key string, reasons []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.found.Bad++
	v.bad(key, reasons)
}

// index goes over all ranges: the database says where one is missing.
func (v *verification) index() error {
	for t := range v.node.store.Image().Topics() {
		for i, p := range t.All() {
			for from := p.LogStart; ; {
				ranges, err := v.node.store.Ranges(mq.PartitionID{Topic: t.ID, Index: i}, from, keepPage)
				if mq.CodeOf(err) == mq.Corrupt {
					v.report(v.found.Checkpoint.Key, []string{err.Error()})
					break
				}
				if err != nil {
					return err
				}
				if len(ranges) == 0 {
					break
				}
				v.found.Ranges += len(ranges)
				from = ranges[len(ranges)-1].End
			}
		}
	}
	return nil
}

// objects reads all of them, a few at a time.
func (v *verification) objects(ctx context.Context) error {
	group, within := errgroup.WithContext(ctx)
	group.SetLimit(verifyAtOnce)
	err := eachPage(v.node.store.Objects, func(page []metadata.Object) bool {
		for _, o := range page {
			group.Go(func() error { return v.object(within, o) })
		}
		return within.Err() == nil
	})
	return errors.Join(err, group.Wait(), ctx.Err())
}

// object reads one.
func (v *verification) object(ctx context.Context, o metadata.Object) error {
	report, err := v.check(ctx, o)
	switch {
	case errors.Is(err, tier.ErrAbsent):
		return v.absent(ctx, o)
	case err != nil:
		return err
	}
	v.mu.Lock()
	v.found.Objects, v.found.Bytes = v.found.Objects+1, v.found.Bytes+report.Size
	v.mu.Unlock()
	var reasons []string
	for _, d := range report.Damage {
		reasons = append(reasons, d.String())
	}
	if report.Size != o.Size {
		reasons = append(reasons, mq.Errorf(mq.Corrupt, "it has %d bytes, the metadata says %d", report.Size, o.Size).Error())
	}
	if len(reasons) > 0 {
		v.report(o.Key, reasons)
	}
	return nil
}

func (v *verification) check(ctx context.Context, o metadata.Object) (tier.Report, error) {
	object, err := tier.OpenObject(ctx, v.node.objects, o.Key)
	if err != nil {
		return tier.Report{}, err
	}
	defer object.Close()
	return tier.Check(object)
}

// absent is an object that the store does not have: it may have been deleted since the copy of the metadata that it is known by.
func (v *verification) absent(ctx context.Context, o metadata.Object) error {
	newest, err := tier.NewestCheckpoint(ctx, v.node.objects, bucketPrefix(v.found.Cluster))
	if err != nil {
		return err
	}
	if newest != nil && newest.Index > v.found.Checkpoint.Index {
		v.mu.Lock()
		v.found.Gone++
		v.mu.Unlock()
		return nil
	}
	v.report(o.Key, []string{"the store does not have it"})
	return nil
}
