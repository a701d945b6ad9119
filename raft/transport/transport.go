package transport

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	etcdpb "go.etcd.io/raft/v3/raftpb"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/raft"
	"github.com/rustmq/rustmq/raft/form"
)

// Bounds of a transport.
const (
	// DefaultQueueBytes of messages may wait for one peer. Twice what raft has in flight to it, so that only one that does not keep up drops any.
	DefaultQueueBytes = 64 << 20

	// smallBytes more may wait of messages without entries, which are votes and heartbeats: a queue of entries must not silence a leader.
	smallBytes = 1 << 20

	// batchBytes is the size up to which messages go together.
	batchBytes = 1 << 20

	// maxRequestBytes bounds a received batch: one message with the largest entry that there is, and what was batched before it.
	maxRequestBytes = raft.MaxProposalBytes + 2*batchBytes

	// maxLearned bounds the members that are known only by having said hello.
	maxLearned = 16
)

const (
	// stallTimeout is how long one batch or chunk may take to be taken by a connection until that is given up.
	stallTimeout = 5 * time.Second

	// idleTimeout after the last message a peer's goroutine and stream end.
	idleTimeout = time.Minute

	minPause, maxPause = 20 * time.Millisecond, 500 * time.Millisecond // between attempts to connect
)

// Member is who has a raft id.
type Member struct {
	Node mq.NodeID
	URL  string // base URL of its RPC listener, as in https://host:9093
}

// Config is what a Transport is opened with.
type Config struct {
	Cluster mq.ClusterID
	Group   form.Group // of the view that was formed
	ID      uint64     // this member's raft id
	Node    mq.NodeID
	URL     string // this node's own, told to members that do not know it yet

	// Member says who has a raft id, by the metadata that this node has, or by the view before it has any. It is called often, from any goroutine, and must not
	// wait. A member that it does not know is answered to where it said that it is.
	Member func(id uint64) (Member, bool)

	// Controller says whether a node is one of the controllers, as far as this one knows: a raft id that Member does not know is taken from no other. It must not wait.
	Controller func(node mq.NodeID) bool

	// Dial connects to a node's RPC address and hangs up again. An error that is ECONNREFUSED says that nothing listens there any more. nil: nobody is looked
	// after when streams of its end.
	Dial func(ctx context.Context, node mq.NodeID) error

	// Messages and Snapshots are the clients for each: two connections.
	Messages, Snapshots connect.HTTPClient

	// QueueBytes of messages may wait for one peer. 0: DefaultQueueBytes.
	QueueBytes int64
	// MaxSnapshotBytes is the largest snapshot that is taken. 0: 64 GiB.
	MaxSnapshotBytes uint64
	// Logger may be nil.
	Logger *slog.Logger
	// Rand gives numbers that tell snapshots apart. nil: crypto/rand.
	Rand io.Reader
}

// Transport implements raft.Transport, and takes for its node what a [Handler] receives.
type Transport struct {
	cfg Config
	log *slog.Logger

	receiver atomic.Pointer[raft.Receiver] // nil until Start
	ctx      context.Context               // done when Close was called
	cancel   context.CancelFunc
	wait     sync.WaitGroup

	counts counts

	mu        sync.Mutex
	closed    bool
	peers     map[uint64]*peer
	learned   map[uint64]Member
	transfers map[uint64]*transfer // by sender
	callers   map[uint64]*caller
}

var _ raft.Transport = (*Transport)(nil)

// Open makes a transport. It sends nothing by itself.
func Open(cfg Config) (*Transport, error) {
	if cfg.ID == 0 || cfg.Cluster.IsZero() || cfg.Member == nil || cfg.Controller == nil || cfg.Messages == nil || cfg.Snapshots == nil {
		return nil, mq.Errorf(mq.InvalidRequest, "raft transport: id, cluster, members, controllers and clients are needed")
	}
	if cfg.QueueBytes == 0 {
		cfg.QueueBytes = DefaultQueueBytes
	}
	if cfg.MaxSnapshotBytes == 0 {
		cfg.MaxSnapshotBytes = 64 << 30
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	t := &Transport{
		cfg: cfg, log: cfg.Logger,
		peers: map[uint64]*peer{}, learned: map[uint64]Member{}, transfers: map[uint64]*transfer{}, callers: map[uint64]*caller{},
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t, nil
}

// Start implements raft.Transport.
func (t *Transport) Start(r raft.Receiver) { t.receiver.Store(&r) }

// Close ends what is on its way and joins all goroutines. It is called after the node is closed; requests that are being
// handled end with their connections.
func (t *Transport) Close() error {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.cancel()
	t.wait.Wait()
	return nil
}

// Send implements raft.Transport.
func (t *Transport) Send(messages []*etcdpb.Message) {
	for _, m := range messages {
		p := t.peer(m.GetTo())
		if p == nil {
			return
		}
		if !p.put(m) {
			t.unreachable(p.id)
		}
	}
}

func (t *Transport) unreachable(id uint64) {
	if r := t.receiver.Load(); r != nil {
		(*r).ReportUnreachable(id)
	}
}

// peer is the one to a raft id, nil when the transport is closed.
func (t *Transport) peer(id uint64) *peer {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	p := t.peers[id]
	if p == nil {
		p = &peer{t: t, id: id, wake: make(chan struct{}, 1)}
		t.peers[id] = p
		t.wait.Go(p.run)
	}
	return p
}

// forget takes a peer out that has nothing to do. It says whether it did: a message may have come meanwhile.
func (t *Transport) forget(p *peer) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) > 0 {
		return false
	}
	p.gone = true
	delete(t.peers, p.id)
	return true
}

// member says where a raft id is.
func (t *Transport) member(id uint64) (Member, bool) {
	if m, ok := t.cfg.Member(id); ok {
		return m, true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	m, ok := t.learned[id]
	return m, ok
}
