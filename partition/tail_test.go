package partition

import (
	"bytes"
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/rustmq/rustmq/mq"
)

func TestTailIsWhatANaiveListIs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var tl tail
		var list []mq.Batch
		first, end, durable := 0, mq.Offset(0), mq.Offset(0)
		sizes := func() (n int64) {
			for _, b := range list[first:] {
				n += int64(len(b)) + entryOverhead
			}
			return n
		}
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				small, large := batch(nobody(), 2, 'x', 1, 0), batch(nobody(), 3, 'x', chunkBytes/8, 0)
				every := rapid.SampledFrom([]int{1, 7, 1000}).Draw(t, "large every")
				for i := range rapid.SampledFrom([]int{1, 3, 70}).Draw(t, "n") {
					b := stamped(bytes.Clone(small), end, 0)
					if (i+1)%every == 0 {
						b = stamped(bytes.Clone(large), end, 0)
					}
					tl.push(nil, b, end, b.NextOffset())
					list, end = append(list, b), b.NextOffset()
				}
			},
			"sync": func(t *rapid.T) { durable = end },
			"evict": func(t *rapid.T) {
				before := tl.bytes
				freed, empty := tl.evict(durable)
				if empty != (first == len(list)) {
					t.Fatal("empty:", empty)
				}
				for left := freed; left > 0; first++ {
					left -= int64(len(list[first])) + entryOverhead
					if list[first].NextOffset() > durable {
						t.Fatalf("evicted what is not durable: %v, durable %d", list[first], durable)
					}
				}
				if tl.bytes != before-freed {
					t.Fatal("bytes")
				}
			},
			"truncate": func(t *rapid.T) {
				cut := rapid.IntRange(first, len(list)).Draw(t, "cut")
				if cut < len(list) {
					end = list[cut].BaseOffset()
				}
				tl.truncate(end)
				list, durable = list[:cut], min(durable, end)
			},
			"": func(t *rapid.T) {
				if tl.bytes != sizes() {
					t.Fatalf("%d bytes, want %d", tl.bytes, sizes())
				}
				for range 10 {
					if len(list) == 0 {
						break
					}
					i := rapid.IntRange(0, len(list)-1).Draw(t, "look")
					b := list[i]
					for o := b.BaseOffset(); o < b.NextOffset(); o++ {
						cur, ok := tl.find(o)
						if ok != (i >= first) {
							t.Fatalf("offset %d: found %v", o, ok)
						}
						if !ok {
							continue
						}
						for _, want := range list[i:min(i+5, len(list))] {
							if e := cur.next(); e == nil || &e.batch[0] != &want[0] {
								t.Fatalf("offset %d: %v, want %v", o, e, want)
							}
						}
					}
				}
				if _, ok := tl.find(end); ok {
					t.Fatal("found the end")
				}
			},
		})
	})
}

func TestTailsStayWithinTheirBudget(t *testing.T) {
	n := newNode(t, 1, nil)
	n.lead()
	n.cfg.Tail.max = 1 << 20
	other := n.cfg
	other.ID.Index++
	q, err := Open(other, nil, Checkpoint{})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	if err := q.Lead(0, 0, []Replica{{1, 1}}); err != nil {
		t.Fatal(err)
	}
	for i := range 3000 {
		n.produce(batch(nobody(), 1, 'x', 1000, 0), mq.DurabilityLeader)
		if i%10 == 0 {
			n.produceTo(q, batch(nobody(), 1, 'y', 1000, 0), mq.DurabilityLeader)
		}
		if used := n.cfg.Tail.Used(); used > 1<<20+2*chunkBytes {
			t.Fatalf("%d bytes used", used)
		}
	}
	if n.cfg.Tail.Used() != n.p.tail.bytes+q.tail.bytes {
		t.Fatalf("%d used, %d + %d held", n.cfg.Tail.Used(), n.p.tail.bytes, q.tail.bytes)
	}
	// Both reach about equally far back: the one that wrote a tenth holds about a tenth.
	if share := float64(q.tail.bytes) / float64(n.cfg.Tail.Used()); share < 0.03 || share > 0.25 {
		t.Fatalf("the partition that wrote a tenth of the bytes holds %.2f of the memory", share)
	}
	n.p.Close()
	q.Close()
	if n.cfg.Tail.Used() != 0 || n.cfg.Tail.n != 0 {
		t.Fatalf("%d bytes and %d chunks are left after closing", n.cfg.Tail.Used(), n.cfg.Tail.n)
	}
}

