package node

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"gocloud.dev/blob"

	"github.com/rustmq/rustmq/admin"
	"github.com/rustmq/rustmq/broker"
	"github.com/rustmq/rustmq/broker/coordinator"
	"github.com/rustmq/rustmq/control"
	"github.com/rustmq/rustmq/gateway"
	"github.com/rustmq/rustmq/kafkaproto"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
	"github.com/rustmq/rustmq/pki"
	"github.com/rustmq/rustmq/quicproto/server"
	"github.com/rustmq/rustmq/raft"
	"github.com/rustmq/rustmq/raft/form"
	"github.com/rustmq/rustmq/tier"
	"github.com/rustmq/rustmq/tier/clouds"
	"github.com/rustmq/rustmq/wal"
)

// Software is what a node calls itself.
const Software = "rustmq"

// raftCutFraction: the controller's log is cut when the entries that were applied take this part of its bound. What stays until
// whole segments are free, and what is on its way, has room in the rest.
const raftCutFraction = 8

// Seams are the places where a test puts something else under a whole node: a disk that crashes, a bucket in memory. The zero
// value is the real thing.
type Seams struct {
	FS         wal.FS                                  // nil: the operating system's
	Bucket     *blob.Bucket                            // nil: opened by the configured URL; else the node does not close it
	Metadata   metadata.Options                        // Path, NoSync and AfterCommit; an empty Path lies in the data directory
	Random     io.Reader                               // nil: crypto/rand
	Headless   bool                                    // opens no listener: requests go to Broker
	Network    Network                                 // nil: the machine's
	Now        func() time.Duration                    // what leases are measured by; nil: control.BootClock
	Wall       func() time.Time                        // the clock of records and producers, which may be set; nil: time.Now
	ListenHTTP func(addr string) (net.Listener, error) // opens the admin listener, host:port; nil: the machine\'s
	// Partition changes what each partition is opened with: who is told of what it does, and bugs that are planted in it. nil: nothing.
	Partition func(*partition.Config)
}

// staleTooLong is how old a broker's image may be, in which it still counts as ready: longer than any election of controllers.
const staleTooLong = 10 * time.Second

// Node is one running node. Start opens it from the ground up and Close closes it in reverse.
type Node struct {
	cfg    Config
	seams  Seams
	logger *slog.Logger
	id     identity
	closes []func(context.Context) error // what is open, in the order of opening

	dataLog *wal.Log
	raftLog *wal.Log
	raft    *raft.Node
	store   *metadata.Store // nil without the role controller
	group   *group          // nil on a node that is alone, and without that role
	// controllers are those that the configuration names, and rpcAddress is where other nodes are told to reach this one: of a node that is one of several.
	controllers  []form.Controller
	rpcAddress   string
	cluster      cluster
	client       atomic.Pointer[control.Client] // nil on a node that is alone
	dialer       *dialer
	mux          *http.ServeMux // of the listener for nodes
	replicator   *replicator    // nil on a node that is alone
	partitions   *partitions
	objects      *tier.Store
	mount        *mount                // nil: this is no mount
	storeTrouble atomic.Pointer[error] // of the object store's check; nil, or of nil: none
	reader       *tier.Reader
	uploader     *tier.Uploader
	keeper       atomic.Pointer[keeper] // nil without the role controller, and before it is open
	compactor    *tier.Compactor        // nil when it is turned off
	lagClock     lagClock
	groups       *coordinator.Coordinator // nil on a node that is no broker, and on a mount
	pressure     chan struct{}
	broker       *broker.Broker
	socket       net.PacketConn
	listener     net.Listener // of the clients, for TCP; nil on a network without
	server       *server.Server
	kafka        *kafkaproto.Server // nil where Kafka clients are not served
	admin        *admin.Server
	gateway      *gateway.Gateway // nil where it is not served
	certs        *pki.Identity
	rpc          *rpcListener // nil on a node that is alone
	tokens       *joinTokens  // nil on a node that is alone

	putOut   atomic.Bool // the controller here was removed from the group
	detached sync.Once

	closing  sync.Once
	draining atomic.Bool
	done     chan error
}

