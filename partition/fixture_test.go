package partition

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/tier"
	"github.com/rustmq/rustmq/wal"
	"github.com/rustmq/rustmq/wal/crashfs"
)

var _ Cold = (*tier.Reader)(nil)

// testID is the partition of the tests.
func testID() mq.PartitionID { return mq.PartitionID{Topic: mq.TopicID{1, 2, 3}, Index: 4} }

// producedBy is who sends a batch.
type producedBy struct {
	id    mq.ProducerID
	epoch mq.ProducerEpoch
	seq   int32
}

// nobody is a producer without idempotence.
func nobody() producedBy { return producedBy{mq.NoProducerID, mq.NoProducerEpoch, mq.NoSequence} }

// batch is a batch as a producer sends it: so many records, of which each value is tag repeated to about size bytes, with timestamps
// ts, ts+1 and so on.
func batch(by producedBy, count int, tag byte, size int, ts int64) mq.Batch {
	b := make([]byte, mq.BatchHeaderSize)
	for i := range count {
		rec := []byte{0}                            // attributes
		rec = binary.AppendVarint(rec, int64(i))    // timestamp delta
		rec = binary.AppendVarint(rec, int64(i))    // offset delta
		rec = binary.AppendVarint(rec, -1)          // no key
		rec = binary.AppendVarint(rec, int64(size)) // value
		rec = append(rec, bytes.Repeat([]byte{tag}, size)...)
		rec = binary.AppendVarint(rec, 0) // headers
		b = binary.AppendVarint(b, int64(len(rec)))
		b = append(b, rec...)
	}
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	binary.BigEndian.PutUint32(b[12:], 0xffffffff)
	b[16] = 2
	binary.BigEndian.PutUint32(b[23:], uint32(count-1))
	binary.BigEndian.PutUint64(b[27:], uint64(ts))
	binary.BigEndian.PutUint64(b[35:], uint64(ts+int64(count)-1))
	binary.BigEndian.PutUint64(b[43:], uint64(by.id))
	binary.BigEndian.PutUint16(b[51:], uint16(by.epoch))
	binary.BigEndian.PutUint32(b[53:], uint32(by.seq))
	binary.BigEndian.PutUint32(b[57:], uint32(count))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	checked, err := mq.CheckBatch(b, mq.MaxBatchBytes)
	if err != nil {
		panic(err)
	}
	return checked
}

// plain is a batch of so many small records by nobody.
func plain(count int) mq.Batch { return batch(nobody(), count, 'x', 10, 1000) }

// stamped is plain as a leader of epoch sends it from base.
func stamped(b mq.Batch, base mq.Offset, epoch mq.Epoch) mq.Batch {
	b.SetBaseOffset(base)
	b.SetLeaderEpoch(epoch)
	return b
}

// bucket is an object store in memory and the metadata about it.
type bucket struct {
	mu         sync.Mutex
	batches    []mq.Batch // committed, by offset
	checkpoint Checkpoint
	err        error
	reads      int
}

func (c *bucket) Read(_ context.Context, _ mq.PartitionID, from mq.Offset, maxBytes int) (out []byte, next mq.Offset, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reads++
	if c.err != nil {
		return nil, from, c.err
	}
	for _, b := range c.batches {
		if b.NextOffset() <= from || len(out) > 0 && len(out)+len(b) > maxBytes {
			continue
		}
		if len(out) > 0 && b.BaseOffset() != next {
			break
		}
		out, next = append(out, b...), b.NextOffset()
	}
	if out == nil {
		return nil, from, mq.Errorf(mq.OffsetOutOfRange, "nothing at %d", from)
	}
	return out, next, nil
}

func (c *bucket) OffsetByTime(_ context.Context, _ mq.PartitionID, from mq.Offset, ts int64) (mq.Offset, int64, bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.batches {
		for i := range mq.Offset(b.RecordCount()) {
			if o, at := b.BaseOffset()+i, b.BaseTimestamp()+int64(i); o >= from && at >= ts {
				return o, at, true, c.err
			}
		}
	}
	return 0, 0, false, c.err
}

