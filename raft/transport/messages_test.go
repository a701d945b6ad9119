package transport

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	etcdpb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	raftpb "github.com/rustmq/rustmq/api/raft/v1"
	"github.com/rustmq/rustmq/api/raft/v1/raftpbconnect"
	"github.com/rustmq/rustmq/api/rpcerr"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/raft"
)

func TestMessagesArriveInOrderOverOneConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric()
		one, two := newEnd(t, f, 1, nil), newEnd(t, f, 2, nil)
		for i := range uint64(100) {
			one.Send([]*etcdpb.Message{appMessage(1, 2, i, strings.Repeat("x", 40_000)), appMessage(1, 2, i, "y")})
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		got := two.inbox.got()
		if len(got) != 200 {
			t.Fatalf("%d messages arrived", len(got))
		}
		for i, m := range got {
			if m.GetIndex() != uint64(i/2) {
				t.Errorf("message %d is of index %d", i, m.GetIndex())
			}
		}
		if f.dialled() != 1 {
			t.Errorf("%d connections were made", f.dialled())
		}
	})
}

func TestSendNeverWaitsAndItsQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric()
		f.hosts["n2"] = &host{conns: make(chan net.Conn), closed: make(chan struct{})} // takes no connection
		one := newEnd(t, f, 1, func(c *Config) { c.QueueBytes = 1 << 20 })
		began := time.Now()
		for i := range uint64(1000) {
			one.Send([]*etcdpb.Message{appMessage(1, 2, i, strings.Repeat("x", 10_000))})
		}
		one.mu.Lock()
		p := one.peers[2]
		one.mu.Unlock()
		p.mu.Lock()
		bytes := p.bytes
		p.mu.Unlock()
		if time.Since(began) != 0 || bytes > 1<<20 {
			t.Errorf("it took %s, and %d bytes are queued", time.Since(began), bytes)
		}
		if !p.put(&etcdpb.Message{Type: etcdpb.MsgHeartbeat.Enum(), From: new(uint64(1)), To: new(uint64(2))}) {
			t.Error("a heartbeat does not fit beside entries")
		}
		if one.inbox.lost() == 0 {
			t.Error("nothing was reported")
		}
	})
}

func TestMemberIsFoundWhereItHasMovedTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric()
		var at atomic.Value
		at.Store("http://n2")
		one := newEnd(t, f, 1, func(c *Config) {
			c.Member = func(id uint64) (Member, bool) { return Member{2, at.Load().(string)}, id == 2 }
		})
		old := newEnd(t, f, 2, nil)
		next := newEnd(t, f, 2, func(c *Config) { c.URL = "http://elsewhere" })
		one.Send([]*etcdpb.Message{appMessage(1, 2, 1, "a")})
		time.Sleep(time.Second)
		at.Store("http://elsewhere")
		one.Send([]*etcdpb.Message{appMessage(1, 2, 2, "b")})
		time.Sleep(time.Second)
		if a, b := old.inbox.got(), next.inbox.got(); len(a) != 1 || len(b) != 1 {
			t.Errorf("%d messages went to the old place, %d to the new one", len(a), len(b))
		}
	})
}

// TestMessagesFlowAgainAfterEachBreak has every connection break after some bytes.
func TestMessagesFlowAgainAfterEachBreak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric()
		f.limit = func() int64 { return 50_000 }
		one, two := newEnd(t, f, 1, nil), newEnd(t, f, 2, nil)
		for i := range uint64(300) {
			one.Send([]*etcdpb.Message{appMessage(1, 2, i, strings.Repeat("x", 1000))})
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Second)
		if got := len(two.inbox.got()); got < 200 || one.inbox.lost() < 3 || f.dialled() < 4 {
			t.Errorf("%d messages arrived over %d connections, %d breaks were reported", got, f.dialled(), one.inbox.lost())
		}
	})
}

// TestMemberThatIsNotKnownIsAnsweredWhereItSaysThatItIs is of a leader that was added after what a lagging member knows.
func TestMemberThatIsNotKnownIsAnsweredWhereItSaysThatItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric()
		knows := func(id uint64) (Member, bool) {
			if id == 21 {
				return Member{}, false
			}
			return member(id)
		}
		leader := newEnd(t, f, 3, func(c *Config) { c.ID = 21 })
		lagging := newEnd(t, f, 2, func(c *Config) { c.Member = knows })
		leader.Send([]*etcdpb.Message{appMessage(21, 2, 1, "a")})
		time.Sleep(time.Second)
		lagging.Send([]*etcdpb.Message{{Type: etcdpb.MsgAppResp.Enum(), From: new(uint64(2)), To: new(uint64(21))}})
		time.Sleep(time.Second)
		if len(lagging.inbox.got()) != 1 || len(leader.inbox.got()) != 1 {
			t.Errorf("%d messages there, %d back", len(lagging.inbox.got()), len(leader.inbox.got()))
		}
	})
}

