package tier

import (
	"cmp"
	"context"
	"slices"

	"github.com/rustmq/rustmq/mq"
)

const (
	// joinGapBytes is how far apart sections may lie that are read together: what is between them, indexes mostly, costs less than a request.
	joinGapBytes = 64 << 10
	// joinExtentBytes is how much is read together at most, beside a section that is larger by itself.
	joinExtentBytes = 4 << 20
)

// sections reads the sections that a merge is made of. What lies close together in one object comes by one request, and is kept until it was asked
// for: an object of a broker has a bit of each of its partitions.
type sections struct {
	store   *Store
	extents map[sectionKey]*extent
	read    int64 // bytes, so far
}

// sectionKey names what is asked for once: a section is one of several partitions where a topic was forked.
type sectionKey struct {
	partition mq.PartitionID
	section   indexKey
}

func (g *Range) section() sectionKey { return sectionKey{g.Partition, indexKey{g.Key, g.Position}} }

// extent is a part of an object with some sections.
type extent struct {
	object   object
	from, to int64
	wanted   int    // sections in it that were not asked for yet
	data     []byte // nil before the first was
}

func newSections(store *Store, runs [][]Range) *sections {
	var all []*Range
	for _, run := range runs {
		for i := range run {
			all = append(all, &run[i])
		}
	}
	slices.SortFunc(all, func(a, b *Range) int { return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Position, b.Position)) })
	s := &sections{store: store, extents: make(map[sectionKey]*extent, len(all))}
	var last *extent
	for _, g := range all {
		end := g.Position + g.Bytes
		if last == nil || last.object != g.object() || g.Position-last.to > joinGapBytes || end-last.from > joinExtentBytes {
			last = &extent{object: g.object(), from: g.Position}
		}
		last.to = max(last.to, end)
		last.wanted++
		s.extents[g.section()] = last
	}
	return s
}

// section is the batches of a range, verified as a whole. It can be asked for once.
func (s *sections) section(ctx context.Context, g *Range) ([]byte, error) {
	if err := g.check(); err != nil {
		return nil, err
	}
	x := s.extents[g.section()]
	if x.data == nil {
		if err := s.fetch(ctx, x); err != nil {
			return nil, err
		}
	}
	data := x.data[g.Position-x.from:][:g.Bytes:g.Bytes]
	if got := checksum(data); got != g.CRC {
		x.data = nil // it may have happened on the way
		return nil, corrupt("object %s at %d, %s offsets [%d,%d): CRC32C of %d bytes is %08x, the catalogue says %08x",
			g.Key, g.Position, g.Partition, g.First, g.End, g.Bytes, got, g.CRC)
	}
	s.release([]Range{*g})
	return data, nil
}

// release says that sections will not be asked for (any more).
func (s *sections) release(ranges []Range) {
	for i := range ranges {
		key := ranges[i].section()
		x, ok := s.extents[key]
		if !ok {
			continue
		}
		delete(s.extents, key)
		if x.wanted--; x.wanted == 0 {
			x.data = nil
		}
	}
}

func (s *sections) fetch(ctx context.Context, x *extent) error {
	body, err := s.store.openCommitted(ctx, x.object, x.from, x.to)
	if err != nil {
		return err
	}
	defer body.Close()
	data := make([]byte, x.to-x.from)
	n, err := body.fill(data)
	s.read += int64(n)
	if err != nil {
		return err
	}
	x.data = data
	return nil
}
