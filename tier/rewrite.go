package tier

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/rustmq/rustmq/mq"
)

// mergeTries is how often the store and the catalogue are tried before a merge is given up: nobody waits for it, and the next look finds it again.
const mergeTries = 5

// roomEach is how many bytes a range of an object takes beside its batches and their index, about: what the footer says of it, a few producers and epochs.
const roomEach = 4 << 10

// merge makes one object of runs, sorted by partition and offset, and has it take their place. It gives up when something fails: whatever was done by
// then, what is in the catalogue is whole. done says that all of it is, or was, as it should be.
func (c *Compactor) merge(runs []run) (done bool) {
	if len(runs) == 0 || c.ctx.Err() != nil {
		return false
	}
	c.rest()
	began, reads := time.Now(), c.cfg.Store.reads()
	defer func() {
		if c.cfg.Store.reads() != reads {
			c.rested = time.Now().Add((readersShare - 1) * time.Since(began))
		}
	}()
	m, done, err := c.rewrite(runs)
	if err == nil && len(m.Replacements) > 0 {
		var accepted bool
		accepted, err = c.replace(m)
		done = done && accepted
	}
	if err != nil && c.ctx.Err() == nil {
		c.counters.failures.Add(1)
		c.log.Warn("a merge of objects came to nothing; it will be tried again", "partitions", len(runs), "one", runs[0].partition, "error", err)
	}
	if err == nil {
		c.log.Debug("objects were merged", "object", m.Key, "bytes", m.Size, "partitions", len(m.Replacements), "took", time.Since(began))
	}
	return done && err == nil
}

// rest waits until a merge may begin: when the one before is long enough ago for the consumers that read from the store, none of them does any more, or merging is late.
// For them a merge is bandwidth, processors and memory that they are short of, and it can wait.
func (c *Compactor) rest() {
	for wait := time.Until(c.rested); wait > 0 && c.ctx.Err() == nil && time.Since(c.looked) < lateLooks*c.cfg.Interval; wait = time.Until(c.rested) {
		reads := c.cfg.Store.reads()
		select {
		case <-time.After(min(wait, readLull)):
		case <-c.ctx.Done():
		}
		if c.cfg.Store.reads() == reads {
			return
		}
	}
}

// rewrite makes the object and brings it into the store. A run that cannot be read is left out; all says that there is none.
func (c *Compactor) rewrite(runs []run) (m ObjectMerge, all bool, err error) {
	if m.ID, err = c.lease(); err != nil {
		return m, false, err
	}
	all = true
	in := newMergeInput(c.cfg.Store, runs)
	defer func() { c.counters.readBytes.Add(in.sections.read + in.footerBytes) }()
	out := &objectBuffer{b: c.room(runs)}
	enc := NewEncoder(out, ObjectInfo{ID: m.ID, Cluster: c.cfg.Cluster, Node: c.cfg.Node, Created: time.Now().UnixMilli()})
	for _, r := range runs {
		info, err := c.rewriteRun(enc, in, r)
		if err != nil {
			out.b = out.b[:enc.abandon()]
			in.sections.release(r.ranges)
			if c.ctx.Err() != nil {
				return m, false, err
			}
			if !errors.Is(err, errUnchanged) {
				all = false
				c.leave(r, err)
			}
			continue
		}
		m.Replacements = append(m.Replacements, Replacement{
			Partition: r.partition, Old: r.ranges, First: info.First, End: info.End,
			MinTime: info.MinTime, MaxTime: info.MaxTime, Position: info.Position, Bytes: info.Bytes, CRC: info.CRC, ByKey: r.pass != nil,
		})
	}
	if len(m.Replacements) == 0 {
		return m, all, nil
	}
	if _, err := enc.Close(); err != nil {
		return m, false, err
	}
	m.Size = int64(len(out.b))
	m.Key = objectKey(c.cfg.Prefix, m.ID)
	err = c.try(&c.store, func(ctx context.Context) error {
		err := c.cfg.Store.Put(ctx, m.Key, out.b, enc.Sum())
		if errors.Is(err, ErrOther) {
			m.Key = objectKey(c.cfg.Prefix, m.ID)
		}
		return err
	})
	c.counters.writtenBytes.Add(m.Size)
	if err == nil {
		c.buf = out.b[:0] // after a failure somebody may still read it
	}
	return m, all, err
}

// room is memory for the object that is made of runs, of length 0: as much as it takes, about. To grow into it piece by piece would cost more than
// everything else that a merge does, and so does memory that the process has not had before.
func (c *Compactor) room(runs []run) []byte {
	size := int64(headerSize + footerFixed + trailerSize)
	for i := range runs {
		size += runs[i].bytes + runs[i].bytes/IndexInterval*indexEntrySize + roomEach
	}
	buf := c.buf
	c.buf = nil
	if int64(cap(buf)) < size {
		buf = make([]byte, 0, size)
	}
	return buf
}

