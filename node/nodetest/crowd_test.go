package nodetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"gocloud.dev/blob/memblob"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/node"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/wal"
)

// roomy is a live node on the machine's disk whose log takes batches of the usual size.
func roomy(t *testing.T) *Live {
	t.Helper()
	cfg := Config(filepath.Join(t.TempDir(), "data"))
	cfg.WAL = node.WALConfig{SegmentSize: 8 << 20, MaxSize: 64 << 20, QueueSize: 8 << 20}
	bucket := memblob.OpenBucket(nil)
	t.Cleanup(func() { bucket.Close() })
	return live(t, &Rig{Config: cfg}, Seams{FS: wal.OS(), Bucket: bucket})
}

func TestManyProducersOnOnePartition(t *testing.T) {
	t.Parallel()
	n := roomy(t)
	l := &Ledger{Topic: "orders", Partitions: 1}
	if err := l.CreateTopic(soon(t), dial(t, n)); err != nil {
		t.Fatal(err)
	}
	const producers, each = 64, 50
	var all sync.WaitGroup
	for range producers {
		c := dial(t, n)
		all.Go(func() { l.Produce(t.Context(), c, each, 100) })
	}
	all.Wait()
	l.Wait()
	if acked, _, err := l.Acked(); acked != producers*each {
		t.Errorf("%d of %d records were acknowledged: %v", acked, producers*each, err)
	}
	if err := l.Check(soon(t), dial(t, n)); err != nil { // dense, and each where its acknowledgement says
		t.Error(err)
	}
}

func TestRecordOfOneMebibyte(t *testing.T) {
	t.Parallel()
	n := roomy(t)
	c, err := n.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	makeTopic(soon(t), t, c, client.NewTopic{Name: "large", Partitions: 1, Replicas: 1})
	value := make([]byte, 1<<20)
	if _, err := rand.Read(value); err != nil {
		t.Fatal(err)
	}
	rec := &client.Record{Topic: "large", Key: []byte("key"), Value: value, Headers: []mq.Header{{Key: "h", Value: make([]byte, 1000)}}}
	if err := c.ProduceSync(soon(t), rec).FirstErr(); err != nil {
		t.Fatal(err)
	}
	k, err := c.NewConsumer(client.Assign("large", 0, client.Start()))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	for got, err := range k.Records(soon(t)) {
		if err != nil || !bytes.Equal(got.Value, value) {
			t.Errorf("%d bytes came back, %v", len(got.Value), err)
		}
		break
	}
}

