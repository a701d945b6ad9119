package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
)

const (
	groupName = "billing"
	// memberSession is for how long a member may be silent; memberPause is the longest that one is stopped.
	memberSession = 3 * time.Second
	memberPause   = 8 * time.Second
	membersAtMost = 6
	// memberHosts is the host of the first member: each has its own, so that it can be stopped by itself.
	memberHosts = 100
	// groupRate is how often a record is produced to some partition.
	groupRate = 15 * time.Millisecond
	// restTime is after how long without records a member commits what it has consumed.
	restTime = 300 * time.Millisecond
	// grownTo is how many partitions the topic has in the end.
	grownTo = 7
)

// GroupResult is what a run of a consumer group found.
type GroupResult struct {
	Wrong    []string // what must not be
	Events   []string
	Logs     []string
	Produced int
	Consumed int // each time counts
	Commits  int // that were acknowledged
	Refused  int // commits of members that had lost what they committed for
	Again    int // records that were consumed more than once
	Members  int // that there ever were
}

// RunGroup runs a cluster with a consumer group whose members join, leave, crash and are stopped, while partitions are added and harm is done to the nodes as in [Run]; orderly has members only come and go, and
// nothing be harmed. It belongs into a testing/synctest bubble.
func RunGroup(ctx context.Context, cfg Config, orderly bool) (*GroupResult, error) {
	if cfg.Duration == 0 {
		cfg.Duration = defaultDuration
	}
	c := newCluster(cfg)
	for _, m := range c.machines {
		m.cfg.Groups.OffsetsPartitions = 3
		m.cfg.Groups.SessionTimeout, m.cfg.Groups.HeartbeatInterval = memberSession, time.Second
	}
	g := &groupRun{cluster: c, orderly: orderly, rand: c.rng(8), ledger: newGroupLedger()}
	err := g.run(ctx)
	c.close()
	result := g.ledger.result()
	result.Members, result.Events = g.made, c.events
	for _, m := range c.machines {
		result.Logs = append(result.Logs, m.log.String())
	}
	return result, errors.Join(append(c.broken, err)...)
}

// groupRun is a group that is worked with.
type groupRun struct {
	*cluster
	orderly bool
	rand    *rand.Rand
	ledger  *groupLedger
	members []*groupMember // those that live
	made    int
	work    sync.WaitGroup // of all members that ever were
}

// groupMember is a process with one consumer.
type groupMember struct {
	name   string
	host   int
	client *client.Client
	k      *client.Consumer
}

func (g *groupRun) run(ctx context.Context) error {
	for _, m := range g.machines {
		m.begin()
	}
	if err := g.await(startTime); err != nil {
		return fmt.Errorf("the first start: %w", err)
	}
	if err := g.createTopic(ctx); err != nil {
		return err
	}
	cl, err := g.client(client.RequestTimeout(heal))
	if err != nil {
		return err
	}
	defer cl.Close()
	// The topic of the groups' state is made while all are there: else it would be waited for.
	if err := cl.CommitOffsets(ctx, "other", topic, map[int32]mq.Offset{0: 0}); err != nil {
		return fmt.Errorf("the first commit: %w", err)
	}
	harming, stop := context.WithTimeout(ctx, g.Duration)
	defer stop()
	var beside sync.WaitGroup
	if !g.Calm && !g.orderly {
		beside.Go(func() { g.harm(harming) })
	}
	var producing sync.WaitGroup
	producing.Go(func() { g.produce(harming, cl) })
	beside.Go(func() { g.grow(ctx, cl) })
	watching, blind := context.WithCancel(ctx)
	beside.Go(func() { g.watch(watching, cl) })
	for range 2 {
		g.join()
	}
	g.churn(harming)
	producing.Wait()
	err = g.drain(ctx, cl)
	blind()
	beside.Wait()
	for _, m := range g.members {
		m.close()
	}
	g.work.Wait()
	if err != nil {
		return err
	}
	ends, err := g.ends(ctx, cl)
	if err == nil {
		g.ledger.finish(ends)
	}
	return err
}