// upload does what the uploader does with p, for [p's tiered end, end), and commits it.
func (c *bucket) upload(t testing.TB, p *Partition, end mq.Offset) {
	t.Helper()
	c.commit(t, p, end)
	p.Tiered(end, nil)
}

// commit is upload, but that the answer to the commit is lost.
func (c *bucket) commit(t testing.TB, p *Partition, end mq.Offset) {
	t.Helper()
	first := p.Pending().First
	var data []byte
	for next := first; next < end; {
		got, after, err := p.ReadUpload(context.Background(), next, end, 100, nil)
		if err != nil {
			t.Fatalf("read for the upload at %d: %v", next, err)
		}
		data, next = append(data, got...), after
	}
	state, epochs, err := p.Checkpoint(end)
	if err != nil {
		t.Fatalf("checkpoint at %d: %v", end, err)
	}
	c.mu.Lock()
	c.batches = append(c.batches, split(t, data)...)
	c.checkpoint = Checkpoint{End: end, Producers: state, Epochs: epochs}
	c.mu.Unlock()
}

func split(t testing.TB, data []byte) (batches []mq.Batch) {
	t.Helper()
	for len(data) > 0 {
		b, rest, err := mq.NextBatch(data)
		if err != nil {
			t.Fatal(err)
		}
		batches, data = append(batches, b), rest
	}
	return batches
}

// node is one replica: a disk, a log, a partition.
type node struct {
	t        testing.TB
	id       mq.NodeID
	disk     *crashfs.FS
	log      *wal.Log
	cfg      Config
	settings atomic.Pointer[Settings]
	p        *Partition
	found    *wal.Recovery
}

// newNode is a replica with an empty disk; it is closed at the end of the test.
func newNode(t testing.TB, id mq.NodeID, store *bucket) *node {
	n := makeNode(t, id, store)
	t.Cleanup(n.stop)
	return n
}

// leaderAndFollower are two nodes over one object store, in leader epoch 1. The follower is not in sync.
func leaderAndFollower(t testing.TB) (store *bucket, l, f *node) {
	t.Helper()
	store = &bucket{}
	l, f = newNode(t, 1, store), newNode(t, 2, store)
	if err := l.p.Lead(1, 0, []Replica{{1, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := f.p.Follow(1, 1); err != nil {
		t.Fatal(err)
	}
	return store, l, f
}

// makeNode is newNode without that end.
func makeNode(t testing.TB, id mq.NodeID, store *bucket) *node {
	n := &node{t: t, id: id, disk: crashfs.New(uint64(id) + 1)}
	n.set(Settings{MinISR: 1})
	n.cfg = Config{
		ID: testID(), Topic: "orders", Node: id, Tail: NewTailBudget(64 << 20),
		Settings: func() Settings { return *n.settings.Load() },
		Now:      time.Now,
		Counters: &Counters{},
	}
	if store != nil {
		n.cfg.Cold = store
		n.cfg.Checkpoint = func(context.Context, mq.PartitionID) (Checkpoint, error) {
			store.mu.Lock()
			defer store.mu.Unlock()
			return store.checkpoint, nil
		}
	}
	n.start(Checkpoint{})
	return n
}

// set changes the topic's settings.
func (n *node) set(s Settings) { n.settings.Store(&s) }

// start recovers the log and opens the partition on it.
func (n *node) start(tiered Checkpoint) {
	n.t.Helper()
	r := NewRecovery(time.Now())
	log, found, err := wal.Open(wal.Options{
		FS: n.disk, Dir: "wal", SegmentBytes: 64 << 10, QueueBytes: 8 << 20, PromiseDelay: time.Millisecond,
		Rand: bytes.NewReader(bytes.Repeat([]byte{byte(n.id)}, 64)),
	}, r.Visit)
	if err != nil {
		n.t.Fatalf("open the log: %v", err)
	}
	r.Finish(found)
	n.log, n.found, n.cfg.Log = log, found, log
	if n.p, err = Open(n.cfg, r.Take(n.cfg.ID), tiered); err != nil {
		n.t.Fatalf("open the partition: %v", err)
	}
	r.Settle()
}

func (n *node) stop() {
	n.p.Close()
	_ = n.log.Close() // poisoned in some tests
}

// restart ends the process in an orderly way and starts it again.
func (n *node) restart(tiered Checkpoint) {
	n.t.Helper()
	n.stop()
	n.start(tiered)
}

// lead makes the node the only replica and leader, in the epoch after the last.
func (n *node) lead() {
	n.t.Helper()
	if err := n.p.Lead(n.p.Epoch()+1, 0, []Replica{{n.id, 1}}); err != nil {
		n.t.Fatal(err)
	}
}

// outcomes gathers results of appends.
type results struct {
	mu  sync.Mutex
	all []AppendResult
}

func (r *results) Complete(res AppendResult) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, res)
}

func (r *results) get() []AppendResult {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all)
}

