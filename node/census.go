package node

import (
	"context"
	"errors"
	"strings"

	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/tier"
)

// census compares what the object store lists under a cluster's prefix with what the metadata knows, page by page.
type census struct {
	store   *metadata.Store
	objects *tier.Store
	prefix  string
}

// censusPage is what one page of the listing says.
type censusPage struct {
	objects, bytes int64
	garbage        int64       // that the metadata knows as such
	unknown        []tier.Info // that it does not know
	missing        []string    // keys of committed objects that are not there
	next           string      // page; empty behind the last one
}

// page looks at one page: empty for the first one, else what the one before gave as the next.
func (c *census) page(ctx context.Context, page string) (p censusPage, err error) {
	token, after, _ := strings.Cut(page, ".")
	list, next, err := c.objects.ObjectPage(ctx, c.prefix, token)
	if err != nil {
		return p, err
	}
	listed := make(map[string]bool, len(list))
	for _, o := range list {
		listed[o.Key] = true
		p.objects, p.bytes = p.objects+1, p.bytes+o.Size
		// It is asked for after it was listed: so one that is committed meanwhile is known.
		known, garbage, err := c.known(o.Key)
		switch {
		case err != nil:
			return p, err
		case garbage:
			p.garbage++
		case !known:
			p.unknown = append(p.unknown, o)
		}
	}
	last := after
	if len(list) > 0 {
		last = list[len(list)-1].Key
	}
	if p.missing, err = c.missing(ctx, after, last, next == "", listed); err != nil {
		return p, err
	}
	if next != "" {
		p.next = next + "." + last
	}
	return p, nil
}

func (c *census) known(key string) (known, garbage bool, err error) {
	id, ok := tier.KeyID(c.prefix, key)
	if !ok {
		return false, false, nil
	}
	o, garbage, known, err := c.store.Object(id)
	if err != nil || !known || o.Key != key {
		return false, false, err
	}
	return true, garbage, nil
}

// missing finds the committed objects with keys above after and up to last (all if this is the end) that were not listed, and that the store, when it is asked for them,
// does not have.
func (c *census) missing(ctx context.Context, after, last string, end bool, listed map[string]bool) (keys []string, err error) {
	id := uint64(0)
	if after != "" {
		if id, _ = tier.KeyID(c.prefix, after); id > 0 {
			id-- // another key may have the same
		}
	}
	for {
		known, err := c.store.Objects(id, keepBatch)
		if err != nil || len(known) == 0 {
			return keys, err
		}
		for _, o := range known {
			id = o.ID
			switch {
			case !tier.Holds(c.prefix, o.Key) || o.Key <= after || listed[o.Key]:
				continue
			case !end && o.Key > last:
				return keys, nil
			}
			gone, err := c.gone(ctx, o)
			if err != nil {
				return keys, err
			}
			if gone {
				keys = append(keys, o.Key)
			}
		}
	}
}

// gone says whether a committed object is not there: listings are of a moment, and it may have been committed since, or have become garbage.
func (c *census) gone(ctx context.Context, o metadata.Object) (bool, error) {
	_, err := c.objects.Stat(ctx, o.Key)
	if !errors.Is(err, tier.ErrAbsent) {
		return false, err
	}
	known, garbage, err := c.known(o.Key)
	return known && !garbage, err
}
