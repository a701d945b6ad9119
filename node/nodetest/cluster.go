package nodetest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/node"
	"github.com/rustmq/rustmq/pki"
	"github.com/rustmq/rustmq/quicproto/udp"
	"github.com/rustmq/rustmq/raft"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// Cluster is several nodes in this process, on loopback, each on a disk of its own that can lose power.
type Cluster struct {
	Nodes  []*Member // node N is Nodes[N-1]
	bucket *blob.Bucket
	ca     string
}

// Member is a node of a cluster, which runs or does not.
type Member struct {
	*Live // nil while it does not run
	FS    *crashfs.FS

	cluster *Cluster
	id      int
	dir     string
	cfg     node.Config
	net     *loopback
}

// NewCluster prepares so many nodes, each of which has both roles. scratch is a directory of the machine. None runs yet. change, unless nil, has the last
// word about a node's configuration.
func NewCluster(nodes int, scratch string, change func(*node.Config)) (*Cluster, error) {
	var id mq.ClusterID
	id[0], id[6], id[8], id[15] = 0xc1, 0x40, 0x80, byte(nodes) // as one that is drawn
	authority, err := pki.NewAuthority(filepath.Join(scratch, "ca"), id, time.Now())
	if err != nil {
		return nil, err
	}
	c := &Cluster{bucket: memblob.OpenBucket(nil), ca: authority.CAFile()}
	var controllers []string
	for i := 1; i <= nodes; i++ {
		m := &Member{cluster: c, id: i, FS: crashfs.New(uint64(i)), dir: filepath.Join(scratch, strconv.Itoa(i)), net: &loopback{}}
		addr, err := m.net.reserve()
		if err != nil {
			return nil, err
		}
		if _, err := authority.Issue(filepath.Join(m.dir, "pki"), mq.NodeID(i), []string{"127.0.0.1"}, false, time.Now()); err != nil {
			return nil, err
		}
		controllers = append(controllers, fmt.Sprintf("%d@%s", i, addr))
		m.cfg = Config("/data")
		m.cfg.Kafka.Enabled = false // but for those who want a port for them
		m.cfg.Node.ID, m.cfg.RPC.Listen, m.cfg.PKI.Dir = i, addr, filepath.Join(m.dir, "pki")
		m.cfg.Server.Listen, m.cfg.Admin.Listen = "127.0.0.1:0", "127.0.0.1:0"
		m.cfg.WAL = node.WALConfig{SegmentSize: node.MiB, MaxSize: 64 * node.MiB, QueueSize: 4 * node.MiB}
		m.cfg.Raft.Tick = 50 * time.Millisecond // the machine may be busy
		m.cfg.Server.DrainTimeout = time.Second
		c.Nodes = append(c.Nodes, m)
	}
	for _, m := range c.Nodes {
		m.cfg.Node.Controllers = controllers
		if change != nil {
			change(&m.cfg)
		}
		if m.cfg.Kafka.Enabled {
			if err := m.net.reserveClients(); err != nil {
				return nil, err
			}
		}
	}
	return c, nil
}

// Move gives nodes that do not run other addresses for nodes, and tells all of them at their next start.
func (c *Cluster) Move(members ...*Member) error {
	for _, m := range members {
		addr, err := m.net.reserve()
		if err != nil {
			return err
		}
		for _, other := range c.Nodes {
			other.cfg.Node.Controllers = slices.Clone(other.cfg.Node.Controllers)
			for i, text := range other.cfg.Node.Controllers {
				if strings.HasSuffix(text, "@"+m.cfg.RPC.Listen) {
					other.cfg.Node.Controllers[i] = fmt.Sprintf("%d@%s", m.id, addr)
				}
			}
		}
		m.cfg.RPC.Listen = addr
	}
	return nil
}

// Start starts those of the nodes that do not run, all at once, and waits until they serve.
func (c *Cluster) Start(ctx context.Context, members ...*Member) error {
	if len(members) == 0 {
		members = c.Nodes
	}
	errs := make([]error, len(members))
	var wait sync.WaitGroup
	for i, m := range members {
		if m.Live == nil {
			wait.Go(func() { errs[i] = m.start(ctx) })
		}
	}
	wait.Wait()
	return errors.Join(errs...)
}

func (m *Member) start(ctx context.Context) (err error) {
	m.Live, err = startLive(ctx, m.cfg, Seams{FS: m.FS, Bucket: m.cluster.bucket, Scratch: m.dir, network: m.net})
	return err
}

// Stop closes a node in order: what it leads goes to others first.
func (m *Member) Stop(ctx context.Context) error {
	err := m.Close(ctx)
	m.Live = nil
	return err
}

// Kill ends a node as a power cut does: its disk forgets what was not synced, and its connections end.
func (m *Member) Kill() {
	m.FS.CutAt(1)
	at, cancel := context.WithCancel(context.Background())
	cancel()
	_ = m.Close(at) // what fails now fails for want of power
	m.Live = nil
	m.FS.Crash()
}

