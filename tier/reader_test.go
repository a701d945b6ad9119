package tier

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/tier/faultstore"
)

// shelf is a store with objects of one log, and a reader over it.
type shelf struct {
	t       testing.TB
	store   *faultstore.Store
	catalog *testCatalog
	log     []byte // of partition 0
	end     mq.Offset
	reader  *Reader
}

// newShelf puts the log of partition 0 into objects of some batches each, with
// other partitions around it.
func newShelf(t testing.TB, seed uint64, objects, batches, size int, change func(*ReaderConfig)) *shelf {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 99))
	s := &shelf{t: t, store: faultstore.New(), catalog: newTestCatalog()}
	others := make([]mq.Offset, 3)
	for i := range objects {
		var out bytes.Buffer
		enc := NewEncoder(&out, ObjectInfo{ID: uint64(i + 1)})
		for p := range 3 {
			first, n := others[p], 1+rng.IntN(5)
			if p == 1 {
				n = batches
			}
			log, end := testLog(rng, first, 1, n, size)
			if p == 1 {
				s.log = append(s.log, log...)
				s.end = end
			}
			others[p] = end
			if err := errors.Join(enc.Begin(testPartition(p), first, 1), enc.Append(log)); err != nil {
				t.Fatal(err)
			}
			must[RangeInfo](t)(enc.End(nil, nil))
		}
		f := must[*Footer](t)(enc.Close())
		key := objectKey("", f.ObjectID)
		if err := s.store.Bucket().WriteAll(t.Context(), key, out.Bytes(), nil); err != nil {
			t.Fatal(err)
		}
		s.catalog.commitFooter(f, key, int64(out.Len()))
	}
	s.open(change)
	return s
}

// shelfPartition is the one whose log the shelf knows.
var shelfPartition = testPartition(1)

func (s *shelf) open(change func(*ReaderConfig)) {
	cfg := ReaderConfig{Store: NewStore(s.store.Bucket(), Limits{}), Catalog: s.catalog, CacheBytes: 1 << 20, BlockBytes: 4 << 10}
	if change != nil {
		change(&cfg)
	}
	s.reader = must[*Reader](s.t)(NewReader(cfg))
	s.t.Cleanup(func() { s.reader.Close() })
}

// check compares one read with the log.
func (s *shelf) check(from mq.Offset, maxBytes int, got []byte, next mq.Offset) {
	s.t.Helper()
	var want []byte
	wantNext := from
	for rest := s.log; len(rest) > 0; {
		b, after, err := mq.NextBatch(rest)
		if err != nil {
			s.t.Fatal(err)
		}
		rest = after
		if b.NextOffset() <= from || b.NextOffset() > next {
			continue
		}
		want = append(want, b...)
		wantNext = b.NextOffset()
	}
	if !bytes.Equal(got, want) || next != wantNext || len(got) == 0 {
		s.t.Fatalf("read at %d: %d bytes up to %d, want %d up to %d", from, len(got), next, len(want), wantNext)
	}
	if first := mq.Batch(got); len(got) > maxBytes && first.Length() != len(got) {
		s.t.Fatalf("read at %d: %d bytes, at most %d were wanted", from, len(got), maxBytes)
	}
}

func TestReadAnywhere(t *testing.T) {
	for _, blockBytes := range []int64{1000, 8 << 10, 1 << 20} {
		t.Run(fmt.Sprint(blockBytes), func(t *testing.T) {
			s := newShelf(t, 3, 4, 60, 3000, func(c *ReaderConfig) { c.BlockBytes, c.CacheBytes = blockBytes, max(8*blockBytes, 256<<10) })
			rng := rand.New(rand.NewPCG(5, 5))
			for range 100 {
				from, maxBytes := mq.Offset(rng.Int64N(int64(s.end))), rng.IntN(300_000)
				got, next, err := s.reader.Read(t.Context(), shelfPartition, from, maxBytes)
				if err != nil {
					t.Fatal(err)
				}
				s.check(from, maxBytes, got, next)
			}
			all, next := readAll(t, s.reader, shelfPartition, 0, s.end)
			if !bytes.Equal(all, s.log) || next != s.end {
				t.Error("reading from start to end does not give the log")
			}
			if _, _, err := s.reader.Read(t.Context(), shelfPartition, s.end, 1); mq.CodeOf(err) != mq.OffsetOutOfRange {
				t.Errorf("at the end: %v", err)
			}
			if _, _, err := s.reader.Read(t.Context(), testPartition(9), 0, 1); mq.CodeOf(err) != mq.OffsetOutOfRange {
				t.Errorf("unknown partition: %v", err)
			}
		})
	}
}