// leave notes that a run could not be read. When it is damaged, others of its partition wait too.
func (c *Compactor) leave(r run, err error) {
	c.counters.failures.Add(1)
	if mq.CodeOf(err) == mq.Corrupt {
		c.log.Error("damage in the object store: what cannot be read is not merged", "partition", r.partition, "error", err)
		c.states[r.partition].next = time.Now().Add(damagedFor)
		return
	}
	c.log.Warn("ranges of a partition could not be merged; it will be tried again", "partition", r.partition, "error", err)
}

// mergeInput is what a merge reads.
type mergeInput struct {
	sections *sections
	// ends are the last ranges of the runs, and what the footers of their objects say of them; nil before such a footer was read. So each is read once: of
	// many small partitions, thousands may end in the same few objects.
	ends        map[indexKey]*RangeInfo
	footerBytes int64
}

func newMergeInput(store *Store, runs []run) *mergeInput {
	lists, ends := make([][]Range, len(runs)), make(map[indexKey]*RangeInfo, len(runs))
	for i, r := range runs {
		lists[i] = r.ranges
		last := &r.ranges[len(r.ranges)-1]
		ends[indexKey{last.Key, last.Position}] = nil
	}
	return &mergeInput{sections: newSections(store, lists), ends: ends}
}

// rewriteRun writes the batches of a run, from the one on that holds the log start, with the state at its end: as they are, or what a pass leaves of them.
func (c *Compactor) rewriteRun(enc *Encoder, in *mergeInput, r run) (RangeInfo, error) {
	first, last := &r.ranges[0], &r.ranges[len(r.ranges)-1]
	epoch := first.LeaderEpoch
	for i := range r.ranges {
		epoch = max(epoch, r.ranges[i].LeaderEpoch)
	}
	if r.pass != nil {
		r.pass.changed = false
	}
	begun := false
	for i := range r.ranges {
		g := &r.ranges[i]
		batches, err := c.section(in, g)
		if err != nil {
			return RangeInfo{}, err
		}
		// What lies below the range, in the same section, is another range's.
		batches, from, err := behind(batches, min(g.First, mq.Batch(batches).BaseOffset()), g.First)
		if err != nil {
			return RangeInfo{}, corrupt("object %s at %d: %w", g.Key, g.Position, err)
		}
		if !begun {
			if batches, from, err = behind(batches, from, r.logStart); err != nil {
				return RangeInfo{}, corrupt("object %s at %d: %w", g.Key, g.Position, err)
			}
			if err := enc.Begin(r.partition, from, epoch); err != nil {
				return RangeInfo{}, err
			}
			begun = true
		}
		if r.pass != nil {
			if batches, err = r.pass.filter(g, batches); err != nil {
				return RangeInfo{}, corrupt("object %s at %d: %w", g.Key, g.Position, err)
			}
		}
		if err := enc.Append(batches); err != nil {
			return RangeInfo{}, mq.Wrapf(err, "object %s at %d", g.Key, g.Position)
		}
		if enc.cur.End != g.End {
			return RangeInfo{}, corrupt("object %s at %d: batches up to offset %d, the catalogue says %d", g.Key, g.Position, enc.cur.End, g.End)
		}
	}
	if r.pass != nil && !r.pass.changed && len(r.ranges) == 1 && first.ByKey {
		return RangeInfo{}, errUnchanged
	}
	var state RangeInfo
	err := c.try(&c.store, func(ctx context.Context) (err error) {
		state, err = in.state(ctx, c, last)
		return err
	})
	if err != nil {
		return RangeInfo{}, err
	}
	return enc.End(state.State, state.Epochs)
}

// section is the batches of a range, and what lies below it in the same section. What lies above it is not the partition's, but that of the one that it is a fork of.
func (c *Compactor) section(in *mergeInput, g *Range) (batches []byte, err error) {
	err = c.try(&c.store, func(ctx context.Context) error {
		batches, err = in.sections.section(ctx, g)
		return err
	})
	if err != nil {
		return nil, err
	}
	if batches, err = before(batches, g.End); err != nil {
		return nil, corrupt("object %s at %d: %w", g.Key, g.Position, err)
	}
	return batches, nil
}

// behind leaves out the batches that end at or below an offset, but for the last.
func behind(batches []byte, first, offset mq.Offset) ([]byte, mq.Offset, error) {
	for first < offset {
		b, rest, err := mq.NextBatch(batches)
		if err != nil {
			return nil, 0, err
		}
		if b.NextOffset() > offset || len(rest) == 0 {
			break
		}
		batches, first = rest, b.NextOffset()
	}
	return batches, first, nil
}

// before leaves out the batches that begin at or above an offset.
func before(batches []byte, offset mq.Offset) ([]byte, error) {
	for rest := batches; len(rest) > 0; {
		b, next, err := mq.NextBatch(rest)
		if err != nil {
			return nil, err
		}
		if b.BaseOffset() >= offset {
			return batches[:len(batches)-len(rest)], nil
		}
		rest = next
	}
	return batches, nil
}