// Start makes a node out of its configuration and its data directory. When it returns the node serves, and everything it
// ever promised is there. On an error nothing is left open.
func Start(ctx context.Context, cfg Config, logger *slog.Logger) (*Node, error) {
	return StartWith(ctx, cfg, logger, Seams{})
}

// StartWith is Start with other things under the node than the machine's.
func StartWith(ctx context.Context, cfg Config, logger *slog.Logger, seams Seams) (*Node, error) {
	if seams.FS == nil {
		seams.FS = wal.OS()
	}
	if seams.Random == nil {
		seams.Random = rand.Reader
	}
	if seams.Network == nil {
		seams.Network = machineNetwork{}
	}
	if seams.Wall == nil {
		seams.Wall = time.Now
	}
	if seams.ListenHTTP == nil {
		seams.ListenHTTP = func(addr string) (net.Listener, error) { return net.Listen("tcp", addr) }
	}
	n := &Node{cfg: cfg, seams: seams, logger: logger, pressure: make(chan struct{}, 1), done: make(chan error, 1)}
	for _, step := range []func(context.Context) error{
		n.joinCluster,
		n.openDataDir,
		n.openCertificates,
		n.openRPC,
		n.openController,
		n.openLog,
		n.bindSocket,
		n.withRoom(n.enterCluster),
		n.shareTokens,
		n.openMount,
		n.openTier,
		n.withRoom(n.openPartitions),
		n.openUploader,
		n.openKeeper,
		n.checkStore,
		n.openCompactor,
		n.closeAdminAfterDrain,
		n.openBroker,
		n.followMount,
		n.openGateway,
		n.openAdmin,
		n.watchFailures,
		n.leaveInOrder,
	} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, n.Close(ctx))
		}
	}
	return n, nil
}

// onClose says how to close what was just opened.
func (n *Node) onClose(f func(context.Context) error) { n.closes = append(n.closes, f) }

// background runs something in a goroutine of its own, with a context that ends when the node closes, which waits for it.
func (n *Node) background(run func(context.Context)) {
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		run(ctx)
	}()
	n.onClose(func(context.Context) error {
		stop()
		<-stopped
		return nil
	})
}

// Close drains and closes everything, front doors first. Until ctx ends requests in flight may finish. What was acknowledged
// is on the disk already; a node that is killed instead loses nothing.
func (n *Node) Close(ctx context.Context) error {
	var errs []error
	n.closing.Do(func() {
		n.draining.Store(true)
		for i := len(n.closes) - 1; i >= 0; i-- {
			errs = append(errs, n.closes[i](ctx))
		}
	})
	return errors.Join(errs...)
}

// Done delivers the error after which the node cannot go on: a disk that failed. The caller then closes the node and exits.
func (n *Node) Done() <-chan error { return n.done }

// Broker answers requests inside this process.
func (n *Node) Broker() *broker.Broker { return n.broker }

// Replicas is how many partitions have a replica that runs on this node.
func (n *Node) Replicas() int {
	if n.partitions == nil {
		return 0
	}
	return len(n.partitions.Table().All())
}

// ClusterID is the cluster that the node belongs to.
func (n *Node) ClusterID() mq.ClusterID { return n.id.Cluster }

// Addr is where clients reach the node, as it was bound; nil for one that is no broker.
func (n *Node) Addr() net.Addr {
	if n.socket == nil {
		return nil
	}
	return n.socket.LocalAddr()
}

// AdminAddr is where the HTTP listener was bound.
func (n *Node) AdminAddr() net.Addr { return n.admin.Addr() }

