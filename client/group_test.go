package client

import (
	"crypto/tls"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go/testutils/simnet"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/server"
)

// role is what a fake broker is to a partition.
type role uint8

const (
	leads role = iota
	follows
	cutOff // it takes itself for the leader, and the others do not
)

func (f *fakeBroker) role(partition int32) role {
	if f.group == nil {
		return leads
	}
	return f.group.role(f.node, partition)
}

// fakeLead is who leads a partition.
type fakeLead struct {
	node  mq.NodeID
	epoch mq.Epoch
}

// view is the metadata of topic t as one node has it.
type view struct {
	version uint64
	leads   []fakeLead
}

// group is three fake brokers on a simulated network, nodes 1 to 3, with the same log: what one leader has taken the next one has. Topic t
// has partitions that they lead in turn.
type group struct {
	t        *testing.T
	net      *simNet
	brokers  []*fakeBroker
	topic    *fakeTopic
	racks    map[mq.NodeID]string
	asked    atomic.Int64 // requests for metadata
	listen   ListenPacket
	roots    *tls.Config
	serverOf map[mq.NodeID]string

	mu      sync.Mutex
	now     view
	fenced  map[mq.NodeID]bool // those that metadata does not list
	zombies map[mq.NodeID]view // what those know who are cut off from the others
}

// inGroup runs f in a bubble with a group of brokers of a topic with so many partitions.
func inGroup(t *testing.T, partitions int, f func(t *testing.T, g *group)) {
	synctest.Test(t, func(t *testing.T) {
		n := &simNet{rng: rand.New(rand.NewPCG(1, 0)), next: 100, down: map[string]bool{}}
		n.net = &simnet.Simnet{Router: n}
		link := simnet.NodeBiDiLinkSettings{Latency: 5 * time.Millisecond}
		cert, roots := selfSigned(t)
		g := &group{t: t, net: n, zombies: map[mq.NodeID]view{}, racks: map[mq.NodeID]string{}, fenced: map[mq.NodeID]bool{}, serverOf: map[mq.NodeID]string{}, roots: &tls.Config{RootCAs: roots}}
		var conns []net.PacketConn
		for i := range 3 {
			b := newFakeBroker()
			b.node, b.group = mq.NodeID(i+1), g
			b.nextID *= mq.ProducerID(i + 1)
			g.brokers = append(g.brokers, b)
			addr := &net.UDPAddr{IP: net.IPv4(10, 0, 0, byte(i+1)).To4(), Port: 9092}
			g.serverOf[b.node] = addr.String()
			conns = append(conns, n.net.NewEndpoint(addr, link))
		}
		g.topic = g.brokers[0].create("t", partitions)
		for _, b := range g.brokers[1:] {
			b.topics = g.brokers[0].topics
		}
		g.now.version = 1
		for i := range partitions {
			g.now.leads = append(g.now.leads, fakeLead{mq.NodeID(i%3 + 1), 1})
		}
		if err := n.net.Start(); err != nil {
			t.Fatal(err)
		}
		var servers []*server.Server
		for i, b := range g.brokers {
			srv, err := server.Serve(conns[i], server.Config{TLS: &tls.Config{Certificates: []tls.Certificate{cert}}, Broker: b})
			if err != nil {
				t.Fatal(err)
			}
			servers = append(servers, srv)
		}
		g.listen = g.socket
		f(t, g)
		n.mu.Lock()
		clear(n.down)
		n.mu.Unlock()
		for i := range servers {
			servers[i].Close()
			conns[i].Close()
		}
		n.net.Close()
	})
}

// socket is a client's.
func (g *group) socket(addr string) (net.PacketConn, net.Addr, error) {
	remote, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return nil, nil, err
	}
	remote.IP = remote.IP.To4()
	n := g.net
	n.mu.Lock()
	n.next++
	own := &net.UDPAddr{IP: net.IPv4(10, 0, byte(n.next/250), byte(n.next%250)).To4(), Port: 1000}
	n.mu.Unlock()
	link := &simnet.SimulatedLink{Latency: 5 * time.Millisecond, UploadPacket: n}
	pc := simnet.NewBlockingSimConn(own, link)
	n.AddNode(own, link)
	link.Start()
	return &simConn{SimConn: pc, link: link}, remote, nil
}

