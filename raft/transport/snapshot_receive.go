package transport

import (
	"context"
	"hash/crc32"
	"io"
	"time"

	"connectrpc.com/connect"
	etcdpb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	raftpb "github.com/rustmq/rustmq/api/raft/v1"
	"github.com/rustmq/rustmq/api/rpcerr"
	"github.com/rustmq/rustmq/mq"
)

const (
	// maxTransfers bounds the snapshots that come in, one from each sender. raft sends from the leader only.
	maxTransfers = 4

	// answerTimeout is how long a sender is let wait for the end of an installation until it is told to ask again.
	answerTimeout = 10 * time.Second
)

// transfer is a snapshot that comes in, over as many streams as that takes. Who has its token may use it.
type transfer struct {
	from, id uint64
	token    chan struct{}
	idle     *time.Timer // ends it when no stream goes on with it
	pipe     *io.PipeWriter

	received uint64
	held     []byte // the last chunk: part of received, not handed on
	sum      uint32
	complete bool
	streams  int // number of the stream that goes on with it: an older one has broken, and does not know

	done chan struct{} // closed when ReceiveSnapshot has returned, with err
	err  error
}

// Snapshot implements the service: a piece of a snapshot, or the question what has arrived.
func (h *handler) Snapshot(
	ctx context.Context, stream *connect.ClientStream[raftpb.SnapshotRequest],
) (*connect.Response[raftpb.SnapshotResponse], error) {
	if !stream.Receive() {
		if err := stream.Err(); err != nil {
			return nil, err
		}
		return nil, rpcerr.ToConnect(mq.Errorf(mq.ProtocolViolation, "raft: a snapshot without a start"))
	}
	response, err := h.snapshot(ctx, stream)
	if err != nil {
		return nil, rpcerr.ToConnect(err)
	}
	return connect.NewResponse(response), nil
}

func (h *handler) snapshot(ctx context.Context, stream *connect.ClientStream[raftpb.SnapshotRequest]) (*raftpb.SnapshotResponse, error) {
	start := stream.Msg().GetStart()
	t, err := h.greet(ctx, start.GetHello())
	if err != nil {
		return nil, err
	}
	in, err := t.transfer(start)
	if err != nil {
		return nil, err
	}
	if err := in.acquire(ctx); err != nil {
		return nil, err
	}
	in.streams++
	number := in.streams
	if asks := len(stream.Msg().GetChunk()) > 0; asks && in.received != start.GetOffset() {
		in.release()
		return nil, mq.Errorf(mq.ProtocolViolation, "raft: a snapshot goes on at %d, %d bytes are here", start.GetOffset(), in.received)
	}
	in.release()
	for {
		if err := t.feed(ctx, in, stream.Msg(), number); err != nil {
			return nil, err
		}
		if !stream.Receive() {
			break
		}
	}
	if err := stream.Err(); err != nil {
		return nil, rpcerr.FromConnect(err)
	}
	return in.answer(ctx, number)
}

// transfer finds the transfer that a stream goes on with, or begins it.
func (t *Transport) transfer(start *raftpb.SnapshotStart) (*transfer, error) {
	from := start.GetHello().GetFrom()
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.transfers[from]
	switch {
	case t.closed:
		return nil, mq.Errorf(mq.ShuttingDown, "raft: this controller is closing")
	case old != nil && old.id == start.GetTransfer():
		return old, nil
	case start.GetOffset() != 0:
		return nil, mq.Errorf(mq.InvalidRequest, "raft: a snapshot goes on at %d, and its beginning is not here any more", start.GetOffset())
	case old == nil && len(t.transfers) == maxTransfers:
		return nil, mq.Errorf(mq.TooManyRequests, "raft: %d snapshots are coming in already", maxTransfers)
	}
	m := &etcdpb.Message{}
	if err := proto.Unmarshal(start.GetMessage(), m); err != nil {
		return nil, mq.Errorf(mq.ProtocolViolation, "raft: the message of a snapshot: %w", err)
	}
	if m.GetType() != etcdpb.MsgSnap || m.GetFrom() != from || m.GetTo() != t.cfg.ID || len(m.GetSnapshot().GetData()) != 0 {
		return nil, mq.Errorf(mq.ProtocolViolation, "raft: a snapshot with a message of type %s from %d to %d", m.GetType(), m.GetFrom(), m.GetTo())
	}
	if old != nil {
		old.abort(mq.Errorf(mq.NetworkException, "raft: the sender has begun another snapshot"))
	}
	body, pipe := io.Pipe()
	in := &transfer{from: from, id: start.GetTransfer(), token: make(chan struct{}, 1), pipe: pipe, done: make(chan struct{})}
	in.idle = time.AfterFunc(patience, func() { t.expire(in) })
	t.transfers[from] = in
	t.wait.Go(func() {
		defer context.AfterFunc(t.ctx, func() { in.abort(mq.Errorf(mq.ShuttingDown, "raft: this controller is closing")) })()
		in.err = (*t.receiver.Load()).ReceiveSnapshot(t.ctx, m, body)
		_ = body.CloseWithError(mq.Errorf(mq.InvalidRequest, "raft: nobody reads this snapshot any more")) // never fails
		t.counts.ended(&t.counts.received, in.err)
		close(in.done)
	})
	return in, nil
}