func (n *Node) openDataDir(context.Context) error {
	cluster, err := n.certified()
	if err != nil {
		return err
	}
	id, lock, err := openDataDir(n.seams.FS, n.cfg.Node.DataDir, mq.NodeID(n.cfg.Node.ID), cluster, n.seams.Random)
	if err != nil {
		return err
	}
	n.id = id
	n.onClose(func(context.Context) error { return lock.Close() })
	return nil
}

// openController opens the metadata and the raft log behind it.
func (n *Node) openController(ctx context.Context) error {
	if !n.hasRole(RoleController) {
		return nil
	}
	if n.rpc != nil {
		if err := n.formGroup(ctx); err != nil {
			return err
		}
	}
	if err := n.openRaftLog(); err != nil {
		return err
	}
	if err := n.openStore(); err != nil {
		return err
	}
	n.compareAddresses()
	return n.openRaft()
}

func (n *Node) openRaftLog() error {
	log, found, err := wal.Open(wal.Options{
		FS: n.seams.FS, Dir: filepath.Join(n.cfg.Node.DataDir, raftDir),
		SegmentBytes: int64(n.cfg.Raft.SegmentSize), MaxBytes: int64(n.cfg.Raft.MaxSize),
		Logger: n.logger.With("log", "raft"), Rand: n.seams.Random,
	}, func(wal.Entry) error { return nil })
	if err != nil {
		return mq.Wrapf(err, "open the controller's log")
	}
	n.raftLog = log
	n.onClose(func(context.Context) error { return log.Close() })
	for _, d := range found.Damage {
		n.logger.Error("the controller's log is damaged", "path", d.Path, "position", d.Position, "bytes", d.Bytes, "reason", d.Reason)
	}
	return nil
}

func (n *Node) openRaft() error {
	t, peers, err := n.openTransport()
	if err != nil {
		return err
	}
	var carrier raft.Transport
	if t != nil {
		carrier = t
		n.onClose(func(context.Context) error { return t.Close() })
	}
	if n.raft, err = raft.Open(n.raftConfig(peers, carrier)); err != nil {
		return mq.Wrapf(err, "open the controller")
	}
	n.onClose(func(context.Context) error { return n.raft.Close() })
	if t == nil {
		return nil
	}
	n.group.transport.Store(t)
	return n.openLeader()
}

// maxProposal is the largest command in bytes: an entry of the controller's log must fit into half a segment.
func maxProposal(segment Size) int { return min(raft.MaxProposalBytes, int(segment)/4) }

// openLog replays the data log.
func (n *Node) openLog(ctx context.Context) error {
	if !n.hasRole(RoleBroker) {
		return nil
	}
	recovery := partition.NewRecovery(n.seams.Wall())
	log, found, err := wal.Open(wal.Options{
		FS: n.seams.FS, Dir: filepath.Join(n.cfg.Node.DataDir, walDir),
		SegmentBytes: int64(n.cfg.WAL.SegmentSize), MaxBytes: int64(n.cfg.WAL.MaxSize), QueueBytes: int64(n.cfg.WAL.QueueSize),
		Logger: n.logger.With("log", "data"), Rand: n.seams.Random,
	}, func(e wal.Entry) error {
		if e.Stream == identityStream {
			return nil
		}
		return recovery.Visit(e)
	})
	if err != nil {
		return mq.Wrapf(err, "open the data log")
	}
	n.dataLog = log
	n.onClose(func(context.Context) error { return log.Close() })
	// The log's name is no partition: it is settled by bindLog, below.
	found.Suspect = slices.DeleteFunc(found.Suspect, func(s wal.StreamID) bool { return s == identityStream })
	recovery.Finish(found)
	for _, d := range found.Damage {
		n.logger.Error("the data log is damaged: the partition is quarantined, run `rustmq wal check`",
			"path", d.Path, "position", d.Position, "bytes", d.Bytes, "reason", d.Reason)
	}
	aside, err := loadSetAside(n.seams.FS, n.cfg.Node.DataDir)
	if err != nil {
		return err
	}
	n.partitions = newPartitions(partitionsConfig{
		node: n.id.Node, log: log, recovery: recovery, aside: aside,
		tail: partition.NewTailBudget(int64(n.cfg.Memory.TailSize)), counters: new(partition.Counters),
		committed: n.committed, now: n.seams.Wall, adjust: n.seams.Partition, logger: n.logger,
	})
	return n.withRoom(func(ctx context.Context) error { return bindLog(ctx, log, found, n.id, n.cfg.Node.DataDir, n.logger) })(ctx)
}

