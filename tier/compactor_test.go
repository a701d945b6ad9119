package tier

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/tier/faultstore"
)

// compact starts a compactor of all partitions of the rig, with small sizes.
func (r *rig) compact(change func(*CompactorConfig)) *Compactor {
	r.t.Helper()
	cfg := CompactorConfig{
		Store: NewStore(r.store.Bucket(), Limits{}), Catalog: r.catalog, Prefix: "c/g1/", Cluster: mq.ClusterID{1}, Node: 1,
		TargetBytes: 64 << 10, MergeRanges: 4, CommitRanges: 64, Interval: time.Minute,
		Partitions: func() (list []Compactable) {
			for _, s := range r.sources {
				list = append(list, Compactable{Partition: s.id, LogStart: r.catalog.logStart(s.id), TieredEnd: r.catalog.tieredEnd(s.id)})
			}
			return list
		},
	}
	if change != nil {
		change(&cfg)
	}
	return must[*Compactor](r.t)(NewCompactor(cfg))
}

// flushed has each partition flushed so many times, some small batches each.
func (r *rig) flushed(times int) {
	r.t.Helper()
	defer r.start(nil).Close()
	for i := range times {
		for n := range r.sources {
			r.append(n, value(i), value(i+n))
			r.append(n, value(2*i))
		}
		if err := r.up.Flush(r.t.Context()); err != nil {
			r.t.Fatal(err)
		}
	}
}

// collect deletes what nothing refers to.
func (r *rig) collect() (keys []string) {
	keys = r.catalog.garbage(r.store.Keys())
	for _, key := range keys {
		r.store.Remove(key)
	}
	return keys
}

// checkIndex sees that the ranges of each partition follow each other.
func (r *rig) checkIndex() {
	r.t.Helper()
	for _, s := range r.sources {
		end := mq.Offset(0)
		for i, g := range r.catalog.ranges[s.id] {
			if i > 0 && g.First != end {
				r.t.Errorf("%s: range from %d after %d", s.id, g.First, end)
			}
			end = g.End
		}
	}
}

func TestMergedRangesHoldTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 5)
		r.flushed(10)
		c := r.compact(nil)
		time.Sleep(90 * time.Second)
		synctest.Wait()
		c.Close()
		st := c.Stats()
		if st.Objects != 2 || st.Merges != 10 || st.Ranges != 40 || st.Refused+st.Failures != 0 || st.WrittenBytes == 0 {
			t.Errorf("stats %+v", st)
		}
		for _, s := range r.sources {
			if list := r.catalog.ranges[s.id]; len(list) != 4 || list[0].Rewrites != 1 || list[1].Rewrites != 1 || list[2].Rewrites != 0 {
				t.Errorf("%s: %d ranges", s.id, len(list))
			}
		}
		r.checkIndex()
		r.checkObjects()
		if gone := len(r.collect()); gone != 8 || len(r.store.Keys()) != 4 {
			t.Errorf("%d objects were garbage, %d are left", gone, len(r.store.Keys()))
		}
		r.checkAll()
	})
}

// TestMergedObjectIsMadeInMemoryOfItsSize sees that the memory is there before: who grows into it copies all of it again and again.
func TestMergedObjectIsMadeInMemoryOfItsSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 5)
		r.flushed(10)
		c := r.compact(nil)
		defer c.Close() // before it looks by itself
		var runs []run
		for _, p := range c.cfg.Partitions() {
			runs = append(runs, must[[]run](t)(c.find(p, &compactState{}))...)
		}
		memory := c.room(runs)
		c.buf = memory
		m, _, err := c.rewrite(runs)
		if err != nil || m.Size == 0 || m.Size > int64(cap(memory)) {
			t.Fatalf("an object of %d bytes where there was room for %d, error %v", m.Size, cap(memory), err)
		}
		if kept := c.buf; cap(kept) != cap(memory) || &kept[:1][0] != &memory[:1][0] {
			t.Errorf("the memory of %d bytes was left for another one of %d", cap(memory), cap(kept))
		}
	})
}

// slowMerges is a compactor that makes an object for each partition, with a store to which a write takes a second, and a consumer that reads from it twice a second until stop.
func (r *rig) slowMerges() (c *Compactor, stop func()) {
	r.t.Helper()
	r.flushed(4)
	r.store.SetHook(func(op faultstore.Op) faultstore.Fault {
		if op.Kind == faultstore.Write {
			time.Sleep(time.Second)
		}
		return faultstore.Fault{}
	})
	c = r.compact(func(cfg *CompactorConfig) { cfg.CommitRanges = 4 })
	consumer, key, stopping := c.cfg.Store.For(ClassRead), r.store.Keys()[0], make(chan struct{})
	var reading sync.WaitGroup
	reading.Go(func() {
		for {
			select {
			case <-stopping:
				return
			case <-time.After(500 * time.Millisecond):
				body, err := consumer.Open(r.t.Context(), key, 0, 1)
				if err == nil {
					err = body.Close()
				}
				if err != nil {
					r.t.Error(err)
					return
				}
			}
		}
	})
	return c, func() { close(stopping); reading.Wait() }
}

