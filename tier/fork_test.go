package tier

import (
	"bytes"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// fork gives the catalogue a partition that refers to what the n-th one has below point, as the metadata does.
func (r *rig) fork(n int, id mq.PartitionID, point mq.Offset) {
	r.t.Helper()
	for _, g := range r.catalog.ranges[r.sources[n].id] {
		if g.First < point {
			g.Partition, g.End = id, min(g.End, point)
			r.catalog.ranges[id] = append(r.catalog.ranges[id], g)
		}
	}
}

// reader reads what is in the store now.
func (r *rig) reader() *Reader {
	r.t.Helper()
	return must[*Reader](r.t)(NewReader(ReaderConfig{Store: NewStore(r.store.Bucket(), Limits{}), Catalog: r.catalog, CacheBytes: 1 << 20, BlockBytes: 4 << 10}))
}

// TestForkIsReadAndMergedUpToItsPoint forks a partition inside a section, and has source and fork merged in one go.
func TestForkIsReadAndMergedUpToItsPoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		r.flushed(7)
		up := r.start(nil)
		r.append(0, value(1), value(2))
		time.Sleep(time.Second)
		r.append(0, value(3))
		if err := up.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		up.Close()
		source, fork := r.sources[0], testPartition(9)
		point := source.starts[len(source.starts)-1].offset // the last section has a batch more
		r.fork(0, fork, point)
		last := r.catalog.ranges[fork][7]
		if last.End != point || last.End == r.catalog.ranges[source.id][7].End || last.First == point {
			t.Fatalf("the fork ends at %d, its last range is %+v", point, last)
		}
		rd := r.reader()
		defer rd.Close()
		want := source.log[:source.position(point)]
		if got, next := readAll(t, rd, fork, 0, point); next != point || !bytes.Equal(got, want) {
			t.Errorf("read %d bytes, want %d", len(got), len(want))
		}
		if _, _, err := rd.Read(t.Context(), fork, point, 100); mq.CodeOf(err) != mq.OffsetOutOfRange {
			t.Errorf("at the fork's end: %v", err)
		}
		late := mq.Batch(source.log[source.position(point):]).MaxTimestamp()
		if offset, _, ok, err := rd.OffsetByTime(t.Context(), fork, point-1, late); ok || err != nil {
			t.Errorf("offset %d by a time of behind the fork, %v", offset, err)
		}

		c := r.compact(func(c *CompactorConfig) {
			c.Partitions = func() []Compactable {
				return []Compactable{{Partition: source.id, TieredEnd: source.end}, {Partition: fork, TieredEnd: point}}
			}
		})
		time.Sleep(90 * time.Second)
		synctest.Wait()
		c.Close()
		if st := c.Stats(); st.Merges != 4 || st.Objects != 1 || st.Refused+st.Failures != 0 {
			t.Errorf("stats %+v", st)
		}
		merged := r.catalog.ranges[fork]
		if len(merged) != 2 || merged[1].End != point || merged[1].Rewrites != 1 {
			t.Errorf("ranges %+v", merged)
		}
		if gone := r.collect(); len(gone) != 8 {
			t.Errorf("%d objects were garbage", len(gone))
		}
		if got, next := readAll(t, rd, fork, 0, point); next != point || !bytes.Equal(got, want) {
			t.Errorf("read %d bytes after the merge, want %d", len(got), len(want))
		}
		r.checkAll()
		strays := strayOf(t, r, fork)
		if i := slices.IndexFunc(strays, func(s Stray) bool { return s.End == point }); i < 0 || len(strays[i].State) != 0 || len(strays[i].Epochs) != 1 {
			t.Errorf("the merged object says of the fork %+v", strays)
		}
	})
}

// strayOf are the ranges of a partition by the footers of all objects.
func strayOf(t *testing.T, r *rig, id mq.PartitionID) (found []Stray) {
	t.Helper()
	store := NewStore(r.store.Bucket(), Limits{})
	for _, key := range r.store.Keys() {
		info, err := store.Stat(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		strays, err := straysOf(t.Context(), store, key, info.Size)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, slices.DeleteFunc(strays, func(s Stray) bool { return s.Partition != id })...)
	}
	return found
}

// TestPassOverAForkDoesNotKnowWhatCameLater: a key that was written again behind the fork's end keeps its record in the fork.
func TestPassOverAForkDoesNotKnowWhatCameLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		up := r.start(nil)
		source, fork := r.sources[0], testPartition(9)
		log := &keyedLog{source: source}
		for n := range 3 {
			log.produce(t, mq.CompressionNone, keyed(n, 1, false))
		}
		if err := up.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		up.Close()
		r.fork(0, fork, 2)
		c := r.compact(func(c *CompactorConfig) {
			c.Partitions = func() []Compactable {
				return []Compactable{{Partition: fork, TieredEnd: 2, Keyed: &KeyPolicy{}}}
			}
		})
		time.Sleep(90 * time.Second)
		synctest.Wait()
		c.Close()
		if st := c.Stats(); st.Passes != 1 || st.Merges != 1 || st.Failures != 0 {
			t.Errorf("stats %+v", st)
		}
		rd := r.reader()
		defer rd.Close()
		all, _ := readAll(t, rd, fork, 0, 2)
		var values []string
		for len(all) > 0 {
			b, rest, err := mq.NextBatch(all)
			if err != nil {
				t.Fatal(err)
			}
			all = rest
			for rec, err := range b.Records(new(mq.DecodeBuffer)) {
				if err != nil {
					t.Fatal(err)
				}
				values = append(values, string(rec.Value))
			}
		}
		if !slices.Equal(values, []string{"value-1"}) {
			t.Errorf("the fork has %q", values)
		}
		r.checkAll()
	})
}
