package client

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/server"
)

// shelf is what a fake broker knows of the object store.
type shelf struct {
	mu     sync.Mutex
	end    mq.Offset // tiered up to here, as far as it knows
	refuse error     // what Open says
	fail   error     // what Read says
	topic  *fakeTopic
	opened int
	read   int64 // records
	hang   chan struct{}
}

// OpenTiered implements server.Broker.
func (f *fakeBroker) OpenTiered(_ context.Context, _ *server.Session, name string, partition int32, _ mq.Epoch) (server.Reader, error) {
	t, err := f.topic(name)
	if err != nil {
		return nil, err
	}
	f.shelf.mu.Lock()
	defer f.shelf.mu.Unlock()
	f.shelf.opened++
	if f.shelf.refuse != nil {
		return nil, f.shelf.refuse
	}
	if f.shelf.topic != nil {
		t = f.shelf.topic
	}
	return &fakeTiered{shelf: &f.shelf, l: t.parts[partition]}, nil
}

// fakeTiered implements server.Reader, of tiered records.
type fakeTiered struct {
	shelf *shelf
	l     *fakeLog
}

func (r *fakeTiered) Offsets() (mq.TopicID, mq.Offset, mq.Offset, mq.Offset) {
	return r.l.topic.id, 0, 1, 1
}

func (r *fakeTiered) Source(from mq.Offset) server.Source {
	r.shelf.mu.Lock()
	defer r.shelf.mu.Unlock()
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	if from >= r.l.start && from < r.shelf.end {
		return server.FromStore
	}
	return server.FromElsewhere
}

func (r *fakeTiered) Read(ctx context.Context, from mq.Offset, _ int, _ []byte) (server.Fetched, error) {
	r.shelf.mu.Lock()
	defer r.shelf.mu.Unlock()
	if r.shelf.hang != nil {
		hang := r.shelf.hang
		r.shelf.mu.Unlock()
		select {
		case <-hang:
		case <-ctx.Done():
		}
		r.shelf.mu.Lock()
	}
	if r.shelf.fail != nil {
		return server.Fetched{}, r.shelf.fail
	}
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	i := slices.IndexFunc(r.l.batches, func(b mq.Batch) bool { return b.NextOffset() > from })
	if i < 0 {
		return server.Fetched{}, mq.Errorf(mq.Internal, "nothing at %d", from)
	}
	b := r.l.batches[i]
	r.shelf.read += int64(b.NextOffset() - from)
	return server.Fetched{Batches: [][]byte{b}, Next: b.NextOffset(), End: 1 << 62, HighWatermark: r.shelf.end, LogStart: r.l.start, LogEnd: r.shelf.end}, nil
}

func (r *fakeTiered) Await(mq.Offset, server.Waiter) bool { return false }
func (r *fakeTiered) Close()                              {}

// with changes a broker's shelf.
func (f *fakeBroker) with(change func(*shelf)) {
	f.shelf.mu.Lock()
	defer f.shelf.mu.Unlock()
	change(&f.shelf)
}

// tieredGroup runs f with a group whose topic has records 0 to 999 of which the first 900 are in the object store only. Node 1 leads, in rack a; 2 and 3 are in
// rack b. All know what is tiered.
func tieredGroup(t *testing.T, f func(t *testing.T, g *group)) {
	inGroup(t, 1, func(t *testing.T, g *group) {
		g.racks = map[mq.NodeID]string{1: "a", 2: "b", 3: "b"}
		g.fill(1000)
		g.topic.parts[0].freed = 900
		for _, b := range g.brokers {
			b.shelf.end = 900
		}
		f(t, g)
	})
}

