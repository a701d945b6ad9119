package tier

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sync/singleflight"

	"github.com/rustmq/rustmq/mq"
)

const (
	// rangesPerPage is how many ranges are asked of the catalogue at once.
	rangesPerPage = 64
	// maxCachedRanges bounds the ranges kept, about 200 bytes each.
	maxCachedRanges = 64 << 10
	// pagesPerPartition bounds how many places of one partition are kept: one
	// for each of a few consumer groups.
	pagesPerPartition = 8
)

// rangeCache keeps pages of the catalogue. What it holds may be outdated: a
// range that was merged or removed since. Its object then is gone some time
// later, which a reader notices and drops the page.
type rangeCache struct {
	ctx     context.Context // of the lookups, which belong to no request
	catalog Catalog
	group   singleflight.Group

	mu    sync.Mutex
	pages *lru[mq.PartitionID, [][]Range] // each page sorted and not empty; the latest first
}

func newRangeCache(ctx context.Context, catalog Catalog) *rangeCache {
	return &rangeCache{ctx: ctx, catalog: catalog, pages: newLRU[mq.PartitionID, [][]Range](maxCachedRanges, nil)}
}

// page lists ranges of p, in order, of which the first holds or follows from.
// Empty: the catalogue has nothing there. Callers do not change it.
func (c *rangeCache) page(ctx context.Context, p mq.PartitionID, from mq.Offset) (page []Range, asked bool, err error) {
	if page := c.cached(p, from); page != nil {
		return page, false, nil
	}
	key := p.Key()
	ch := c.group.DoChan(string(key[:])+strconv.FormatInt(int64(from), 36), func() (any, error) {
		page, err := c.catalog.Ranges(c.ctx, p, from, rangesPerPage)
		if err != nil {
			return nil, mq.Wrapf(err, "find %s offset %d in the object store", p, from)
		}
		c.keep(p, page)
		return page, nil
	})
	select {
	case result := <-ch:
		if result.Err != nil {
			return nil, true, result.Err
		}
		return result.Val.([]Range), true, nil
	case <-ctx.Done():
		return nil, true, ctx.Err()
	}
}

// cached is the rest, from the range that holds from, of a page that has one.
func (c *rangeCache) cached(p mq.PartitionID, from mq.Offset) []Range {
	c.mu.Lock()
	defer c.mu.Unlock()
	pages, _ := c.pages.get(p)
	for _, page := range pages {
		if from < page[0].First || from >= page[len(page)-1].End {
			continue
		}
		i, exact := slices.BinarySearchFunc(page, from, func(r Range, o mq.Offset) int { return cmp.Compare(r.First, o) })
		if !exact {
			i--
		}
		if from < page[i].End {
			return page[i:]
		}
	}
	return nil
}

func (c *rangeCache) keep(p mq.PartitionID, page []Range) {
	if len(page) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	old, _ := c.pages.get(p)
	pages := [][]Range{page}
	cost := int64(len(page))
	for _, o := range old {
		// A page that begins where the new one does is an older state of it.
		if len(pages) < pagesPerPartition && o[0].First != page[0].First {
			pages = append(pages, o)
			cost += int64(len(o))
		}
	}
	c.pages.put(p, pages, cost)
}

// drop forgets what it knows of a partition.
func (c *rangeCache) drop(p mq.PartitionID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pages.remove(p)
}
