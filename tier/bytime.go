package tier

import (
	"context"
	"errors"

	"github.com/rustmq/rustmq/mq"
)

// OffsetByTime finds the first record at or above from whose timestamp is at
// least ts (milliseconds since 1970) among p's tiered records. ok is false when
// there is none. Ranges and runs without such a timestamp are passed over by
// what the catalogue and the indexes say. Errors as for Read.
func (r *Reader) OffsetByTime(ctx context.Context, p mq.PartitionID, from mq.Offset, ts int64) (offset mq.Offset, at int64, ok bool, err error) {
	buf := mq.NewDecodeBuffer(mq.MaxDecompressedBatchBytes)
	var gone string
pages:
	for {
		page, asked, err := r.ranges.page(ctx, p, from)
		if asked {
			r.counters.lookups.Add(1)
		}
		if err != nil || len(page) == 0 {
			return 0, 0, false, err
		}
		for i := range page {
			g := &page[i]
			if g.MaxTime >= ts {
				rec, found, err := r.searchRange(ctx, g, max(from, g.First), ts, buf)
				if errors.Is(err, ErrAbsent) && gone != g.Key {
					gone = g.Key // moved to another object since we asked, maybe
					r.ranges.drop(p)
					continue pages
				}
				if err != nil || found {
					return rec.Offset, rec.Timestamp, found, err
				}
			}
			from = max(from, g.End)
		}
	}
}

// searchRange looks for the record in one range.
func (r *Reader) searchRange(ctx context.Context, g *Range, from mq.Offset, ts int64, buf *mq.DecodeBuffer) (rec mq.Record, found bool, err error) {
	if err := g.check(); err != nil {
		return rec, false, err
	}
	x, err := r.index(ctx, g)
	if err != nil {
		return rec, false, err
	}
	for i := max(0, x.find(from)); i < len(x.entries) && x.entries[i].offset < g.End; i++ {
		if x.entries[i].maxTime < ts {
			continue
		}
		data, err := r.runs(ctx, g, x, i, 1)
		if err != nil {
			return rec, false, err
		}
		data, _ = cut(data, from, g.End, len(data))
		for len(data) > 0 {
			b := mq.Batch(data[:mq.Batch(data).Length()])
			data = data[len(b):]
			if rec, found, err = searchBatch(b, from, g.End, ts, buf); err != nil || found {
				return rec, found, err
			}
		}
	}
	return rec, false, nil
}

func searchBatch(b mq.Batch, from, end mq.Offset, ts int64, buf *mq.DecodeBuffer) (mq.Record, bool, error) {
	if b.MaxTimestamp() < ts {
		return mq.Record{}, false, nil
	}
	for rec, err := range b.Records(buf) {
		if err != nil {
			return mq.Record{}, false, mq.Wrapf(err, "search %s by time", b)
		}
		if rec.Offset >= from && rec.Offset < end && rec.Timestamp >= ts {
			return mq.Record{Offset: rec.Offset, Timestamp: rec.Timestamp}, true, nil
		}
	}
	return mq.Record{}, false, nil
}
