package transport

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"time"

	"connectrpc.com/connect"
	etcdpb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	raftpb "github.com/rustmq/rustmq/api/raft/v1"
	"github.com/rustmq/rustmq/api/raft/v1/raftpbconnect"
	"github.com/rustmq/rustmq/api/rpcerr"
	"github.com/rustmq/rustmq/mq"
)

const (
	// pieceBytes of a snapshot are kept by the sender until they have arrived.
	pieceBytes = 4 << 20

	// chunkBytes is the most that goes into one message. A receiver holds one chunk back.
	chunkBytes = 256 << 10

	// patience is how long a snapshot may make no progress, at either end, until it is given up.
	patience = 30 * time.Second
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// SendSnapshot implements raft.Transport.
func (t *Transport) SendSnapshot(ctx context.Context, message *etcdpb.Message, body io.Reader) (err error) {
	defer func() { t.counts.ended(&t.counts.sent, err) }()
	s := &sending{t: t, to: message.GetTo()}
	if s.message, err = proto.Marshal(message); err != nil {
		return mq.Errorf(mq.Internal, "encode a raft message: %w", err)
	}
	var id [8]byte
	if _, err := io.ReadFull(t.cfg.Rand, id[:]); err != nil {
		return mq.Errorf(mq.Internal, "raft: draw a number for a snapshot: %w", err)
	}
	s.transfer = binary.BigEndian.Uint64(id[:])
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(t.ctx, cancel)()

	piece := make([]byte, pieceBytes)
	for sum := uint32(0); ; {
		n, err := io.ReadFull(body, piece)
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return mq.Wrapf(err, "read a snapshot to send")
		}
		sum = crc32.Update(sum, castagnoli, piece[:n])
		if last {
			s.end = &raftpb.SnapshotEnd{Size: s.arrived + uint64(n), Crc32C: sum}
		}
		if err := s.piece(ctx, piece[:n]); err != nil || last {
			return mq.Wrapf(err, "send a snapshot to raft id %d", s.to)
		}
	}
}

// sending is a snapshot on its way.
type sending struct {
	t        *Transport
	to       uint64
	transfer uint64
	message  []byte
	arrived  uint64              // bytes of the body that are there
	end      *raftpb.SnapshotEnd // with the last piece
}

// piece sends the next part of the body, for as long as it makes progress, and the last until the receiver is done.
func (s *sending) piece(ctx context.Context, data []byte) error {
	goal := s.arrived + uint64(len(data))
	pause, since := minPause, time.Now()
	broken := false
	for {
		var rest []byte
		end := s.end
		if broken {
			end = nil // first ask what has arrived
		} else {
			rest = data[uint64(len(data))-(goal-s.arrived):]
		}
		response, err := s.stream(ctx, rest, end)
		if err != nil && (ctx.Err() != nil || !broke(err) || time.Since(since) > patience) {
			return err
		}
		if err != nil {
			broken = true
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return ctx.Err()
			}
			pause = min(2*pause, maxPause)
			continue
		}
		at := response.GetReceived()
		if at < s.arrived || at > goal {
			return mq.Errorf(mq.ProtocolViolation, "the receiver has %d bytes, of which it had %d, and %d were sent", at, s.arrived, goal)
		}
		if at > s.arrived || !broken {
			pause, since = minPause, time.Now()
		}
		s.arrived, broken = at, false
		if response.GetDone() || at == goal && s.end == nil {
			return nil
		}
	}
}

// broke says of an error that it is the way's and not the receiver's, or of one that is about to be there.
func broke(err error) bool {
	switch mq.CodeOf(err) {
	case mq.NetworkException, mq.RequestTimedOut, mq.Canceled, mq.LeaderNotAvailable:
		return true
	}
	return false
}

// stream sends a part of the body, or with none asks what has arrived.
func (s *sending) stream(ctx context.Context, data []byte, end *raftpb.SnapshotEnd) (*raftpb.SnapshotResponse, error) {
	to, ok := s.t.member(s.to)
	if !ok {
		return nil, mq.Errorf(mq.NetworkException, "where raft id %d is is not known", s.to)
	}
	caller := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stalled := time.AfterFunc(stallTimeout, cancel)
	defer stalled.Stop()
	stream := raftpbconnect.NewRaftServiceClient(s.t.cfg.Snapshots, to.URL).Snapshot(ctx)
	request := &raftpb.SnapshotRequest{Start: &raftpb.SnapshotStart{Hello: s.t.hello(s.to), Transfer: s.transfer, Message: s.message, Offset: s.arrived}}
	for {
		n := min(len(data), chunkBytes)
		request.Chunk, data = data[:n], data[n:]
		if len(data) == 0 {
			request.End = end
		}
		if err := stream.Send(request); err != nil && !errors.Is(err, io.EOF) {
			return nil, stallError(caller, ctx, err)
		} else if err != nil {
			break
		}
		s.t.counts.sentBytes.Add(uint64(n))
		if len(data) == 0 {
			break
		}
		request = &raftpb.SnapshotRequest{}
		stalled.Reset(stallTimeout)
	}
	stalled.Reset(stallTimeout + answerTimeout)
	response, err := stream.CloseAndReceive()
	if err != nil {
		return nil, stallError(caller, ctx, err)
	}
	return response.Msg, nil
}

// stallError is the error of a stream, and one that is worth another attempt if the stream was given up here because nothing moved.
func stallError(caller, stream context.Context, err error) error {
	switch c, said := errors.AsType[*connect.Error](err); {
	case said && c.Meta().Get(rpcerr.CodeHeader) != "":
		return rpcerr.FromConnect(err) // of the receiver
	case caller.Err() != nil:
		return caller.Err()
	case stream.Err() != nil:
		return mq.Errorf(mq.NetworkException, "nothing moves: %w", err)
	}
	return rpcerr.FromConnect(err)
}