// TestReadOfACutRange is what a fork has: a range that ends before its section.
func TestReadOfACutRange(t *testing.T) {
	s := newShelf(t, 4, 1, 60, 3000, nil)
	fork := testPartition(40)
	g := s.catalog.ranges[shelfPartition][0]
	cutAt := mq.Batch(s.log).NextOffset()
	for rest := s.log; len(rest) > len(s.log)/2; {
		b, after, _ := mq.NextBatch(rest)
		rest, cutAt = after, b.NextOffset()
	}
	g.Partition, g.End = fork, cutAt
	s.catalog.ranges[fork] = []Range{g}
	var all []byte
	var next mq.Offset
	for next < cutAt {
		got, after, err := s.reader.Read(t.Context(), fork, next, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		all, next = append(all, got...), after
	}
	if next != cutAt || !bytes.Equal(all, s.log[:len(all)]) || mq.Batch(s.log[len(all):]).BaseOffset() != cutAt {
		t.Errorf("read %d bytes up to %d, want up to %d", len(all), next, cutAt)
	}
}

// TestFlippedBitIsNeverServed flips every bit of a stored object: what is read
// is what was written, or Corrupt with the object's key.
func TestFlippedBitIsNeverServed(t *testing.T) {
	for _, blockBytes := range []int64{64, 1 << 20} {
		data, footer := smallObject(t)
		store, catalog := faultstore.New(), newTestCatalog()
		if err := store.Bucket().WriteAll(t.Context(), "k", data, nil); err != nil {
			t.Fatal(err)
		}
		for _, r := range footer.Ranges {
			catalog.ranges[r.Partition] = append(catalog.ranges[r.Partition], Range{
				Partition: r.Partition, First: r.First, End: r.End, Position: r.Position, Bytes: r.Bytes, CRC: r.CRC,
				ObjectID: footer.ObjectID, Key: "k", ObjectSize: int64(len(data)),
			})
		}
		for bit := range int64(len(data)) * 8 {
			if blockBytes == 64 && bit%8 != bit/8%8 {
				continue // a bit of each byte will do
			}
			store.Flip("k", bit)
			reader := must[*Reader](t)(NewReader(ReaderConfig{Store: NewStore(store.Bucket(), Limits{}), Catalog: catalog, BlockBytes: blockBytes, CacheBytes: 4 * blockBytes}))
			for _, r := range footer.Ranges {
				inRange := bit/8 >= r.Position && bit/8 < r.Position+r.Bytes
				got, _, err := reader.Read(t.Context(), r.Partition, r.First, 1<<20)
				switch {
				case err == nil && inRange:
					t.Fatalf("bit %d of byte %d: served", bit%8, bit/8)
				case err == nil && !bytes.Equal(got, data[r.Position:r.Position+r.Bytes]):
					t.Fatalf("bit %d of byte %d: other bytes served", bit%8, bit/8)
				case err != nil && (mq.CodeOf(err) != mq.Corrupt || !strings.Contains(err.Error(), "object k at ")):
					t.Fatalf("bit %d of byte %d: %v", bit%8, bit/8, err)
				}
			}
			reader.Close()
			store.Flip("k", bit)
		}
	}
}

func TestDamageIsNotCached(t *testing.T) {
	s := newShelf(t, 7, 1, 40, 3000, nil)
	g := s.catalog.ranges[shelfPartition][0]
	bit := (g.Position + g.Bytes/2) * 8
	read := func() error {
		for from := mq.Offset(0); from < s.end; {
			_, next, err := s.reader.Read(t.Context(), shelfPartition, from, 10_000)
			if err != nil {
				return err
			}
			from = next
		}
		return nil
	}
	s.store.Flip(g.Key, bit)
	for range 3 {
		if err := read(); mq.CodeOf(err) != mq.Corrupt || !strings.Contains(err.Error(), g.Key) {
			t.Fatalf("damaged: %v", err)
		}
	}
	if n := s.reader.Stats().Corruptions; n != 3 {
		t.Errorf("%d corruptions counted", n)
	}
	s.store.Flip(g.Key, bit)
	if err := read(); err != nil {
		t.Errorf("healed: %v", err)
	}
}

func TestDamageOnTheWayHealsByItself(t *testing.T) {
	s := newShelf(t, 8, 4, 40, 3000, func(c *ReaderConfig) { c.BlockBytes, c.CacheBytes = 1<<20, 8<<20 })
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(1, 1))
	type block struct {
		key    string
		number int64
	}
	flipped := map[block]bool{}
	s.store.SetHook(func(op faultstore.Op) (f faultstore.Fault) {
		mu.Lock()
		defer mu.Unlock()
		var fetched []block
		for n := op.Offset >> 20; n<<20 < op.Offset+max(op.Length, 1); n++ {
			fetched = append(fetched, block{op.Key, n})
		}
		if slices.ContainsFunc(fetched, func(b block) bool { return flipped[b] }) {
			return f // each block once: who fetches it again gets it whole
		}
		for _, b := range fetched {
			flipped[b] = true
		}
		f.Flip = ptr(rng.Int64N(200_000 * 8))
		return f
	})
	all, _ := readAll(t, s.reader, shelfPartition, 0, s.end)
	if !bytes.Equal(all, s.log) {
		t.Error("read something else")
	}
}