// TestClientThatSendsByteByByte speaks the protocol with one byte to a packet.
func TestClientThatSendsByteByByte(t *testing.T) {
	t.Parallel()
	n := roomy(t)
	c := dial(t, n)
	makeTopic(soon(t), t, c, client.NewTopic{Name: "slow", Partitions: 1, Replicas: 1})
	conn, control := n.raw(t, quicproto.ALPN)
	hello := quicproto.Hello{MinVersion: quicproto.MinVersion, MaxVersion: quicproto.MaxVersion}
	dribble(t, control, quicproto.AppendFrame(nil, &hello))
	if f, err := quicproto.NewFrameReader(control, 0).Read(); err != nil || f.Type() != quicproto.TypeWelcome {
		t.Fatalf("%v, %v for an answer to Hello", f, err)
	}
	stream, err := conn.OpenStreamSync(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	builder, err := mq.NewBatchBuilder(mq.CompressionNone, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := builder.Append(mq.Record{Value: []byte("at last"), Timestamp: 1}); err != nil {
		t.Fatal(err)
	}
	batch, err := builder.Build(nil, mq.NoProducerID, mq.NoProducerEpoch, mq.NoSequence)
	if err != nil {
		t.Fatal(err)
	}
	out := quicproto.AppendFrame(nil, &quicproto.OpenProduce{})
	out = quicproto.AppendFrame(out, &quicproto.Bind{Topic: "slow"})
	out = (&quicproto.Produce{Request: 1, Durability: mq.DurabilityAll, Batch: batch}).AppendPrefix(out)
	dribble(t, stream, append(out, batch...))
	in := quicproto.NewFrameReader(stream, 0)
	for {
		f, err := in.Read()
		if err != nil {
			t.Fatal(err)
		}
		acks, ok := f.(*quicproto.ProduceAcks)
		if !ok {
			continue
		}
		if len(acks.Acks) != 1 || acks.Acks[0].Code != mq.None || acks.Acks[0].Base != 0 {
			t.Errorf("acknowledged with %+v", acks.Acks)
		}
		break
	}
}

// dribble sends each byte in a packet of its own, as far as that can be had.
func dribble(t *testing.T, s *quic.Stream, b []byte) {
	t.Helper()
	for i := range b {
		if _, err := s.Write(b[i : i+1]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Microsecond) // what is written meanwhile would share its packet
	}
}

// raw is a QUIC connection to the node and its first stream, with no client behind it.
func (n *Live) raw(t *testing.T, alpn string) (*quic.Conn, *quic.Stream) {
	t.Helper()
	conn, err := quic.DialAddr(soon(t), n.Addr().String(), n.clientTLS(t, alpn), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseWithError(0, "") })
	stream, err := conn.OpenStreamSync(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	return conn, stream
}

func (n *Live) clientTLS(t *testing.T, alpn string) *tls.Config {
	t.Helper()
	pem, err := os.ReadFile(n.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", NextProtos: []string{alpn}, MinVersion: tls.VersionTLS13}
}

// TestHostilePeersDisturbNobody has a producer and a consumer at work while others send garbage, and break their handshakes in every way.
func TestHostilePeersDisturbNobody(t *testing.T) {
	t.Parallel()
	n := roomy(t)
	l := &Ledger{Topic: "orders", Partitions: 2}
	c := dial(t, n)
	if err := l.CreateTopic(soon(t), c); err != nil {
		t.Fatal(err)
	}
	working, stop := context.WithCancel(t.Context())
	defer stop()
	var work sync.WaitGroup
	work.Go(func() {
		for working.Err() == nil {
			l.Produce(t.Context(), c, 20, 200)
			l.Wait()
		}
	})
	work.Go(func() {
		for working.Err() == nil {
			if err := l.Check(t.Context(), c); err != nil {
				t.Errorf("meanwhile: %v", err)
				return
			}
		}
	})
	n.sendGarbage(t)
	for i := range 25 {
		n.breakHandshakes(t, i)
	}
	stop()
	work.Wait()
	if acked, sent, err := l.Acked(); acked != sent || err != nil {
		t.Errorf("%d of %d records were acknowledged: %v", acked, sent, err)
	}
	if s := c.Stats(); s.Disconnects != 0 || s.BatchesRetried != 0 && !raceEnabled { // with the detector the node's lease lapses now and then
		t.Errorf("%d connections were lost and %d batches sent again, want none", s.Disconnects, s.BatchesRetried)
	}
	if failed := n.metric(t, "rustmq_handshakes_failed_total"); failed == 0 {
		t.Error("no handshake failed: nothing was tried")
	}
	fresh := dial(t, n)
	l.Produce(soon(t), fresh, 10, 100)
	l.Wait()
	if err := l.Check(soon(t), fresh); err != nil {
		t.Error(err)
	}
}

// sendGarbage sends datagrams that are no QUIC, and some that nearly are.
func (n *Live) sendGarbage(t *testing.T) {
	t.Helper()
	socket, err := net.Dial("udp", n.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	for i := range 2000 {
		packet := make([]byte, 1+i%1400)
		if _, err := rand.Read(packet); err != nil {
			t.Fatal(err)
		}
		switch i % 4 {
		case 1: // a long header of a version that does not exist
			packet = append([]byte{0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8}, append(packet, make([]byte, 1200)...)...)
		case 2: // an Initial of version 1 with nonsense inside
			packet = append([]byte{0xc0, 0, 0, 0, 1, 8}, append(packet, make([]byte, 1200)...)...)
		case 3: // version negotiation, which no client sends
			packet = append([]byte{0x80, 0, 0, 0, 0, 8}, packet...)
		}
		if _, err := socket.Write(packet); err != nil {
			t.Fatal(err)
		}
	}
}

// breakHandshakes breaks four handshakes, each in another way.
func (n *Live) breakHandshakes(t *testing.T, round int) {
	t.Helper()
	addr := n.Addr().String()
	attempt := func(config *tls.Config, within time.Duration) (*quic.Conn, error) {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		return quic.DialAddr(ctx, addr, config, nil)
	}
	if _, err := attempt(n.clientTLS(t, "h3"), 10*time.Second); err == nil {
		t.Error("a foreign protocol was let in")
	}
	distrust := n.clientTLS(t, quicproto.ALPN)
	distrust.RootCAs = x509.NewCertPool()
	if _, err := attempt(distrust, 10*time.Second); err == nil {
		t.Error("the client trusts a certificate that it does not know")
	}
	// Cut somewhere in the middle.
	if conn, err := attempt(n.clientTLS(t, quicproto.ALPN), time.Duration(100+150*round)*time.Microsecond); err == nil {
		conn.CloseWithError(7, "never mind")
	}
	// In, and then no Hello.
	conn, err := attempt(n.clientTLS(t, quicproto.ALPN), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := conn.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(stream, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", addr); err != nil {
		t.Fatal(err)
	}
	select {
	case <-conn.Context().Done():
	case <-soon(t).Done():
		t.Error("a client without manners is not thrown out")
	}
}
