package sim

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rustmq/rustmq/cli/verify"
	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/history"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/node"
	"github.com/rustmq/rustmq/node/nodetest"
	"github.com/rustmq/rustmq/partition"
	"github.com/rustmq/rustmq/tier/faultstore"
	"github.com/rustmq/rustmq/wal"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// Config is one run.
type Config struct {
	Seed    uint64
	Scratch string // a directory of the machine
	Certs   *Certs // of all machines
	// Duration is how long clients work and harm is done, in virtual time. 0: 4 s, in which there are some twelve faults.
	Duration time.Duration
	// Calm does no harm.
	Calm  bool
	Level slog.Level // of the nodes' logs
	Plant Plant

	only   func(*harm)                     // the one fault that there is; nil: any
	work   func(*verify.Config)            // changes what clients do; nil: it is the seed's
	walMax node.Size                       // of each node's log; 0: more than it needs
	beside func(context.Context, *cluster) // is done while clients work; nil: nothing
}

// Plant is a bug to be planted under a cluster. The zero value is none.
type Plant struct {
	// Disk puts something between each node and its disk.
	Disk func(wal.FS) wal.FS
	// Random replaces what each node draws its random numbers from.
	Random func(io.Reader) io.Reader
	// Client changes the clients.
	Client []client.Option
	// Partition is planted in each partition.
	Partition partition.Planted
	// WallLease has leases measured by the wall clock.
	WallLease bool
}

// Result is what a run found.
type Result struct {
	*verify.Report
	Events []string // what was done to the cluster
	Logs   []string // of the nodes
}

const (
	defaultDuration = 4 * time.Second
	// heal is how long the cluster may take when all is well again.
	heal = 2 * time.Minute
	// startTime is how long the first start of all nodes may take.
	startTime  = time.Minute
	topic      = "orders"
	partitions = 3 // of the topic that is worked on
)

// load is how much a run's clients have its cluster do.
type load struct {
	rate     float64         // records in a second
	burst    int             // of each producer
	flushAge time.Duration   // after which there is an object
	acks     []mq.Durability // of the producers in turn
}

// load is the seed's: few records and many, one by one and many at once, with much of them in the object store and little.
func (c *Config) load() load {
	rng := c.rng(6)
	return load{
		rate:     []float64{12, 30, 90}[rng.IntN(3)],
		burst:    []int{1, 3, 10}[rng.IntN(3)],
		flushAge: []time.Duration{200 * time.Millisecond, 600 * time.Millisecond, 2 * time.Second}[rng.IntN(3)],
		acks: [][]mq.Durability{
			{mq.DurabilityAll},
			{mq.DurabilityAll, mq.DurabilityLeader, mq.DurabilityObject},
			{mq.DurabilityLeader, mq.DurabilityAll, mq.DurabilityAll},
		}[rng.IntN(3)],
	}
}

// rack is that of all brokers and clients, with every third seed: then clients read what only the object store has from brokers that do not lead.
func (c *Config) rack() string {
	if c.Seed%3 == 1 {
		return "rack"
	}
	return ""
}

// cluster is what there is of one run.
type cluster struct {
	Config
	net      *network
	packets  *packets
	store    *faultstore.Store
	machines []*machine
	claims   claims
	topics   topics
	history  atomic.Pointer[history.History] // nil before the workload begins
	random   *seeded
	sessions tls.ClientSessionCache // of all clients: they shake hands for less with a node that they know
	began    time.Time

	mu      sync.Mutex
	rand    *rand.Rand // of the bucket
	trouble bool       // the bucket is in trouble
	away    bool       // the bucket answers nobody
	events  []string
	broken  []error
}

// Run runs one seed. It belongs into a testing/synctest bubble. The error says why the run did not come to its end, which is a failure as an anomaly is.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	if cfg.Duration == 0 {
		cfg.Duration = defaultDuration
	}
	c := newCluster(cfg)
	report, topics, err := c.run(ctx)
	c.close()
	if err == nil {
		var differ []history.Anomaly
		differ, err = c.compare(ctx, topics)
		report.Anomalies = append(report.Anomalies, differ...)
	}
	result := &Result{Report: report, Events: c.events}
	for _, m := range c.machines {
		result.Logs = append(result.Logs, m.log.String())
	}
	return result, errors.Join(append(c.broken, err)...)
}

// rng is one of the seed's sources.
func (c *Config) rng(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(c.Seed, stream)) }

