package client

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// party is what the members of a group do and see, as their applications see it.
type party struct {
	t     *testing.T
	g     *group
	coord *fakeCoordinator
	work  time.Duration // with each record

	mu      sync.Mutex
	owners  map[TopicPartition]string
	seen    map[TopicPartition]map[mq.Offset]int
	lost    int
	revoked int
	members sync.WaitGroup
}

// inParty runs f with three brokers, of which node 1 coordinates at first, and topic t with so many partitions.
func inParty(t *testing.T, partitions int, f func(p *party)) {
	inGroup(t, partitions, func(t *testing.T, g *group) {
		coord, stop := coordinate(g.brokers...)
		defer stop()
		f(&party{t: t, g: g, coord: coord, owners: map[TopicPartition]string{}, seen: map[TopicPartition]map[mq.Offset]int{}})
	})
}

// join has a member join on a client of its own; leave has it stop and close.
func (p *party) join(name string, opts ...ConsumerOption) (leave func()) {
	c := p.g.client(ClientID(name))
	k, err := c.NewConsumer(append([]ConsumerOption{Group("g"), Topics("t"), AutoCommit(time.Second),
		OnAssigned(func(_ context.Context, _ *Consumer, list []TopicPartition) { p.take(name, list) }),
		OnRevoked(func(_ context.Context, _ *Consumer, list []TopicPartition) { p.drop(name, list, &p.revoked) }),
		OnLost(func(_ context.Context, _ *Consumer, list []TopicPartition) { p.drop(name, list, &p.lost) }),
	}, opts...)...)
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	p.members.Go(func() {
		defer close(done)
		for rec, err := range k.Records(ctx) {
			if ctx.Err() != nil {
				break
			}
			if err != nil {
				p.t.Errorf("%s: %v", name, err)
				return
			}
			p.saw(name, rec)
			if p.work > 0 {
				time.Sleep(p.work)
			}
		}
		if err := k.Close(); err != nil {
			p.t.Error(err)
		}
		if err := c.Close(); err != nil {
			p.t.Error(err)
		}
	})
	return func() {
		cancel()
		<-done
	}
}

func (p *party) take(name string, list []TopicPartition) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, tp := range list {
		if other := p.owners[tp]; other != "" && p.lost == 0 {
			p.t.Errorf("%s was assigned %v, which is %s's", name, tp, other)
		}
		p.owners[tp] = name
	}
}

func (p *party) drop(name string, list []TopicPartition, count *int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*count += len(list)
	for _, tp := range list {
		if p.owners[tp] == name {
			delete(p.owners, tp)
		} else if p.lost == 0 {
			p.t.Errorf("%s gave up %v, which it had not", name, tp)
		}
	}
}

func (p *party) saw(name string, rec *Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	tp := TopicPartition{rec.Topic, rec.Partition}
	if owner := p.owners[tp]; owner != name && p.lost == 0 {
		p.t.Errorf("%s got %v@%d, which is %q's", name, tp, rec.Offset, owner)
	}
	if p.seen[tp] == nil {
		p.seen[tp] = map[mq.Offset]int{}
	}
	p.seen[tp][rec.Offset]++
}

// total is how many different records were seen.
func (p *party) total() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, offsets := range p.seen {
		n += len(offsets)
	}
	return n
}

// held is how many partitions each member has.
func (p *party) held() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[string]int{}
	for _, name := range p.owners {
		out[name]++
	}
	return out
}

