package replication

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
)

// Config is what the leader's side works with. Self, Propose and Logger are required.
type Config struct {
	// Self is this broker in this run: its node id and broker epoch.
	Self partition.Replica
	// Propose asks the controllers for in-sync sets and says for each, in the same order, what came of it. It may block until ctx ends, and be called again meanwhile for
	// other partitions.
	Propose func(ctx context.Context, changes []Change) []Outcome
	Logger  *slog.Logger

	// For each 0 is the default.
	Window     int64         // bytes under way to a follower
	MarksDelay time.Duration // for watermarks without batches
	MaxLag     time.Duration // until a follower is not in sync any more
	MaxBroken  time.Duration // the same, without a stream
	Interval   time.Duration // of looking at in-sync sets

	planted planted // by tests only
}

// planted are bugs that tests put in, to see that they would be found.
type planted struct {
	joinsUnproven bool // who is connected is proposed as in sync, whatever it has
}

// Peer is a broker that follows partitions that are led here.
type Peer struct {
	Node mq.NodeID
	// Incarnation is its broker epoch as the image has it. When it changes, the stream is made anew at once.
	Incarnation uint64
	Fenced      bool // it does not join in-sync sets
	// Dial makes a connection to it and to no other node, which its TLS checks: to what gives it to [Follower.Serve] there.
	Dial func(ctx context.Context) (net.Conn, error)
}

// Assignment is a partition that is led here in Epoch.
type Assignment struct {
	Partition *partition.Partition
	Epoch     mq.Epoch
}

// Peers replicates what is led here to the brokers that follow, and watches over the in-sync sets. It is safe for concurrent use.
type Peers struct {
	cfg    Config
	ctx    context.Context
	cancel context.CancelFunc
	joined sync.WaitGroup

	setting sync.Mutex // one Set at a time; taken before any other lock
	mu      sync.Mutex
	peers   map[mq.NodeID]*peer
	closed  bool

	judged    map[mq.PartitionID]*insync // the ticker's own
	proposing chan struct{}              // one for each step that is proposed, of which no answer has come yet
}

// Open starts watching over in-sync sets; there are no peers yet.
func Open(cfg Config) *Peers {
	cfg.setDefaults()
	ctx, cancel := context.WithCancel(context.Background())
	p := &Peers{cfg: cfg, ctx: ctx, cancel: cancel, peers: make(map[mq.NodeID]*peer), judged: make(map[mq.PartitionID]*insync)}
	p.proposing = make(chan struct{}, maxProposals)
	p.joined.Go(p.watchInSync)
	return p
}

func (cfg *Config) setDefaults() {
	if cfg.Window == 0 {
		cfg.Window = DefaultWindow
	}
	for value, otherwise := range map[*time.Duration]time.Duration{
		&cfg.MarksDelay: DefaultMarksDelay, &cfg.MaxLag: DefaultMaxLag, &cfg.MaxBroken: DefaultMaxBroken, &cfg.Interval: DefaultInterval,
	} {
		if *value == 0 {
			*value = otherwise
		}
	}
}

// Set says all that peer follows of what is led here, each partition in the epoch that it is led in now. What it had and has no more
// ends, what is new begins; none at all ends the stream. It does no I/O.
func (p *Peers) Set(to Peer, assignments []Assignment) {
	p.setting.Lock()
	defer p.setting.Unlock()
	p.mu.Lock()
	one := p.peers[to.Node]
	switch {
	case p.closed || one == nil && len(assignments) == 0:
		p.mu.Unlock()
		return
	case one == nil:
		one = newPeer(p, to)
		p.peers[to.Node] = one
		p.joined.Go(one.run)
	case len(assignments) == 0:
		delete(p.peers, to.Node)
	}
	p.mu.Unlock()
	one.set(to, assignments)
	if len(assignments) == 0 {
		one.cancel()
	}
}

// Forget ends the stream to a peer that is not there any more. It does no I/O.
func (p *Peers) Forget(node mq.NodeID) {
	p.setting.Lock()
	defer p.setting.Unlock()
	p.mu.Lock()
	one := p.peers[node]
	delete(p.peers, node)
	p.mu.Unlock()
	if one != nil {
		one.leave()
	}
}

// Close ends all streams and joins all goroutines. Partitions that are still led here are not replicated any more.
func (p *Peers) Close() {
	p.setting.Lock()
	p.mu.Lock()
	p.closed = true
	peers := p.list()
	p.mu.Unlock()
	p.cancel()
	for _, one := range peers {
		one.leave()
	}
	p.setting.Unlock()
	p.joined.Wait()
}