// expire forgets a transfer that nobody went on with.
func (t *Transport) expire(in *transfer) {
	in.abort(mq.Errorf(mq.NetworkException, "raft: the snapshot did not go on for %s", patience))
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.transfers[in.from] == in {
		delete(t.transfers, in.from)
	}
}

// abort ends the body with an error, if it has not ended.
func (in *transfer) abort(err error) { _ = in.pipe.CloseWithError(err) } // never fails

// feed counts what one message brings, and has it taken.
func (t *Transport) feed(ctx context.Context, in *transfer, m *raftpb.SnapshotRequest, number int) error {
	t.counts.receivedBytes.Add(uint64(len(m.GetChunk())))
	return in.feed(ctx, m, number, t.cfg.MaxSnapshotBytes)
}

func (in *transfer) acquire(ctx context.Context) error {
	select {
	case in.token <- struct{}{}:
		in.idle.Stop()
		return nil
	case <-ctx.Done():
		return mq.Wrapf(ctx.Err(), "raft: wait for an earlier stream of a snapshot")
	}
}

func (in *transfer) release() {
	in.idle.Reset(patience)
	<-in.token
}

// feed takes what one message brings.
func (in *transfer) feed(ctx context.Context, m *raftpb.SnapshotRequest, number int, most uint64) error {
	if err := in.acquire(ctx); err != nil {
		return err
	}
	defer in.release()
	if in.streams != number {
		return mq.Errorf(mq.NetworkException, "raft: another stream goes on with this snapshot")
	}
	if chunk := m.GetChunk(); len(chunk) > 0 {
		if len(chunk) > chunkBytes || in.complete || in.received+uint64(len(chunk)) > most {
			return mq.Errorf(mq.ProtocolViolation, "raft: a chunk of %d bytes at %d of a snapshot: %d and %d are possible", len(chunk), in.received, chunkBytes, most)
		}
		if err := in.handOn(); err != nil {
			return err
		}
		in.held = chunk
		in.received += uint64(len(chunk))
		in.sum = crc32.Update(in.sum, castagnoli, chunk)
	}
	end := m.GetEnd()
	if end == nil || in.complete {
		return nil
	}
	if end.GetSize() != in.received || end.GetCrc32C() != in.sum {
		err := mq.Errorf(mq.Corrupt, "raft: a snapshot came with %d bytes and sum %08x, and should have %d and %08x", in.received, in.sum, end.GetSize(), end.GetCrc32C())
		in.abort(err)
		return err
	}
	in.complete = true
	if err := in.handOn(); err != nil {
		return err
	}
	return in.pipe.Close()
}

// handOn gives the chunk that is held back to the reader. If that has ended, its error is what counts.
func (in *transfer) handOn() error {
	held := in.held
	in.held = nil
	if len(held) == 0 {
		return nil
	}
	if _, err := in.pipe.Write(held); err != nil && !in.complete {
		select {
		case <-in.done:
			if in.err != nil {
				return in.err
			}
		default:
		}
		return mq.Wrapf(err, "raft: hand on a snapshot")
	}
	return nil
}

// answer says how much has arrived, and waits a while for the end when all has.
func (in *transfer) answer(ctx context.Context, number int) (*raftpb.SnapshotResponse, error) {
	if err := in.acquire(ctx); err != nil {
		return nil, err
	}
	defer in.release()
	if in.streams != number {
		return nil, mq.Errorf(mq.NetworkException, "raft: another stream goes on with this snapshot")
	}
	response := &raftpb.SnapshotResponse{Received: in.received}
	if !in.complete {
		return response, nil
	}
	select {
	case <-in.done:
		if in.err != nil {
			return nil, in.err
		}
		response.Done = true
	case <-time.After(answerTimeout):
	case <-ctx.Done():
	}
	return response, nil
}