func TestFaultsOfTheStoreAreNotAbsence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(t, 9, 2, 40, 3000, nil)
		defer s.reader.Close()
		for name, fault := range map[string]faultstore.Fault{
			"fails":        {Before: errors.New("SlowDown")},
			"is cut short": {Cut: ptr(10)},
			"hangs":        {Delay: time.Hour},
		} {
			s.store.SetHook(func(faultstore.Op) faultstore.Fault { return fault })
			if _, _, err := s.reader.Read(t.Context(), shelfPartition, 0, 1); mq.CodeOf(err) != mq.ObjectStoreUnavailable {
				t.Errorf("%s: %v", name, err)
			}
		}
		s.store.SetHook(nil)
		key := s.catalog.ranges[shelfPartition][0].Key
		content := s.store.Content(key)
		s.store.Remove(key)
		if _, _, err := s.reader.Read(t.Context(), shelfPartition, 0, 1); mq.CodeOf(err) != mq.ObjectStoreUnavailable || !errors.Is(err, ErrAbsent) {
			t.Errorf("removed: %v", err)
		}
		// The same range in another object, as after a merge.
		if err := s.store.Bucket().WriteAll(t.Context(), "moved", content, nil); err != nil {
			t.Fatal(err)
		}
		s.catalog.mu.Lock()
		s.catalog.ranges[shelfPartition][0].Key = "moved"
		s.catalog.mu.Unlock()
		if _, _, err := s.reader.Read(t.Context(), shelfPartition, 0, 1); err != nil {
			t.Errorf("moved: %v", err)
		}
		// Another length than was committed is damage.
		if err := s.store.Bucket().WriteAll(t.Context(), "moved", content[:len(content)-1], nil); err != nil {
			t.Fatal(err)
		}
		s.open(nil)
		if _, _, err := s.reader.Read(t.Context(), shelfPartition, 0, 1); mq.CodeOf(err) != mq.Corrupt {
			t.Errorf("shortened: %v", err)
		}
		s.reader.Close()
	})
}

func TestOneFetchForAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(t, 10, 1, 30, 1000, func(c *ReaderConfig) { c.BlockBytes = 1 << 20; c.CacheBytes = 8 << 20 })
		defer s.reader.Close()
		s.store.SetHook(func(faultstore.Op) faultstore.Fault { return faultstore.Fault{Delay: time.Second} })
		// The one who came first leaves: that is nobody else's trouble.
		first, cancel := context.WithCancel(t.Context())
		left := make(chan error)
		go func() {
			_, _, err := s.reader.Read(first, shelfPartition, 0, 1)
			left <- err
		}()
		synctest.Wait()
		var group sync.WaitGroup
		for i := range 50 {
			group.Go(func() {
				from := mq.Offset(i) % s.end
				got, next, err := s.reader.Read(t.Context(), shelfPartition, from, 5000)
				if err != nil {
					t.Error(err)
					return
				}
				s.check(from, 5000, got, next)
			})
		}
		synctest.Wait()
		cancel()
		if err := <-left; mq.CodeOf(err) != mq.Canceled {
			t.Errorf("the one who left: %v", err)
		}
		group.Wait()
		if n := s.store.Ops(faultstore.Read); n != 1 {
			t.Errorf("%d requests for one block", n)
		}
		if n := s.catalog.lookups; n != 1 {
			t.Errorf("%d lookups for one page of the catalogue", n)
		}
	})
}