// fill appends records until there are so many.
func (g *group) fill(records int) {
	g.t.Helper()
	l := g.topic.parts[0]
	for l.end < mq.Offset(records) {
		w, err := mq.NewBatchBuilder(mq.CompressionNone, 0)
		for i := range 10 {
			if err == nil {
				err = w.Append(mq.Record{Value: numbered(0, int(l.end)+i)})
			}
		}
		var b mq.Batch
		if err == nil {
			b, err = w.Build(nil, mq.NoProducerID, mq.NoProducerEpoch, mq.NoSequence)
		}
		if err != nil {
			g.t.Fatal(err)
		}
		l.append(b)
	}
}

// inRack reads so many records in rack b, and checks that they come in order.
func (g *group) inRack(records int, opts ...ConsumerOption) *Consumer {
	g.t.Helper()
	c := g.client(Rack("b"))
	g.t.Cleanup(func() { _ = c.Close() })
	k, err := c.NewConsumer(append([]ConsumerOption{Assign("t", 0, Start())}, opts...)...)
	if err != nil {
		g.t.Fatal(err)
	}
	follow(g.t, k, records)
	return k
}

// served is how many tiered records each broker of rack b, and the leader, read.
func (g *group) served() (two, three, leader int64) {
	g.brokers[1].with(func(s *shelf) { two = s.read })
	g.brokers[2].with(func(s *shelf) { three = s.read })
	return two, three, g.topic.parts[0].stored.Load()
}

func TestTieredRecordsAreReadInTheRackOfTheClient(t *testing.T) {
	tieredGroup(t, func(t *testing.T, g *group) {
		k := g.inRack(1000)
		two, three, leader := g.served()
		if two+three != 900 || two != 0 && three != 0 || leader != 0 {
			t.Errorf("brokers of the rack read %d and %d records, the leader %d; want one of them all 900", two, three, leader)
		}
		g.fill(1100) // and goes on at the leader
		next := mq.Offset(1000)
		for next < 1100 {
			recs, err := k.Poll(t.Context())
			if err != nil || recs[0].Offset != next {
				t.Fatalf("at %d: got %v, %v", next, recs, err)
			}
			next += mq.Offset(len(recs))
		}
		_ = k.Close()
		_ = k.c.Close()
	})
}

func TestHighWatermarkIsNotBelowWhatTheLeaderSaid(t *testing.T) {
	tieredGroup(t, func(t *testing.T, g *group) {
		c := g.client(Rack("b"))
		k, err := c.NewConsumer(Assign("t", 0, At(950)))
		if err != nil {
			t.Fatal(err)
		}
		for b, err := range k.Batches(t.Context()) {
			if err != nil || b.HighWatermark != 1000 {
				t.Fatalf("high watermark %d at %d, %v", b.HighWatermark, b.From, err)
			}
			if b.From == 950 {
				if err := k.Seek(TopicPartition{"t", 0}, At(0)); err != nil {
					t.Fatal(err)
				}
			}
			if b.From == 500 {
				break
			}
		}
		if two, three, leader := g.served(); two+three == 0 || leader != 0 {
			t.Errorf("brokers of the rack read %d and %d records, the leader %d", two, three, leader)
		}
		_ = c.Close()
	})
}

// TestNothingIsReferredWithoutABrokerOfTheRack: to a client of another rack, of none, or of that of the leader alone.
func TestNothingIsReferredWithoutABrokerOfTheRack(t *testing.T) {
	for _, rack := range []string{"", "a", "c"} {
		tieredGroup(t, func(t *testing.T, g *group) {
			c := g.client(Rack(rack))
			k, err := c.NewConsumer(Assign("t", 0, Start()))
			if err != nil {
				t.Fatal(err)
			}
			follow(t, k, 1000)
			if two, three, leader := g.served(); two+three != 0 || leader != 900 {
				t.Errorf("rack %q: brokers of rack b read %d and %d records, the leader %d; want the leader all 900", rack, two, three, leader)
			}
			_ = c.Close()
		})
	}
}

