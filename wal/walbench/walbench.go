package walbench

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rustmq/rustmq/wal"
)

// Load is what producers do.
type Load struct {
	Producers int           // goroutines
	Window    int           // records that each has under way; 1: it waits for each
	Size      int           // of a record, bytes; they are incompressible
	For       time.Duration // how long
}

// Result is what came of a load.
type Result struct {
	Records int64
	Bytes   int64
	Syncs   int64
	Elapsed time.Duration
	CPU     time.Duration // of the whole process, producers included
	P50     time.Duration // from append to durable
	P99     time.Duration
}

// PerSecond is the rate of records.
func (r Result) PerSecond() float64 { return float64(r.Records) / r.Elapsed.Seconds() }

// CPUPerKiB is the time that one KiB takes of a processor.
func (r Result) CPUPerKiB() time.Duration { return r.CPU * 1024 / time.Duration(max(1, r.Bytes)) }

// BytesPerSecond is the rate of their bytes.
func (r Result) BytesPerSecond() float64 { return float64(r.Bytes) / r.Elapsed.Seconds() }

func (r Result) String() string {
	return fmt.Sprintf("%.0f records/s, %.1f MB/s, p50 %v, p99 %v, %.1f records a sync", r.PerSecond(), r.BytesPerSecond()/1e6,
		r.P50.Round(time.Microsecond), r.P99.Round(time.Microsecond), float64(r.Records)/float64(max(1, r.Syncs)))
}

// Bench is a committer that loads can be run against. Close removes its files.
type Bench struct {
	c     committer
	syncs func() int64
	close func() error
}

// Close ends the bench.
func (b *Bench) Close() error { return b.close() }

// Run runs a load and waits until all of it is durable.
func (b *Bench) Run(load Load) (Result, error) {
	syncs, cpu := b.syncs(), cpuTime()
	r, err := drive(load, b.c)
	r.Syncs, r.CPU = b.syncs()-syncs, cpuTime()-cpu
	return r, err
}

// cpuTime is what this process has taken of the processors so far.
func cpuTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// NewRaw makes a [Raw] in a directory to run loads against.
func NewRaw(dir string) (*Bench, error) {
	raw, err := OpenRaw(dir)
	if err != nil {
		return nil, err
	}
	return &Bench{c: rawLoop{raw}, syncs: raw.syncs.Load, close: raw.Close}, nil
}

// NewLog makes a log of its own in a directory, with one stream per producer.
// What is durable is released, as it would be by uploads.
func NewLog(dir string) (*Bench, error) {
	dir = filepath.Join(dir, "log.bench")
	l, _, err := wal.Open(wal.Options{Dir: dir}, nil)
	if err != nil {
		return nil, err
	}
	b := &Bench{
		c:     logLoop{l: l},
		syncs: func() int64 { return int64(l.Stats().SyncsTotal) },
		close: func() error { return errors.Join(l.Close(), os.RemoveAll(dir)) },
	}
	if err := settle(l); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// Comparison is the log's result on a load, the bound's, and the ratio of
// their rates.
type Comparison struct {
	Raw, Log Result
	Ratio    float64
}

// Compare runs a load against both in turn, several rounds each, so that a
// disk that drifts treats both alike. The results are those of the round with the median ratio.
func Compare(raw, log *Bench, load Load, rounds int) (Comparison, error) {
	var all []Comparison
	for range rounds {
		var c Comparison
		var err error
		if c.Raw, err = raw.Run(load); err != nil {
			return c, err
		}
		if c.Log, err = log.Run(load); err != nil {
			return c, err
		}
		c.Ratio = c.Log.PerSecond() / c.Raw.PerSecond()
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b Comparison) int { return cmp.Compare(a.Ratio, b.Ratio) })
	return all[len(all)/2], nil
}

