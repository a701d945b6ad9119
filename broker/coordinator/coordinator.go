package coordinator

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/group"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
)

// Config is what a Coordinator works with. All fields are required but MaxMemory, Bounds, SnapshotBytes and Logger.
type Config struct {
	Node mq.NodeID
	// Image is the node's present image. One atomic load.
	Image func() *metadata.Image
	// Partition finds a partition that this node runs, nil if it does not.
	Partition func(mq.PartitionID) *partition.Partition
	// Reserve waits for bytes of room in the log. With a context that is over it does not wait.
	Reserve func(ctx context.Context, bytes int64) error
	// Propose has a command decided by the controllers.
	Propose func(ctx context.Context, command *metadatapb.Command) (*metadatapb.Result, error)
	Groups  group.Config
	// MaxMemory is how much all groups of this node may hold together, in bytes, about: a new group or member that would go beyond is refused. What is there may take as much again. 0: no limit.
	MaxMemory int64
	// Bounds are what groups may set for themselves by dynamic settings.
	Bounds Bounds
	// SnapshotBytes is how long a shard's log gets at least before a snapshot is made of it, in bytes of records; 0: DefaultSnapshotBytes.
	SnapshotBytes int64
	Logger        *slog.Logger
}

// DefaultSnapshotBytes is read in a few milliseconds.
const DefaultSnapshotBytes = 4 << 20

// Coordinator hosts the shards of this node. Its methods may be called from any goroutine.
type Coordinator struct {
	cfg    Config
	table  atomic.Pointer[shardTable]
	topics atomic.Pointer[group.Topics]
	wake   chan struct{} // cap 1
	alarm  *alarm        // when the loop looks again by itself
	work   chan struct{} // a token for each load or trim that runs
	memory atomic.Int64  // bytes that groups hold
	buried atomic.Uint64 // rebalances of shards that are gone
	told   atomic.Uint64 // the most rebalances that Figures gave
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu    sync.Mutex
	poked []poke
}

// shardTable is the shards of this node, at one moment. Immutable.
type shardTable struct {
	topic  mq.TopicID // zero: there is none yet
	shards map[int32]*shard
}

// workers is how many loads and trims run at a time: each reads the disk, or waits for the controllers.
const workers = 4

// Open starts a coordinator. It hosts what the image says from the first Reconcile on.
func Open(cfg Config) *Coordinator {
	if cfg.SnapshotBytes == 0 {
		cfg.SnapshotBytes = DefaultSnapshotBytes
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Coordinator{cfg: cfg, wake: make(chan struct{}, 1), alarm: newAlarm(), work: make(chan struct{}, workers)}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.table.Store(&shardTable{})
	c.topics.Store(group.NewTopics(0, nil))
	c.wg.Go(newLoop(c).run)
	return c
}

// Close ends all shards: what waits gets NOT_COORDINATOR. It returns when nothing of the coordinator runs any more.
func (c *Coordinator) Close() {
	c.cancel()
	c.wg.Wait()
}

// Reconcile has the coordinator look at what this node leads. The node calls it when partitions have taken their roles of an image.
func (c *Coordinator) Reconcile() { signal(c.wake) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// PartitionOf is the partition of the offsets topic that a group belongs to, of so many: Kafka's choice.
func PartitionOf(name string, partitions int32) int32 {
	var hash int32
	for _, r := range name { // Java's hash of a string is over UTF-16
		if r > 0xffff {
			r -= 0x10000
			hash = 31*hash + (0xd800 + r>>10)
			r = 0xdc00 + r&0x3ff
		}
		hash = 31*hash + r
	}
	return hash & (1<<31 - 1) % partitions
}

// find gives the shard of a group.
func (c *Coordinator) find(name string) (*shard, error) {
	t := c.cfg.Image().TopicByName(mq.OffsetsTopic)
	if t == nil {
		return nil, mq.Errorf(mq.NotCoordinator, "node %d does not coordinate group %q: nobody does yet", c.cfg.Node, name)
	}
	index := PartitionOf(name, t.Partitions())
	if table := c.table.Load(); table.topic == t.ID && table.shards[index] != nil {
		return table.shards[index], nil
	}
	if t.Partition(index).Leader == c.cfg.Node {
		return nil, mq.Errorf(mq.CoordinatorLoadInProgress, "node %d begins to coordinate group %q", c.cfg.Node, name)
	}
	return nil, mq.Errorf(mq.NotCoordinator, "node %d does not coordinate group %q, node %d does", c.cfg.Node, name, t.Partition(index).Leader)
}

// Handle has the shard of a group handle a request. done is called once, maybe before Handle returns, when the answer is certain; it may run on the log's writer
// goroutine: it must not block. An error is one before the request was handled, and done is not called then.
func (c *Coordinator) Handle(name string, request group.Request, done func(group.Response, error)) error {
	s, err := c.find(name)
	if err != nil {
		return err
	}
	return s.handle(request, done)
}

// Do is Handle for one who waits. When ctx ends first it is not known what becomes of the request.
func (c *Coordinator) Do(ctx context.Context, name string, request group.Request) (group.Response, error) {
	s, err := c.find(name)
	if err != nil {
		return nil, err
	}
	return s.do(ctx, name, request)
}

// All has each shard of this node handle a request, and gives the answers; and the partitions that this node leads and that do not answer because they are being read.
func (c *Coordinator) All(ctx context.Context, request group.Request) (all []group.Response, loading []int32, err error) {
	t := c.cfg.Image().TopicByName(mq.OffsetsTopic)
	if t == nil {
		return nil, nil, nil
	}
	table := c.table.Load()
	for index := range t.Partitions() {
		s := table.shards[index]
		if s == nil || table.topic != t.ID {
			if t.Partition(index).Leader == c.cfg.Node {
				loading = append(loading, index)
			}
			continue
		}
		response, err := s.do(ctx, "", request)
		switch code := mq.CodeOf(err); {
		case code == mq.None:
			all = append(all, response)
		case code == mq.RequestTimedOut:
			return nil, nil, err
		case t.Partition(index).Leader == c.cfg.Node: // it is loading, or is thrown away and will be
			loading = append(loading, index)
		}
	}
	return all, loading, nil
}

// Figures are those of all shards that are served here. Rebalances are those of shards that were, too: they only grow.
func (c *Coordinator) Figures() (total group.Figures) {
	total.Rebalances = c.buried.Load()
	for _, s := range c.table.Load().shards {
		f, serves := s.figures()
		total.Rebalances += f.Rebalances
		if !serves {
			continue
		}
		total.Groups += f.Groups
		total.Members += f.Members
		total.Offsets += f.Offsets
		total.Bytes += f.Bytes
	}
	for { // one that is buried at this moment may be missing
		told := c.told.Load()
		if total.Rebalances <= told {
			total.Rebalances = told
			return total
		}
		if c.told.CompareAndSwap(told, total.Rebalances) {
			return total
		}
	}
}
