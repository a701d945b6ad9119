package partition

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/rustmq/rustmq/directio"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
)

// memoryFS is a disk as fast as memory.
type memoryFS struct {
	mu    sync.Mutex
	files map[string]*memoryFile
}

type memoryFile struct {
	mu   sync.RWMutex
	data []byte
}

func (f *memoryFS) MkdirAll(string) error { return nil }
func (f *memoryFS) SyncDir(string) error  { return nil }

func (f *memoryFS) Create(path string) (wal.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.files[path] = &memoryFile{}
	return f.files[path], nil
}

func (f *memoryFS) Open(path string) (wal.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if file := f.files[path]; file != nil {
		return file, nil
	}
	return nil, os.ErrNotExist
}

func (f *memoryFS) OpenRead(path string) (wal.File, error) { return f.Open(path) }

func (f *memoryFS) Remove(path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.files, path)
	return nil
}

func (f *memoryFS) Rename(from, to string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.files[to] = f.files[from]
	delete(f.files, from)
	return nil
}

func (f *memoryFS) ReadDir(dir string) (names []string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for path := range f.files {
		if filepath.Dir(path) == filepath.Clean(dir) {
			names = append(names, filepath.Base(path))
		}
	}
	return names, nil
}

func (f *memoryFS) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

func (m *memoryFile) ReadAt(p []byte, off int64) (int, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if off >= int64(len(m.data)) {
		return 0, io.EOF
	}
	n := copy(p, m.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (m *memoryFile) ReadPast(p []byte, off int64) (int, error)       { return m.ReadAt(p, off) }
func (m *memoryFile) ReadEach(*directio.Queue, []directio.Piece) bool { return false }

func (m *memoryFile) WriteAt(p []byte, off int64) (int, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if off+int64(len(p)) > int64(len(m.data)) {
		return 0, errors.New("beyond the allocation")
	}
	return copy(m.data[off:], p), nil
}

func (m *memoryFile) Allocate(size int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	grown := make([]byte, size)
	copy(grown, m.data)
	m.data = grown
	return nil
}

func (m *memoryFile) Sync() error  { return nil }
func (m *memoryFile) Close() error { return nil }

func (m *memoryFile) Size() (int64, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return int64(len(m.data)), nil
}

type ignored struct{}

func (ignored) Complete(AppendResult) {}

// benchPartition leads on a log in memory. The log is released as it grows.
func benchPartition(b *testing.B) *Partition {
	b.Helper()
	r := NewRecovery(time.Now())
	log, _, err := wal.Open(wal.Options{FS: &memoryFS{files: map[string]*memoryFile{}}, Dir: "wal", SegmentBytes: 64 << 20, QueueBytes: 64 << 20}, r.Visit)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = log.Close() })
	p, err := Open(Config{
		ID: testID(), Topic: "bench", Node: 1, Log: log, Tail: NewTailBudget(32 << 20), Now: time.Now, Counters: &Counters{},
		Settings: func() Settings { return Settings{MinISR: 1} },
	}, nil, Checkpoint{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(p.Close)
	if err := p.Lead(0, 0, []Replica{{1, 1}}); err != nil {
		b.Fatal(err)
	}
	return p
}

// benchBatches are many batches of 1 KiB, by one producer or by none. They are used again and again: by the time that one's turn comes
// again it left log queue and tail long ago.
func benchBatches(by producedBy) []mq.Batch {
	batches := make([]mq.Batch, 1<<17)
	one := batch(by, 1, 'x', 1024-mq.BatchHeaderSize-10, 0)
	for i := range batches {
		batches[i] = bytes.Clone(one)
	}
	return batches
}

func BenchmarkAppend(b *testing.B) {
	for name, by := range map[string]producedBy{"plain": nobody(), "idempotent": {7, 0, 0}} {
		b.Run(name, func(b *testing.B) {
			p := benchPartition(b)
			batches := benchBatches(by)
			b.SetBytes(int64(len(batches[0])))
			b.ReportAllocs()
			i, seq := 0, int32(0)
			for b.Loop() {
				batch := batches[i%len(batches)]
				if by.id >= 0 {
					batch[53], batch[54], batch[55], batch[56] = byte(seq>>24), byte(seq>>16), byte(seq>>8), byte(seq)
					seq++
				}
				if err := p.cfg.Log.Reserve(context.Background(), LogBytes(batch)); err != nil {
					b.Fatal(err)
				}
				p.Append(batch, mq.DurabilityAll, ignored{})
				if i++; i%(1<<15) == 0 {
					_ = p.SetLogStart(p.marks.high()) // frees segments
				}
			}
		})
	}
}

// BenchmarkAppendPath is what an append costs its caller, once there is room in the log; the log's writer works beside it.
func BenchmarkAppendPath(b *testing.B) {
	const run = 20_000
	batches := benchBatches(producedBy{7, 0, 0})[:run]
	var spent time.Duration
	for b.Loop() {
		b.StopTimer()
		p := benchPartition(b)
		for i := range batches {
			if err := p.cfg.Log.Reserve(context.Background(), LogBytes(batches[i])); err != nil {
				b.Fatal(err)
			}
			batches[i][55], batches[i][56] = byte(i>>8), byte(i)
		}
		b.StartTimer()
		start := time.Now()
		for i := range batches {
			p.Append(batches[i], mq.DurabilityAll, ignored{})
		}
		spent += time.Since(start)
	}
	b.ReportMetric(float64(spent.Nanoseconds())/float64(run*b.N), "ns/append")
}

func BenchmarkReadTail(b *testing.B) {
	p := benchPartition(b)
	done := make(future, 1)
	const count = 20_000
	for i, batch := range benchBatches(nobody())[:count] {
		if err := p.cfg.Log.Reserve(context.Background(), LogBytes(batch)); err != nil {
			b.Fatal(err)
		}
		if i == count-1 {
			p.Append(batch, mq.DurabilityAll, done)
		} else {
			p.Append(batch, mq.DurabilityNone, ignored{})
		}
	}
	<-done
	for _, most := range []int{1 << 10, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", most>>10), func(b *testing.B) {
			var buf ReadBuffer
			ctx := context.Background()
			b.SetBytes(int64(most))
			b.ReportAllocs()
			from := mq.Offset(0)
			for b.Loop() {
				res, err := p.Read(ctx, from, most, mq.IsolationCommitted, &buf)
				if err != nil || len(res.Batches) == 0 {
					b.Fatal(err, res)
				}
				if from = res.Next; from+1100 > count {
					from = 0
				}
			}
		})
	}
	b.Run("parallel/64KiB", func(b *testing.B) {
		b.SetBytes(64 << 10)
		b.RunParallel(func(pb *testing.PB) {
			var buf ReadBuffer
			for pb.Next() {
				if _, err := p.Read(context.Background(), 10_000, 64<<10, mq.IsolationCommitted, &buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}

func BenchmarkReadLog(b *testing.B) {
	p := benchPartition(b)
	done := make(future, 1)
	for i, batch := range benchBatches(nobody())[:20_000] {
		if err := p.cfg.Log.Reserve(context.Background(), LogBytes(batch)); err != nil {
			b.Fatal(err)
		}
		if i == 19_999 {
			p.Append(batch, mq.DurabilityAll, done)
		} else {
			p.Append(batch, mq.DurabilityNone, ignored{})
		}
	}
	<-done
	p.mu.Lock()
	p.cfg.Tail.used.Add(-p.tail.clear())
	p.mu.Unlock()
	var buf ReadBuffer
	b.SetBytes(1 << 20)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Read(context.Background(), 5000, 1<<20, mq.IsolationCommitted, &buf); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRecoveryVisit is what recovery costs per batch beside reading the log.
func BenchmarkRecoveryVisit(b *testing.B) {
	for name, by := range map[string]producedBy{"plain": nobody(), "idempotent": {7, 0, 0}} {
		b.Run(name, func(b *testing.B) {
			one := batch(by, 1, 'x', 1024-mq.BatchHeaderSize-10, 0)
			one.SetLeaderEpoch(0)
			b.SetBytes(int64(len(one)))
			b.ReportAllocs()
			r := NewRecovery(time.Now())
			var at uint64
			for b.Loop() {
				one.SetBaseOffset(mq.Offset(at))
				one[53], one[54], one[55], one[56] = byte(at>>24)&0x7f, byte(at>>16), byte(at>>8), byte(at)
				e := wal.Entry{Stream: wal.StreamID(testID().Key()), Type: wal.EntryData, First: at, End: at + 1, Payload: one}
				if at%10_000 == 0 {
					e := wal.Entry{Stream: e.Stream, Type: wal.EntryState, Payload: replicaState{high: mq.Offset(at)}.encode()}
					_ = r.Visit(e)
				}
				if err := r.Visit(e); err != nil {
					b.Fatal(err)
				}
				at++
			}
			if s := r.Take(testID()); s.err != nil || s.end != mq.Offset(at) {
				b.Fatal(s.err, s.end, at)
			}
		})
	}
}
