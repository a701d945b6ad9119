package replication

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"time"

	"google.golang.org/protobuf/proto"

	replicationpb "github.com/rustmq/rustmq/api/replication/v1"
	"github.com/rustmq/rustmq/mq"
)

// stream is one end of a connection between a leader and a follower. It carries messages of replication.proto, each way:
//
//	length u32, big endian   of the message
//	message                  a ReplicateRequest from the leader, a ReplicateResponse from the follower
//
// An empty message says that its sender lives. Each end sends one now and then, so that who hears nothing for [silenceTimeout] while it listens
// knows the other end to be dead or cut off. TLS has the checksum, and has shown who is at the other end.
//
// One goroutine sends and one receives: a message is written by who has it and read by who wants it, without another goroutine in between. A record's
// way to a follower and back is mostly such hand-offs.
type stream struct {
	conn net.Conn
	in   *bufio.Reader
	got  []byte      // the message that was received last
	out  []byte      // and sent
	dead *time.Timer // closes the connection when nothing is heard
}

const (
	lengthBytes = 4
	// keptBytes is how large a stream's buffers may be while nothing is said.
	keptBytes = 16 << 10
)

func newStream(conn net.Conn) *stream {
	s := &stream{conn: conn, in: bufio.NewReaderSize(conn, keptBytes)}
	s.dead = time.AfterFunc(time.Hour, s.close)
	s.dead.Stop()
	return s
}

// send writes one message. It waits while the other end takes nothing.
func (s *stream) send(m proto.Message) error {
	out, err := proto.MarshalOptions{}.MarshalAppend(append(s.out[:0], make([]byte, lengthBytes)...), m)
	if err != nil {
		return mq.Errorf(mq.Internal, "encode a message of replication: %w", err)
	}
	binary.BigEndian.PutUint32(out, uint32(len(out)-lengthBytes))
	s.out = out
	if len(out) == lengthBytes && cap(out) > keptBytes {
		s.out = nil // quiet
	}
	_, err = s.conn.Write(out)
	return err
}

// receive reads one message. It waits for at most [silenceTimeout].
func (s *stream) receive(m proto.Message) error {
	s.dead.Reset(silenceTimeout)
	defer s.dead.Stop()
	var length [lengthBytes]byte
	if _, err := io.ReadFull(s.in, length[:]); err != nil {
		return err
	}
	n := int(binary.BigEndian.Uint32(length[:]))
	switch {
	case n > maxMessageBytes:
		return mq.Errorf(mq.ProtocolViolation, "a message of replication of %d bytes, at most %d are taken", n, maxMessageBytes)
	case n > cap(s.got) || n == 0 && cap(s.got) > keptBytes:
		s.got = make([]byte, n)
	}
	s.got = s.got[:n]
	if _, err := io.ReadFull(s.in, s.got); err != nil {
		return err
	}
	if err := proto.Unmarshal(s.got, m); err != nil {
		return mq.Errorf(mq.ProtocolViolation, "decode a message of replication: %w", err)
	}
	return nil
}

// close ends the connection; what waits in send or receive returns. TLS would wait for the other end to hear a goodbye.
func (s *stream) close() {
	conn := s.conn
	if secure, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = secure.NetConn()
	}
	_ = conn.Close()
}

// closeWith has the connection closed when ctx ends. What it returns joins that.
func (s *stream) closeWith(ctx context.Context) (stop func()) {
	stopped := context.AfterFunc(ctx, s.close)
	return func() {
		s.dead.Stop()
		stopped()
		s.close()
	}
}

// followerStream is a stream at the follower.
type followerStream struct{ *stream }

// Receive implements source.
func (s followerStream) Receive() (*replicationpb.ReplicateRequest, error) {
	m := &replicationpb.ReplicateRequest{}
	return m, s.receive(m)
}

// Send implements sink.
func (s followerStream) Send(m *replicationpb.ReplicateResponse) error { return s.send(m) }

// farewell tells the leader why the stream ends, if it still listens.
func (s followerStream) farewell(err error) {
	s.dead.Reset(silenceTimeout)
	_ = s.send(&replicationpb.ReplicateResponse{Goodbye: &replicationpb.Goodbye{Code: int32(mq.CodeOf(err)), Message: err.Error()}})
}

// leaderStream is a stream at the leader.
type leaderStream struct{ *stream }

func (s leaderStream) Receive() (*replicationpb.ReplicateResponse, error) {
	m := &replicationpb.ReplicateResponse{}
	if err := s.receive(m); err != nil {
		return nil, mq.Errorf(mq.NetworkException, "receive: %w", err)
	}
	if g := m.GetGoodbye(); g != nil {
		return nil, mq.Errorf(mq.Code(g.GetCode()), "the follower ends the stream: %s", g.GetMessage())
	}
	return m, nil
}

func (s leaderStream) Send(m *replicationpb.ReplicateRequest) error { return s.send(m) }
