package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go/testutils/simnet"

	"github.com/rustmq/rustmq/history"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/node"
	"github.com/rustmq/rustmq/node/nodetest"
	"github.com/rustmq/rustmq/partition"
	"github.com/rustmq/rustmq/wal"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// machine is one machine of the cluster: a disk, a place in the network, and a node that runs or does not.
type machine struct {
	c    *cluster
	id   int
	cfg  node.Config
	fs   *crashfs.FS
	disk int          // counts disks
	wall atomic.Int64 // how far its wall clock is ahead, in nanoseconds

	life *life // nil while no node runs
	log  nodetest.LogLines
}

// life is one run of a node.
type life struct {
	m       *machine
	cancel  context.CancelFunc // of its start
	started chan struct{}      // closed when it serves, or does not; the next two are set then
	node    *node.Node
	err     error

	mu     sync.Mutex
	over   bool          // what it does has no effect any more
	paused chan struct{} // closed when it goes on; nil: it is not paused
	frozen time.Duration // its lease clock while it is paused
	origin time.Time     // of its lease clock
	skew   time.Duration // likewise
}

var errOff = errors.New("the machine is off")

// gate waits until a paused node goes on, and says whether the machine is on then.
func (l *life) gate() error {
	for {
		l.mu.Lock()
		over, paused := l.over, l.paused
		l.mu.Unlock()
		switch {
		case over:
			return errOff
		case paused == nil:
			return nil
		}
		<-paused
	}
}

// begin starts a node on the machine, and does not wait for it.
func (m *machine) begin() {
	l := &life{m: m, origin: time.Now().Add(-time.Hour)}
	m.life = l
	m.fs.Hook(func(crashfs.Call) error { return l.gate() })
	m.c.net.change(func() { delete(m.c.net.silent, m.id) })
	m.c.net.forget(m.id)
	logger := slog.New(slog.NewTextHandler(&m.log, &slog.HandlerOptions{Level: m.c.Level, ReplaceAttr: short}))
	logger.Warn("=== the node starts", "node", m.id)
	var disk wal.FS = m.fs
	if m.c.Plant.Disk != nil {
		disk = m.c.Plant.Disk(disk)
	}
	var random io.Reader = m.c.random
	if m.c.Plant.Random != nil {
		random = m.c.Plant.Random(random)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel, l.started = cancel, make(chan struct{})
	go func() {
		defer close(l.started)
		l.node, l.err = node.StartWith(ctx, m.cfg, logger, node.Seams{
			FS: disk, Bucket: m.c.bucket(l), Network: &place{m: m, l: l}, ListenHTTP: (&place{m: m, l: l}).Listen, Random: random,
			Metadata: metadata.Options{
				Path: filepath.Join(m.c.Scratch, fmt.Sprintf("metadata-%d-%d.db", m.id, m.disk)), NoSync: true, BeforeCommit: func(string) error { return l.gate() },
			},
			Now: l.leaseClock(), Wall: m.clock, Partition: l.look,
		})
	}()
}

// look has the simulation told of what a partition of the node does.
func (l *life) look(cfg *partition.Config) {
	c, name, told := l.m.c, history.Partition{Topic: cfg.Topic, Index: cfg.ID.Index}, cfg.Committed
	cfg.Planted = c.Plant.Partition
	cfg.Acknowledged = func(a partition.Acknowledgement) {
		if !l.isOver() {
			c.claims.note(mq.NodeID(l.m.id), a)
		}
	}
	cfg.Committed = func(p *partition.Partition) {
		if h := c.history.Load(); h != nil { // before that there are no records
			_, high, _, _ := p.Offsets()
			h.Watermark(name, high)
		}
		told(p)
	}
}

// clock is the machine's wall clock. Nothing can be measured by it but by who takes it for the time that it says.
func (m *machine) clock() time.Time { return time.Now().Add(time.Duration(m.wall.Load())).Round(0) }

// leaseClock is what the node measures leases by.
func (l *life) leaseClock() func() time.Duration {
	if l.m.c.Plant.WallLease {
		return func() time.Duration { return l.m.clock().Sub(l.origin.Round(0)) }
	}
	return l.now
}

// short leaves out of a log what virtual time makes long.
func short(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		a.Value = slog.StringValue(a.Value.Time().Format("04:05.000"))
	}
	return a
}