// servesClients says whether clients are served here.
func (n *Node) servesClients() bool { return n.mounted() || n.hasRole(RoleBroker) }

func (n *Node) openTier(ctx context.Context) error {
	if !n.hasRole(RoleBroker) {
		return nil
	}
	if err := n.openObjects(ctx); err != nil {
		return err
	}
	if err := n.openReader(); err != nil {
		return err
	}
	n.partitions.cold = n.reader
	return nil
}

// openReader opens what reads the objects that the metadata names.
func (n *Node) openReader() (err error) {
	n.reader, err = tier.NewReader(tier.ReaderConfig{
		Store: n.objects, Catalog: n.catalog(), CacheBytes: int64(n.cfg.Memory.CacheSize), Logger: n.logger,
	})
	if err != nil {
		return err
	}
	n.onClose(func(context.Context) error { return n.reader.Close() })
	return nil
}

// openObjects opens the object store.
func (n *Node) openObjects(ctx context.Context) (err error) {
	if n.objects, err = objectsOf(ctx, n.cfg, n.seams, n.mounted()); err != nil {
		return err
	}
	n.onClose(func(context.Context) error { return n.objects.Close() })
	return nil
}

// objectsOf opens the object store of a configuration, maybe for reading only.
func objectsOf(ctx context.Context, cfg Config, seams Seams, readOnly bool) (*tier.Store, error) {
	limits := cfg.ObjectStore.limits()
	limits.ReadOnly = readOnly
	if seams.Bucket != nil {
		return tier.NewStore(seams.Bucket, limits), nil
	}
	return tier.OpenStore(ctx, cfg.ObjectStoreURL(), limits, clouds.Schemes()...)
}

// sharedObjects is the object store of the whole cluster; nil on a node that knows none: in a cluster of several a directory of its own is none.
func (n *Node) sharedObjects(ctx context.Context) (*tier.Store, error) {
	if n.seams.Bucket == nil && n.cfg.ObjectStore.URL == "" && n.rpc != nil {
		return nil, nil //nolint:nilnil // there is none, and that is no error
	}
	if n.objects == nil { // it is no broker
		if err := n.openObjects(ctx); err != nil {
			return nil, err
		}
	}
	return n.objects, nil
}

func (n *Node) catalog() *catalog {
	return &catalog{cluster: n.cluster, node: n.id.Node}
}

// bindSocket opens the clients' socket, so that its address is known before anybody is told of it.
func (n *Node) bindSocket(context.Context) error {
	if n.seams.Headless || !n.servesClients() {
		return nil
	}
	addr, err := net.ResolveUDPAddr("udp", n.cfg.Server.Listen)
	if err != nil {
		return mq.Errorf(mq.InvalidConfig, "server.listen %q is not a host:port: %w", n.cfg.Server.Listen, err)
	}
	for try := 0; ; try++ {
		if err = n.listenForClients(addr); err == nil || addr.Port != 0 || try == portTries {
			break
		}
	}
	if err != nil {
		return err
	}
	n.onClose(func(context.Context) error { return closeOnce(n.socket) })
	if n.listener != nil {
		n.onClose(func(context.Context) error { return closeOnce(n.listener) })
	}
	return nil
}

// portTries is how often another port is taken, where any will do, because TCP has not the one that UDP has.
const portTries = 20

