package transport

import (
	"bytes"
	"context"
	"net/http"
	"testing"

	"google.golang.org/protobuf/proto"

	raftpb "github.com/rustmq/rustmq/api/raft/v1"
	"github.com/rustmq/rustmq/mq"
)

// FuzzSnapshot gives a receiver three messages of a stream, whatever they are. It never takes more than it was given, and says that a snapshot is done
// only when its reader had all of it.
func FuzzSnapshot(f *testing.F) {
	message, err := proto.Marshal(snapMessage(2, 1))
	if err != nil {
		f.Fatal(err)
	}
	hello := &raftpb.Hello{ClusterId: testCluster[:], Group: testGroup[:], From: 2, To: 1, NodeId: 2, Url: "http://n2"}
	start := &raftpb.SnapshotStart{Hello: hello, Transfer: 7, Message: message}
	end := &raftpb.SnapshotEnd{Size: 4, Crc32C: 0xaed87dd1} // of "data"
	for _, requests := range [][3]*raftpb.SnapshotRequest{
		{{Start: start, Chunk: []byte("da")}, {Chunk: []byte("ta")}, {End: end}},
		{{Start: start, Chunk: []byte("data"), End: end}, {End: end}, {}},
		{{Start: start}, {Chunk: []byte("data")}, {Chunk: []byte("more"), End: end}},
		{{Start: &raftpb.SnapshotStart{Hello: hello, Transfer: 7, Message: message, Offset: 2}}, {}, {}},
	} {
		var bytes [3][]byte
		for i, r := range requests {
			if bytes[i], err = proto.Marshal(r); err != nil {
				f.Fatal(err)
			}
		}
		f.Add(bytes[0], bytes[1], bytes[2])
	}
	f.Fuzz(func(t *testing.T, one, two, three []byte) {
		var requests []*raftpb.SnapshotRequest
		for _, b := range [][]byte{one, two, three} {
			r := &raftpb.SnapshotRequest{}
			if proto.Unmarshal(b, r) != nil {
				return
			}
			requests = append(requests, r)
		}
		receive(t, requests)
	})
}

func receive(t *testing.T, requests []*raftpb.SnapshotRequest) {
	m, _ := member(1)
	const most = 64
	tr, err := Open(Config{
		Cluster: testCluster, Group: testGroup, ID: 1, Node: 1, URL: m.URL, Member: member, Controller: func(mq.NodeID) bool { return true },
		Messages: http.DefaultClient, Snapshots: http.DefaultClient, Rand: &counter{}, MaxSnapshotBytes: most,
	})
	if err != nil {
		t.Fatal(err)
	}
	in := &inbox{}
	tr.Start(in)
	defer func() { _ = tr.Close() }()
	h := &handler{cfg: HandlerConfig{Peer: peerOf, Transport: func() *Transport { return tr }}}
	ctx := context.WithValue(t.Context(), peerKey{}, mq.NodeID(2))
	if _, err := h.greet(ctx, requests[0].GetStart().GetHello()); err != nil {
		return
	}
	transfer, err := tr.transfer(requests[0].GetStart())
	if err != nil {
		return
	}
	defer transfer.idle.Stop()
	transfer.streams++
	number := transfer.streams
	var given []byte
	for _, r := range requests {
		if tr.feed(ctx, transfer, r, number) != nil {
			break
		}
		given = append(given, r.GetChunk()...)
	}
	if !transfer.complete {
		return // its reader waits
	}
	answer, err := transfer.answer(ctx, number)
	bodies, failure := in.snapshots()
	if err != nil || !answer.GetDone() || answer.GetReceived() != uint64(len(given)) || len(given) > most {
		t.Fatalf("%v, %v, of %d bytes", answer, err, len(given))
	}
	if len(bodies) != 1 || failure != nil || !bytes.Equal(bodies[0], given) {
		t.Fatalf("the reader had %q and %v, given was %q", bodies, failure, given)
	}
}
