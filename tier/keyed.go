package tier

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// KeyPolicy says how a partition is compacted by key: of the records with one key the newest stays. The names are Kafka's.
type KeyPolicy struct {
	// MinDirtyRatio is which part of the bytes no pass has seen yet, at least, when one begins. "min.cleanable.dirty.ratio"
	MinDirtyRatio float64
	// MinLag is how old the records are at least that a pass looks at, by their timestamps. "min.compaction.lag.ms"
	MinLag time.Duration
	// DeleteRetention is how long a tombstone stays after a pass first met it. "delete.retention.ms"
	DeleteRetention time.Duration
}

const (
	// maxKeyedRanges is how many ranges of a partition one pass goes over, at most.
	maxKeyedRanges = 64 << 10
	// maxKeys is how many keys a pass remembers before it ends what it looks at, some 50 MiB. All of one range are remembered, whatever they are.
	maxKeys = 1 << 20
)

// plan says which of a partition's ranges, from the log start on, are dirty: [from, to) were not seen by any pass, and are old enough. All before from
// were. due says that they are worth a pass.
func (k *KeyPolicy) plan(ranges []Range, now time.Time) (from, to int, due bool) {
	for from < len(ranges) && ranges[from].ByKey {
		from++
	}
	for to = from; to < len(ranges) && ranges[to].youngest() <= now.Add(-k.MinLag).UnixMilli(); to++ {
	}
	dirty := bytesOf(ranges[from:to])
	return from, to, dirty > 0 && float64(dirty) >= k.MinDirtyRatio*float64(bytesOf(ranges[:to]))
}

// youngest is when the newest record is from, milliseconds since 1970: from the future it cannot be.
func (g *Range) youngest() int64 {
	if g.Written > 0 {
		return min(g.MaxTime, g.Written)
	}
	return g.MaxTime
}

// keyHash stands for a key. Two keys with one would be taken for the same.
type keyHash [16]byte

func hashKey(key []byte) keyHash {
	sum := sha256.Sum256(key)
	return keyHash(sum[:16])
}

// keyPass is one pass over a partition: it learns where the newest record of each key lies among the dirty ranges, and then writes everything up to their
// end again, without what is older. What it writes takes the place of what was there from the log start on, in order. So when a tombstone
// comes to be left out, nothing that it hides lies before it any more: ranges that a pass has written have none, and the others are dirty.
type keyPass struct {
	dirty   mq.Offset // where the first dirty range begins
	now     int64     // milliseconds since 1970
	horizon int64     // of tombstones that are met for the first time
	newest  map[keyHash]mq.Offset
	batches mq.BatchFilter
	changed bool // something was left out since it was set to false
}

// learn notes the keys of a section.
func (k *keyPass) learn(batches []byte, buf *mq.DecodeBuffer) error {
	for len(batches) > 0 {
		b, rest, err := mq.NextBatch(batches)
		if err != nil {
			return err
		}
		batches = rest
		if b.IsControl() {
			continue
		}
		for rec, err := range b.Records(buf) {
			if err != nil {
				return err
			}
			if rec.Key != nil {
				k.newest[hashKey(rec.Key)] = rec.Offset
			}
		}
	}
	return nil
}

// filter is the batches of a range without the records that are superseded. They hold the same offsets, without a gap.
func (k *keyPass) filter(g *Range, batches []byte) (out []byte, err error) {
	clean := g.End <= k.dirty
	out = make([]byte, 0, len(batches))
	var empty mq.Batch // the last one, when it has no records; nil: it has
	for rest := batches; len(rest) > 0; {
		var b mq.Batch
		if b, rest, err = mq.NextBatch(rest); err != nil {
			return nil, err
		}
		if b, err = k.batches.Filter(b, k.horizon, func(rec mq.Record) bool { return k.keeps(rec, b, clean) }); err != nil {
			return nil, err
		}
		joined, ok := mq.Batch(nil), false
		if empty != nil {
			joined, ok = mq.JoinEmpty(empty, b)
		}
		switch {
		case ok:
			empty = joined
		case b.RecordCount() == 0 && !b.IsControl():
			out, empty = append(out, empty...), b
		default:
			out, empty = append(append(out, empty...), b...), nil
		}
	}
	out = append(out, empty...)
	k.changed = k.changed || !bytes.Equal(out, batches)
	return out, nil
}

func (k *keyPass) keeps(rec mq.Record, b mq.Batch, clean bool) bool {
	if rec.Key == nil {
		return false // of before the topic was compacted by key: they are refused since
	}
	if newest, ok := k.newest[hashKey(rec.Key)]; ok && newest > rec.Offset {
		return false
	}
	if rec.Value == nil && clean {
		horizon, met := b.DeleteHorizon()
		return !met || horizon > k.now
	}
	return true
}

// errUnchanged says that a range is as a pass would leave it.
var errUnchanged = errors.New("nothing in it is superseded")

// clean does one pass over a partition, of whose ranges [from, to) are dirty. What is written before it fails stays.
func (c *Compactor) clean(p Compactable, ranges []Range, from, to int) {
	now := time.Now()
	pass := &keyPass{
		dirty: ranges[from].First, now: now.UnixMilli(), horizon: now.Add(p.Keyed.DeleteRetention).UnixMilli(), newest: make(map[keyHash]mq.Offset),
	}
	to, err := c.learn(pass, ranges, from, to)
	if err != nil {
		if c.ctx.Err() == nil {
			c.leave(run{partition: p.Partition}, err)
		}
		return
	}
	c.counters.passes.Add(1)
	for begin := 0; begin < to; {
		end, size := begin+1, ranges[begin].Bytes
		for end < to && end-begin < c.cfg.CommitRanges && size+ranges[end].Bytes <= c.cfg.TargetBytes {
			size += ranges[end].Bytes
			end++
		}
		// What comes later relies on what comes first: tombstones go when what they hide has gone.
		if !c.merge([]run{{partition: p.Partition, logStart: p.LogStart, ranges: ranges[begin:end], bytes: size, pass: pass}}) {
			return
		}
		begin = end
	}
}

// learn reads the keys of the dirty ranges, and says where what it remembers ends.
func (c *Compactor) learn(pass *keyPass, ranges []Range, from, to int) (int, error) {
	buf := new(mq.DecodeBuffer)
	for i := from; i < to; i++ {
		if i > from && len(pass.newest) >= maxKeys {
			return i, nil
		}
		in := &mergeInput{sections: newSections(c.cfg.Store, [][]Range{ranges[i : i+1]})}
		batches, err := c.section(in, &ranges[i])
		c.counters.readBytes.Add(in.sections.read)
		if err != nil {
			return 0, err
		}
		if err := pass.learn(batches, buf); err != nil {
			return 0, corrupt("object %s at %d: %w", ranges[i].Key, ranges[i].Position, err)
		}
	}
	return to, nil
}

// findKeyed does a pass over a partition that is compacted by key, if one is due, and lists what else is to be merged of it: of the ranges that no pass has
// seen, for there may be many before one is due.
func (c *Compactor) findKeyed(p Compactable, s *compactState, now time.Time) ([][]Range, error) {
	ranges, err := c.list(p, p.LogStart, maxKeyedRanges)
	c.note(&c.catalog, err)
	if err != nil {
		return nil, err
	}
	from, to, due := p.Keyed.plan(ranges, now)
	if due {
		c.clean(p, ranges, from, to)
		s.idle = 0
		return nil, c.ctx.Err()
	}
	found, _ := c.policy.plan(ranges[from:])
	return found, nil
}