// listenForClients opens the clients' socket, and on the same port their listener for TCP.
func (n *Node) listenForClients(addr *net.UDPAddr) error {
	socket, err := n.seams.Network.ListenPacket(addr)
	if err != nil {
		return mq.Errorf(mq.InvalidConfig, "listen for clients on udp %s: %w", addr, err)
	}
	own := socket.LocalAddr().String() // the port may have been chosen just now
	listener, err := n.seams.Network.ListenClients(own)
	if err != nil {
		_ = socket.Close()
		return mq.Errorf(mq.InvalidConfig, "listen for clients on tcp %s: %w", own, err)
	}
	n.socket, n.listener = socket, listener
	return nil
}

// closeOnce closes what may be closed already.
func closeOnce(c io.Closer) error {
	if err := c.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// openPartitions starts what the metadata says that this node runs, and waits until it does.
func (n *Node) openPartitions(ctx context.Context) error {
	if !n.hasRole(RoleBroker) {
		return nil
	}
	if n.rpc != nil {
		n.openReplication()
	}
	n.openRegain()
	n.openGroups()
	n.onClose(func(context.Context) error {
		n.partitions.closeAll()
		return nil
	})
	n.background(n.partitions.run)
	return n.partitions.wait(ctx, n.cluster.Image().Index)
}

// openRegain looks after what controllers had committed that were lost.
func (n *Node) openRegain() {
	r := &regain{
		node: n.id.Node, cluster: n.cluster, catalog: n.catalog(), store: n.objects.For(tier.ClassRead), prefix: n.objectPrefix(), commitBytes: n.commitBytes(),
		table: n.partitions.Table, logger: n.logger,
	}
	r.setUp()
	n.partitions.regain = r
	n.background(r.run)
}

// objectPrefix is that of the keys of all objects of the cluster.
func (n *Node) objectPrefix() string { return bucketPrefix(n.id.Cluster) }

// commitBytes is about how much the ranges of one commit take.
func (n *Node) commitBytes() int64 { return int64(maxProposal(n.cfg.Raft.SegmentSize)) / 2 }

// openReplication serves what other brokers lead, and follows the image from the first one on.
func (n *Node) openReplication() {
	r := &replicator{
		node: n.id.Node, cluster: n.cluster, logger: n.logger,
		lookup: func(id mq.PartitionID) *partition.Partition { return n.partitions.Table().Get(id) },
		dial:   n.dialer.stream,
		take:   n.rpc.takeStreams,
	}
	n.replicator, n.partitions.replicator = r, r
}

func (n *Node) openUploader(context.Context) error {
	if !n.hasRole(RoleBroker) {
		return nil
	}
	uploader, err := tier.NewUploader(tier.UploaderConfig{
		Store: n.objects, Catalog: n.catalog(), Sources: n.partitions.Sources,
		Cluster: n.id.Cluster, Node: n.id.Node, Prefix: n.objectPrefix(),
		FlushBytes: int64(n.cfg.ObjectStore.FlushSize), FlushAge: n.cfg.ObjectStore.FlushAge,
		AckBytes: int64(n.cfg.ObjectStore.AckSize), AckAge: n.cfg.ObjectStore.AckAge,
		CommitBytes: n.commitBytes(), // and one range more
		Pressure:    n.pressure, Now: n.seams.Wall, Logger: n.logger,
	})
	if err != nil {
		return err
	}
	n.partitions.uploader.Store(uploader)
	n.uploader = uploader
	n.onClose(func(context.Context) error {
		n.partitions.uploader.Store(nil)
		return uploader.Close()
	})
	return nil
}

// leaveInOrder has others take over what this node leads before anything of it is closed.
func (n *Node) leaveInOrder(context.Context) error {
	client := n.client.Load()
	if client == nil || !n.hasRole(RoleBroker) {
		return nil
	}
	n.onClose(func(ctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		go cancelWithoutLease(ctx, cancel, client)
		if err := client.Leave(ctx); err != nil {
			n.logger.Warn("leaderships were not handed over: clients wait until this node is fenced", "error", err)
		}
		return nil
	})
	return nil
}

// cancelWithoutLease ends a wait for the controllers when they are not there: all nodes may be stopping.
func cancelWithoutLease(ctx context.Context, cancel context.CancelFunc, client *control.Client) {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for client.Leased() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
	cancel()
}

// committed hears of every partition that has something new below its watermark.
func (n *Node) committed(p *partition.Partition) {
	if u := n.partitions.uploader.Load(); u != nil {
		u.Notify(p)
	}
}

func (n *Node) openBroker(context.Context) error {
	if !n.servesClients() {
		return nil
	}
	cfg := broker.Config{
		Cluster: n.id.Cluster, Node: n.id.Node, Software: Software + " " + Version(), Controller: n.cluster,
		Policy: broker.AllowAll{}, Operations: n, Random: n.seams.Random, Logger: n.logger, Cold: n.reader,
	}
	if n.mounted() {
		cfg.Mount = n.mount
	} else {
		cfg.Partitions, cfg.Room, cfg.Counters = n.partitions, n.dataLog, n.partitions.counters
		cfg.Groups, cfg.OffsetsPartitions = n.groups, n.cfg.Groups.OffsetsPartitions
	}
	n.broker = broker.New(cfg)
	if n.seams.Headless {
		return nil
	}
	limits := server.DefaultLimits()
	limits.HandshakeTimeout = n.cfg.Server.HandshakeTimeout
	limits.HelloTimeout = n.cfg.Server.HandshakeTimeout
	limits.IdleTimeout = n.cfg.Server.IdleTimeout
	limits.Sessions = n.cfg.Server.MaxSessions
	resetKey, err := n.certs.Secret("QUIC stateless reset")
	if err != nil {
		return err
	}
	if err := n.openKafka(); err != nil {
		return err
	}
	front := server.Config{
		TLS: n.certs.ServerTLS(), Broker: n.broker, ResetKey: &resetKey, Listener: n.listener, Limits: limits, Logger: n.logger,
	}
	if n.kafka != nil {
		front.Others = n.kafka.Serve
	}
	if n.server, err = server.Serve(n.socket, front); err != nil {
		return err
	}
	n.onClose(func(ctx context.Context) error {
		var kafka error
		var others sync.WaitGroup
		others.Go(func() { kafka = n.closeKafka(ctx) })
		err := n.server.Shutdown(ctx)
		n.server.Close()
		others.Wait()
		return errors.Join(err, kafka)
	})
	return nil
}

// watchFailures waits for the failure of a disk: from then on nothing is acknowledged and the process has to end.
func (n *Node) watchFailures(context.Context) error {
	stop := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		n.watch(stop)
	}()
	n.onClose(func(context.Context) error {
		close(stop)
		<-stopped
		return nil
	})
	return nil
}