func TestTailKeepsWhatIsNotSyncedWhateverTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 1, nil)
		n.set(Settings{MinISR: 2})
		n.cfg.Tail.max = 1000
		if err := n.p.Lead(1, 0, both()); err != nil {
			t.Fatal(err)
		}
		open := n.gate()
		for range 30 {
			n.send(batch(nobody(), 1, 'x', 1000, 0), mq.DurabilityLeader, &results{})
		}
		synctest.Wait()
		res, err := n.p.ReadReplica(context.Background(), 1, 0, 1<<30, &ReadBuffer{})
		if err != nil || res.Next != 30 {
			t.Fatalf("the peers can read up to %d: %v", res.Next, err)
		}
		open()
		synctest.Wait()
		n.produce(plain(1), mq.DurabilityLeader)
		n.produce(plain(1), mq.DurabilityLeader)
		if used := n.cfg.Tail.Used(); used > 10_000 {
			t.Fatalf("%d bytes are still used", used)
		}
	})
}

// Readers take no lock: they run beside appends, evictions and each other, and always see the log without gaps and below the watermark.
func TestReadersRaceWithAppendsAndEviction(t *testing.T) {
	n := newNode(t, 1, nil)
	n.lead()
	n.cfg.Tail.max = 100 << 10
	var stop atomic.Bool
	var wg sync.WaitGroup
	for r := range 4 {
		wg.Go(func() {
			var buf ReadBuffer
			var from mq.Offset
			for !stop.Load() {
				res, err := n.p.Read(context.Background(), from, 20_000, mq.IsolationCommitted, &buf)
				if err != nil {
					t.Errorf("reader %d at %d: %v", r, from, err)
					return
				}
				at := from
				for _, s := range res.Batches {
					for len(s) > 0 {
						b, rest, err := mq.NextBatch(s)
						if err != nil || b.BaseOffset() != at || mq.VerifyCRC(b) != nil {
							t.Errorf("reader %d expects %d, has %v: %v", r, at, b, err)
							return
						}
						at, s = b.NextOffset(), rest
					}
				}
				if at != res.Next || at > res.End || res.End > res.HighWatermark || res.HighWatermark > res.LogEnd {
					t.Errorf("reader %d: %+v", r, res)
					return
				}
				if from = res.Next; from == res.End {
					select {
					case <-n.p.Wait(from, mq.IsolationCommitted):
					case <-time.After(10 * time.Millisecond):
					}
				}
				if r == 0 {
					from = max(0, from-mq.Offset(50)) / 3 * 3
				}
			}
		})
	}
	for range 2000 {
		n.send(batch(nobody(), 3, 'x', 100, 0), mq.DurabilityAll, &results{})
	}
	n.must(plain(3))
	stop.Store(true)
	wg.Wait()
}

func TestIdlePartitionsAreSmall(t *testing.T) {
	if testing.Short() {
		t.Skip("measures memory")
	}
	n := newNode(t, 1, &bucket{})
	const count = 10_000
	measure := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	all := make([]*Partition, count)
	goroutines := runtime.NumGoroutine()
	before := measure()
	for i := range all {
		cfg := n.cfg
		cfg.ID.Index = int32(i + 10)
		var err error
		if all[i], err = Open(cfg, nil, Checkpoint{}); err != nil {
			t.Fatal(err)
		}
	}
	opened := measure()
	for _, p := range all {
		if err := p.Lead(0, 0, []Replica{{1, 1}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.log.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	led := measure()
	perOpened, perLed := (opened-before)/count, (led-before)/count
	t.Logf("%d bytes per partition opened, %d leading (its place in the log and on the test's disk included)", perOpened, perLed)
	if perLed > 4096 {
		t.Fatalf("%d bytes per idle partition", perLed)
	}
	if g := runtime.NumGoroutine(); g > goroutines {
		t.Fatalf("%d goroutines for %d partitions", g-goroutines, count)
	}
	for _, p := range all {
		p.Close()
	}
}