func TestSequentialReaderUsesFewRequests(t *testing.T) {
	s := newShelf(t, 11, 3, 200, 8000, func(c *ReaderConfig) {
		c.BlockBytes, c.CacheBytes, c.ReadAheadBytes = 64<<10, 16<<20, 1<<20
	})
	all, _ := readAll(t, s.reader, shelfPartition, 0, s.end)
	if !bytes.Equal(all, s.log) {
		t.Fatal("read something else")
	}
	st := s.reader.Stats()
	blocks := int64(len(s.log)) / (64 << 10)
	if st.Fetches > blocks/4 {
		t.Errorf("%d requests for %d blocks", st.Fetches, blocks)
	}
	if most := int64(len(s.log)) + 3*2*(64<<10); st.FetchedBytes > most {
		t.Errorf("fetched %d bytes to read %d", st.FetchedBytes, len(s.log))
	}
	t.Logf("%d blocks: %+v", blocks, st)
}

func TestRandomReaderFetchesNothingElse(t *testing.T) {
	s := newShelf(t, 12, 1, 400, 8000, func(c *ReaderConfig) {
		c.BlockBytes, c.CacheBytes, c.ReadAheadBytes = 64<<10, 16<<20, 1<<20
	})
	for i := range 5 {
		from := s.end * mq.Offset(i*2+1) / 11
		if _, _, err := s.reader.Read(t.Context(), shelfPartition, from, 1000); err != nil {
			t.Fatal(err)
		}
	}
	// A block each, perhaps two where a run lies across, and the index.
	if st := s.reader.Stats(); st.FetchedBytes > 11*(64<<10) || st.ReadAheadBlocks > 0 && st.FetchedBytes > 7*(64<<10) {
		t.Errorf("%+v", st)
	}
}

func TestCacheStaysInItsBudget(t *testing.T) {
	for _, budget := range []int64{32 << 10, 256 << 10, 1 << 20} {
		s := newShelf(t, 13, 4, 200, 1500, func(c *ReaderConfig) { c.BlockBytes, c.CacheBytes = 8<<10, budget })
		var readers sync.WaitGroup
		var peak atomic.Int64
		for i := range 4 {
			readers.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(i), 1))
				for range 200 {
					from := mq.Offset(rng.Int64N(int64(s.end)))
					if i%2 == 0 {
						from /= 10 // some parts are asked for more often
					}
					if _, _, err := s.reader.Read(context.Background(), shelfPartition, from, 20_000); err != nil {
						t.Error(err)
						return
					}
					for held, before := s.reader.Stats().CachedBytes, peak.Load(); held > before && !peak.CompareAndSwap(before, held); before = peak.Load() {
					}
				}
			})
		}
		readers.Wait()
		if peak := peak.Load(); peak > budget || peak < budget/4 {
			t.Errorf("held %d bytes with a budget of %d", peak, budget)
		}
		st := s.reader.Stats()
		if budget == 1<<20 && st.BlockHits < st.BlockMisses {
			t.Errorf("a cache that holds half of everything: %+v", st)
		}
		s.reader.Close()
		if n := s.reader.cache.mainBytes.Load(); n != 0 {
			t.Errorf("%d bytes are still counted after close", n)
		}
	}
}

// TestScanDoesNotWashOutWhatManyWant reads a hot part often, then everything
// once, then the hot part again.
func TestScanDoesNotWashOutWhatManyWant(t *testing.T) {
	s := newShelf(t, 14, 8, 200, 2000, func(c *ReaderConfig) {
		c.BlockBytes, c.CacheBytes, c.ReadAheadBytes = 8<<10, 512<<10, 32<<10
	})
	hot := func() {
		for from := mq.Offset(0); from < s.end/20; {
			_, next, err := s.reader.Read(t.Context(), shelfPartition, from, 8000)
			if err != nil {
				t.Fatal(err)
			}
			from = next
		}
	}
	for range 20 {
		hot()
		readAll(t, s.reader, shelfPartition, s.end/2, s.end/2+40) // something passes through
	}
	readAll(t, s.reader, shelfPartition, 0, s.end)
	before := s.reader.Stats()
	hot()
	after := s.reader.Stats()
	if hits, misses := after.BlockHits-before.BlockHits, after.BlockMisses-before.BlockMisses; misses > hits {
		t.Errorf("after a scan of %d bytes the hot part had %d hits, %d misses", len(s.log), hits, misses)
	}
}