// incarnation draws the number by which the controller tells this run of the node from others.
func (n *Node) incarnation() (uint64, error) {
	var b [8]byte
	if _, err := io.ReadFull(n.seams.Random, b[:]); err != nil {
		return 0, mq.Errorf(mq.Internal, "draw an incarnation: %w", err)
	}
	return binary.BigEndian.Uint64(b[:]) | 1, nil
}

func (n *Node) openAdmin(context.Context) error {
	if n.seams.Headless {
		return nil
	}
	registry, err := n.metrics()
	if err != nil {
		return err
	}
	listener, err := n.seams.ListenHTTP(n.cfg.Admin.Listen)
	if err != nil {
		return mq.Errorf(mq.InvalidConfig, "listen for HTTP on %s: %w", n.cfg.Admin.Listen, err)
	}
	about := admin.About{Node: strconv.Itoa(n.cfg.Node.ID), Cluster: n.id.Cluster.String(), Version: Version()}
	if addr := n.Addr(); addr != nil { // of a broker
		about.Clients = addr.String()
	}
	var services map[string]http.Handler
	if n.gateway != nil {
		services = n.gateway.Services()
	}
	n.admin = admin.Serve(listener, admin.Config{
		About: about, Services: services,
		Live: n.healthy, Ready: n.ready, Notes: n.notes, Nodes: n.neighbours, Metrics: registry, Profiles: n.cfg.Admin.Pprof, Logger: n.logger,
	})
	return nil
}

