package transport

import (
	"bytes"
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	etcdpb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	raftpb "github.com/rustmq/rustmq/api/raft/v1"
	"github.com/rustmq/rustmq/api/raft/v1/raftpbconnect"
	"github.com/rustmq/rustmq/api/rpcerr"
	"github.com/rustmq/rustmq/mq"
)

func snapMessage(from, to uint64) *etcdpb.Message {
	return &etcdpb.Message{
		Type: etcdpb.MsgSnap.Enum(), From: new(from), To: new(to), Term: new(uint64(5)),
		Snapshot: &etcdpb.Snapshot{Metadata: &etcdpb.SnapshotMetadata{Index: new(uint64(9)), Term: new(uint64(5))}},
	}
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	random := rand.New(rand.NewPCG(1, uint64(n)))
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return b
}

func TestSnapshotsOfAllSizesArrive(t *testing.T) {
	for _, size := range []int{0, 1, chunkBytes, chunkBytes + 1, pieceBytes - 1, pieceBytes, pieceBytes + 1, 2*pieceBytes + 5} {
		synctest.Test(t, func(t *testing.T) {
			f := newFabric()
			one, two := newEnd(t, f, 1, nil), newEnd(t, f, 2, nil)
			body := randomBytes(size)
			if err := one.SendSnapshot(t.Context(), snapMessage(1, 2), bytes.NewReader(body)); err != nil {
				t.Fatalf("%d bytes: %v", size, err)
			}
			if bodies, err := two.inbox.snapshots(); len(bodies) != 1 || !bytes.Equal(bodies[0], body) || err != nil {
				t.Errorf("%d bytes: another body arrived", size)
			}
		})
	}
}

// TestSnapshotGoesOnAtTheByteThatWasThere has each connection break after some bytes: far fewer than the body has.
func TestSnapshotGoesOnAtTheByteThatWasThere(t *testing.T) {
	for seed := range uint64(8) {
		synctest.Test(t, func(t *testing.T) {
			f := newFabric()
			random := rand.New(rand.NewPCG(seed, 1))
			var mu sync.Mutex
			carried := int64(0)
			f.limit = func() int64 {
				mu.Lock()
				defer mu.Unlock()
				n := 400_000 + random.Int64N(2_000_000)
				carried += n
				return n
			}
			one, two := newEnd(t, f, 1, nil), newEnd(t, f, 2, nil)
			body := randomBytes(10 << 20)
			if err := one.SendSnapshot(t.Context(), snapMessage(1, 2), bytes.NewReader(body)); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if bodies, _ := two.inbox.snapshots(); len(bodies) != 1 || !bytes.Equal(bodies[0], body) {
				t.Errorf("seed %d: another body arrived", seed)
			}
			if f.dialled() < 4 || carried > 3*int64(len(body)) {
				t.Errorf("seed %d: %d connections could have carried %d bytes", seed, f.dialled(), carried)
			}
		})
	}
}

func TestSenderWaitsAsLongAsTheReceiverInstalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric()
		one, two := newEnd(t, f, 1, nil), newEnd(t, f, 2, nil)
		two.inbox.hold = make(chan struct{})
		two.inbox.result = mq.Errorf(mq.WrongDataDir, "no")
		result := make(chan error, 1)
		go func() { result <- one.SendSnapshot(t.Context(), snapMessage(1, 2), bytes.NewReader(randomBytes(1000))) }()
		time.Sleep(5 * time.Minute)
		if len(result) != 0 {
			t.Fatal("it did not wait")
		}
		close(two.inbox.hold)
		if err := <-result; mq.CodeOf(err) != mq.WrongDataDir {
			t.Error(err)
		}
	})
}

func TestSnapshotThatStopsIsGivenUpAtBothEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric()
		limit := int64(300_000) // one chunk
		f.limit = func() int64 { defer func() { limit = 10 }(); return limit }
		one, two := newEnd(t, f, 1, nil), newEnd(t, f, 2, nil)
		if err := one.SendSnapshot(t.Context(), snapMessage(1, 2), bytes.NewReader(randomBytes(1<<20))); mq.CodeOf(err) != mq.NetworkException {
			t.Error(err)
		}
		time.Sleep(2 * patience)
		bodies, _ := two.inbox.snapshots()
		two.mu.Lock()
		defer two.mu.Unlock()
		if len(two.transfers) != 0 || len(bodies) != 1 {
			t.Errorf("%d transfers are there, %d bodies were read", len(two.transfers), len(bodies))
		}
	})
}

func TestClosingEndsSnapshots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric()
		one, two := newEnd(t, f, 1, nil), newEnd(t, f, 2, nil)
		piece(t, one, &raftpb.SnapshotRequest{Start: start(one, 0), Chunk: []byte("abc")})
		if err := two.Close(); err != nil {
			t.Error(err)
		}
		if _, err := two.inbox.snapshots(); mq.CodeOf(err) != mq.ShuttingDown {
			t.Error(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := one.SendSnapshot(ctx, snapMessage(1, 2), bytes.NewReader(nil)); mq.CodeOf(err) != mq.Canceled {
			t.Error(err)
		}
	})
}

func start(e *end, offset uint64) *raftpb.SnapshotStart {
	b, err := proto.Marshal(snapMessage(1, 2))
	if err != nil {
		panic(err)
	}
	return &raftpb.SnapshotStart{Hello: e.hello(2), Transfer: 77, Message: b, Offset: offset}
}

