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
	k, err := c.NewConsumer(append([]ConsumerOption{
		Group("g"), Topics("t"), AutoCommit(time.Second),
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

// gone is how many partitions were lost.
func (p *party) gone() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost
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
		if err := b.Append(mq.Record{Timestamp: time.Now().UnixMilli(), Value: fmt.Append(nil, i)}); err != nil {
			p.t.Fatal(err)
		}
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
			rng, faults := rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 2)) // the latter is the coordinator's
			p.coord.before = func(what string) error {
				switch r := faults.IntN(20); {
				case r == 0:
					return mq.Errorf(mq.CoordinatorLoadInProgress, "planted at %s", what)
				case r == 1 && what != "open":
					return mq.Errorf(mq.CoordinatorNotAvailable, "planted at %s", what)
				}
				return nil
			}
			p.coord.after = func(string) error {
				if faults.IntN(10) == 0 {
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
		p.await("both are back", func() bool { h := p.held(); return h["a"] == 2 && h["b"] == 2 && p.gone() >= 4 })
		if p.lost != 4 {
			t.Errorf("%d partitions lost, want 4", p.lost)
		}
		p.produce(400) // what came before may have been seen by members that did not know yet that they were out
		p.await("all of the end", func() bool { return p.total() == 1200 })
		leaveA()
		leaveB()
		p.monotone(1200)
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

// soon is a context of the bubble.
func (p *party) soon() context.Context { return soon(p.t) }

// inGroupOfOne runs f with one member of a group on a topic of one partition with so many records.
func inGroupOfOne(t *testing.T, records int, f func(p *party, k *Consumer, next func() *Record), opts ...ConsumerOption) {
	inParty(t, 1, func(p *party) {
		t := p.t
		p.produce(records)
		c := p.g.client(RequestTimeout(20 * time.Second))
		defer c.Close()
		k, err := c.NewConsumer(append([]ConsumerOption{Group("g"), Topics("t"), AutoCommit(time.Second)}, opts...)...)
		if err != nil {
			t.Fatal(err)
		}
		defer k.Close()
		f(p, k, func() *Record {
			t.Helper()
			for rec, err := range k.Records(p.soon()) {
				if err != nil {
					t.Fatal(err)
				}
				return rec
			}
			return nil
		})
	})
}

// committed are the commits of the one partition.
func (p *party) committed() []mq.Offset {
	p.coord.mu.Lock()
	defer p.coord.mu.Unlock()
	return slices.Clone(p.coord.commits[TopicPartition{"t", 0}])
}

func TestRecordInHandIsNotCommittedByItself(t *testing.T) {
	inGroupOfOne(t, 10, func(p *party, k *Consumer, next func() *Record) {
		next()
		next()
		next()
		time.Sleep(5 * time.Second)
		if got := p.committed(); !slices.Equal(got, []mq.Offset{2}) {
			t.Errorf("committed %v with the third in hand", got)
		}
		if err := k.CommitSync(p.soon()); err != nil {
			t.Fatal(err)
		}
		next()
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
		if got := p.committed(); !slices.Equal(got, []mq.Offset{2, 3}) {
			t.Errorf("committed %v, closed with the fourth in hand", got)
		}
	})
}

// TestFailedAutoCommitIsRepeated at the next interval, and not in between, though nothing more is consumed.
func TestFailedAutoCommitIsRepeated(t *testing.T) {
	inGroupOfOne(t, 10, func(p *party, _ *Consumer, next func() *Record) {
		next()
		next()
		var refused int
		refuse := true
		p.coord.mu.Lock()
		p.coord.before = func(what string) error {
			if what == "commit" && refuse {
				refused++
				return mq.Errorf(mq.GroupAuthorizationFailed, "planted")
			}
			return nil
		}
		p.coord.mu.Unlock()
		time.Sleep(time.Minute)
		p.coord.mu.Lock()
		before := refused
		refuse = false
		p.coord.mu.Unlock()
		if got := p.committed(); len(got) > 0 || before < 10 || before > 70 {
			t.Errorf("committed %v after %d refusals in a minute", got, before)
		}
		time.Sleep(10 * time.Second)
		if got := p.committed(); !slices.Equal(got, []mq.Offset{1}) {
			t.Errorf("committed %v when it was taken again", got)
		}
	})
}

func TestCommitsAreCarriedOutInOrder(t *testing.T) {
	inGroupOfOne(t, 100, func(p *party, k *Consumer, next func() *Record) {
		rng := rand.New(rand.NewPCG(7, 0))
		p.coord.mu.Lock()
		p.coord.after = func(string) error {
			switch rng.IntN(3) {
			case 0:
				return mq.Errorf(mq.StaleMemberEpoch, "planted")
			case 1:
				return mq.Errorf(mq.CoordinatorLoadInProgress, "planted")
			}
			return nil
		}
		p.coord.mu.Unlock()
		told := 0
		for i := range 50 {
			rec := next()
			k.CommitAsync(func(err error) {
				if err != nil {
					t.Error(err)
				}
				told++
			}, After(rec))
			if i%10 == 0 {
				time.Sleep(20 * time.Millisecond)
			}
		}
		at := CommitOffset{Topic: "t", Offset: 50, Metadata: "note"}
		if err := k.CommitSync(p.soon(), at); err != nil {
			t.Fatal(err)
		}
		got := p.committed()
		if !slices.IsSorted(got) || got[len(got)-1] != 50 || told != 50 {
			t.Errorf("%d were told; committed %v", told, got)
		}
		p.coord.mu.Lock()
		p.coord.after = nil
		p.coord.mu.Unlock()
		found, err := k.Committed(p.soon())
		if err != nil || found[TopicPartition{"t", 0}] != at {
			t.Errorf("%+v, %v", found, err)
		}
		lag, err := k.Lag(p.soon())
		if err != nil || lag[TopicPartition{"t", 0}] != 50 {
			t.Errorf("lag %v, %v", lag, err)
		}
	})
}

func TestSeekBackIsCommittedAndConsumedAgain(t *testing.T) {
	inGroupOfOne(t, 10, func(p *party, k *Consumer, next func() *Record) {
		for range 6 {
			next()
		}
		time.Sleep(3 * time.Second)
		if err := k.Seek(TopicPartition{"t", 0}, At(2)); err != nil {
			t.Fatal(err)
		}
		if rec := next(); rec.Offset != 2 {
			t.Errorf("offset %d after Seek", rec.Offset)
		}
		next()
		time.Sleep(3 * time.Second)
		if got := p.committed(); got[len(got)-1] != 3 {
			t.Errorf("committed %v", got)
		}
	})
}

func TestCommitOfWhatIsNotAssignedIsRefused(t *testing.T) {
	inGroupOfOne(t, 1, func(p *party, k *Consumer, next func() *Record) {
		next()
		err := k.CommitSync(p.soon(), CommitOffset{Topic: "t", Partition: 7, Offset: 1})
		wantCode(t, err, mq.InvalidRequest)
		wantCode(t, k.Assign(Assignment{Topic: "t"}), mq.InvalidRequest)
	})
}

func TestPartitionWithoutACommittedOffset(t *testing.T) {
	inGroupOfOne(t, 3, func(_ *party, _ *Consumer, next func() *Record) {
		if rec := next(); rec.Offset != 0 {
			t.Errorf("by default: %d", rec.Offset)
		}
	})
	inGroupOfOne(t, 3, func(p *party, _ *Consumer, next func() *Record) {
		time.AfterFunc(5*time.Second, func() { p.produce(1) })
		if rec := next(); rec.Offset != 3 {
			t.Errorf("from the end: %d", rec.Offset)
		}
	}, ResetTo(End()))
	inGroupOfOne(t, 3, func(p *party, k *Consumer, next func() *Record) {
		_, err := k.Poll(p.soon())
		wantCode(t, err, mq.OffsetOutOfRange)
		if err := k.Seek(TopicPartition{"t", 0}, At(1)); err != nil {
			t.Fatal(err)
		}
		if rec := next(); rec.Offset != 1 {
			t.Errorf("after Seek: %d", rec.Offset)
		}
	}, RequireCommitted())
}

func TestMemberThatIsRefusedForGoodSaysWhy(t *testing.T) {
	inGroupOfOne(t, 1, func(p *party, k *Consumer, _ func() *Record) {
		p.coord.before = func(string) error { return mq.Errorf(mq.GroupMaxSizeReached, "planted") }
		for range 2 {
			_, err := k.Poll(p.soon())
			wantCode(t, err, mq.GroupMaxSizeReached)
		}
	})
}

// A coordinator that dies says nothing: the next commit finds out, and the member goes on at the next one, with its partitions.
func TestCoordinatorThatDiesIsReplaced(t *testing.T) {
	inGroupOfOne(t, 100, func(p *party, k *Consumer, next func() *Record) {
		next()
		p.g.elect(1, 2) // it leads the partition, too
		p.g.kill(1)
		p.coord.move(2)
		next()
		began := time.Now()
		if err := k.CommitSync(p.soon()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		p.coord.mu.Lock()
		opened := p.coord.opened
		p.coord.mu.Unlock()
		if rec := next(); rec.Offset != 2 || opened != 2 {
			t.Errorf("record %d after %d streams", rec.Offset, opened)
		}
	}, AutoCommit(0))
}

// One that takes a member in, and then says nothing while it is there, is asked again.
func TestCoordinatorThatDoesNotAnswerIsAskedAgain(t *testing.T) {
	inGroupOfOne(t, 1, func(p *party, _ *Consumer, next func() *Record) {
		asked := 0
		p.coord.before = func(what string) error {
			if what != "open" {
				return nil
			}
			if asked++; asked == 1 {
				return errMute
			}
			return nil
		}
		began := time.Now()
		next()
		if took := time.Since(began); took < 10*time.Second || took > 30*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestConsumerOptionsOfAGroupAreChecked(t *testing.T) {
	c, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i, opts := range [][]ConsumerOption{
		{Topics("t")},
		{Group("g")},
		{Group("")},
		{Group("g"), Topics("t"), Assign("t", 0, Start())},
		{Group("g"), Topics("a b")},
		{Group("g"), Topics("t"), RequireCommitted(), ResetTo(End())},
		{Group("g"), TopicPattern("(")},
		{Group("g"), Topics("t"), Assignor("fair")},
		{Group("g"), Topics("t"), InstanceID("")},
		{Group("g"), Topics("t"), RebalanceTimeout(0)},
		{Group("g"), Topics("t"), AutoCommit(-1)},
	} {
		if k, err := c.NewConsumer(opts...); err == nil {
			t.Errorf("options %d are taken", i)
			k.Close()
		}
	}
	k, err := c.NewConsumer(Assign("t", 0, Start()))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	wantCode(t, k.CommitSync(context.Background()), mq.InvalidRequest)
}
