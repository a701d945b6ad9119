package tier

import (
	"context"

	"github.com/rustmq/rustmq/mq"
)

func (g *Range) object() object { return object{g.Key, g.ObjectSize} }

// indexKey names a section's index: an object has one section at a position.
type indexKey struct {
	object   string
	position int64
}

// readPiece reads from the first range of page, which holds from.
func (r *Reader) readPiece(ctx context.Context, page []Range, from mq.Offset, maxBytes int, cur *cursor) ([]byte, mq.Offset, error) {
	g := &page[0]
	if err := g.check(); err != nil {
		return nil, 0, err
	}
	if from == g.First {
		// Where to read is known before the index is: both come at the same time.
		r.advance(page, g.Position, cur)
	}
	x, err := r.index(ctx, g)
	if err != nil {
		return nil, 0, err
	}
	i := x.find(from)
	r.advance(page, g.Position+x.entries[i].position, cur)
	data, err := r.runs(ctx, g, x, i, maxBytes)
	if err != nil {
		return nil, 0, err
	}
	batches, next := cut(data, from, g.End, maxBytes)
	return batches, next, nil
}

// check sees that a range can be what it says; the catalogue is trusted, but a
// mistake there must not become a panic here.
func (g *Range) check() error {
	if g.Position < headerSize || g.Bytes < mq.BatchHeaderSize || addOverflows(g.Position, g.Bytes) || g.Position+g.Bytes > g.ObjectSize-trailerSize {
		return mq.Errorf(mq.Internal, "the catalogue has %s [%d,%d) at %d to %d of object %s, which has %d bytes",
			g.Partition, g.First, g.End, g.Position, g.Position+g.Bytes, g.Key, g.ObjectSize)
	}
	return nil
}

// index is the index of a range's section.
func (r *Reader) index(ctx context.Context, g *Range) (*sectionIndex, error) {
	key := indexKey{g.Key, g.Position}
	r.mu.Lock()
	x, ok := r.indexes.get(key)
	r.mu.Unlock()
	if !ok {
		var err error
		if x, err = r.loadIndex(ctx, g); err != nil {
			return nil, err
		}
		r.mu.Lock()
		r.indexes.put(key, x, x.size())
		r.mu.Unlock()
	}
	if x.entries[0].offset > g.First || x.end < g.End { // a range may begin inside its section: see Gap.Fill
		return nil, corrupt("object %s at %d: has offsets [%d,%d), the catalogue says [%d,%d)",
			g.Key, g.Position, x.entries[0].offset, x.end, g.First, g.End)
	}
	return x, nil
}

// loadIndex reads the index, a second time if what came the first time was
// damaged: that may have happened on the way.
func (r *Reader) loadIndex(ctx context.Context, g *Range) (*sectionIndex, error) {
	at := g.Position + g.Bytes
	for try := 0; ; try++ {
		x, end, err := r.readIndex(ctx, g, at)
		if mq.CodeOf(err) != mq.Corrupt {
			return x, err
		}
		r.forget(g.object(), at, end)
		if try > 0 {
			return nil, corrupt("object %s at %d: %w", g.Key, at, err)
		}
	}
}

// readIndex also says up to where it read.
func (r *Reader) readIndex(ctx context.Context, g *Range, at int64) (x *sectionIndex, end int64, err error) {
	o := g.object()
	end = at + indexHead
	if end > o.size {
		return nil, o.size, corrupt("index: beyond the object's %d bytes", o.size)
	}
	head, err := r.span(ctx, o, at, end)
	if err != nil {
		return nil, end, err
	}
	size, err := indexSize(head)
	if err != nil {
		return nil, end, err
	}
	if size > o.size-at {
		return nil, end, corrupt("index: of %d bytes in an object of %d", size, o.size)
	}
	end = at + size
	data, err := r.span(ctx, o, at, end)
	if err != nil {
		return nil, end, err
	}
	if x, err = parseIndex(data); err != nil {
		return nil, end, err
	}
	if x.objectID != g.ObjectID || x.position != g.Position || x.bytes != g.Bytes || x.crc != g.CRC {
		return nil, end, corrupt("index: of object %d, section at %d with %d bytes and CRC32C %08x; the catalogue says object %d, %d, %d and %08x",
			x.objectID, x.position, x.bytes, x.crc, g.ObjectID, g.Position, g.Bytes, g.CRC)
	}
	return x, end, nil
}