func TestOffsetByTime(t *testing.T) {
	s := newShelf(t, 15, 4, 100, 2000, nil)
	rng := rand.New(rand.NewPCG(2, 2))
	type stamp struct {
		offset mq.Offset
		time   int64
	}
	var all []stamp
	for rest := s.log; len(rest) > 0; {
		b, after, _ := mq.NextBatch(rest)
		rest = after
		for i := range int64(b.RecordCount()) { // as testBatch stamps them
			all = append(all, stamp{b.BaseOffset() + mq.Offset(i), b.BaseTimestamp() + i})
		}
	}
	least, greatest := all[0].time, slices.MaxFunc(all, func(a, b stamp) int { return int(a.time - b.time) }).time
	for range 300 {
		ts := least - 5 + rng.Int64N(greatest-least+10)
		from := mq.Offset(rng.Int64N(int64(s.end)))
		i := slices.IndexFunc(all, func(x stamp) bool { return x.offset >= from && x.time >= ts })
		offset, at, ok, err := s.reader.OffsetByTime(t.Context(), shelfPartition, from, ts)
		switch {
		case err != nil:
			t.Fatal(err)
		case ok != (i >= 0):
			t.Fatalf("time %d from %d: found %v", ts, from, ok)
		case ok && (offset != all[i].offset || at != all[i].time):
			t.Fatalf("time %d from %d: %d at %d, want %+v", ts, from, offset, at, all[i])
		}
	}
	if _, _, ok, err := s.reader.OffsetByTime(t.Context(), testPartition(9), 0, 0); ok || err != nil {
		t.Errorf("unknown partition: %v, %v", ok, err)
	}
}

func TestCatalogIsAskedRarely(t *testing.T) {
	s := newShelf(t, 16, 150, 3, 500, nil)
	readAll(t, s.reader, shelfPartition, 0, s.end)
	if n := s.catalog.lookups; n != 3 { // 64 ranges to a page
		t.Errorf("%d lookups for 150 ranges in order", n)
	}
	readAll(t, s.reader, shelfPartition, 0, s.end)
	if n := s.catalog.lookups; n != 3 {
		t.Errorf("%d lookups the second time", n)
	}
	s.catalog.fault = func(string) (error, error) { return errors.New("no"), nil }
	if _, _, err := s.reader.Read(t.Context(), testPartition(0), 0, 1); mq.CodeOf(err) != mq.NotController {
		t.Errorf("catalogue in trouble: %v", err)
	}
}

func TestCloseEndsReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(t, 17, 1, 10, 1000, nil)
		s.store.SetHook(func(faultstore.Op) faultstore.Fault { return faultstore.Fault{Delay: time.Hour} })
		failed := make(chan error)
		go func() {
			_, _, err := s.reader.Read(context.Background(), shelfPartition, 0, 1)
			failed <- err
		}()
		synctest.Wait()
		s.reader.Close()
		if err := <-failed; mq.CodeOf(err) != mq.ShuttingDown {
			t.Errorf("read under way: %v", err)
		}
		if _, _, err := s.reader.Read(context.Background(), shelfPartition, 0, 1); mq.CodeOf(err) != mq.ShuttingDown {
			t.Errorf("read after close: %v", err)
		}
	})
}

func TestLRUForgetsTheLeastRecentlyUsed(t *testing.T) {
	var gone []int
	l := newLRU[int](10, func(v int) { gone = append(gone, v) })
	for i := range 3 {
		l.put(i, i, 3)
	}
	l.get(0)
	l.put(3, 3, 3)
	if !slices.Equal(gone, []int{1}) || l.used != 9 {
		t.Errorf("forgot %v, holds %d", gone, l.used)
	}
	l.put(4, 4, 100) // larger than all
	if len(gone) != 5 || l.used != 0 {
		t.Errorf("forgot %v, holds %d", gone, l.used)
	}
}