// TestUselessBrokerOfTheRackCostsNoRecord: whatever it says or does, the records come, in order and once, and it is left alone for a while.
func TestUselessBrokerOfTheRackCostsNoRecord(t *testing.T) {
	other := &fakeTopic{id: mq.TopicID{9}}
	other.parts = append(other.parts, newFakeLog(other))
	for name, change := range map[string]func(*shelf){
		"it knows of nothing tiered":      func(s *shelf) { s.end = 0 },
		"it knows another topic":          func(s *shelf) { s.topic = other },
		"it knows no such topic":          func(s *shelf) { s.refuse = mq.Errorf(mq.UnknownTopicOrPartition, "no topic") },
		"it is behind":                    func(s *shelf) { s.refuse = mq.Errorf(mq.UnknownLeaderEpoch, "epoch") },
		"it denies":                       func(s *shelf) { s.refuse = mq.Errorf(mq.TopicAuthorizationFailed, "no") },
		"it says that it is out of range": func(s *shelf) { s.fail = mq.Errorf(mq.OffsetOutOfRange, "no such offset") },
		"it finds damage":                 func(s *shelf) { s.fail = mq.Errorf(mq.Corrupt, "damage") },
		"it does not reach the store":     func(s *shelf) { s.fail = mq.Errorf(mq.NotLeaderOrFollower, "the store is away") },
		"it hangs":                        func(s *shelf) { s.hang = make(chan struct{}) },
	} {
		t.Run(name, func(t *testing.T) {
			tieredGroup(t, func(t *testing.T, g *group) {
				for _, b := range g.brokers[1:] {
					b.with(change)
				}
				k := g.inRack(1000, ResetTo(End()))
				if _, _, leader := g.served(); leader != 900 {
					t.Errorf("the leader read %d records from the store, want 900", leader)
				}
				opened := 0
				for _, b := range g.brokers[1:] {
					b.with(func(s *shelf) { opened += s.opened })
				}
				if opened > 4 {
					t.Errorf("brokers of the rack were asked %d times", opened)
				}
				_ = k.c.Close()
			})
		})
	}
}

// TestBrokerOfTheRackThatKnowsLessGivesWhatItKnows: what it lacks the leader reads, and when it knows more it is asked again.
func TestBrokerOfTheRackThatKnowsLessGivesWhatItKnows(t *testing.T) {
	tieredGroup(t, func(t *testing.T, g *group) {
		for _, b := range g.brokers[1:] {
			b.with(func(s *shelf) { s.end = 500 })
		}
		k := g.inRack(1000)
		if two, three, leader := g.served(); two+three != 500 || leader != 400 {
			t.Errorf("brokers of the rack read %d and %d records, the leader %d; want 500 and 400", two, three, leader)
		}
		_ = k.c.Close()
	})
}

// TestRackIsTriedAgainAfterAWhile: a consumer that reads from the leader because the rack was of no use goes back there.
func TestRackIsTriedAgainAfterAWhile(t *testing.T) {
	tieredGroup(t, func(t *testing.T, g *group) {
		g.fill(100_000)
		g.topic.parts[0].freed = 99_000
		for _, b := range g.brokers[1:] {
			b.with(func(s *shelf) { s.fail, s.end = mq.Errorf(mq.NotLeaderOrFollower, "the store is away"), 99_000 })
		}
		c := g.client(Rack("b"))
		k, err := c.NewConsumer(Assign("t", 0, Start()), PrefetchBytes(MinPrefetchBytes))
		if err != nil {
			t.Fatal(err)
		}
		next, healed := mq.Offset(0), false
		for next < 100_000 {
			recs, err := k.Poll(t.Context())
			if err != nil || recs[0].Offset != next {
				t.Fatalf("at %d: got %v, %v", next, recs, err)
			}
			next += mq.Offset(len(recs))
			time.Sleep(time.Millisecond)
			if next > 20_000 && !healed {
				healed = true
				for _, b := range g.brokers[1:] {
					b.with(func(s *shelf) { s.fail = nil })
				}
			}
		}
		if two, three, leader := g.served(); two+three < 50_000 || leader < 10_000 {
			t.Errorf("brokers of the rack read %d and %d records, the leader %d", two, three, leader)
		}
		_ = c.Close()
	})
}

