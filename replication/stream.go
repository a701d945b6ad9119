package replication

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
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
//	batches                  those of the request's parts, in their order and of the lengths that these say
//
// An empty message says that its sender lives. Each end sends one now and then, so that who hears nothing for [silenceTimeout] while it listens
// knows the other end to be dead or cut off. TLS has the checksum, and has shown who is at the other end.
//
// Batches are no part of the message so that their bytes are copied as seldom as TLS lets: out of the hot tail into its records, and out of these into
// the memory that becomes the follower's hot tail.
//
// One goroutine sends and one receives: a message is written by who has it and read by who wants it, without another goroutine in between. A record's
// way to a follower and back is mostly such hand-offs.
type stream struct {
	conn  net.Conn
	below *gathering // what TLS writes to; nil: something else
	in    *bufio.Reader
	out   *bufio.Writer // what is small becomes one record of TLS with what follows, what is large goes by it
	got   []byte        // the message that was received last
	said  []byte        // and sent, behind its length
	dead  *time.Timer   // closes the connection when nothing is heard
}

const (
	lengthBytes = 4
	// keptBytes is how large a stream's buffers may be while nothing is said. It is as much as a record of TLS takes.
	keptBytes = 16 << 10
)

func newStream(conn net.Conn) *stream {
	s := &stream{conn: conn, below: below(conn), in: bufio.NewReaderSize(conn, keptBytes), out: bufio.NewWriterSize(conn, keptBytes)}
	s.dead = time.AfterFunc(time.Hour, s.close)
	s.dead.Stop()
	return s
}

// send writes one message and the batches behind it. It waits while the other end takes nothing.
func (s *stream) send(m proto.Message, batches [][][]byte) error {
	said, err := proto.MarshalOptions{}.MarshalAppend(append(s.said[:0], make([]byte, lengthBytes)...), m)
	if err != nil {
		return mq.Errorf(mq.Internal, "encode a message of replication: %w", err)
	}
	binary.BigEndian.PutUint32(said, uint32(len(said)-lengthBytes))
	s.said = said
	quiet := len(said) == lengthBytes
	if quiet && cap(said) > keptBytes {
		s.said = nil
	}
	if s.below == nil {
		return s.write(said, batches)
	}
	s.below.hold()
	return errors.Join(s.write(said, batches), s.below.release(quiet))
}

func (s *stream) write(said []byte, batches [][][]byte) error {
	_, _ = s.out.Write(said) // Flush tells of every error before it
	for _, part := range batches {
		for _, b := range part {
			_, _ = s.out.Write(b)
		}
	}
	return s.out.Flush()
}

// fill reads all of b. It waits for each piece of it for at most [silenceTimeout]: a large message may take longer than that as a whole, or a slow line would never bring it.
// The caller stops the timer.
func (s *stream) fill(b []byte) error {
	for got := 0; got < len(b); {
		if s.in.Buffered() == 0 {
			s.dead.Reset(silenceTimeout)
		}
		n, err := s.in.Read(b[got:])
		if got += n; err != nil && got < len(b) {
			return err
		}
	}
	return nil
}

// receive reads one message. It waits for at most [silenceTimeout] for anything of it to come.
func (s *stream) receive(m proto.Message) error {
	defer s.dead.Stop()
	var length [lengthBytes]byte
	if err := s.fill(length[:]); err != nil {
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
	if err := s.fill(s.got); err != nil {
		return err
	}
	if err := proto.Unmarshal(s.got, m); err != nil {
		return mq.Errorf(mq.ProtocolViolation, "decode a message of replication: %w", err)
	}
	return nil
}

// batches reads what follows a message with these parts. The memory of each is its own, so that no partition keeps another's.
func (s *stream) batches(parts []*replicationpb.Part) ([][][]byte, error) {
	size := int64(len(s.got))
	for _, part := range parts {
		size += int64(part.GetBatchBytes())
	}
	if size > maxMessageBytes {
		return nil, mq.Errorf(mq.ProtocolViolation, "a message of replication of %d bytes with its batches, at most %d are taken", size, maxMessageBytes)
	}
	defer s.dead.Stop()
	batches := make([][][]byte, len(parts))
	for i, part := range parts {
		if n := part.GetBatchBytes(); n > 0 {
			b := make([]byte, n)
			if err := s.fill(b); err != nil {
				return nil, err
			}
			batches[i] = [][]byte{b}
		}
	}
	return batches, nil
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

// request is what a leader says: a message, and for each of its parts the batches, in pieces that are each one or more whole ones.
type request struct {
	*replicationpb.ReplicateRequest
	batches [][][]byte
}

// followerStream is a stream at the follower.
type followerStream struct{ *stream }

// Receive implements source.
func (s followerStream) Receive() (request, error) {
	m := request{ReplicateRequest: &replicationpb.ReplicateRequest{}}
	err := s.receive(m.ReplicateRequest)
	if err == nil {
		m.batches, err = s.stream.batches(m.GetParts())
	}
	return m, err
}

// Send implements sink.
func (s followerStream) Send(m *replicationpb.ReplicateResponse) error { return s.send(m, nil) }

// farewell tells the leader why the stream ends, if it still listens.
func (s followerStream) farewell(err error) {
	s.dead.Reset(silenceTimeout)
	_ = s.Send(&replicationpb.ReplicateResponse{Goodbye: &replicationpb.Goodbye{Code: int32(mq.CodeOf(err)), Message: err.Error()}})
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

func (s leaderStream) Send(m request) error { return s.send(m.ReplicateRequest, m.batches) }
