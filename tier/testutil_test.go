package tier

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// testPartition is the n-th partition of the tests.
func testPartition(n int) mq.PartitionID {
	var topic mq.TopicID
	binary.BigEndian.PutUint32(topic[:], uint32(n/4))
	topic[15] = 7
	return mq.PartitionID{Topic: topic, Index: int32(n % 4)}
}

// testBatch encodes a batch by itself, independently of mq.BatchBuilder: one
// record for each value, the i-th at time+i.
func testBatch(base mq.Offset, epoch mq.Epoch, time int64, values ...[]byte) mq.Batch {
	b := make([]byte, mq.BatchHeaderSize)
	for i, v := range values {
		body := []byte{0}                          // attributes
		body = binary.AppendVarint(body, int64(i)) // timestamp delta
		body = binary.AppendVarint(body, int64(i)) // offset delta
		body = binary.AppendVarint(body, -1)       // no key
		body = binary.AppendVarint(body, int64(len(v)))
		body = append(body, v...)
		body = binary.AppendVarint(body, 0) // no headers
		b = binary.AppendVarint(b, int64(len(body)))
		b = append(b, body...)
	}
	n := len(values)
	binary.BigEndian.PutUint64(b, uint64(base))
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	binary.BigEndian.PutUint32(b[12:], uint32(epoch))
	b[16] = 2
	binary.BigEndian.PutUint32(b[23:], uint32(n-1))
	binary.BigEndian.PutUint64(b[27:], uint64(time))
	binary.BigEndian.PutUint64(b[35:], uint64(time+int64(n)-1))
	binary.BigEndian.PutUint64(b[43:], ^uint64(0)) // no producer
	binary.BigEndian.PutUint16(b[51:], ^uint16(0))
	binary.BigEndian.PutUint32(b[53:], ^uint32(0))
	binary.BigEndian.PutUint32(b[57:], uint32(n))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], castagnoli))
	return b
}

// testLog makes count batches of some records of size bytes, from offset base.
func testLog(rng *rand.Rand, base mq.Offset, epoch mq.Epoch, count, size int) (batches []byte, end mq.Offset) {
	for i := range count {
		values := make([][]byte, 1+rng.IntN(4))
		for j := range values {
			values[j] = make([]byte, size/2+rng.IntN(size/2+1))
			for k := 0; k+8 <= len(values[j]); k += 8 {
				binary.NativeEndian.PutUint64(values[j][k:], rng.Uint64())
			}
		}
		b := testBatch(base, epoch, 1_700_000_000_000+int64(base)*10+int64(i), values...)
		batches = append(batches, b...)
		base = b.NextOffset()
	}
	return batches, base
}

// testSource is a partition's log in memory.
type testSource struct {
	id mq.PartitionID

	mu       sync.Mutex
	epoch    mq.Epoch
	log      []byte      // from offset 0, or what first says
	starts   []testEntry // of each batch
	end      mq.Offset
	tiered   mq.Offset
	since    time.Time
	coarse   bool // since stays, as long as anything is pending
	awaited  bool
	verdicts []error
	fail     error // of ReadUpload
	failAt   mq.Offset
	reads    int
}

type testEntry struct {
	offset   mq.Offset
	position int
}

func newTestSource(n int) *testSource { return &testSource{id: testPartition(n), epoch: 1} }

// append adds batches made of one record per value.
func (s *testSource) append(values ...[]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end == s.tiered {
		s.since = time.Now()
	}
	s.add(testBatch(s.end, s.epoch, time.Now().UnixMilli(), values...))
}

// appendBatch adds a batch as its producer made it.
func (s *testSource) appendBatch(b mq.Batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end == s.tiered {
		s.since = time.Now()
	}
	b.SetBaseOffset(s.end)
	b.SetLeaderEpoch(s.epoch)
	s.add(b)
}

// add is append under the lock.
func (s *testSource) add(b mq.Batch) {
	s.starts = append(s.starts, testEntry{s.end, len(s.log)})
	s.log = append(s.log, b...)
	s.end = b.NextOffset()
}

func (s *testSource) ID() mq.PartitionID { return s.id }

func (s *testSource) LeaderEpoch() mq.Epoch {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.epoch
}

// part is what the log has of [first, end).
func (s *testSource) part(first, end mq.Offset) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log[s.position(first):s.position(end)]
}

// position is where a batch begins in the log, under the lock.
func (s *testSource) position(o mq.Offset) int {
	for _, e := range s.starts {
		if e.offset == o {
			return e.position
		}
	}
	if o == s.end {
		return len(s.log)
	}
	panic("not a batch boundary")
}

