package client

import (
	"context"
	"crypto/tls"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go/testutils/simnet"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto/server"
)

// simNet is a simulated network in a synctest bubble, with one server on it.
type simNet struct {
	simnet.PerfectRouter
	cut  atomic.Bool // nothing arrives
	mu   sync.Mutex
	rng  *rand.Rand
	loss float64
	next int             // last byte of the next client's address
	down map[string]bool // addresses of machines that are off
	net  *simnet.Simnet
}

// SendPacket implements simnet.Router.
func (n *simNet) SendPacket(p simnet.Packet) error {
	n.mu.Lock()
	lost := n.rng.Float64() < n.loss || n.down[p.From.String()] || n.down[p.To.String()]
	n.mu.Unlock()
	if lost || n.cut.Load() {
		return nil
	}
	return n.PerfectRouter.SendPacket(p)
}

// inSim runs f in a bubble with a server for broker at 10.0.0.1:9092, and a client made with opts.
func inSim(t *testing.T, seed uint64, loss float64, broker *fakeBroker, f func(t *testing.T, n *simNet, c *Client), opts ...Option) {
	synctest.Test(t, func(t *testing.T) {
		n := &simNet{rng: rand.New(rand.NewPCG(seed, 0)), loss: loss, next: 1}
		n.net = &simnet.Simnet{Router: n}
		link := simnet.NodeBiDiLinkSettings{Latency: 5 * time.Millisecond}
		addr := &net.UDPAddr{IP: net.IPv4(10, 0, 0, 1).To4(), Port: 9092}
		conn := n.net.NewEndpoint(addr, link)
		if err := n.net.Start(); err != nil {
			t.Fatal(err)
		}
		cert, roots := selfSigned(t)
		broker.addr = addr.String()
		srv, err := server.Serve(conn, server.Config{TLS: &tls.Config{Certificates: []tls.Certificate{cert}}, Broker: broker})
		if err != nil {
			t.Fatal(err)
		}
		listen := func(string) (net.PacketConn, net.Addr, error) {
			n.mu.Lock()
			n.next++
			own := &net.UDPAddr{IP: net.IPv4(10, 0, 0, byte(n.next)).To4(), Port: 1000}
			n.mu.Unlock()
			link := &simnet.SimulatedLink{Latency: 5 * time.Millisecond, UploadPacket: n}
			pc := simnet.NewBlockingSimConn(own, link)
			n.AddNode(own, link)
			link.Start()
			return &simConn{SimConn: pc, link: link}, addr, nil
		}
		c, err := New(append([]Option{Servers(addr.String()), TLSConfig(&tls.Config{RootCAs: roots}), Listen(listen)}, opts...)...)
		if err != nil {
			t.Fatal(err)
		}
		f(t, n, c)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		n.cut.Store(false)
		srv.Close()
		conn.Close()
		n.net.Close()
	})
}

// simConn closes its link with itself.
type simConn struct {
	*simnet.SimConn
	link *simnet.SimulatedLink
	once sync.Once
}

func (c *simConn) Close() error {
	err := c.SimConn.Close()
	c.once.Do(func() { c.link.Close() })
	return err
}