// Wipe replaces the disk of a node that does not run by an empty one.
func (m *Member) Wipe() error {
	m.FS = crashfs.New(uint64(m.id) + 1000)
	if err := os.Remove(filepath.Join(m.dir, "metadata.db")); !errors.Is(err, os.ErrNotExist) { // of a broker
		return err
	}
	return nil
}

// Inspect is node.InspectController.
func (m *Member) Inspect() (node.LastOf, error) { return node.InspectController(m.cfg, m.stopped()) }

// Recover is node.RecoverController.
func (m *Member) Recover() (*raft.Recovery, error) {
	return node.RecoverController(m.cfg, m.stopped(), slog.New(slog.DiscardHandler))
}

// Rejoin is node.RejoinController.
func (m *Member) Rejoin() error { return node.RejoinController(m.cfg, m.stopped()) }

// Salvage is node.Salvage.
func (m *Member) Salvage(ctx context.Context, id mq.PartitionID, visit func(mq.Batch) error) error {
	seams := m.stopped()
	seams.Bucket = m.cluster.bucket
	return node.Salvage(ctx, m.cfg, seams, slog.New(slog.DiscardHandler), id, visit)
}

// stopped is what lies under a node that does not run.
func (m *Member) stopped() node.Seams {
	return node.Seams{FS: m.FS, Metadata: metadata.Options{Path: filepath.Join(m.dir, "metadata.db"), NoSync: true}}
}

// Client is a client of all brokers that run now.
func (c *Cluster) Client(opts ...client.Option) (*client.Client, error) {
	var servers []string
	for _, m := range c.Nodes {
		if m.Live != nil && m.Addr() != nil {
			servers = append(servers, m.Addr().String())
		}
	}
	return client.New(append([]client.Option{client.Servers(servers...), client.CAFile(c.ca)}, opts...)...)
}

// Close closes what runs.
func (c *Cluster) Close(ctx context.Context) error {
	errs := make([]error, len(c.Nodes))
	var wait sync.WaitGroup
	for i, m := range c.Nodes {
		if m.Live != nil {
			wait.Go(func() { errs[i] = m.Stop(ctx) })
		}
	}
	wait.Wait()
	return errors.Join(append(errs, c.bucket.Close())...)
}

// loopback is a node's place on the machine's loopback: the port for nodes and that for clients stay the same over its lives.
type loopback struct {
	first  net.Listener // reserved, until it is used
	client string       // the clients' address, once there was one
	tcp    bool         // clients may come over TCP, too
}

// onFreePort opens something at a port that is free. It is none of those that the system gives to connections: one of these would have it when the node starts again.
func onFreePort(open func(addr string) error) (addr string, err error) {
	for range 100 {
		addr = fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(15_000))
		if err = open(addr); err == nil {
			return addr, nil
		}
	}
	return "", fmt.Errorf("none of a hundred ports is free: %w", err)
}

// reserveClients chooses a port for clients, which is free for UDP and TCP, and has them come over both.
func (l *loopback) reserveClients() (err error) {
	l.tcp = true
	l.client, err = onFreePort(func(addr string) error {
		udp, err := net.ListenPacket("udp", addr)
		if err != nil {
			return err
		}
		defer func() { _ = udp.Close() }()
		tcp, err := net.Listen("tcp", addr)
		if err == nil {
			err = tcp.Close()
		}
		return err
	})
	return err
}

// reserve opens the listener for nodes ahead of the first start, so that the others can be told its address.
func (l *loopback) reserve() (addr string, err error) {
	return onFreePort(func(addr string) (err error) {
		l.first, err = net.Listen("tcp", addr)
		return err
	})
}

// Listen implements node.Network.
func (l *loopback) Listen(addr string) (net.Listener, error) {
	if first := l.first; first != nil {
		l.first = nil
		return first, nil
	}
	return net.Listen("tcp", addr)
}

// Dial implements node.Network.
func (l *loopback) Dial(ctx context.Context, addr string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
}

// ListenClients implements node.Network: without a port that was reserved, one that was given up may be one of some connection's when the node starts again.
func (l *loopback) ListenClients(addr string) (net.Listener, error) {
	if l.tcp {
		return net.Listen("tcp", addr)
	}
	return nil, nil //nolint:nilnil // there is none, and that is no error
}

// ListenPacket implements node.Network.
func (l *loopback) ListenPacket(*net.UDPAddr) (conn net.PacketConn, err error) {
	open := func(at string) error {
		addr, err := net.ResolveUDPAddr("udp", at)
		if err == nil {
			conn, err = udp.Listen("udp", addr)
		}
		return err
	}
	if l.client != "" {
		err = open(l.client)
	} else {
		l.client, err = onFreePort(open)
	}
	return conn, err
}