func newCluster(cfg Config) *cluster {
	c := &cluster{
		Config: cfg, net: newNetwork(cfg.rng(1)), store: faultstore.New(), random: &seeded{rand: cfg.rng(2)}, rand: cfg.rng(3), began: time.Now(),
		sessions: tls.NewLRUClientSessionCache(machinesAtMost),
	}
	c.packets = &packets{net: c.net}
	c.store.SetHook(c.bucketFault)
	both := []string{node.RoleBroker, node.RoleController}
	roles := [][]string{both, both, both}
	if cfg.Seed%5 == 4 {
		roles = [][]string{both[1:], both[1:], both[1:], both[:1], both[:1], both[:1]}
	}
	var controllers []string
	for i, r := range roles {
		m := &machine{c: c, id: i + 1, fs: crashfs.New(cfg.Seed<<8 + uint64(i+1))}
		host := addrOf(m.id).String()
		if r[len(r)-1] == node.RoleController {
			controllers = append(controllers, fmt.Sprintf("%d@%s:9093", m.id, host))
		}
		m.cfg = nodetest.Config("/data")
		m.cfg.Node.ID, m.cfg.Node.Roles = m.id, r
		m.cfg.Server.Listen, m.cfg.RPC.Listen, m.cfg.Admin.Listen = host+":9092", host+":9093", host+":9642"
		m.cfg.PKI.Dir = cfg.Certs.dir(m.id)
		m.cfg.WAL = node.WALConfig{SegmentSize: 128 * node.KiB, MaxSize: 16 * node.MiB, QueueSize: 2 * node.MiB}
		if cfg.walMax > 0 {
			m.cfg.WAL.MaxSize = cfg.walMax
		}
		if m.cfg.Node.Rack = cfg.rack(); m.cfg.Node.Rack != "" {
			m.cfg.WAL.SegmentSize = 32 * node.KiB // much of what is read is only in the object store then
		}
		m.cfg.Raft.Tick = node.Default().Raft.Tick
		m.cfg.ObjectStore.FlushAge = cfg.load().flushAge
		m.cfg.ObjectStore.CompactRanges, m.cfg.ObjectStore.CompactInterval = 3, 2*time.Second
		m.cfg.Server.DrainTimeout = time.Second
		c.machines = append(c.machines, m)
	}
	for _, m := range c.machines {
		m.cfg.Node.Controllers = controllers
	}
	return c
}

// servers are where clients look for the cluster.
func (c *cluster) servers() (out []string) {
	for _, m := range c.machines {
		if m.broker() {
			out = append(out, m.cfg.Server.Listen)
		}
	}
	return out
}

// client makes one.
func (c *cluster) client(opts ...client.Option) (*client.Client, error) {
	return client.New(append([]client.Option{
		client.Servers(c.servers()...), client.CAFile(c.Certs.ca), client.TLSConfig(&tls.Config{ClientSessionCache: c.sessions}), client.Listen(c.packets.dial), client.BatchBytes(8 << 10), client.Connections(1), client.Rack(c.rack()),
	}, append(opts, c.Plant.Client...)...)...)
}

// run works on the cluster and does harm to it. The topics are as they are when all is healed.
func (c *cluster) run(ctx context.Context) (*verify.Report, []*client.TopicDescription, error) {
	for _, m := range c.machines {
		m.begin()
	}
	if err := c.await(startTime); err != nil {
		return nil, nil, fmt.Errorf("the first start: %w", err)
	}
	if err := c.createTopic(ctx); err != nil {
		return nil, nil, err
	}
	c.event("all serve")
	harm, stop := context.WithTimeout(ctx, c.Duration)
	defer stop()
	var harming sync.WaitGroup
	if !c.Calm {
		harming.Go(func() { c.harm(harm) })
		harming.Go(func() { c.changeTopics(harm) })
	}
	if c.beside != nil {
		harming.Go(func() { c.beside(harm, c) })
	}
	load := c.load()
	work := verify.Config{
		Topic: topic, Partitions: partitions, Replicas: 3, Mix: load.acks,
		Producers: 3, Readers: 1, Rate: load.rate, Burst: load.burst, Size: 100, Duration: c.Duration, Heal: heal,
		Client: c.client, Random: &seeded{rand: c.rng(4)}, Observe: c.history.Store, Logger: slog.New(slog.DiscardHandler),
	}
	if c.work != nil {
		c.work(&work)
	}
	report, err := verify.Run(ctx, ctx, work)
	stop()
	harming.Wait()
	if err != nil {
		return nil, nil, fmt.Errorf("the workload: %w", err)
	}
	topics, err := c.settle(ctx)
	return report, topics, err
}

// createTopic makes the topic while all is well: with less than three brokers it could not have three replicas.
func (c *cluster) createTopic(ctx context.Context) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	defer cl.Close()
	if _, err = cl.CreateTopic(ctx, client.NewTopic{Name: topic, Partitions: partitions, Replicas: 3}); err == nil {
		c.topics = topics{topic: &promisedTopic{partitions: partitions}}
	}
	return err
}

// await waits until all nodes serve.
func (c *cluster) await(limit time.Duration) error {
	over := time.NewTimer(limit)
	defer over.Stop()
	for _, m := range c.machines {
		if m.life == nil {
			return fmt.Errorf("node %d is off", m.id)
		}
		select {
		case <-m.life.started:
			if err := m.life.err; err != nil {
				return fmt.Errorf("node %d: %w", m.id, err)
			}
		case <-over.C:
			return fmt.Errorf("node %d does not serve after %v", m.id, limit)
		}
	}
	return nil
}

// close ends everything.
func (c *cluster) close() {
	for _, m := range c.machines {
		if m.life != nil {
			m.life.end(true)
		}
	}
	for _, m := range c.machines {
		if m.life != nil {
			m.life.close()
		}
		m.fs.Kill() // what is on the disk is looked at
	}
}

// event notes what was done to the cluster.
func (c *cluster) event(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, fmt.Sprintf("%s  ", time.Now().Format("04:05.000"))+fmt.Sprintf(format, args...))
}

// fault notes that a node failed by itself.
func (c *cluster) fault(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = append(c.broken, fmt.Errorf(format, args...))
}