// runs returns verified runs of a section, from the i-th on: as many as
// maxBytes and the block that the first lies in give, but at least one.
func (r *Reader) runs(ctx context.Context, g *Range, x *sectionIndex, i int, maxBytes int) ([]byte, error) {
	start, size, _ := x.run(i)
	blockEnd := (g.Position+start)/r.cfg.BlockBytes*r.cfg.BlockBytes + r.cfg.BlockBytes
	end, n := start+size, 1
	for i+n < len(x.entries) && end-start < int64(maxBytes) {
		_, more, _ := x.run(i + n)
		if g.Position+end+more > blockEnd {
			break
		}
		end += more
		n++
	}
	for try := 0; ; try++ {
		data, err := r.span(ctx, g.object(), g.Position+start, g.Position+end)
		if err != nil {
			return nil, err
		}
		at, err := verifyRuns(data, x, i, n)
		if err == nil {
			return data, nil
		}
		r.forget(g.object(), g.Position+start, g.Position+end)
		if try > 0 {
			return nil, corrupt("object %s at %d, %s offsets [%d,%d): %w", g.Key, g.Position+at, g.Partition, g.First, g.End, err)
		}
	}
}

// verifyRuns checks n runs from the i-th: all their bytes, and that they are
// batches without a gap. The run's checksum covers more than those of its
// batches, which the encoder verified when it made it: so these are not computed
// again. at is where in the section something is wrong.
func verifyRuns(data []byte, x *sectionIndex, i, n int) (at int64, err error) {
	for j := i; j < i+n; j++ {
		at, size, end := x.run(j)
		run := data[:size]
		data = data[size:]
		if got := checksum(run); got != x.entries[j].crc {
			return at, corrupt("CRC32C of %d bytes is %08x, the index says %08x", size, got, x.entries[j].crc)
		}
		want := x.entries[j].offset
		for len(run) > 0 {
			b, rest, err := mq.NextBatch(run)
			if err == nil && b.BaseOffset() != want {
				err = corrupt("%s where offset %d should follow", b, want)
			}
			if err != nil {
				return at, mq.Errorf(mq.Corrupt, "%w", err)
			}
			at += int64(len(b))
			want, run = b.NextOffset(), rest
		}
		if want != end {
			return at, corrupt("batches end at offset %d, the index says %d", want, end)
		}
	}
	return 0, nil
}

// cut takes from verified batches those that hold offsets of [from, end), at
// least one and beyond that no more than maxBytes.
func cut(data []byte, from, end mq.Offset, maxBytes int) (batches []byte, next mq.Offset) {
	first, size := 0, 0
	next = from
	for rest := data; len(rest) > 0; {
		b := mq.Batch(rest[:mq.Batch(rest).Length()])
		rest = rest[len(b):]
		switch {
		case b.NextOffset() <= from:
			first += len(b)
			continue
		case b.BaseOffset() >= end, size > 0 && size+len(b) > maxBytes:
			rest = nil
			continue
		}
		size += len(b)
		next = b.NextOffset()
	}
	return data[first : first+size : first+size], next
}

// advance fetches what a reader needs that is now at position of the first
// range of page, and reads ahead of it the more the longer it goes on
// sequentially.
func (r *Reader) advance(page []Range, position int64, cur *cursor) {
	here := blockKey{page[0].Key, position / r.cfg.BlockBytes}
	if here == cur.last {
		return
	}
	if cur.last != (blockKey{}) {
		cur.window = min(2*cur.window, r.window)
	}
	cur.last = here
	// What lies ahead: the rest of this range, then the next ones.
	left := cur.window
	for i := range page {
		g := &page[i]
		if left <= 0 || g.check() != nil {
			return
		}
		o, first, needed := g.object(), g.Position/r.cfg.BlockBytes, int64(-1)
		if i == 0 {
			first, needed = here.index, here.index
		}
		end := r.lastBlock(o, g.Position+g.Bytes+g.indexGuess())
		last := min(end, first+left-1)
		r.ahead(o, first, last, needed)
		if i > 0 && last < end {
			r.ahead(o, end, end, -1) // the index, which is needed first
		}
		left -= last - first + 1
	}
}

// indexGuess is about how long the index behind a range is: too long rather than
// too short.
func (g *Range) indexGuess() int64 { return indexFixed + indexEntrySize*(g.Bytes/IndexInterval+1) }