// list is the peers as of now. The caller holds mu.
func (p *Peers) list() []*peer {
	out := make([]*peer, 0, len(p.peers))
	for _, one := range p.peers {
		out = append(out, one)
	}
	return out
}

// Status is how a stream to a peer stands.
type Status struct {
	Node       mq.NodeID
	Connected  bool
	Since      time.Time
	Partitions int
	InFlight   int64  // bytes sent and not acknowledged
	SentBytes  uint64 // of batches, in total
	Streams    uint64 // made so far
}

// Status lists the peers, in no order.
func (p *Peers) Status() []Status {
	p.mu.Lock()
	peers := p.list()
	p.mu.Unlock()
	out := make([]Status, 0, len(peers))
	for _, one := range peers {
		out = append(out, one.status())
	}
	return out
}

// watchInSync looks at the in-sync sets now and then.
func (p *Peers) watchInSync() {
	ticker := time.NewTicker(p.cfg.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			p.maintain(time.Now())
		case <-p.ctx.Done():
			return
		}
	}
}

// maintain proposes the changes that are due.
func (p *Peers) maintain(now time.Time) {
	led := p.led()
	for id := range p.judged {
		if led[id] == nil {
			delete(p.judged, id)
		}
	}
	room := (cap(p.proposing) - len(p.proposing)) * maxChanges
	var changes []Change
	var of []*partition.Partition
	for id, l := range led {
		progress, ok := l.partition.Progress()
		if !ok {
			continue
		}
		j := p.judged[id]
		if j == nil {
			j = &insync{planted: p.cfg.planted}
			p.judged[id] = j
		}
		isr, expected := j.judge(now, p.cfg.Self, progress, l.standings, lagLimits{p.cfg.MaxLag, p.cfg.MaxBroken})
		if isr == nil {
			if !progress.Asked && !slices.Equal(expected, progress.Expected) {
				l.partition.Expect(progress.PartitionEpoch, expected)
			}
			continue
		}
		if len(changes) == room {
			continue // for the next look
		}
		// The watermark honours it before anybody can decide it.
		if err := l.partition.ProposeISR(progress.PartitionEpoch, isr); err != nil {
			p.cfg.Logger.Debug("an in-sync set is not proposed", "partition", id.String(), "err", err)
			continue
		}
		changes = append(changes, Change{id, progress.Epoch, progress.PartitionEpoch, isr})
		of = append(of, l.partition)
	}
	if len(changes) > 0 {
		p.propose(changes, of)
	}
}

// propose has the controllers decide, in steps of a size that they take, for which there is room. Each has a goroutine: one whose answer does not come holds up no other.
func (p *Peers) propose(changes []Change, of []*partition.Partition) {
	for len(changes) > 0 {
		n := min(len(changes), maxChanges)
		step, parts := changes[:n], of[:n]
		p.proposing <- struct{}{}
		p.joined.Go(func() {
			defer func() { <-p.proposing }()
			p.proposeStep(step, parts)
		})
		changes, of = changes[n:], of[n:]
	}
}

func (p *Peers) proposeStep(changes []Change, of []*partition.Partition) {
	ctx, cancel := context.WithTimeout(p.ctx, proposeTimeout)
	outcomes := p.cfg.Propose(ctx, changes)
	cancel()
	for i, c := range changes {
		outcome := OutcomeUnknown
		if len(outcomes) == len(changes) {
			outcome = outcomes[i]
		}
		p.cfg.Logger.Info("in-sync set proposed", "topic", of[i].Topic(), "partition", c.Partition.Index, "leader_epoch", int32(c.LeaderEpoch),
			"partition_epoch", c.PartitionEpoch, "isr", c.ISR, "outcome", int(outcome))
		switch outcome {
		case OutcomeDecided:
		case OutcomeRefused:
			of[i].ISRRefused(c.PartitionEpoch)
		default:
			of[i].ISRUnsettled(c.PartitionEpoch)
		}
	}
}

// ledPartition is one that is replicated from here, and how the peers that follow it stand.
type ledPartition struct {
	partition *partition.Partition
	standings map[mq.NodeID]standing
}

func (p *Peers) led() map[mq.PartitionID]*ledPartition {
	p.mu.Lock()
	peers := p.list()
	p.mu.Unlock()
	led := make(map[mq.PartitionID]*ledPartition)
	for _, one := range peers {
		s, partitions := one.standing()
		for _, part := range partitions {
			l := led[part.ID()]
			if l == nil || l.partition != part {
				l = &ledPartition{part, make(map[mq.NodeID]standing)}
				led[part.ID()] = l
			}
			l.standings[one.node] = s
		}
	}
	return led
}
