package node

import (
	"context"
	"errors"
	"time"

	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/tier"
)

// storedEvery is how often the leading controller adds up what the object store holds: it reads its whole list of objects for that.
const storedEvery = 5 * time.Minute

// stored is what the object store holds, as the metadata knows it. Not in it are the copies of the metadata itself, and what was uploaded and never
// committed.
type stored struct{ live, garbage holding }

// holding is what some objects are together.
type holding struct{ objects, bytes, ranges int64 }

func (h *holding) add(objects []metadata.Object) {
	for _, o := range objects {
		h.objects, h.bytes, h.ranges = h.objects+1, h.bytes+o.Size, h.ranges+int64(o.Ranges)
	}
}

// eachPage shows a list of objects in pages, until there are no more or visit says that it has enough. The error is list's.
func eachPage(list func(after uint64, limit int) ([]metadata.Object, error), visit func([]metadata.Object) (more bool)) error {
	for after := uint64(0); ; {
		page, err := list(after, keepBatch)
		if err != nil || len(page) == 0 || !visit(page) {
			return err
		}
		after = page[len(page)-1].ID
	}
}

// count adds up what the object store holds, for metrics, unless this controller leads no more.
func (k *keeper) count(ctx context.Context, _ *metadata.Image) error {
	sum, err := k.addUp(ctx, func() bool { return k.raft.Status().Term == k.term })
	if sum != nil {
		k.counts.stored.Store(sum)
	}
	return err
}

// addUp adds up what the object store holds, in pages, so that the database can be written meanwhile. nil when it is of no use any more.
func (k *keeper) addUp(ctx context.Context, useful func() bool) (*stored, error) {
	sum := new(stored)
	for _, part := range []struct {
		list func(after uint64, limit int) ([]metadata.Object, error)
		into *holding
	}{{k.store.Objects, &sum.live}, {k.store.Garbage, &sum.garbage}} {
		over := false
		err := eachPage(part.list, func(page []metadata.Object) bool {
			part.into.add(page)
			over = ctx.Err() != nil || !useful()
			return !over
		})
		if err != nil || over {
			return nil, errors.Join(err, ctx.Err())
		}
	}
	return sum, nil
}

// bytesPerGiB is the unit of prices by size.
const bytesPerGiB = 1 << 30

// requestPrice is what requests cost, and what they read from the store, by kind.
func (p *PriceConfig) requestPrice(b tier.Billed, read int64) map[string]float64 {
	return map[string]float64{
		"write": float64(b.Writes) / 1000 * float64(p.Writes), "read": float64(b.Reads) / 1000 * float64(p.Reads),
		"transfer": float64(read) / bytesPerGiB * float64(p.Transfer),
	}
}

// storagePrice is what it costs to keep so many bytes for a month.
func (p *PriceConfig) storagePrice(bytes int64) float64 {
	return float64(bytes) / bytesPerGiB * float64(p.Storage)
}

// costMetrics are what the object store charges for, and estimates of how much that is.
func costMetrics() []metric {
	held := func(value func(holding) int64) func(*sample) map[string]float64 {
		return func(s *sample) map[string]float64 {
			return map[string]float64{"live": float64(value(s.stored.live)), "garbage": float64(value(s.stored.garbage))}
		}
	}
	return []metric{
		{name: "rustmq_tier_billed_requests_total", help: "Requests to the object store as Amazon S3 charges for them, by kind: write (puts, parts, lists), read (of bytes, or of what an object is), delete. One of rustmq_tier_requests_total may be several.", kind: counter, label: "kind", each: billedRequests},
		{name: "rustmq_tier_cost_total", help: "Estimated cost of what this node asked of the object store since its start, by kind (write, read, transfer), by object_store.price and in its currency.", kind: counter, label: "kind", each: requestCosts},
		{name: "rustmq_tier_stored_objects", help: "Objects of the cluster in the object store, by state: live, or garbage that is not deleted yet. The leading controller counts them every few minutes, on others it is 0; copies of the metadata are not in it.", kind: gauge, label: "state", each: held(func(h holding) int64 { return h.objects })},
		{name: "rustmq_tier_stored_bytes", help: "Bytes of these objects.", kind: gauge, label: "state", each: held(func(h holding) int64 { return h.bytes })},
		{name: "rustmq_tier_stored_ranges", help: "Partition ranges in the object store, each a row of the index, as the leading controller counts them.", kind: gauge, value: func(s *sample) float64 { return float64(s.stored.live.ranges) }},
		{name: "rustmq_tier_storage_cost_per_month", help: "Estimated cost of keeping rustmq_tier_stored_bytes, garbage included, for a month, by object_store.price and in its currency.", kind: gauge, value: func(s *sample) float64 { return s.price.storagePrice(s.stored.live.bytes + s.stored.garbage.bytes) }},
	}
}

func billedRequests(s *sample) map[string]float64 {
	b := s.store.Billed()
	return map[string]float64{"write": float64(b.Writes), "read": float64(b.Reads), "delete": float64(b.Deletes)}
}

func requestCosts(s *sample) map[string]float64 {
	return s.price.requestPrice(s.store.Billed(), s.store.Downloaded())
}