// TestMergesGiveWayToReaders counts the merges of a minute while a consumer reads, and when it has stopped.
func TestMergesGiveWayToReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, stop := newRig(t, 30).slowMerges()
		defer c.Close()
		time.Sleep(2*time.Minute + 500*time.Millisecond) // the first look comes after one
		if n := c.Stats().Objects; n < 5 || n > 8 {
			t.Errorf("%d merges of a second in a minute in which a consumer read", n)
		}
		stop()
		before := c.Stats().Objects
		time.Sleep(20 * time.Second)
		if n := c.Stats().Objects - before; n < 15 {
			t.Errorf("%d merges of a second in 20 s in which nobody read", n)
		}
	})
}

// TestMergesThatAreLateGiveWayNoMore has a consumer that reads for ever, and more to merge than a tenth of ten intervals is enough for.
func TestMergesThatAreLateGiveWayNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, stop := newRig(t, 100).slowMerges()
		defer c.Close()
		defer stop()
		time.Sleep((1+lateLooks)*time.Minute + 500*time.Millisecond)
		if n := c.Stats().Objects; n < 55 || n > 65 {
			t.Errorf("%d merges of a second in ten minutes in which a consumer read", n)
		}
		time.Sleep(time.Minute)
		if n := c.Stats().Objects; n != 100 {
			t.Errorf("%d merges when it was late", n)
		}
	})
}

// TestSmallSectionsAreReadTogether has 40 partitions flushed into the same objects.
func TestSmallSectionsAreReadTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 40)
		defer r.start(func(c *UploaderConfig) { c.FlushBytes = 1 << 20 }).Close()
		for range 8 {
			for n := range r.sources {
				r.append(n, []byte("a crumb"))
			}
			if err := r.up.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		var mu sync.Mutex
		reads, writes := 0, 0
		r.store.SetHook(func(op faultstore.Op) faultstore.Fault {
			mu.Lock()
			defer mu.Unlock()
			switch op.Kind {
			case faultstore.Read:
				reads++
			case faultstore.Write:
				writes++
			}
			return faultstore.Fault{}
		})
		c := r.compact(func(c *CompactorConfig) { c.TargetBytes, c.MergeRanges, c.CommitRanges = 8<<20, 8, 1000 })
		time.Sleep(90 * time.Second)
		c.Close()
		if st := c.Stats(); st.Merges != 40 || st.Objects != 1 || writes != 1 || reads > 8+1 {
			t.Errorf("%d reads and %d writes for 8 sections of 40 partitions each; %+v", reads, writes, st)
		}
		r.checkAll()
	})
}

// TestFooterOfAnObjectIsReadOnceForAMerge has neighbours end in different objects: what these say of all of them is asked once.
func TestFooterOfAnObjectIsReadOnceForAMerge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 40)
		defer r.start(func(c *UploaderConfig) { c.FlushBytes = 1 << 20 }).Close()
		const objects = 16
		for i := range objects {
			for n := i % 2; n < len(r.sources); n += 2 {
				r.append(n, []byte("a crumb"))
			}
			if err := r.up.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		var reads atomic.Int64
		r.store.SetHook(func(op faultstore.Op) faultstore.Fault {
			if op.Kind == faultstore.Read {
				reads.Add(1)
			}
			return faultstore.Fault{}
		})
		c := r.compact(func(c *CompactorConfig) { c.TargetBytes, c.MergeRanges, c.CommitRanges = 8<<20, objects/2, 1000 })
		time.Sleep(90 * time.Second)
		c.Close()
		if st := c.Stats(); st.Merges != 40 || st.Objects != 1 || reads.Load() > objects+2 {
			t.Errorf("%d reads of %d objects, 2 of which have the ends of 40 partitions; %+v", reads.Load(), objects, st)
		}
		r.checkAll()
		r.checkObjects()
	})
}