// state is what the object of a run's last range says about the range's end. Of a fork's range it says only the epochs: its producers are others.
func (in *mergeInput) state(ctx context.Context, c *Compactor, g *Range) (RangeInfo, error) {
	at := indexKey{g.Key, g.Position}
	if in.ends[at] == nil {
		if err := in.readFooter(ctx, c, g); err != nil {
			return RangeInfo{}, err
		}
	}
	found := in.ends[at]
	if found == nil || found.CRC != g.CRC {
		return RangeInfo{}, corrupt("object %s: its footer does not have %s [%d,%d) at %d, as the catalogue says", g.Key, g.Partition, g.First, g.End, g.Position)
	}
	info := *found
	switch {
	case info.Partition != g.Partition && info.End >= g.End:
		info.State, info.Epochs = nil, mq.EpochHistory(info.Epochs).TruncateEnd(g.End)
	case info.Partition != g.Partition || info.End != g.End:
		return RangeInfo{}, corrupt("object %s: its footer has %s [%d,%d) at %d, the catalogue says %s [%d,%d)", g.Key, info.Partition, info.First, info.End, g.Position, g.Partition, g.First, g.End)
	}
	return info, nil
}

// readFooter keeps what the footer of a range's object says about ends of runs.
func (in *mergeInput) readFooter(ctx context.Context, c *Compactor, g *Range) error {
	o := &storeObject{ctx: ctx, store: c.cfg.Store, info: Info{Key: g.Key, Size: g.ObjectSize}}
	f, err := ReadFooter(o, g.ObjectSize)
	if err != nil {
		return mq.Wrapf(err, "object %s", g.Key)
	}
	in.footerBytes += min(g.ObjectSize, footerGuess)
	for _, r := range f.Ranges {
		at := indexKey{g.Key, r.Position}
		if _, wanted := in.ends[at]; wanted {
			r.State, r.Epochs = bytes.Clone(r.State), slices.Clone(r.Epochs) // and not all of the footer with them
			in.ends[at] = &r
		}
	}
	return nil
}

// replace commits the merge. all says that nothing of it was refused.
func (c *Compactor) replace(m ObjectMerge) (all bool, err error) {
	var verdicts []error
	err = c.try(&c.catalog, func(ctx context.Context) (err error) {
		ctx, cancel := context.WithTimeout(ctx, catalogTimeout)
		defer cancel()
		verdicts, err = c.cfg.Catalog.ReplaceRanges(ctx, m)
		if err == nil && len(verdicts) != len(m.Replacements) {
			err = mq.Errorf(mq.Internal, "%d verdicts on %d replacements", len(verdicts), len(m.Replacements))
		}
		if isFinal(err) {
			err = backoff.Permanent(err)
		}
		return err
	})
	if err != nil {
		return false, mq.Wrapf(err, "commit object %s", m.Key)
	}
	accepted, all := false, true
	for i, v := range verdicts {
		if v != nil {
			all = false
			c.counters.refused.Add(1)
			c.log.Info("merged ranges were refused", "partition", m.Replacements[i].Partition, "object", m.Key, "reason", v)
			continue
		}
		accepted = true
		c.counters.merges.Add(1)
		c.counters.ranges.Add(int64(len(m.Replacements[i].Old)))
	}
	if accepted {
		c.counters.objects.Add(1)
	}
	return all, nil
}

// lease is an object id that nobody else has.
func (c *Compactor) lease() (uint64, error) {
	if c.nextID == c.lastID {
		err := c.try(&c.catalog, func(ctx context.Context) (err error) {
			ctx, cancel := context.WithTimeout(ctx, catalogTimeout)
			defer cancel()
			c.nextID, err = c.cfg.Catalog.LeaseObjectIDs(ctx, leaseMergeIDs)
			return err
		})
		if err != nil {
			c.nextID, c.lastID = 0, 0
			return 0, err
		}
		c.lastID = c.nextID + leaseMergeIDs
	}
	c.nextID++
	return c.nextID - 1, nil
}

// try tries a few times. Damage is tried twice in all: it may have happened on the way. What is not there will not come.
func (c *Compactor) try(h *health, f func(context.Context) error) error {
	damaged := false
	_, err := backoff.Retry(c.ctx, func() (struct{}, error) {
		err := f(c.ctx)
		corrupted := mq.CodeOf(err) == mq.Corrupt
		if corrupted && damaged || errors.Is(err, ErrAbsent) {
			err = backoff.Permanent(err)
		}
		damaged = damaged || corrupted
		if _, final := errors.AsType[*backoff.PermanentError](err); !final && !corrupted {
			c.note(h, err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(newBackOff()), backoff.WithMaxTries(mergeTries), backoff.WithMaxElapsedTime(0))
	if c.ctx.Err() != nil {
		return c.ctx.Err()
	}
	return err
}

func (c *Compactor) note(h *health, err error) {
	if c.ctx.Err() == nil { // closing says nothing
		h.note(err)
	}
}