// produce produces records one by one to partitions in turn, with whatever partitions there are by then.
func (g *groupRun) produce(ctx context.Context, cl *client.Client) {
	for i := 0; sleep(ctx, groupRate); i++ {
		cl.Produce(context.WithoutCancel(ctx), &client.Record{Topic: topic, Key: fmt.Append(nil, i), Value: make([]byte, 50)}, func(r *client.Record, err error) {
			if err == nil {
				g.ledger.produced(r.Partition, r.Offset)
			}
		})
	}
}

// grow adds partitions.
func (g *groupRun) grow(ctx context.Context, cl *client.Client) {
	for n := int32(partitions); n < grownTo; {
		if !sleep(ctx, g.Duration/(2*(grownTo-partitions))) {
			return
		}
		more := min(n+2, grownTo)
		err := cl.CreatePartitions(ctx, topic, more)
		g.event("grow to %d partitions: %v", more, err)
		if err == nil || mq.CodeOf(err) == mq.InvalidPartitions { // an earlier try has done it
			n = more
		}
	}
}

// watch looks that no committed offset is behind one that was acknowledged.
func (g *groupRun) watch(ctx context.Context, cl *client.Client) {
	for sleep(ctx, 300*time.Millisecond) {
		before := g.ledger.acknowledged()
		if found, err := cl.CommittedOffsets(ctx, groupName, topic); err == nil {
			g.ledger.look(before, found)
		}
	}
}

// churn has members come and go until ctx ends, and then lets those that are there be.
func (g *groupRun) churn(ctx context.Context) {
	var stopped sync.WaitGroup
	for sleep(ctx, 100*time.Millisecond+time.Duration(g.rand.Int64N(int64(500*time.Millisecond)))) {
		at, what := g.rand.IntN(len(g.members)), g.rand.IntN(4)
		m := g.members[at]
		switch {
		case len(g.members) == 1 || what == 0 && len(g.members) < membersAtMost:
			g.join()
		case what == 1 || g.orderly:
			g.event("%s leaves", m.name)
			g.members = append(g.members[:at], g.members[at+1:]...)
			g.work.Go(m.close)
		case what == 2:
			g.event("%s dies", m.name)
			g.members = append(g.members[:at], g.members[at+1:]...)
			g.silence(m, true)
			g.work.Go(m.close)
		default:
			pause := time.Duration(g.rand.Int64N(int64(memberPause)))
			g.event("%s stops for %v", m.name, pause)
			g.silence(m, true)
			stopped.Go(func() {
				time.Sleep(pause)
				g.event("%s goes on", m.name)
				g.silence(m, false)
			})
		}
	}
	stopped.Wait()
}

// silence cuts a member from everybody, or ends that.
func (g *groupRun) silence(m *groupMember, silent bool) {
	g.net.change(func() { g.net.silent[m.host] = silent })
}

// drain waits until the group has committed all that there is.
func (g *groupRun) drain(ctx context.Context, cl *client.Client) error {
	if err := cl.Flush(ctx); err != nil {
		return fmt.Errorf("what was produced: %w", err)
	}
	var behind string
	for began := time.Now(); time.Since(began) < heal; {
		if !sleep(ctx, 500*time.Millisecond) {
			return ctx.Err()
		}
		ends, err := g.ends(ctx, cl)
		if err != nil {
			behind = err.Error()
			continue
		}
		found, err := cl.CommittedOffsets(ctx, groupName, topic)
		if err != nil {
			behind = err.Error()
			continue
		}
		behind = ""
		if len(ends) < grownTo {
			behind = fmt.Sprintf("there are %d partitions", len(ends))
		}
		for p, end := range ends {
			if least := g.ledger.end(p); end < least || end > 0 && found[p] != end {
				behind = fmt.Sprintf("partition %d: %d are consumed, it has %d, and had %d", p, found[p], end, least)
			}
		}
		if behind == "" {
			return nil
		}
	}
	return fmt.Errorf("the group has not come to the end in %v: %s", heal, behind)
}