// TestReaderGoesOnWhenObjectsAreMerged reads half, and the rest when all that the reader knew of is gone.
func TestReaderGoesOnWhenObjectsAreMerged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 3)
		r.flushed(16)
		reader := must[*Reader](t)(NewReader(ReaderConfig{Store: NewStore(r.store.Bucket(), Limits{}), Catalog: r.catalog, CacheBytes: 4 << 10, BlockBytes: 1 << 10}))
		defer reader.Close()
		half := r.sources[0].starts[20].offset
		for _, s := range r.sources {
			readAll(t, reader, s.id, 0, half)
		}
		for round, count := range []int{4, 2, 2} { // merged, and merged again
			c := r.compact(func(c *CompactorConfig) { c.MergeRanges, c.TargetBytes = count, 1<<20 })
			time.Sleep(70 * time.Second)
			c.Close()
			if gone := r.collect(); len(gone) == 0 {
				t.Errorf("round %d: nothing was merged", round)
			}
			for _, s := range r.sources {
				from := s.starts[20+5*round].offset
				got, next := readAll(t, reader, s.id, from, s.end)
				if next != s.end || !bytes.Equal(got, s.log[s.position(from):]) {
					t.Errorf("round %d, %s: read %d bytes up to %d", round, s.id, len(got), next)
				}
				if _, _, found, err := reader.OffsetByTime(t.Context(), s.id, 0, 0); !found || err != nil {
					t.Errorf("round %d, %s: by time: %v", round, s.id, err)
				}
			}
		}
		r.checkObjects()
	})
}

func TestWhatIsBelowTheLogStartIsNotCopied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		r.flushed(8)
		s := r.sources[0]
		start := s.starts[9].offset
		r.catalog.setLogStart(s.id, s.starts[10].offset-1)
		c := r.compact(nil)
		time.Sleep(90 * time.Second)
		c.Close()
		i := slices.IndexFunc(r.catalog.ranges[s.id], func(g Range) bool { return g.Rewrites > 0 })
		if i < 0 || r.catalog.ranges[s.id][i].First != start {
			t.Fatalf("ranges %+v, the batch with the log start begins at %d", r.catalog.ranges[s.id], start)
		}
		r.checkObjects()
		reader := must[*Reader](t)(NewReader(ReaderConfig{Store: NewStore(r.store.Bucket(), Limits{}), Catalog: r.catalog}))
		defer reader.Close()
		if got, _ := readAll(t, reader, s.id, s.starts[10].offset-1, s.end); !bytes.Equal(got, s.log[s.position(start):]) {
			t.Errorf("read %d bytes", len(got))
		}
	})
}

// A range may begin inside its section, as one that was found again after a loss of the catalogue: see Gap.Fill. It is read and merged from there on.
func TestRangeThatBeginsInsideItsSectionIsReadAndMerged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		r.flushed(4)
		s := r.sources[0]
		first := s.starts[1].offset
		r.catalog.ranges[s.id][0].First = first
		r.checkFrom(s, first)
		c := r.compact(nil)
		time.Sleep(90 * time.Second)
		c.Close()
		if list := r.catalog.ranges[s.id]; len(list) != 1 || list[0].First != first || list[0].Rewrites != 1 || c.Stats().Failures != 0 {
			t.Fatalf("ranges %+v, stats %+v", list, c.Stats())
		}
		r.checkObjects()
		r.checkFrom(s, first)
	})
}

// TestDamageIsNotMerged rots one object: its partitions keep what they have, the place is told, and the others are merged.
func TestDamageIsNotMerged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 3)
		r.flushed(4)
		bad := r.catalog.ranges[r.sources[1].id][2]
		r.store.Flip(bad.Key, 8*(bad.Position+bad.Bytes/2))
		c := r.compact(nil)
		time.Sleep(5 * time.Minute)
		c.Close()
		if st := c.Stats(); st.Merges != 2 || st.Failures != 1 || st.Objects != 1 {
			t.Errorf("stats %+v", st)
		}
		for n, want := range []int{1, 4, 1} {
			if got := len(r.catalog.ranges[r.sources[n].id]); got != want {
				t.Errorf("partition %d has %d ranges, want %d", n, got, want)
			}
		}
		if err := checkMergeDamage(r, bad); err != nil {
			t.Error(err)
		}
	})
}

// checkMergeDamage sees that what is told of damage names the place.
func checkMergeDamage(r *rig, bad Range) error {
	in := newSections(NewStore(r.store.Bucket(), Limits{}), [][]Range{{bad}})
	_, err := in.section(context.Background(), &bad)
	if mq.CodeOf(err) != mq.Corrupt || !bytes.Contains([]byte(err.Error()), []byte(bad.Key)) {
		return fmt.Errorf("damage is told as %w", err)
	}
	return nil
}

// TestCompactorCrashesAtEveryStep stops the compactor at each call of the store and the catalogue, before it and after it, and starts another.
func TestCompactorCrashesAtEveryStep(t *testing.T) { crashEverywhere(t, 10, compactorCrashes) }

func compactorCrashes(t *testing.T, c *crash) {
	r := newRig(t, 3)
	r.flushed(5)
	var first *Compactor
	c.begin(r, func() func() {
		first = r.compact(nil)
		return first.cancel
	})
	time.Sleep(70 * time.Second)
	first.Close()
	r.heal()
	r.checkIndex()
	r.checkObjects() // the orphans, too
	r.collect()
	r.checkAll()
	second := r.compact(nil)
	time.Sleep(70 * time.Second)
	second.Close()
	for _, s := range r.sources {
		if n := len(r.catalog.ranges[s.id]); n != 2 {
			t.Errorf("step %d: %s has %d ranges", c.cut, s.id, n)
		}
	}
	r.checkIndex()
	r.collect()
	r.checkAll()
}