// end ends the life: from now on nothing that it does reaches the network or a disk. tell says that the others hear of the end of its connections.
func (l *life) end(tell bool) {
	l.mu.Lock()
	l.over = true
	if l.paused != nil {
		close(l.paused)
		l.paused = nil
	}
	l.mu.Unlock()
	m := l.m
	m.fs.CutAt(1)
	m.c.net.hangUp(m.id, tell)
	m.c.net.change(func() { m.c.net.silent[m.id] = !tell })
}

// stopped says whether the node is paused.
func (l *life) stopped() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.paused != nil
}

// now is the lease clock. It stands still for a node that is paused, which finds later how long that was.
func (l *life) now() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.paused != nil {
		return l.frozen
	}
	return time.Since(l.origin) + l.skew
}

func (l *life) skewBy(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.skew += d
}

// close waits for the end of what has no effect any more.
func (l *life) close() {
	l.cancel()
	<-l.started
	if l.err == nil {
		over, cancel := context.WithCancel(context.Background())
		cancel()
		_ = l.node.Close(over) // what fails now fails for want of power
	}
	l.m.life = nil
}

// pause stops a node, and goOn has it go on.
func (l *life) pause() {
	now := l.now()
	l.mu.Lock()
	l.paused, l.frozen = make(chan struct{}), now
	l.mu.Unlock()
	l.m.c.net.change(func() { l.m.c.net.silent[l.m.id] = true })
}

func (l *life) goOn() {
	l.mu.Lock()
	if l.paused != nil {
		close(l.paused)
		l.paused = nil
	}
	l.mu.Unlock()
	l.m.c.net.change(func() { delete(l.m.c.net.silent, l.m.id) })
}

// wipe replaces the disk of a machine that is off by an empty one. The database of the old disk stays behind, under the old name.
func (m *machine) wipe() {
	m.disk++
	m.fs = crashfs.New(m.c.Seed<<8 + uint64(m.id) + uint64(m.disk)<<32)
}

// place is a machine's place in the network, for one life of its node.
type place struct {
	m *machine
	l *life
}

var _ node.Network = (*place)(nil)

func (l *life) isOver() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.over
}

// Listen implements node.Network.
func (p *place) Listen(addr string) (net.Listener, error) {
	if p.l.isOver() {
		return nil, errOff
	}
	return p.m.c.net.listen(p.m.id, addr)
}

// Dial implements node.Network.
func (p *place) Dial(ctx context.Context, addr string) (net.Conn, error) {
	if p.l.isOver() {
		return nil, errOff
	}
	conn, err := p.m.c.net.dial(ctx, p.m.id, addr)
	if err == nil && p.l.isOver() { // the machine went off meanwhile, and maybe on again
		_ = conn.Close()
		return nil, errOff
	}
	return conn, err
}

// ListenPacket implements node.Network.
func (p *place) ListenPacket(addr *net.UDPAddr) (net.PacketConn, error) {
	if p.l.isOver() {
		return nil, errOff
	}
	return &deadSocket{SimConn: p.m.c.packets.listen(&net.UDPAddr{IP: addr.IP.To4(), Port: addr.Port}), place: p}, nil
}

// ListenClients implements node.Network: clients speak QUIC here.
func (p *place) ListenClients(string) (net.Listener, error) {
	return nil, nil //nolint:nilnil // there is none, and that is no error
}

// deadSocket sends nothing for a node whose machine is off.
type deadSocket struct {
	*simnet.SimConn
	place *place
}

// WriteTo implements net.PacketConn.
func (d *deadSocket) WriteTo(p []byte, addr net.Addr) (int, error) {
	if d.place.l.isOver() {
		return len(p), nil
	}
	return d.SimConn.WriteTo(p, addr)
}

// seeded is randomness of a seed.
type seeded struct {
	mu   sync.Mutex
	rand *rand.Rand
}

// Read implements io.Reader.
func (s *seeded) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range p {
		p[i] = byte(s.rand.Uint32())
	}
	return len(p), nil
}

func (m *machine) broker() bool { return m.cfg.Node.Roles[0] == node.RoleBroker }
