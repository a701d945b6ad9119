package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	etcdpb "go.etcd.io/raft/v3/raftpb"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/raft/form"
)

// fabric is a network in memory: a host for each node, that knows who dials it.
type fabric struct {
	mu    sync.Mutex
	hosts map[string]*host
	dials int
	made  func(net.Conn) // is told the far end of each new connection; may be nil
	limit func() int64   // bytes that the next connection carries until it breaks; nil: any
}

type host struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newFabric() *fabric { return &fabric{hosts: map[string]*host{}} }

// Accept implements net.Listener.
func (h *host) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *host) Close() error   { h.once.Do(func() { close(h.closed) }); return nil }
func (h *host) Addr() net.Addr { return &net.IPAddr{} }

// proven is a connection with the node that it is from.
type proven struct {
	net.Conn
	node mq.NodeID
}

// limited breaks when it has carried so many bytes.
type limited struct {
	net.Conn
	mu   sync.Mutex
	left int64
}

func (l *limited) Write(p []byte) (int, error) {
	l.mu.Lock()
	n := min(l.left, int64(len(p)))
	l.left -= n
	l.mu.Unlock()
	if n == int64(len(p)) {
		return l.Conn.Write(p)
	}
	m, _ := l.Conn.Write(p[:n])
	return m, errors.Join(errors.New("the connection breaks"), l.Close())
}

type peerKey struct{}

func (f *fabric) dialled() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dials
}

func peerOf(ctx context.Context) (mq.NodeID, bool) {
	id, ok := ctx.Value(peerKey{}).(mq.NodeID)
	return id, ok && id > 0
}

// serve serves a handler at http://name.
func (f *fabric) serve(t *testing.T, name string, h http.Handler) {
	t.Helper()
	l := &host{conns: make(chan net.Conn), closed: make(chan struct{})}
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	s := &http.Server{Handler: h, Protocols: protocols, ConnContext: func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, peerKey{}, c.(*proven).node)
	}}
	f.mu.Lock()
	f.hosts[name] = l
	f.mu.Unlock()
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-served
	})
}

// client is a node's client: one connection to each host.
func (f *fabric) client(t *testing.T, node mq.NodeID) *http.Client {
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols, DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
		name, _, _ := strings.Cut(address, ":")
		f.mu.Lock()
		h := f.hosts[name]
		f.dials++
		limit := int64(1 << 62)
		if f.limit != nil {
			limit = f.limit()
		}
		f.mu.Unlock()
		if h == nil {
			return nil, errors.New("connection refused")
		}
		near, far := net.Pipe()
		select {
		case h.conns <- &proven{far, node}:
			if f.made != nil {
				f.made(far)
			}
			return &limited{Conn: near, left: limit}, nil
		case <-h.closed:
			return nil, errors.New("connection refused")
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// inbox is a node as a transport sees it.
type inbox struct {
	mu          sync.Mutex
	messages    []*etcdpb.Message
	unreachable int
	gone        []uint64
	bodies      [][]byte
	failure     error // of reading the last body
	result      error
	hold        chan struct{}
}

func (i *inbox) Step(m *etcdpb.Message) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.messages = append(i.messages, m)
}

func (i *inbox) ReportUnreachable(uint64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.unreachable++
}

func (i *inbox) ReportGone(id uint64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.gone = append(i.gone, id)
}

func (i *inbox) dead() []uint64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.gone
}

func (i *inbox) ReceiveSnapshot(_ context.Context, _ *etcdpb.Message, body io.Reader) error {
	b, err := io.ReadAll(body)
	if i.hold != nil {
		<-i.hold
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.bodies, i.failure = append(i.bodies, b), err
	return errors.Join(err, i.result)
}

// snapshots are the bodies that were read, and what the last reading failed with.
func (i *inbox) snapshots() ([][]byte, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.bodies, i.failure
}

func (i *inbox) lost() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.unreachable
}

func (i *inbox) got() []*etcdpb.Message {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.messages
}

// end is a transport with what it gives to.
type end struct {
	*Transport
	inbox *inbox
}

var (
	testCluster = mq.ClusterID{1}
	testGroup   = form.Group{2}
)

// member is who has a raft id in tests: id 1 is node 1 at http://n1.
func member(id uint64) (Member, bool) {
	if id > 9 {
		return Member{}, false
	}
	return Member{mq.NodeID(id), (&url.URL{Scheme: "http", Host: "n" + string(rune('0'+id))}).String()}, true
}

// newEnd opens and serves a transport with a raft id, which node id is the same.
func newEnd(t *testing.T, f *fabric, id uint64, change func(*Config)) *end {
	t.Helper()
	m, _ := member(id)
	cfg := Config{
		Cluster: testCluster, Group: testGroup, ID: id, Node: mq.NodeID(id), URL: m.URL, Member: member, Controller: func(node mq.NodeID) bool { return node != 8 },
		Messages: f.client(t, mq.NodeID(id)), Snapshots: f.client(t, mq.NodeID(id)), Rand: &counter{},
	}
	if change != nil {
		change(&cfg)
	}
	tr, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	e := &end{tr, &inbox{}}
	tr.Start(e.inbox)
	path, h := NewHandler(HandlerConfig{
		Peer: peerOf, Form: func() (form.Answer, bool) { return form.Answer{}, false }, Transport: func() *Transport { return tr },
	})
	mux := http.NewServeMux()
	mux.Handle(path, h)
	f.serve(t, strings.TrimPrefix(cfg.URL, "http://"), mux)
	t.Cleanup(func() { _ = tr.Close() })
	return e
}

// counter is a source of numbers that differ.
type counter struct{ n byte }

func (c *counter) Read(p []byte) (int, error) {
	c.n++
	for i := range p {
		p[i] = c.n
	}
	return len(p), nil
}

func appMessage(from, to, index uint64, data string) *etcdpb.Message {
	return &etcdpb.Message{
		Type: etcdpb.MsgApp.Enum(), From: new(from), To: new(to), Term: new(uint64(5)), Index: new(index),
		Entries: []*etcdpb.Entry{{Index: new(index + 1), Term: new(uint64(5)), Data: []byte(data)}},
	}
}