func (g *groupRun) ends(ctx context.Context, cl *client.Client) (map[int32]mq.Offset, error) {
	d, err := cl.DescribeTopic(ctx, topic)
	if err != nil {
		return nil, err
	}
	ends := make(map[int32]mq.Offset)
	for _, p := range d.Partitions {
		if p.Err != nil {
			return nil, p.Err
		}
		ends[p.Partition] = p.HighWatermark
	}
	return ends, nil
}

// join begins a member.
func (g *groupRun) join() {
	g.made++
	m := &groupMember{name: fmt.Sprint("member ", g.made), host: memberHosts + g.made%100}
	g.event("%s joins", m.name)
	g.silence(m, false)
	dial := func(addr string) (net.PacketConn, net.Addr, error) {
		to, err := net.ResolveUDPAddr("udp", addr)
		if err != nil {
			return nil, nil, err
		}
		to.IP = to.IP.To4()
		return g.packets.listen(&net.UDPAddr{IP: addrOf(m.host), Port: g.packets.port()}), to, nil
	}
	var err error
	if m.client, err = g.client(client.Listen(dial)); err != nil {
		g.ledger.wrong("%s: %v", m.name, err)
		return
	}
	interval := time.Duration(0)
	if g.made%2 == 0 {
		interval = 200 * time.Millisecond
	}
	m.k, err = m.client.NewConsumer(client.Group(groupName), client.Topics(topic), client.AutoCommit(interval), client.RebalanceTimeout(5*time.Second),
		client.ResetTo(client.Start()),
		client.OnAssigned(func(_ context.Context, _ *client.Consumer, got []client.TopicPartition) {
			g.ledger.assigned(m.name, got)
		}),
		client.OnRevoked(func(ctx context.Context, k *client.Consumer, gone []client.TopicPartition) {
			if interval == 0 {
				g.commit(ctx, m)
			}
			g.ledger.gone(m.name, gone)
		}),
		client.OnLost(func(_ context.Context, _ *client.Consumer, gone []client.TopicPartition) { g.ledger.gone(m.name, gone) }),
	)
	if err != nil {
		g.ledger.wrong("%s: %v", m.name, err)
		return
	}
	g.members = append(g.members, m)
	g.work.Go(func() { g.consume(m, interval == 0) })
}

// consume works on records until the member is closed.
func (g *groupRun) consume(m *groupMember, commits bool) {
	for n := 1; ; n++ {
		ctx, cancel := context.WithTimeout(context.Background(), restTime)
		records, err := m.k.Poll(ctx)
		rested := ctx.Err() != nil
		cancel()
		var failed *client.PartitionError
		switch {
		case errors.As(err, &failed):
			g.ledger.wrong("%s: %v", m.name, err)
		case err != nil && !rested:
			return
		}
		for i := range records {
			g.ledger.consumed(m.name, client.TopicPartition{Topic: records[i].Topic, Partition: records[i].Partition}, records[i].Offset)
		}
		if commits && (n%3 == 0 || rested) {
			g.commit(context.Background(), m)
		}
	}
}

// commit commits what the member has consumed.
func (g *groupRun) commit(ctx context.Context, m *groupMember) {
	for _, tp := range m.k.Assigned() {
		at := m.k.Position(tp)
		if at <= 0 {
			continue
		}
		began := g.ledger.tick()
		err := m.k.CommitSync(ctx, client.CommitOffset{Topic: tp.Topic, Partition: tp.Partition, Offset: at})
		g.ledger.committed(m.name, tp, at, began, err)
	}
}

func (m *groupMember) close() {
	_ = m.k.Close() // who is cut off cannot leave
	_ = m.client.Close()
}

// port is one that no client's socket had.
func (p *packets) port() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next++
	return int(1000 + p.next)
}