// settle brings a new log to where one is that has run for a while: there are
// segments to be used again, and none to be made.
func settle(l *wal.Log) error {
	done := make(chan *slot, 1)
	c := logLoop{l: l}
	record := make([]byte, 1<<20)
	for seq := uint64(0); l.Stats().RecycledTotal < 1 || l.Stats().Prepared < 1; seq++ {
		if err := c.append(-1, seq, record, &slot{back: done}); err != nil {
			return err
		}
		if s := <-done; s.err != nil {
			return s.err
		}
		l.Release(stream(-1), seq)
	}
	l.Drop(stream(-1))
	return l.Sync(context.Background())
}

// committer makes a record durable. seq counts those of a producer, from where
// its last run ended.
type committer interface {
	begin(producer int) (seq uint64)
	append(producer int, seq uint64, record []byte, done wal.Done) error
	settled(producer int, seq uint64)
	end(producer int)
}

// drive runs the producers.
func drive(load Load, c committer) (Result, error) {
	var (
		records atomic.Int64
		stop    atomic.Bool
		joined  sync.WaitGroup
		mu      sync.Mutex
		all     []time.Duration
		errs    []error
	)
	start := time.Now()
	timer := time.AfterFunc(load.For, func() { stop.Store(true) })
	defer timer.Stop()
	for p := range load.Producers {
		joined.Go(func() {
			took, err := produce(load, c, p, &stop)
			records.Add(int64(len(took)))
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
			if err != nil {
				errs = append(errs, err)
			}
		})
	}
	joined.Wait()
	r := Result{Records: records.Load(), Bytes: records.Load() * int64(load.Size), Elapsed: time.Since(start)}
	slices.Sort(all)
	if n := len(all); n > 0 {
		r.P50, r.P99 = all[n/2], all[n*99/100]
	}
	return r, errors.Join(errs...)
}

// slot is one record under way.
type slot struct {
	seq   uint64
	begun time.Time
	back  chan<- *slot
	err   error
}

func (s *slot) Appended(err error) {
	s.err = err
	s.back <- s
}

// produce is one producer: it keeps a window of records under way.
func produce(load Load, c committer, p int, stop *atomic.Bool) (took []time.Duration, err error) {
	back := make(chan *slot, load.Window)
	record := make([]byte, load.Size)
	fill(record, uint64(p))
	for range load.Window {
		back <- &slot{back: back, seq: ^uint64(0)}
	}
	seq := c.begin(p)
	defer c.end(p)
	for busy := 0; ; {
		s := <-back
		if s.seq != ^uint64(0) {
			busy--
			took = append(took, time.Since(s.begun))
			c.settled(p, s.seq)
			err = errors.Join(err, s.err)
		}
		if stop.Load() || err != nil {
			for ; busy > 0; busy-- {
				err = errors.Join(err, (<-back).err)
			}
			return took, err
		}
		s.seq, s.begun = seq, time.Now()
		if err := c.append(p, seq, record, s); err != nil {
			return took, err
		}
		seq++
		busy++
	}
}

func fill(b []byte, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	for i := 0; i+8 <= len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.Uint64())
	}
}

// logLoop commits to a log.
type logLoop struct{ l *wal.Log }

func stream(p int) (id wal.StreamID) {
	binary.LittleEndian.PutUint64(id[:], uint64(p))
	return id
}

func (c logLoop) begin(p int) uint64 {
	_, end, _ := c.l.Bounds(stream(p))
	return end
}

func (c logLoop) append(p int, seq uint64, record []byte, done wal.Done) error {
	if err := c.l.Reserve(context.Background(), int64(len(record))); err != nil {
		return err
	}
	c.l.Append(wal.Entry{Stream: stream(p), Type: wal.EntryData, First: seq, End: seq + 1, Payload: record}, done)
	return nil
}

func (c logLoop) settled(p int, seq uint64) {
	if seq%256 == 255 {
		c.l.Release(stream(p), seq)
	}
}

func (c logLoop) end(p int) {
	if _, end, ok := c.l.Bounds(stream(p)); ok {
		c.l.Release(stream(p), end)
	}
}