func (s *testSource) Pending() Pending {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.epoch < 0 {
		return Pending{}
	}
	return Pending{First: s.tiered, End: s.end, Bytes: int64(len(s.log) - s.position(s.tiered)), Since: s.since, Awaited: s.awaited}
}

func (s *testSource) ReadUpload(ctx context.Context, first, end mq.Offset, maxBytes int, dst []byte) ([]byte, mq.Offset, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	if s.fail != nil && first >= s.failAt {
		return nil, 0, s.fail
	}
	from := s.position(first)
	dst = dst[:0]
	next := first
	if s.fail != nil {
		maxBytes = 1 // so that it fails in the middle
	}
	for i, e := range s.starts {
		if e.offset < first || e.offset >= end || len(dst) >= maxBytes {
			continue
		}
		to, after := len(s.log), s.end
		if i+1 < len(s.starts) {
			to, after = s.starts[i+1].position, s.starts[i+1].offset
		}
		dst = append(dst, s.log[from:to]...)
		from, next = to, after
	}
	return dst, next, nil
}

// testState is the producer state that a checkpoint at end has.
func testState(id mq.PartitionID, end mq.Offset) []byte {
	key := id.Key()
	return binary.BigEndian.AppendUint64(key[:], uint64(end))
}

func (s *testSource) Checkpoint(end mq.Offset) ([]byte, []mq.EpochStart, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.position(end)
	return testState(s.id, end), []mq.EpochStart{{Epoch: 1, Start: 0}}, nil
}

func (s *testSource) Tiered(end mq.Offset, verdict error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.verdicts = append(s.verdicts, verdict)
	if verdict == nil {
		s.tiered = max(s.tiered, end)
		if !s.coarse || s.tiered == s.end {
			s.since = time.Now()
		}
	}
}

func (s *testSource) setEpoch(e mq.Epoch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch = e
}

func (s *testSource) tieredEnd() mq.Offset {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tiered
}

// testCatalog decides commits as the metadata does.
type testCatalog struct {
	mu        sync.Mutex
	nextID    uint64
	epochs    map[mq.PartitionID]mq.Epoch
	ranges    map[mq.PartitionID][]Range
	logStarts map[mq.PartitionID]mq.Offset
	known     map[string]bool // keys that were ever committed
	commits   map[uint64]ObjectCommit
	order     []ObjectCommit
	fault     func(op string) (before, after error) // of each call; nil: none
	refuse    func(ObjectCommit) error              // for good; nil: nothing
	lookups   int
}

func newTestCatalog() *testCatalog {
	return &testCatalog{nextID: 1, epochs: map[mq.PartitionID]mq.Epoch{}, ranges: map[mq.PartitionID][]Range{}, logStarts: map[mq.PartitionID]mq.Offset{}, known: map[string]bool{}, commits: map[uint64]ObjectCommit{}}
}

func (c *testCatalog) faults(op string) (before, after error) {
	if c.fault == nil {
		return nil, nil
	}
	return c.fault(op)
}

func (c *testCatalog) LeaseObjectIDs(_ context.Context, n int) (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before, after := c.faults("lease")
	if before != nil {
		return 0, before
	}
	first := c.nextID
	c.nextID += uint64(n)
	return first, after
}

func (c *testCatalog) CommitObject(_ context.Context, o ObjectCommit) ([]error, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before, after := c.faults("commit")
	if before != nil {
		return nil, before
	}
	if c.refuse != nil {
		if err := c.refuse(o); err != nil {
			return nil, err
		}
	}
	verdicts := make([]error, len(o.Ranges))
	for i, r := range o.Ranges {
		verdicts[i] = c.commitRange(o, r)
	}
	if _, again := c.commits[o.ID]; !again {
		c.order = append(c.order, o)
	}
	c.commits[o.ID] = o
	return verdicts, after
}

func (c *testCatalog) commitRange(o ObjectCommit, r RangeCommit) error {
	have := c.ranges[r.Partition]
	var end mq.Offset
	for _, h := range have {
		if h.ObjectID == o.ID && h.First == r.First {
			return nil // proposed again
		}
		end = h.End
	}
	epoch, known := c.epochs[r.Partition]
	if known && epoch != r.LeaderEpoch {
		return mq.Errorf(mq.FencedLeaderEpoch, "epoch %d, now %d", r.LeaderEpoch, epoch)
	}
	if r.First != end {
		return mq.Errorf(mq.InvalidRequest, "range from %d, the tiered end is %d", r.First, end)
	}
	c.known[o.Key] = true
	c.ranges[r.Partition] = append(have, Range{
		Partition: r.Partition, First: r.First, End: r.End, LeaderEpoch: r.LeaderEpoch, MinTime: r.MinTime, MaxTime: r.MaxTime,
		Position: r.Position, Bytes: r.Bytes, CRC: r.CRC, ObjectID: o.ID, Key: o.Key, ObjectSize: o.Size,
	})
	return nil
}

