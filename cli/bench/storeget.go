package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/tier"
	"github.com/rustmq/rustmq/tier/clouds"
)

// storeGets is the bound of reads from an object store: ranged reads through the same driver, as large as the server's, as many at once as it may
// have, of what it has put there, one object after the other, thrown away.
type storeGets struct {
	store   *tier.Store
	objects []tier.Info
	bytes   int64        // of all objects
	rangeOf func() int64 // how many bytes the server asked for at once
	turn    int64        // pieces that earlier rounds have read
}

// newStoreGets lists what there is. Close the store.
func newStoreGets(ctx context.Context, url string, rangeOf func() int64) (*storeGets, error) {
	store, err := tier.OpenStore(ctx, url, tier.Limits{}, clouds.Schemes()...)
	if err != nil {
		return nil, err
	}
	g := &storeGets{store: store.For(tier.ClassRead), rangeOf: rangeOf}
	if err := g.list(ctx); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return g, nil
}

func (g *storeGets) list(ctx context.Context) error {
	clusters, err := tier.Clusters(ctx, g.store)
	if err != nil {
		return err
	}
	for _, cluster := range clusters {
		for page, more := "", true; more; more = page != "" {
			var objects []tier.Info
			if objects, page, err = g.store.ObjectPage(ctx, cluster.String()+"/", page); err != nil {
				return err
			}
			for _, o := range objects {
				g.objects, g.bytes = append(g.objects, o), g.bytes+o.Size
			}
		}
	}
	if g.bytes == 0 {
		return mq.Errorf(mq.InvalidRequest, "the object store %s has no objects of any cluster: is it the server's?", g.store)
	}
	return nil
}

// piece is the i-th range of all objects, of at most size bytes; behind the last one it begins again.
func (g *storeGets) piece(i, size int64) (key string, at, n int64) {
	var pieces int64
	for _, o := range g.objects {
		pieces += (o.Size + size - 1) / size
	}
	i %= pieces
	for _, o := range g.objects {
		if of := (o.Size + size - 1) / size; i >= of {
			i -= of
			continue
		}
		return o.Key, i * size, min(size, o.Size-i*size)
	}
	return "", 0, 0 // i is less than there are
}

// measure is one round.
func (g *storeGets) measure(ctx context.Context, recordSize int, d time.Duration) (Result, error) {
	size := cmp.Or(g.rangeOf(), int64(tier.DefaultBlockBytes))
	var total, next atomic.Int64
	next.Store(g.turn)
	watch := startWatch()
	over := watch.wall.Add(d)
	var group errgroup.Group
	for range tier.DefaultFetches {
		group.Go(func() error {
			buf := make([]byte, size)
			for time.Now().Before(over) {
				key, at, n := g.piece(next.Add(1)-1, size)
				if err := g.get(ctx, key, at, buf[:n]); err != nil {
					return err
				}
				total.Add(n)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return Result{}, fmt.Errorf("bound of the object store: %w", err)
	}
	wall, cpu := watch.elapsed()
	g.turn = next.Load()
	return bulkResult(fmt.Sprintf("store_get_%d", tier.DefaultFetches), total.Load(), recordSize, wall, cpu, 0), nil
}

func (g *storeGets) get(ctx context.Context, key string, at int64, buf []byte) error {
	body, err := g.store.Open(ctx, key, at, int64(len(buf)))
	if err != nil {
		return err
	}
	_, err = io.ReadFull(body, buf)
	return errors.Join(err, body.Close())
}