// TestCompactionUnderSeededFaults has everything fail in every way, for a while: two compactors at once, an uploader, deletion of garbage, log starts
// that move.
func TestCompactionUnderSeededFaults(t *testing.T) { throughSeeds(t, 60, 8, 7, compactionUnderFaults) }

func compactionUnderFaults(t *testing.T, seed uint64, d *dice) {
	r := newRig(t, 4)
	r.store.NoMD5 = seed%3 == 0
	r.fail(d, 10, 7)
	r.start(func(c *UploaderConfig) { c.FlushAge, c.FlushBytes = 2*time.Second, 8<<10 })
	start := func() *Compactor {
		return r.compact(func(c *CompactorConfig) { c.Interval, c.TargetBytes = time.Duration(2+d.draw(9))*time.Second, 32<<10 })
	}
	compactors := []*Compactor{start(), start()}
	reader := must[*Reader](t)(NewReader(ReaderConfig{Store: NewStore(r.store.Bucket(), Limits{}), Catalog: r.catalog, CacheBytes: 32 << 10, BlockBytes: 1 << 10}))
	defer reader.Close()
	for i := range 300 {
		n := d.draw(len(r.sources))
		r.learn()
		r.append(n, value(i), value(i+1))
		time.Sleep(time.Duration(d.draw(400)) * time.Millisecond)
		switch s := r.sources[n]; {
		case d.chance(20):
			if start, end := r.catalog.logStart(s.id), r.catalog.tieredEnd(s.id); start < end {
				r.tryRead(reader, s, start+mq.Offset(d.draw(int(end-start))))
			}
		case d.chance(2):
			k := d.draw(len(compactors))
			compactors[k].Close()
			compactors[k] = start()
		case d.chance(2):
			r.collectCommitted()
		case d.chance(2):
			if end := r.catalog.tieredEnd(s.id); end > 0 {
				r.catalog.setLogStart(s.id, mq.Offset(d.draw(int(end))))
			}
		}
	}
	r.heal()
	time.Sleep(2 * time.Minute)
	r.learn()
	if err := r.up.Flush(t.Context()); err != nil {
		t.Error(err)
	}
	r.up.Close()
	merged := false
	for _, c := range compactors {
		c.Close()
		merged = merged || c.Stats().Merges > 0
	}
	if !merged {
		t.Error("nothing was merged")
	}
	r.checkIndex()
	r.collect()
	r.checkObjects()
	for _, s := range r.sources {
		r.checkFrom(s, r.catalog.logStart(s.id))
	}
}

// checkFrom reads a partition from its log start on.
func (r *rig) checkFrom(s *testSource, start mq.Offset) {
	r.t.Helper()
	reader := must[*Reader](r.t)(NewReader(ReaderConfig{Store: NewStore(r.store.Bucket(), Limits{}), Catalog: r.catalog}))
	defer reader.Close()
	at := s.starts[0].offset
	for _, e := range s.starts {
		if e.offset <= start {
			at = e.offset
		}
	}
	if got, next := readAll(r.t, reader, s.id, start, s.end); next != s.end || !bytes.Equal(got, s.log[s.position(at):]) {
		r.t.Errorf("%s: read %d bytes from %d to %d, the log has %d", s.id, len(got), start, next, len(s.log)-s.position(at))
	}
}

// collectCommitted deletes what nothing refers to any more, but not what is on its way.
func (r *rig) collectCommitted() {
	for _, key := range r.catalog.garbage(r.store.Keys()) {
		if r.catalog.wasCommitted(key) {
			r.store.Remove(key)
		}
	}
}

// learn has the sources know what is tiered, as the metadata tells their leaders.
func (r *rig) learn() {
	for _, s := range r.sources {
		end := r.catalog.tieredEnd(s.id)
		s.mu.Lock()
		s.tiered = max(s.tiered, end)
		s.mu.Unlock()
	}
}

// tryRead reads somewhere. It may fail, but what it gives is what the log has.
func (r *rig) tryRead(reader *Reader, s *testSource, from mq.Offset) {
	r.t.Helper()
	got, next, err := reader.Read(r.t.Context(), s.id, from, 2000)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if base := mq.Batch(got).BaseOffset(); base > from || next <= from || !bytes.Equal(got, s.log[s.position(base):s.position(next)]) {
		r.t.Errorf("%s: read %d bytes at %d up to %d, which is not what the log has", s.id, len(got), from, next)
	}
}
