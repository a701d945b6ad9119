package nodetest

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rustmq/rustmq/mq"
)

const (
	cutRecords    = 120
	cutValueBytes = 900
)

// run is the short life of a node that the cuts interrupt: enough to rotate, tier, free and recycle.
func run(ctx context.Context, r *Rig, w *Workload) error {
	n, err := r.Start(ctx)
	if err != nil {
		return err
	}
	defer n.Close(ctx)
	if err := w.CreateTopic(ctx, n.Broker()); err != nil {
		return err
	}
	for range 3 {
		if err := w.Produce(ctx, n.Broker(), cutRecords/3, cutValueBytes); err != nil {
			return err
		}
	}
	return nil
}

// survive starts the node again after the cut: by itself, with everything that was acknowledged, and working.
func survive(ctx context.Context, r *Rig, w *Workload) error {
	if err := r.PowerCut(); err != nil {
		return err
	}
	n, err := r.Start(ctx)
	if err != nil {
		return fmt.Errorf("the node does not start again: %w", err)
	}
	defer n.Close(ctx)
	if err := w.CreateTopic(ctx, n.Broker()); err != nil {
		return fmt.Errorf("create the topic again: %w", err)
	}
	if err := w.Check(ctx, n.Broker()); err != nil {
		return err
	}
	before := w.Acked()
	if err := w.Produce(ctx, n.Broker(), 4, cutValueBytes); err != nil {
		return fmt.Errorf("produce after the cut: %w", err)
	}
	if got := w.Acked() - before; got != 4 {
		return fmt.Errorf("%d of 4 records were acknowledged after the cut", got)
	}
	return w.Check(ctx, n.Broker())
}

func cut(ctx context.Context, seed uint64, at int, scratch string) (reached bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	r := NewRig(seed, scratch)
	defer r.Close()
	w := &Workload{Topic: "orders", Partitions: 2, Acks: mq.DurabilityAll}
	r.FS.CutAt(at)
	err = run(ctx, r, w)
	reached = r.FS.Cut()
	if err != nil && !reached {
		return false, fmt.Errorf("without a cut: %w", err)
	}
	return reached, survive(ctx, r, w)
}

// TestPowerCutAtEveryCallLosesNothing cuts the power at each write and sync of a
// short run, one run per cut, until a run is over before its cut comes.
func TestPowerCutAtEveryCallLosesNothing(t *testing.T) {
	var next, done atomic.Int64
	var over atomic.Bool
	group, ctx := errgroup.WithContext(t.Context())
	for worker := range 2 {
		scratch := t.TempDir()
		group.Go(func() error {
			for !over.Load() && ctx.Err() == nil {
				at := int(next.Add(1))
				dir := fmt.Sprintf("%s/%d", scratch, at)
				if err := os.Mkdir(dir, 0o700); err != nil {
					return err
				}
				reached, err := cut(ctx, uint64(at), at, dir)
				if err != nil {
					return fmt.Errorf("cut at call %d (seed %d, worker %d): %w", at, at, worker, err)
				}
				if !reached {
					over.Store(true)
				}
				done.Add(1)
				if err := os.RemoveAll(dir); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d cuts", done.Load())
}