// future is a Completion that can be waited for.
type future chan AppendResult

func (f future) Complete(r AppendResult) { f <- r }

// send appends without waiting.
func (n *node) send(b mq.Batch, want mq.Durability, done Completion) {
	n.t.Helper()
	if err := n.log.Reserve(context.Background(), LogBytes(b)); err != nil {
		n.t.Fatalf("reserve: %v", err)
	}
	n.p.Append(b, want, done)
}

// produce appends and waits.
func (n *node) produce(b mq.Batch, want mq.Durability) AppendResult {
	n.t.Helper()
	return n.produceTo(n.p, b, want)
}

// produceTo is produce for another partition on the same log.
func (n *node) produceTo(p *Partition, b mq.Batch, want mq.Durability) AppendResult {
	n.t.Helper()
	if err := n.log.Reserve(context.Background(), LogBytes(b)); err != nil {
		n.t.Fatalf("reserve: %v", err)
	}
	f := make(future, 1)
	p.Append(b, want, f)
	return <-f
}

// must appends with acks=all, and fails unless that works.
func (n *node) must(b mq.Batch) AppendResult {
	n.t.Helper()
	r := n.produce(b, mq.DurabilityAll)
	if r.Err != nil {
		n.t.Fatalf("append: %v", r.Err)
	}
	return r
}

// read reads everything visible from an offset on, as one string of bytes.
func (n *node) read(from mq.Offset) []byte {
	n.t.Helper()
	var out []byte
	var buf ReadBuffer
	for {
		res, err := n.p.Read(context.Background(), from, 1000, mq.IsolationCommitted, &buf)
		if err != nil {
			n.t.Fatalf("read at %d: %v", from, err)
		}
		for _, s := range res.Batches {
			out = append(out, s...)
		}
		if res.Next == res.End {
			return out
		}
		if res.Next == from {
			n.t.Fatalf("read at %d of %d came no further", from, res.End)
		}
		from = res.Next
	}
}

// evict empties the hot tail.
func (n *node) evict() {
	n.p.mu.Lock()
	defer n.p.mu.Unlock()
	n.cfg.Tail.used.Add(-n.p.tail.clear())
}

// gate holds up the disk's syncs until it is opened. It is for synctest bubbles: the log prepares its segments first.
func (n *node) gate() (open func()) {
	synctest.Wait()
	return n.hold()
}

// holdNext opens a gate that a sync waits at, and is another one for what comes after that sync.
func (n *node) holdNext(open func()) (next func()) {
	next = n.hold() // before the writer can go on
	open()
	return next
}

// hold is gate for a log that is busy.
func (n *node) hold() (open func()) {
	held := make(chan struct{})
	n.disk.Hook(func(c crashfs.Call) error {
		if c.Op == crashfs.OpSync {
			<-held
		}
		return nil
	})
	var once sync.Once
	open = func() { once.Do(func() { close(held) }) }
	n.t.Cleanup(open)
	return open
}

var _ io.Closer = (*wal.Log)(nil)