func TestSilentServerIsGivenUpSoon(t *testing.T) {
	b := newFakeBroker()
	ft := b.create("t", 1)
	inSim(t, 1, 0, b, func(t *testing.T, n *simNet, c *Client) {
		if err := c.ProduceSync(context.Background(), &Record{Topic: "t", Value: []byte("1")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		n.cut.Store(true)
		time.AfterFunc(6*time.Second, func() { n.cut.Store(false) })
		start := time.Now()
		if err := c.ProduceSync(context.Background(), &Record{Topic: "t", Value: []byte("2")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		// QUIC alone would have waited for the idle timeout of 15 s.
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("took %v", took)
		}
		if s := c.Stats(); s.Disconnects != 1 {
			t.Errorf("%d disconnects, want 1", s.Disconnects)
		}
		if n := len(ft.parts[0].records()); n != 2 {
			t.Errorf("%d records, want 2", n)
		}
	})
}

// A cluster whose metadata has no room gives out no producer ids for a while. The stream on which nothing can be sent yet
// must not look to the server like one that never says what it is: that costs the session, and all that goes on in it.
func TestWaitForAProducerIDKeepsTheSession(t *testing.T) {
	b := newFakeBroker()
	b.create("t", 1)
	b.setNoIDs(mq.Errorf(mq.StorageFull, "no room in the log"))
	inSim(t, 1, 0, b, func(t *testing.T, _ *simNet, c *Client) {
		time.AfterFunc(30*time.Second, func() { b.setNoIDs(nil) })
		if err := c.ProduceSync(context.Background(), &Record{Topic: "t", Value: []byte("1")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if s := c.Stats(); s.Disconnects != 0 {
			t.Errorf("%d disconnects, want none", s.Disconnects)
		}
	})
}

func TestRecordThatGetsNoProducerIDSaysWhy(t *testing.T) {
	b := newFakeBroker()
	b.create("t", 1)
	b.setNoIDs(mq.Errorf(mq.StorageFull, "no room in the log"))
	inSim(t, 1, 0, b, func(t *testing.T, _ *simNet, c *Client) {
		err := c.ProduceSync(context.Background(), &Record{Topic: "t", Value: []byte("1")}).FirstErr()
		if mq.CodeOf(err) != mq.RequestTimedOut || !strings.Contains(err.Error(), mq.StorageFull.String()) {
			t.Errorf("got %v", err)
		}
	}, DeliveryTimeout(20*time.Second))
}

func TestSlowAcknowledgementIsNotSilence(t *testing.T) {
	b := newFakeBroker()
	b.create("t", 1)
	b.delay = 90 * time.Second // as of an object store
	inSim(t, 1, 0, b, func(t *testing.T, _ *simNet, c *Client) {
		rec := &Record{Topic: "t", Value: []byte("1"), Acks: AcksObject}
		if err := c.ProduceSync(context.Background(), rec).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if s := c.Stats(); s.Disconnects != 0 || s.BatchesSent != 1 {
			t.Errorf("a server that is only slow was given up: %+v", s)
		}
	})
}

func TestLossyNetworkKeepsOrderAndRecords(t *testing.T) {
	for seed := range uint64(3) {
		b := newFakeBroker()
		ft := b.create("t", 3)
		inSim(t, seed, 0.03, b, func(t *testing.T, n *simNet, c *Client) {
			stop := make(chan struct{})
			var cuts sync.WaitGroup
			cuts.Go(func() { // cut the network now and then, longer than the client's patience
				for i := range 3 {
					select {
					case <-time.After(time.Duration(100+37*i) * time.Millisecond):
					case <-stop:
						return
					}
					n.cut.Store(true)
					time.Sleep(7 * time.Second)
					n.cut.Store(false)
				}
			})
			k := checker{t, 64, 100}
			var bad atomic.Int64
			var wg sync.WaitGroup
			for w := range k.workers {
				wg.Go(func() {
					for i := range k.each {
						if err := c.ProduceSync(context.Background(), &Record{Topic: "t", Key: []byte{byte(w)}, Value: numbered(w, i)}).FirstErr(); err != nil {
							t.Log(err)
							bad.Add(1)
						}
					}
				})
			}
			wg.Wait()
			close(stop)
			cuts.Wait()
			if bad.Load() > 0 {
				t.Errorf("%d failed", bad.Load())
			}
			k.exactlyOnceInOrder(ft)
			readAll(t, c, ft)
		}, DialTimeout(time.Second))
	}
}

// readAll consumes everything and compares it with the log.
func readAll(t *testing.T, c *Client, ft *fakeTopic) {
	t.Helper()
	k, err := c.NewConsumer(assignAll("t", len(ft.parts), Start())...)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	ends, err := k.EndOffsets(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	k.StopAt(ends)
	next := make([]mq.Offset, len(ft.parts))
	for rec, err := range k.Records(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		if rec.Offset != next[rec.Partition] {
			t.Fatalf("partition %d: offset %d, want %d", rec.Partition, rec.Offset, next[rec.Partition])
		}
		next[rec.Partition]++
	}
	for p := range next {
		if end := ends[TopicPartition{"t", int32(p)}]; next[p] != end {
			t.Errorf("partition %d: read to %d of %d", p, next[p], end)
		}
	}
}