// TestBrokerOfTheRackThatDiesCostsNoRecord, whether it is turned off in the middle, with or without the cluster noticing, or cannot be reached.
func TestBrokerOfTheRackThatDiesCostsNoRecord(t *testing.T) {
	for _, noticed := range []bool{true, false} {
		for _, at := range []int{0, 200} {
			t.Run(fmt.Sprintf("at %d, noticed %v", at, noticed), func(t *testing.T) {
				tieredGroup(t, func(t *testing.T, g *group) {
					var once sync.Once
					die := func() {
						for _, node := range []mq.NodeID{2, 3} {
							g.kill(node)
						}
						if noticed {
							g.mu.Lock()
							g.fenced = map[mq.NodeID]bool{2: true, 3: true}
							g.mu.Unlock()
						}
					}
					if at == 0 {
						g.kill(2)
						g.kill(3)
					}
					c := g.client(Rack("b"))
					k, err := c.NewConsumer(Assign("t", 0, Start()), PrefetchBytes(MinPrefetchBytes))
					if err != nil {
						t.Fatal(err)
					}
					next, last, longest := mq.Offset(0), time.Now(), time.Duration(0)
					for next < 1000 {
						recs, err := k.Poll(t.Context())
						if err != nil || recs[0].Offset != next {
							t.Fatalf("at %d: got %v, %v", next, recs, err)
						}
						longest, last = max(longest, time.Since(last)), time.Now()
						if next += mq.Offset(len(recs)); int(next) >= at {
							once.Do(die)
						}
					}
					if longest > 8*time.Second {
						t.Errorf("nothing was read for %v", longest)
					}
					_ = c.Close()
				})
			})
		}
	}
}

// TestRetentionDuringAReadInTheRackIsTheLeadersToTell: the consumer goes on where it is told to, and not before.
func TestRetentionDuringAReadInTheRackIsTheLeadersToTell(t *testing.T) {
	tieredGroup(t, func(t *testing.T, g *group) {
		for _, b := range g.brokers[1:] {
			b.with(func(s *shelf) { s.hang = make(chan struct{}) })
		}
		c := g.client(Rack("b"))
		k, err := c.NewConsumer(Assign("t", 0, At(100)), ResetTo(Start()))
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Second, func() {
			g.topic.parts[0].truncateFront(700)
			for _, b := range g.brokers[1:] {
				b.with(func(s *shelf) { close(s.hang); s.hang, s.fail = nil, mq.Errorf(mq.OffsetOutOfRange, "gone") })
			}
		})
		next := mq.Offset(700)
		for next < 1000 {
			recs, err := k.Poll(t.Context())
			if err != nil || recs[0].Offset != next {
				t.Fatalf("at %d: got %v, %v", next, recs, err)
			}
			next += mq.Offset(len(recs))
		}
		_ = c.Close()
	})
}

// TestOldServersAreAskedAsBefore: one that does not know of tiered reads is not told of them, and a broker of the rack that does not is of no use.
func TestOldServersAreAskedAsBefore(t *testing.T) {
	k := &Consumer{
		c:        &Client{cfg: config{rack: "b", connections: 1}, log: slog.New(slog.DiscardHandler)},
		brokers:  []quicproto.Broker{{ID: 1, Rack: "a"}, {ID: 2, Rack: "b"}},
		fetchers: map[slotKey]*fetcher{}, absences: map[mq.NodeID]*absence{},
	}
	on := func(node mq.NodeID) *fetcher {
		f := &fetcher{k: k, key: slotKey{node: node}, kicks: make(chan struct{}, 1), parts: map[uint32]*assignment{}}
		k.fetchers[f.key] = f
		return f
	}
	leader, near := on(1), on(2)
	a := &assignment{tp: TopicPartition{"t", 0}, next: 7, stop: -1, leader: 1, tiered: true}
	near.adopt(a)
	if sent := near.wishes(nil); len(sent) != 0 || a.fetcher != leader || a.tiered {
		t.Errorf("%d bytes were sent to an old broker of the rack; the partition: %+v", len(sent), a)
	}
	f, err := quicproto.NewFrameReader(bytes.NewReader(leader.wishes(nil)), 0).Read()
	if sent, ok := f.(*quicproto.Assign); err != nil || !ok || sent.From != quicproto.FromLeader || sent.Offset != 7 {
		t.Errorf("sent to an old leader: %+v, %v", f, err)
	}
}