// produce appends n records, in turn to all partitions.
func (p *party) produce(n int) {
	b, err := mq.NewBatchBuilder(mq.CompressionNone, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	for i := range n {
		b.Reset()
		b.Append(mq.Record{Timestamp: time.Now().UnixMilli(), Value: fmt.Append(nil, i)})
		batch, err := b.Build(nil, mq.NoProducerID, mq.NoProducerEpoch, mq.NoSequence)
		if err != nil {
			p.t.Fatal(err)
		}
		p.g.topic.parts[i%len(p.g.topic.parts)].append(batch)
	}
}

// await waits until cond holds, a minute at most.
func (p *party) await(what string, cond func() bool) {
	p.t.Helper()
	for range 6000 {
		if cond() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	p.t.Fatalf("in vain: %s (%d records seen, held: %v)", what, p.total(), p.held())
}

// monotone checks that no committed offset went back, and that all of n records are committed.
func (p *party) monotone(n int) {
	p.t.Helper()
	p.coord.mu.Lock()
	defer p.coord.mu.Unlock()
	sum := 0
	for tp, list := range p.coord.commits {
		if !slices.IsSorted(list) {
			p.t.Errorf("commits of %v go back: %v", tp, list)
		}
		sum += int(list[len(list)-1])
	}
	if sum != n {
		p.t.Errorf("committed %d records of %d", sum, n)
	}
}

func (p *party) once() {
	p.t.Helper()
	for tp, offsets := range p.seen {
		for o, times := range offsets {
			if times != 1 {
				p.t.Errorf("%v@%d was seen %d times", tp, o, times)
			}
		}
	}
}

func TestMembersShareThePartitionsAndEachRecordIsSeenOnce(t *testing.T) {
	inParty(t, 6, func(p *party) {
		p.produce(600)
		leaveA := p.join("a")
		p.await("all by one", func() bool { return p.total() == 600 })
		leaveB := p.join("b")
		p.await("shared by two", func() bool { h := p.held(); return h["a"] == 3 && h["b"] == 3 })
		p.produce(600)
		p.await("all by two", func() bool { return p.total() == 1200 })
		leaveC := p.join("c")
		p.await("shared by three", func() bool { h := p.held(); return h["a"] == 2 && h["b"] == 2 && h["c"] == 2 })
		leaveA()
		p.produce(600)
		p.await("shared by the others", func() bool { h := p.held(); return h["b"] == 3 && h["c"] == 3 })
		p.await("all", func() bool { return p.total() == 1800 })
		leaveB()
		leaveC()
		p.once()
		p.monotone(1800)
		if p.lost > 0 {
			t.Errorf("%d partitions were lost", p.lost)
		}
	})
}

// Whatever happens to the coordinator and to connections with it, as long as members live: each record is seen once, by the partition's one owner, and no committed offset goes back.
func TestChurnOfMembersAndCoordinatorsLosesAndDoublesNothing(t *testing.T) {
	for seed := range uint64(4) {
		inParty(t, 8, func(p *party) {
			p.work = time.Millisecond
			rng := rand.New(rand.NewPCG(seed, 1))
			p.coord.before = func(what string) error {
				switch r := rng.IntN(20); {
				case r == 0:
					return mq.Errorf(mq.CoordinatorLoadInProgress, "planted at %s", what)
				case r == 1 && what != "open":
					return mq.Errorf(mq.CoordinatorNotAvailable, "planted at %s", what)
				}
				return nil
			}
			p.coord.after = func(string) error {
				if rng.IntN(10) == 0 {
					return mq.Errorf(mq.NotCoordinator, "planted: carried out, and the answer lost")
				}
				return nil
			}
			members := map[string]func(){"m0": p.join("m0")}
			produced, next := 0, 1
			for range 40 {
				n := rng.IntN(200)
				p.produce(n * 8)
				produced += n * 8
				switch r := rng.IntN(10); {
				case r < 4 && len(members) < 5:
					name := fmt.Sprint("m", next)
					next++
					members[name] = p.join(name)
				case r < 6 && len(members) > 1:
					for name, leave := range members {
						leave()
						delete(members, name)
						break
					}
				case r < 8:
					p.coord.move(mq.NodeID(rng.IntN(3) + 1))
				default:
					p.coord.breakAll(mq.Errorf(mq.NetworkException, "planted"))
				}
				time.Sleep(time.Duration(rng.IntN(1500)) * time.Millisecond)
			}
			p.await("all", func() bool { return p.total() == produced })
			for _, leave := range members {
				leave()
			}
			p.once()
			p.monotone(produced)
			if p.lost > 0 {
				t.Errorf("seed %d: %d partitions were lost", seed, p.lost)
			}
		})
	}
}

func TestMemberThatIsPutOutJoinsAgainAndLosesNothing(t *testing.T) {
	inParty(t, 4, func(p *party) {
		p.produce(400)
		leaveA, leaveB := p.join("a"), p.join("b")
		p.await("all of before", func() bool { return p.total() == 400 })
		p.coord.expel()
		p.produce(400)
		p.await("all of after", func() bool { return p.total() == 800 })
		p.await("both are back", func() bool { h := p.held(); return h["a"] == 2 && h["b"] == 2 })
		if p.lost != 4 {
			t.Errorf("%d partitions lost, want 4", p.lost)
		}
		leaveA()
		leaveB()
		p.monotone(800)
	})
}

func TestStaticMemberComesBackToItsPartitions(t *testing.T) {
	inParty(t, 4, func(p *party) {
		leaveA := p.join("a", InstanceID("ia"))
		leaveB := p.join("b", InstanceID("ib"))
		p.await("shared", func() bool { h := p.held(); return h["a"] == 2 && h["b"] == 2 })
		leaveA()
		p.produce(400)
		p.await("half of it", func() bool { return p.total() == 200 })
		time.Sleep(10 * time.Second)
		if n := p.total(); n != 200 {
			t.Errorf("%d records were seen while the instance was away, want 200", n)
		}
		leaveA = p.join("a", InstanceID("ia"))
		p.await("all of it", func() bool { return p.total() == 400 })
		leaveA()
		leaveB()
		p.once()
	})
}
