package kafkaproto

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

// rig is a server on a broker in memory.
type rig struct {
	t      testing.TB
	server *Server
	broker *fakeBroker
	log    *lines
}

// lines is a log that may be read.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func newRig(t testing.TB, change ...func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, broker: newFakeBroker(), log: &lines{}}
	cfg := Config{
		Broker: r.broker, Plaintext: PlaintextAnywhere, MakeTopics: true, Logger: slog.New(slog.NewTextHandler(r.log, nil)),
		Principal: samePrincipal,
	}
	for _, f := range change {
		f(&cfg)
	}
	var err error
	if r.server, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.server.Close)
	return r
}

// peer is a client's end of a connection.
type peer struct {
	t    testing.TB
	conn net.Conn
	next int32
}

// elsewhere is a connection that comes from another address.
type elsewhere struct {
	net.Conn
	addr net.Addr
}

func (e elsewhere) RemoteAddr() net.Addr { return e.addr }

// connect makes a connection by TCP on loopback, so that writes do not wait for reads.
func (r *rig) connect() *peer {
	r.t.Helper()
	return r.connectFrom(nil)
}

// connectFrom makes one that seems to come from an address, unless that is nil.
func (r *rig) connectFrom(addr net.Addr) *peer {
	r.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		r.t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		r.t.Fatal(err)
	}
	if addr != nil {
		far = elsewhere{far, addr}
	}
	r.server.Serve(far, nil, nil)
	r.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return &peer{t: r.t, conn: conn}
}

// frame is a request as it goes over the wire.
func frame(q kmsg.Request, correlation int32) []byte {
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("tester")).AppendRequest(nil, q, correlation)
}

// send sends a request and gives its correlation id.
func (p *peer) send(q kmsg.Request) int32 {
	p.t.Helper()
	p.next++
	p.raw(frame(q, p.next))
	return p.next
}

func (p *peer) raw(b []byte) {
	p.t.Helper()
	if _, err := p.conn.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

// receive reads one response and gives its body after the correlation id.
func (p *peer) receive() (correlation int32, rest []byte, err error) {
	var head [4]byte
	if _, err := io.ReadFull(p.conn, head[:]); err != nil {
		return 0, nil, err
	}
	b := make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := io.ReadFull(p.conn, b); err != nil {
		return 0, nil, err
	}
	return int32(binary.BigEndian.Uint32(b)), b[4:], nil
}

// response reads the response to q, which has to be the next one.
func response[R kmsg.Response](p *peer, q kmsg.Request, correlation int32) R {
	p.t.Helper()
	got, rest, err := p.receive()
	if err != nil {
		p.t.Fatalf("response %d to %T: %v", correlation, q, err)
	}
	if got != correlation {
		p.t.Fatalf("response %d where %d belongs", got, correlation)
	}
	r, ok := q.ResponseKind().(R)
	if !ok {
		p.t.Fatalf("%T has another response", q)
	}
	if r.IsFlexible() && r.Key() != kmsg.ApiVersions.Int16() {
		rest = rest[1:]
	}
	if err := r.ReadFrom(rest); err != nil {
		p.t.Fatalf("response to %T: %v", q, err)
	}
	return r
}

// ask sends a request and reads its response.
func ask[R kmsg.Response](p *peer, q kmsg.Request) R {
	p.t.Helper()
	return response[R](p, q, p.send(q))
}

// closed wants the connection closed, and one line about it with these words, or none without words.
func (r *rig) closed(p *peer, words string) {
	r.t.Helper()
	if n, err := io.Copy(io.Discard, p.conn); n != 0 {
		r.t.Fatalf("%d bytes came before the connection was closed (%v)", n, err)
	}
	until(r.t, func() bool { return r.server.Stats().Connections == 0 })
	log := r.log.String()
	if want := min(1, len(words)); strings.Count(log, "Kafka connection closed") != want || !strings.Contains(log, words) {
		r.t.Fatalf("want %d line with %q, the log has:\n%s", want, words, log)
	}
}

func until(t testing.TB, what func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !what(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not come to that")
		}
	}
}

// batchOf makes a batch of so many records.
func batchOf(t testing.TB, count int, value []byte) []byte {
	t.Helper()
	w, err := mq.NewBatchBuilder(mq.CompressionNone, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range count {
		if err := w.Append(mq.Record{Value: value, Timestamp: 1000}); err != nil {
			t.Fatal(err)
		}
	}
	b, err := w.Build(nil, mq.NoProducerID, mq.NoProducerEpoch, mq.NoSequence)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// produceOf makes a request with one batch.
func produceOf(version, acks int16, topic string, index int32, batch []byte) *kmsg.ProduceRequest {
	q := kmsg.NewPtrProduceRequest()
	q.Version, q.Acks, q.TimeoutMillis = version, acks, 10_000
	part := kmsg.NewProduceRequestTopicPartition()
	part.Partition, part.Records = index, batch
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.Partitions = topic, append(t.Partitions, part)
	q.Topics = append(q.Topics, t)
	return q
}

// fetchOf makes a request for one topic's partitions from offset on.
func fetchOf(version int16, topic string, offset int64, indices ...int32) *kmsg.FetchRequest {
	q := kmsg.NewPtrFetchRequest()
	q.Version, q.MinBytes, q.MaxBytes, q.SessionEpoch = version, 1, 1<<20, -1
	t := kmsg.NewFetchRequestTopic()
	t.Topic = topic
	for _, i := range indices {
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.FetchOffset, p.PartitionMaxBytes = i, offset, 1<<20
		t.Partitions = append(t.Partitions, p)
	}
	q.Topics = append(q.Topics, t)
	return q
}

// samePrincipal takes everybody for the same.
func samePrincipal(tls.ConnectionState) (string, error) { return "somebody", nil }