func TestPartitionsAreSpreadOverTheRack(t *testing.T) {
	var brokers []quicproto.Broker
	for i := range 9 {
		brokers = append(brokers, quicproto.Broker{ID: mq.NodeID(i + 1), Rack: []string{"a", "b", ""}[i%3]})
	}
	all := func(mq.NodeID) bool { return true }
	counts := map[mq.NodeID]int{}
	for i := range int32(3000) {
		tp := TopicPartition{"orders", i}
		node := nearest(brokers, "b", tp, all)
		counts[node]++
		without := nearest(brokers, "b", tp, func(n mq.NodeID) bool { return n != 5 })
		if node != 5 && without != node || without == 5 {
			t.Errorf("partition %d: %d, and %d when 5 is gone", i, node, without)
		}
	}
	if len(counts) != 3 || slices.Min(slices.Collect(maps.Values(counts))) < 800 {
		t.Errorf("3000 partitions on the three brokers of the rack: %v", counts)
	}
	if node := nearest(brokers, "c", TopicPartition{"orders", 0}, all); node != mq.NoNode {
		t.Errorf("nobody is in rack c: got %d", node)
	}
	if node := nearest(brokers, "b", TopicPartition{"orders", 0}, func(mq.NodeID) bool { return false }); node != mq.NoNode {
		t.Errorf("nobody may be chosen: got %d", node)
	}
}

func TestAbsencesGrow(t *testing.T) {
	var b absence
	now := time.Now()
	for _, seconds := range []int{1, 2, 4, 8, 16, 32, 60, 60} {
		want := time.Duration(seconds) * time.Second
		b.begin(now)
		b.begin(now) // another partition finds the same
		if b.last != want || b.over(now) {
			t.Errorf("got %v, want %v", b.last, want)
		}
		if now = b.until; !b.over(now) {
			t.Error("it does not end")
		}
	}
}

// A leader that was replaced, cut off and does not know it has not what a broker of the rack read on to: it is not asked for that, for it would say that this lies beyond the end.
func TestReaderFromTheRackDoesNotGoBackToALeaderOfBefore(t *testing.T) {
	tieredGroup(t, func(t *testing.T, g *group) {
		l := g.topic.parts[0]
		l.cut = 1000
		c := g.client(Rack("b"))
		defer c.Close()
		k, err := c.NewConsumer(Assign("t", 0, Start()), PrefetchBytes(MinPrefetchBytes), ResetTo(Start()))
		if err != nil {
			t.Fatal(err)
		}
		over := false
		for next := mq.Offset(0); next < 3000; {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			recs, err := k.Poll(ctx)
			cancel()
			if err != nil || recs[0].Offset != next {
				t.Errorf("at %d: got %v, %v", next, recs, err)
				return
			}
			if next += mq.Offset(len(recs)); next >= 200 && !over {
				over = true
				g.cut(1) // it goes on as the leader
				g.elect(1, 2)
				l.mu.Lock()
				l.epoch, l.freed = 2, 2900
				l.mu.Unlock()
				g.fill(3000)
				for _, b := range g.brokers {
					b.with(func(s *shelf) { s.end = 2900 })
				}
			}
		}
	})
}