// closeAdminAfterDrain has the HTTP listener closed behind the other front doors: while those drain it says so.
func (n *Node) closeAdminAfterDrain(context.Context) error {
	n.onClose(func(ctx context.Context) error {
		if n.admin == nil {
			return nil
		}
		return n.admin.Close(ctx)
	})
	return nil
}

// healthy is nil while the disks work; a node that is up and not healthy has to be restarted.
func (n *Node) healthy() error {
	var errs []error
	if n.dataLog != nil {
		errs = append(errs, n.dataLog.Err())
	}
	if n.raft != nil {
		errs = append(errs, n.raftLog.Err(), n.raft.Err())
	}
	return errors.Join(errs...)
}

// ready is nil while the node serves clients: who finds them should send no more to one that is draining.
func (n *Node) ready() error {
	if n.draining.Load() {
		return mq.Errorf(mq.ShuttingDown, "node %d is draining", n.id.Node)
	}
	if client := n.client.Load(); client != nil && n.hasRole(RoleBroker) {
		if !client.Leased() {
			return mq.Errorf(mq.NotLeaderOrFollower, "node %d does not reach the controllers: it acknowledges nothing", n.id.Node)
		}
		if stale := client.Stale(); stale > staleTooLong {
			return mq.Errorf(mq.NotController, "node %d has heard nothing of the metadata for %s: clients may be sent to wrong leaders", n.id.Node, stale.Round(time.Second))
		}
	}
	return n.healthy()
}

// neighbours are the brokers of a cluster of several.
func (n *Node) neighbours() (list []admin.Neighbour) {
	if n.rpc == nil {
		return nil
	}
	for _, b := range n.cluster.Image().Brokers() {
		one := admin.Neighbour{Node: strconv.Itoa(int(b.ID)), State: broker.StateOf(b)}
		if e, ok := b.Endpoint(broker.ListenerQUIC); ok {
			one.Clients = hostPortOf(e)
		}
		list = append(list, one)
	}
	return list
}

// notes are the partitions that are stopped on this node, which serves all others, and what has no room.
func (n *Node) notes() []string {
	var notes []string
	if n.mounted() {
		notes = append(notes, n.mount.note())
	}
	if n.raft != nil {
		if err := n.raft.Full(); err != nil {
			notes = append(notes, mq.Wrapf(err, "the cluster cannot be changed, producing goes on").Error())
		}
	}
	if n.putOut.Load() {
		notes = append(notes, mq.Errorf(mq.NotController, "the controller of this node was removed: restart it as the log says").Error())
	}
	if n.partitions == nil {
		return notes
	}
	if trouble := n.storeTrouble.Load(); trouble != nil && *trouble != nil {
		notes = append(notes, (*trouble).Error())
	}
	if n.dataLog.Stats().Full {
		notes = append(notes, mq.Errorf(mq.StorageFull, "the data log has no room: producing is held back").Error())
	}
	notes = append(notes, n.partitions.setAsides()...)
	for _, err := range n.partitions.regain.gaps() {
		notes = append(notes, err.Error())
	}
	for _, p := range n.partitions.Table().All() {
		if state, err := p.State(); state == partition.StateQuarantined {
			notes = append(notes, err.Error())
		}
	}
	slices.Sort(notes)
	return notes
}