func TestNothingIsTakenFromWhoIsNotAMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric()
		one, two := newEnd(t, f, 1, nil), newEnd(t, f, 2, nil)
		nobody := f.client(t, 0)
		other := f.client(t, 3)
		good := func() *raftpb.Hello { return one.hello(2) }
		message := func(m *etcdpb.Message) []byte {
			b, err := proto.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		try := func(as interface {
			raftpbconnect.RaftServiceClient
		}, h *raftpb.Hello, b []byte,
		) mq.Code {
			stream := as.Messages(t.Context())
			_ = stream.Send(&raftpb.MessagesRequest{Hello: h, Messages: [][]byte{b}})
			_, err := stream.CloseAndReceive()
			return mq.CodeOf(rpcerr.FromConnect(err))
		}
		app := message(appMessage(1, 2, 1, "a"))
		self := raftpbconnect.NewRaftServiceClient(one.cfg.Messages, "http://n2")
		for what, c := range map[string]struct {
			change func(*raftpb.Hello)
			want   mq.Code
		}{
			"another cluster":     {func(h *raftpb.Hello) { h.ClusterId = make([]byte, 16) }, mq.InconsistentClusterID},
			"no cluster":          {func(h *raftpb.Hello) { h.ClusterId = nil }, mq.InconsistentClusterID},
			"another group":       {func(h *raftpb.Hello) { h.Group = make([]byte, 16) }, mq.InconsistentClusterID},
			"another receiver":    {func(h *raftpb.Hello) { h.To = 3 }, mq.InvalidRequest},
			"nobody":              {func(h *raftpb.Hello) { h.From = 0 }, mq.InvalidRequest},
			"the receiver itself": {func(h *raftpb.Hello) { h.From = 2 }, mq.InvalidRequest},
			"another node":        {func(h *raftpb.Hello) { h.NodeId = 3 }, mq.ClusterAuthorizationFailed},
			"another's raft id":   {func(h *raftpb.Hello) { h.From = 3 }, mq.ClusterAuthorizationFailed},
			"a long URL":          {func(h *raftpb.Hello) { h.Url = strings.Repeat("x", 2000) }, mq.InvalidRequest},
		} {
			h := good()
			c.change(h)
			if got := try(self, h, app); got != c.want {
				t.Errorf("%s: %s", what, got)
			}
		}
		h := good()
		h.From, h.NodeId = 21, 8
		if got := try(raftpbconnect.NewRaftServiceClient(f.client(t, 8), "http://n2"), h, app); got != mq.ClusterAuthorizationFailed {
			t.Errorf("a node that is no controller, with a raft id that nobody knows: %s", got)
		}
		if got := try(raftpbconnect.NewRaftServiceClient(nobody, "http://n2"), good(), app); got != mq.ClusterAuthorizationFailed {
			t.Errorf("no certificate: %s", got)
		}
		if got := try(raftpbconnect.NewRaftServiceClient(other, "http://n2"), good(), app); got != mq.ClusterAuthorizationFailed {
			t.Errorf("another's certificate: %s", got)
		}
		for what, b := range map[string][]byte{
			"from another":     message(appMessage(3, 2, 1, "a")),
			"to another":       message(appMessage(1, 3, 1, "a")),
			"a local message":  message(&etcdpb.Message{Type: etcdpb.MsgHup.Enum(), From: new(uint64(1)), To: new(uint64(2))}),
			"a snapshot":       message(&etcdpb.Message{Type: etcdpb.MsgSnap.Enum(), From: new(uint64(1)), To: new(uint64(2))}),
			"a proposal":       message(&etcdpb.Message{Type: etcdpb.MsgProp.Enum(), From: new(uint64(1)), To: new(uint64(2))}),
			"no message":       {0xff},
			"a hole in a list": message(&etcdpb.Message{Type: etcdpb.MsgApp.Enum(), From: new(uint64(1)), To: new(uint64(2)), Entries: []*etcdpb.Entry{{Index: new(uint64(7))}}}),
		} {
			if got := try(self, good(), b); got != mq.ProtocolViolation {
				t.Errorf("%s: %s", what, got)
			}
		}
		if got := two.inbox.got(); len(got) != 0 {
			t.Errorf("%d messages were taken", len(got))
		}
		if got := try(self, good(), app); got != mq.None || len(two.inbox.got()) != 1 {
			t.Errorf("a good one: %s", got)
		}
	})
}

func TestControllerWithoutAGroupSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric()
		one := newEnd(t, f, 1, nil)
		_, h := NewHandler(HandlerConfig{Peer: peerOf, Transport: func() *Transport { return nil }})
		f.serve(t, "n2", h)
		stream := raftpbconnect.NewRaftServiceClient(one.cfg.Messages, "http://n2").Messages(context.Background())
		_ = stream.Send(&raftpb.MessagesRequest{Hello: one.hello(2)})
		if _, err := stream.CloseAndReceive(); mq.CodeOf(rpcerr.FromConnect(err)) != mq.LeaderNotAvailable {
			t.Error(err)
		}
	})
}

func TestIdlePeerCostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric()
		one, two := newEnd(t, f, 1, nil), newEnd(t, f, 2, nil)
		for i := range uint64(3) {
			one.Send([]*etcdpb.Message{appMessage(1, 2, i, "a")})
			time.Sleep(2 * idleTimeout)
			one.mu.Lock()
			if len(one.peers) != 0 {
				t.Error("its goroutine lives on")
			}
			one.mu.Unlock()
		}
		if len(two.inbox.got()) != 3 {
			t.Errorf("%d messages arrived", len(two.inbox.got()))
		}
	})
}

// FuzzMessage: bytes are refused, or a message that raft may be given.
func FuzzMessage(f *testing.F) {
	good, err := proto.Marshal(appMessage(1, 2, 3, "data"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMessage(b, 1, 2)
		if err != nil {
			if mq.CodeOf(err) != mq.ProtocolViolation {
				t.Error(err)
			}
			return
		}
		if m.GetFrom() != 1 || m.GetTo() != 2 || m.GetType() == etcdpb.MsgSnap {
			t.Errorf("%v was taken", m)
		}
	})
}

var _ raft.Receiver = (*inbox)(nil)