// client makes a client that knows all servers. The caller closes it.
func (g *group) client(opts ...Option) *Client {
	g.t.Helper()
	all := Servers(g.serverOf[1], g.serverOf[2], g.serverOf[3])
	c, err := New(append([]Option{all, TLSConfig(g.roots), Listen(g.listen)}, opts...)...)
	if err != nil {
		g.t.Fatal(err)
	}
	return c
}

func (g *group) role(node mq.NodeID, partition int32) role {
	g.mu.Lock()
	defer g.mu.Unlock()
	if v, ok := g.zombies[node]; ok {
		if v.leads[partition].node == node {
			return cutOff
		}
		return follows
	}
	if g.now.leads[partition].node == node {
		return leads
	}
	return follows
}

// epoch is a partition's as a node knows it.
func (g *group) epoch(node mq.NodeID, partition int32) mq.Epoch {
	g.mu.Lock()
	defer g.mu.Unlock()
	if v, ok := g.zombies[node]; ok {
		return v.leads[partition].epoch
	}
	return g.now.leads[partition].epoch
}

func (g *group) metadata(node mq.NodeID, req *quicproto.MetadataRequest) *quicproto.MetadataResponse {
	g.asked.Add(1)
	g.mu.Lock()
	defer g.mu.Unlock()
	v := g.now
	if old, ok := g.zombies[node]; ok {
		v = old
	}
	resp := &quicproto.MetadataResponse{ClusterID: mq.ClusterID{1}, Controller: 1, Version: v.version}
	for _, b := range g.brokers {
		if g.fenced[b.node] {
			continue
		}
		resp.Brokers = append(resp.Brokers, quicproto.Broker{ID: b.node, Addr: g.serverOf[b.node], Rack: g.racks[b.node]})
	}
	for _, name := range req.Topics {
		if name != "t" {
			resp.Topics = append(resp.Topics, quicproto.Topic{Name: name, Code: mq.UnknownTopicOrPartition, Msg: "no such topic"})
			continue
		}
		m := quicproto.Topic{Name: name, ID: g.topic.id}
		for i, l := range v.leads {
			m.Partitions = append(m.Partitions, quicproto.Partition{Index: int32(i), Leader: l.node, LeaderEpoch: l.epoch})
		}
		resp.Topics = append(resp.Topics, m)
	}
	return resp
}

// kill turns a node off, as a power cut does: it is not heard of any more.
func (g *group) kill(node mq.NodeID) {
	g.net.mu.Lock()
	g.net.down[g.serverOf[node]] = true
	g.net.mu.Unlock()
}

// restart turns it on again.
func (g *group) restart(node mq.NodeID) {
	g.net.mu.Lock()
	defer g.net.mu.Unlock()
	delete(g.net.down, g.serverOf[node])
}

// cut takes a node off the others: its clients still reach it.
func (g *group) cut(node mq.NodeID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.zombies[node] = view{g.now.version, slices.Clone(g.now.leads)}
}

// heal undoes cut.
func (g *group) heal(node mq.NodeID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.zombies, node)
}

// elect has the partitions that a node leads led by others.
func (g *group) elect(from mq.NodeID, to ...mq.NodeID) {
	g.mu.Lock()
	g.now.version++
	for i := range g.now.leads {
		if l := &g.now.leads[i]; l.node == from {
			*l = fakeLead{to[i%len(to)], l.epoch + 1}
		}
	}
	g.mu.Unlock()
	for _, l := range g.topic.parts {
		l.wake()
	}
}

// wake has all who wait for more look again.
func (l *fakeLog) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for r := range l.waiters {
		delete(l.waiters, r)
		r.waiter.Wake()
	}
}