// piece sends requests as one stream.
func piece(t *testing.T, e *end, requests ...*raftpb.SnapshotRequest) (*raftpb.SnapshotResponse, mq.Code) {
	stream := raftpbconnect.NewRaftServiceClient(e.cfg.Snapshots, "http://n2").Snapshot(t.Context())
	for _, r := range requests {
		_ = stream.Send(r)
	}
	response, err := stream.CloseAndReceive()
	if err != nil {
		return nil, mq.CodeOf(rpcerr.FromConnect(err))
	}
	return response.Msg, mq.None
}

func TestSnapshotWithAWrongSumIsNotHandedOn(t *testing.T) {
	for what, last := range map[string]*raftpb.SnapshotEnd{"sum": {Size: 6, Crc32C: 5}, "size": {Size: 7, Crc32C: 0x53bceff1}} {
		synctest.Test(t, func(t *testing.T) {
			f := newFabric()
			one, two := newEnd(t, f, 1, nil), newEnd(t, f, 2, nil)
			_, code := piece(t, one, &raftpb.SnapshotRequest{Start: start(one, 0), Chunk: []byte("abc")}, &raftpb.SnapshotRequest{Chunk: []byte("def"), End: last})
			time.Sleep(time.Second)
			bodies, err := two.inbox.snapshots()
			if code != mq.Corrupt || mq.CodeOf(err) != mq.Corrupt || string(bodies[0]) != "abc" {
				t.Errorf("a wrong %s: %s; %q was read, %v", what, code, bodies, err)
			}
		})
	}
}

func TestPiecesThatDoNotFitAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric()
		one := newEnd(t, f, 1, nil)
		newEnd(t, f, 2, func(c *Config) { c.MaxSnapshotBytes = 10 })
		change := func(offset uint64, change func(*raftpb.SnapshotStart)) *raftpb.SnapshotStart {
			s := start(one, offset)
			change(s)
			return s
		}
		other, err := proto.Marshal(appMessage(1, 2, 1, "x"))
		if err != nil {
			t.Fatal(err)
		}
		for what, c := range map[string]struct {
			r    *raftpb.SnapshotRequest
			want mq.Code
		}{
			"no start":         {&raftpb.SnapshotRequest{Chunk: []byte("abc")}, mq.InconsistentClusterID},
			"a lost beginning": {&raftpb.SnapshotRequest{Start: start(one, 5), Chunk: []byte("abc")}, mq.InvalidRequest},
			"another message":  {&raftpb.SnapshotRequest{Start: change(0, func(s *raftpb.SnapshotStart) { s.Message = other })}, mq.ProtocolViolation},
			"no message":       {&raftpb.SnapshotRequest{Start: change(0, func(s *raftpb.SnapshotStart) { s.Message = []byte{0xff} })}, mq.ProtocolViolation},
		} {
			if _, code := piece(t, one, c.r); code != c.want {
				t.Errorf("%s: %s", what, code)
			}
		}
		if r, code := piece(t, one, &raftpb.SnapshotRequest{Start: start(one, 0), Chunk: []byte("abc")}); code != mq.None || r.GetReceived() != 3 || r.GetDone() {
			t.Errorf("a beginning: %v, %s", r, code)
		}
		if _, code := piece(t, one, &raftpb.SnapshotRequest{Start: start(one, 2), Chunk: []byte("c")}); code != mq.ProtocolViolation {
			t.Errorf("a chunk that is there already: %s", code)
		}
		if _, code := piece(t, one, &raftpb.SnapshotRequest{Start: start(one, 3), Chunk: []byte("defghijk")}); code != mq.ProtocolViolation {
			t.Errorf("more than is possible: %s", code)
		}
		if r, code := piece(t, one, &raftpb.SnapshotRequest{Start: start(one, 0)}); code != mq.None || r.GetReceived() != 3 {
			t.Errorf("the question what has arrived: %v, %s", r, code)
		}
	})
}

func TestSnapshotsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric()
		one, two := newEnd(t, f, 1, nil), newEnd(t, f, 2, nil)
		for _, size := range []int{0, chunkBytes + 1} {
			if err := one.SendSnapshot(t.Context(), snapMessage(1, 2), bytes.NewReader(randomBytes(size))); err != nil {
				t.Fatal(err)
			}
		}
		const bytesSent = chunkBytes + 1
		if got, want := one.Snapshots(), (Snapshots{Sent: 2, SentBytes: bytesSent}); got != want {
			t.Errorf("the sender: %+v", got)
		}
		if got, want := two.Snapshots(), (Snapshots{Received: 2, ReceivedBytes: bytesSent}); got != want {
			t.Errorf("the receiver: %+v", got)
		}
		two.inbox.result = mq.Errorf(mq.WrongDataDir, "no")
		if err := one.SendSnapshot(t.Context(), snapMessage(1, 2), bytes.NewReader(randomBytes(10))); err == nil {
			t.Fatal("it was taken")
		}
		if got, want := one.Snapshots(), (Snapshots{Sent: 2, SentBytes: bytesSent + 10, Failed: 1}); got != want {
			t.Errorf("the sender of what was refused: %+v", got)
		}
		if got, want := two.Snapshots(), (Snapshots{Received: 2, ReceivedBytes: bytesSent + 10, Failed: 1}); got != want {
			t.Errorf("who refused it: %+v", got)
		}
	})
}