// ReplaceRanges decides as the metadata does.
func (c *testCatalog) ReplaceRanges(_ context.Context, m ObjectMerge) ([]error, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before, after := c.faults("replace")
	if before != nil {
		return nil, before
	}
	verdicts := make([]error, len(m.Replacements))
	for i, r := range m.Replacements {
		verdicts[i] = c.replace(m, r)
	}
	return verdicts, after
}

func (c *testCatalog) replace(m ObjectMerge, r Replacement) error {
	have := c.ranges[r.Partition]
	fresh := Range{
		Partition: r.Partition, First: r.First, End: r.End, MinTime: r.MinTime, MaxTime: r.MaxTime,
		Position: r.Position, Bytes: r.Bytes, CRC: r.CRC, ByKey: r.ByKey, ObjectID: m.ID, Key: m.Key, ObjectSize: m.Size,
	}
	is := func(a, b Range) bool { return a.ObjectID == b.ObjectID && a.First == b.First && a.End == b.End }
	if slices.ContainsFunc(have, func(h Range) bool { return is(h, fresh) }) {
		return nil // proposed again
	}
	at := slices.IndexFunc(have, func(h Range) bool { return is(h, r.Old[0]) })
	if at < 0 || at+len(r.Old) > len(have) || !slices.EqualFunc(have[at:at+len(r.Old)], r.Old, is) {
		return mq.Errorf(mq.OffsetOutOfRange, "it is not there any more")
	}
	if r.First < r.Old[0].First || r.First > max(r.Old[0].First, c.logStarts[r.Partition]) || r.End != r.Old[len(r.Old)-1].End {
		return mq.Errorf(mq.InvalidRequest, "[%d,%d) in the place of [%d,%d)", r.First, r.End, r.Old[0].First, r.Old[len(r.Old)-1].End)
	}
	for _, o := range r.Old {
		fresh.LeaderEpoch, fresh.Rewrites = max(fresh.LeaderEpoch, o.LeaderEpoch), max(fresh.Rewrites, o.Rewrites+1)
	}
	c.known[m.Key] = true
	c.ranges[r.Partition] = slices.Concat(have[:at], []Range{fresh}, have[at+len(r.Old):])
	return nil
}

// garbage are objects of the store that no range refers to.
func (c *testCatalog) garbage(keys []string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(keys, func(key string) bool {
		for _, list := range c.ranges {
			if slices.ContainsFunc(list, func(r Range) bool { return r.Key == key }) {
				return true
			}
		}
		return false
	})
}

func (c *testCatalog) Ranges(_ context.Context, p mq.PartitionID, from mq.Offset, limit int) ([]Range, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lookups++
	if before, after := c.faults("ranges"); before != nil || after != nil {
		return nil, mq.Errorf(mq.NotController, "%v %v", before, after)
	}
	var page []Range
	for _, r := range c.ranges[p] {
		if r.End > from && len(page) < limit {
			page = append(page, r)
		}
	}
	return page, nil
}

func (c *testCatalog) tieredEnd(p mq.PartitionID) (end mq.Offset) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if have := c.ranges[p]; len(have) > 0 {
		end = have[len(have)-1].End
	}
	return end
}

func (c *testCatalog) wasCommitted(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known[key]
}

func (c *testCatalog) logStart(p mq.PartitionID) mq.Offset {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.logStarts[p]
}

// setLogStart moves a log start forward, and drops the ranges below it.
func (c *testCatalog) setLogStart(p mq.PartitionID, o mq.Offset) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.logStarts[p] = max(c.logStarts[p], o)
	c.ranges[p] = slices.DeleteFunc(slices.Clone(c.ranges[p]), func(r Range) bool { return r.End <= c.logStarts[p] })
}

func (c *testCatalog) setEpoch(p mq.PartitionID, e mq.Epoch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epochs[p] = e
}

// commitFooter makes the ranges of an object that was put by hand known.
func (c *testCatalog) commitFooter(f *Footer, key string, size int64) {
	o := ObjectCommit{ID: f.ObjectID, Key: key, Size: size}
	for i := range f.Ranges {
		o.Ranges = append(o.Ranges, f.Ranges[i].commit())
	}
	_, _ = c.CommitObject(context.Background(), o)
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
