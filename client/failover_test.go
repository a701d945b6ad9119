package client

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// ending is when what was sent at some time was acknowledged.
type ending struct{ sent, acked time.Time }

// load is a number of workers who each send one record every 5 ms to their partition, waiting for no answer.
type load struct {
	checker
	mu      sync.Mutex
	endings []ending
	failed  []error
}

// run sends everything and waits until all is acknowledged.
func (l *load) run(c *Client, partitions int) {
	if _, _, err := c.topic(context.Background(), "t"); err != nil { // so that the first records do not wait for it
		l.t.Error(err)
	}
	var wg sync.WaitGroup
	for w := range l.workers {
		wg.Go(func() {
			for i := range l.each {
				sent := time.Now()
				c.Produce(context.Background(), &Record{Topic: "t", Partition: int32(w % partitions), Value: numbered(w, i)}, func(_ *Record, err error) {
					l.mu.Lock()
					defer l.mu.Unlock()
					l.endings = append(l.endings, ending{sent, time.Now()})
					if err != nil {
						l.failed = append(l.failed, err)
					}
				})
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	wg.Wait()
	l.mu.Lock()
	left := l.workers*l.each - len(l.endings)
	l.mu.Unlock()
	for range 1000 { // not Flush, which waits for records of others too
		if left == 0 {
			return
		}
		time.Sleep(50 * time.Millisecond)
		l.mu.Lock()
		left = l.workers*l.each - len(l.endings)
		l.mu.Unlock()
	}
	l.t.Errorf("%d records have no outcome", left)
}

// check tells what went wrong. What was sent before the new leader was there is acknowledged within so much after that, and
// what was sent later as usual.
func (l *load) check(elected time.Time, within time.Duration) {
	l.t.Helper()
	for _, err := range l.failed {
		l.t.Error(err)
	}
	worst := time.Duration(0)
	for _, e := range l.endings {
		since := e.sent
		if since.Before(elected) && e.acked.After(elected) {
			since = elected
		}
		worst = max(worst, e.acked.Sub(since))
	}
	if worst > within {
		l.t.Errorf("an acknowledgement came %v after it could, want at most %v", worst, within)
	}
	l.t.Logf("the last acknowledgement came %v after it could", worst)
}

// follow reads until it has so many records, and checks that they are without gap or duplicate. It returns the longest time without any.
func follow(t *testing.T, k *Consumer, records int) (longest time.Duration) {
	t.Helper()
	next := map[int32]mq.Offset{}
	last := time.Now()
	for rec, err := range k.Records(context.Background()) {
		if err != nil {
			t.Error(err)
			break
		}
		if rec.Offset != next[rec.Partition] {
			t.Errorf("partition %d: offset %d, want %d", rec.Partition, rec.Offset, next[rec.Partition])
			break
		}
		next[rec.Partition]++
		longest = max(longest, time.Since(last))
		last = time.Now()
		if records--; records == 0 {
			break
		}
	}
	return longest
}

// failover is one way in which a leader goes.
type failover struct {
	name   string
	happen func(g *group) // to node 1
	gap    time.Duration  // within which its records are acknowledged from when another one leads
	silent time.Duration  // for how long a consumer reads nothing, at most
}

func failovers() []failover {
	const elected = 300 * time.Millisecond
	return []failover{
		// The new leader is found with the next question, of which there is one every 100 ms; it may have to be connected to.
		{"killed", func(g *group) { g.kill(1); time.Sleep(elected) }, 200 * time.Millisecond, 1200 * time.Millisecond},
		{"cut off", func(g *group) { g.cut(1); time.Sleep(elected) }, 200 * time.Millisecond, 1200 * time.Millisecond},
		{"moved", func(*group) {}, 100 * time.Millisecond, 100 * time.Millisecond},
	}
}

func TestProducersFollowTheLeader(t *testing.T) {
	for _, way := range failovers() {
		for _, partitions := range []int{1, 6} {
			t.Run(fmt.Sprintf("%s, %d partitions", way.name, partitions), func(t *testing.T) {
				inGroup(t, partitions, func(t *testing.T, g *group) {
					c := g.client(PartitionBy(ManualPartitioner()))
					defer c.Close()
					l := load{checker: checker{t, 12, 600}}
					var elected time.Time
					var wg sync.WaitGroup
					wg.Go(func() {
						time.Sleep(time.Second)
						way.happen(g)
						elected = time.Now()
						g.elect(1, 2, 3)
					})
					l.run(c, partitions)
					wg.Wait()
					l.check(elected, way.gap)
					l.exactlyOnceInOrder(g.topic)
					if s := c.Stats(); way.name == "cut off" && partitions > 3 && s.Duplicates == 0 {
						t.Error("no batch was sent again that the new leader had")
					} else if way.name == "cut off" && s.Disconnects > 0 {
						t.Error("a node that answers was disconnected from")
					}
				})
			})
		}
	}
}

func TestConsumersFollowTheLeader(t *testing.T) {
	for _, way := range failovers() {
		t.Run(way.name, func(t *testing.T) {
			inGroup(t, 3, func(t *testing.T, g *group) {
				c := g.client(PartitionBy(ManualPartitioner()))
				defer c.Close()
				l := load{checker: checker{t, 3, 800}}
				var wg sync.WaitGroup
				for i := range int32(3) {
					k, err := c.NewConsumer(Assign("t", i, Start()))
					if err != nil {
						t.Fatal(err)
					}
					defer k.Close()
					wg.Go(func() {
						if longest := follow(t, k, l.each); longest > way.silent {
							t.Errorf("partition %d: nothing was read for %v", i, longest)
						}
					})
				}
				wg.Go(func() {
					time.Sleep(time.Second)
					way.happen(g)
					g.elect(1, 2, 3)
				})
				l.run(c, 3)
				wg.Wait()
			})
		})
	}
}

// A node that was cut off still says that it leads. When the one that was elected in its place dies too, only the third one knows who leads.
func TestMetadataOfOneWhoIsCutOffIsNotBelieved(t *testing.T) {
	inGroup(t, 1, func(t *testing.T, g *group) {
		c := g.client()
		defer c.Close()
		l := load{checker: checker{t, 1, 1000}}
		var elected time.Time
		var wg sync.WaitGroup
		wg.Go(func() {
			time.Sleep(time.Second)
			g.cut(1)
			time.Sleep(300 * time.Millisecond)
			g.elect(1, 2)
			time.Sleep(time.Second)
			g.kill(2)
			time.Sleep(700 * time.Millisecond)
			elected = time.Now()
			g.elect(2, 3)
		})
		l.run(c, 1)
		wg.Wait()
		l.endings = slices.DeleteFunc(l.endings, func(e ending) bool { return e.acked.Before(elected) })
		l.check(elected, 250*time.Millisecond)
		l.exactlyOnceInOrder(g.topic)
	})
}

// A new client that knows the node which was cut off first is told of the end by the leader.
func TestOffsetsOfOneWhoIsCutOffAreAskedOfTheLeader(t *testing.T) {
	inGroup(t, 3, func(t *testing.T, g *group) {
		g.cut(1)
		g.elect(1, 2)
		for range 10 {
			c := g.client()
			start := time.Now()
			found, err := c.ListOffsets(context.Background(), "t", End(), mq.IsolationCommitted)
			if err != nil {
				t.Fatal(err)
			}
			for p, o := range found {
				if o.Err != nil {
					t.Errorf("partition %d: %v", p, o.Err)
				}
			}
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("it took %v", took)
			}
			c.Close()
		}
	})
}

// The new leader is told last that it leads: it refuses until then.
func TestLeaderThatLearnsItLastIsWaitedFor(t *testing.T) {
	inGroup(t, 1, func(t *testing.T, g *group) {
		c := g.client()
		defer c.Close()
		l := load{checker: checker{t, 4, 600}}
		var elected time.Time
		var wg sync.WaitGroup
		wg.Go(func() {
			time.Sleep(time.Second)
			g.cut(2) // it knows what it knew
			g.kill(1)
			time.Sleep(200 * time.Millisecond)
			g.elect(1, 2)
			time.Sleep(100 * time.Millisecond)
			elected = time.Now()
			g.heal(2)
		})
		l.run(c, 1)
		wg.Wait()
		l.check(elected, 200*time.Millisecond)
		l.exactlyOnceInOrder(g.topic)
	})
}

// Elections that take long are waited for as closely as those that do not.
func TestSlowElectionIsNoticedAtOnce(t *testing.T) {
	inGroup(t, 1, func(t *testing.T, g *group) {
		c := g.client()
		defer c.Close()
		l := load{checker: checker{t, 1, 1800}}
		var elected time.Time
		var wg sync.WaitGroup
		wg.Go(func() {
			time.Sleep(time.Second)
			g.kill(1)
			time.Sleep(7050 * time.Millisecond)
			elected = time.Now()
			g.elect(1, 2)
		})
		l.run(c, 1)
		wg.Wait()
		l.check(elected, 250*time.Millisecond)
		l.exactlyOnceInOrder(g.topic)
	})
}

// A server that starts while it is being dialed is found as soon as it is there, and not when QUIC happens to repeat itself.
func TestServerThatStartsLateIsFoundSoon(t *testing.T) {
	for off := 500 * time.Millisecond; off < 4*time.Second; off += 250 * time.Millisecond {
		inGroup(t, 1, func(t *testing.T, g *group) {
			c := g.client(Servers(g.serverOf[1]))
			defer c.Close()
			g.kill(1)
			started := make(chan time.Time, 1)
			time.AfterFunc(off, func() {
				g.restart(1)
				started <- time.Now()
			})
			if _, err := c.DescribeCluster(context.Background()); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(<-started); took > redial+100*time.Millisecond {
				t.Errorf("after %v: took %v more", off, took)
			}
		})
	}
}

func TestLeaderThatDiedBeforeItWasSpokenToIsLeft(t *testing.T) {
	inGroup(t, 1, func(t *testing.T, g *group) {
		c := g.client(Servers(g.serverOf[2]))
		defer c.Close()
		l := load{checker: checker{t, 1, 200}}
		if _, _, err := c.topic(context.Background(), "t"); err != nil {
			t.Fatal(err)
		}
		g.kill(1)
		var elected time.Time
		var wg sync.WaitGroup
		wg.Go(func() {
			time.Sleep(300 * time.Millisecond)
			elected = time.Now()
			g.elect(1, 2)
		})
		l.run(c, 1)
		wg.Wait()
		l.check(elected, 200*time.Millisecond)
		l.exactlyOnceInOrder(g.topic)
	})
}

func TestOlderLeaderEpochIsIgnored(t *testing.T) {
	p := &partition{c: &Client{}, epoch: mq.NoEpoch, leader: mq.NoNode}
	for _, step := range []struct {
		leader, want mq.NodeID
		epoch        mq.Epoch
	}{{1, 1, 3}, {2, 2, 4}, {1, 2, 3}, {mq.NoNode, 2, 3}, {mq.NoNode, mq.NoNode, 5}, {2, mq.NoNode, 4}, {3, 3, 5}} {
		p.lead(step.leader, step.epoch)
		if p.leader != step.want {
			t.Errorf("node %d in epoch %d: led by %d, want %d", step.leader, step.epoch, p.leader, step.want)
		}
	}
}

// A partition that has no leader for minutes does not slow the search for those of others.
func TestLeaderlessPartitionSlowsNoOther(t *testing.T) {
	inGroup(t, 6, func(t *testing.T, g *group) {
		c := g.client(PartitionBy(ManualPartitioner()))
		defer c.Close()
		g.elect(2, mq.NoNode)
		lost := make(chan error, 1)
		c.Produce(context.Background(), &Record{Topic: "t", Partition: 1, Value: numbered(99, 0)}, func(_ *Record, err error) { lost <- err })
		time.Sleep(40 * time.Second)
		l := load{checker: checker{t, 1, 800}}
		var elected time.Time
		var wg sync.WaitGroup
		wg.Go(func() {
			time.Sleep(time.Second)
			g.kill(1)
			time.Sleep(300 * time.Millisecond)
			elected = time.Now()
			g.elect(1, 3)
		})
		l.run(c, 1)
		wg.Wait()
		g.elect(mq.NoNode, 3)
		if err := <-lost; err != nil {
			t.Error(err)
		}
		l.check(elected, 250*time.Millisecond)
	})
}

func TestClientStartsWhileAllButOneAreDead(t *testing.T) {
	inGroup(t, 1, func(t *testing.T, g *group) {
		g.kill(1)
		g.kill(2)
		g.elect(1, 3)
		c := g.client()
		defer c.Close()
		start := time.Now()
		if err := c.ProduceSync(context.Background(), &Record{Topic: "t", Value: []byte("1")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > 2*stagger+200*time.Millisecond {
			t.Errorf("took %v", took)
		}
		k, err := c.NewConsumer(Assign("t", 0, Start()))
		if err != nil {
			t.Fatal(err)
		}
		defer k.Close()
		follow(t, k, 1)
	})
}

// Requests that may be repeated go past a node that died since it was spoken to last.
func TestDeadNodeCostsARequestLittle(t *testing.T) {
	inGroup(t, 3, func(t *testing.T, g *group) {
		c := g.client(PartitionBy(ManualPartitioner()))
		defer c.Close()
		for i := range int32(3) {
			if err := c.ProduceSync(context.Background(), &Record{Topic: "t", Partition: i, Value: []byte("1")}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		g.kill(1)
		g.elect(1, 2)
		for i := range 10 {
			start := time.Now()
			if _, err := c.DescribeCluster(context.Background()); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took > attemptTime+100*time.Millisecond {
				t.Errorf("request %d took %v", i, took)
			}
		}
		start := time.Now()
		found, err := c.ListOffsets(context.Background(), "t", End(), mq.IsolationCommitted)
		if err != nil {
			t.Fatal(err)
		}
		for p, o := range found {
			if o.Err != nil || o.Offset != 1 {
				t.Errorf("partition %d: %+v", p, o)
			}
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("offsets took %v", took)
		}
	})
}

// Acknowledgements that take their time, and partitions that have nothing new, are asked about now and then.
func TestPatienceIsCheap(t *testing.T) {
	inGroup(t, 1, func(t *testing.T, g *group) {
		g.brokers[0].delay = 60 * time.Second // as of an object store that is away
		c := g.client()
		defer c.Close()
		if err := c.ProduceSync(context.Background(), &Record{Topic: "t", Value: []byte("1"), Acks: AcksObject}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if n := g.asked.Load(); n > 70 {
			t.Errorf("metadata was asked for %d times while one acknowledgement took a minute", n)
		}
		if s := c.Stats(); s.Disconnects != 0 || s.BatchesSent != 1 {
			t.Errorf("a server that is only slow was given up: %+v", s)
		}
		k, err := c.NewConsumer(Assign("t", 0, Start()))
		if err != nil {
			t.Fatal(err)
		}
		defer k.Close()
		follow(t, k, 1)
		before := g.asked.Load()
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		if _, err := k.Poll(ctx); mq.CodeOf(err) != mq.RequestTimedOut {
			t.Errorf("got %v", err)
		}
		if n := g.asked.Load() - before; n > 80 {
			t.Errorf("metadata was asked for %d times in an idle hour", n)
		}
	})
}
