package replication

import (
	"bytes"
	"context"
	"encoding/hex"
	"io"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	replicationpb "github.com/rustmq/rustmq/api/replication/v1"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
)

// helloBytes is the hello of node 1 in incarnation 300 to node 2: its length, then the message.
const helloBytes = "0000000b" + "0a09" + "0801" + "1001" + "18ac02" + "2002"

func TestStreamHasTheseBytes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		near, far := connected(nil)
		s := leaderStream{newStream(near)}
		hello := &replicationpb.Hello{Version: 1, Leader: 1, LeaderBrokerEpoch: 300, Follower: 2}
		if err := s.Send(&replicationpb.ReplicateRequest{Hello: hello}); err != nil {
			t.Fatal(err)
		}
		if err := s.Send(&replicationpb.ReplicateRequest{}); err != nil { // a sign of life
			t.Fatal(err)
		}
		s.close()
		want, _ := hex.DecodeString(helloBytes + "00000000")
		got := make([]byte, len(want))
		if _, err := io.ReadFull(far, got); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%x, %v, want %x", got, err, want)
		}
	})
}

func TestFollowerEndsWhatIsNoStream(t *testing.T) {
	for name, c := range map[string]struct {
		said string
		code mq.Code // of the goodbye; 0: the leader is not told
	}{
		"too long":      {"ffffffff", mq.ProtocolViolation},
		"no message":    {"00000002ffff", mq.ProtocolViolation},
		"no hello":      {"00000000", mq.ProtocolViolation},
		"other version": {"000000080a06080910012002", mq.UnsupportedVersion},
		"to another":    {"000000080a06080110012003", mq.InvalidRequest},
		"not itself":    {"000000080a06080110042002", mq.ClusterAuthorizationFailed},
		"nothing":       {"", mq.Unknown},
		"half of it":    {"00000008", mq.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				near, far := connected(nil)
				f := NewFollower(FollowerConfig{Self: partition.Replica{Node: 2, Incarnation: 1}, Logger: slog.New(slog.DiscardHandler)})
				ended := make(chan struct{})
				go func() { f.Serve(far, 1); close(ended) }()
				said, err := hex.DecodeString(c.said)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := near.Write(said); err != nil {
					t.Fatal(err)
				}
				if c.code != mq.Unknown {
					if _, err := (leaderStream{newStream(near)}).Receive(); mq.CodeOf(err) != c.code {
						t.Errorf("%v, want %v", err, c.code)
					}
				}
				began := time.Now()
				<-ended
				if took := time.Since(began); took > silenceTimeout {
					t.Errorf("it ended after %v", took)
				}
			})
		})
	}
}

// An end that listens and hears nothing takes the other one for dead; signs of life are enough.
func TestSilenceEndsAStream(t *testing.T) {
	bubble(t, func(t *testing.T) {
		near, far := connected(nil)
		s, other := leaderStream{newStream(near)}, followerStream{newStream(far)}
		go func() {
			for range 10 {
				time.Sleep(beatInterval)
				_ = other.Send(&replicationpb.ReplicateResponse{})
			}
		}()
		began := time.Now()
		for range 10 {
			if _, err := s.Receive(); err != nil {
				t.Fatalf("after %v: %v", time.Since(began), err)
			}
		}
		began = time.Now()
		if _, err := s.Receive(); mq.CodeOf(err) != mq.NetworkException || time.Since(began) != silenceTimeout {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

func TestStreamWithoutNewsLives(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2, 1, 1, 3).start()
		defer c.close()
		c.acked(0, 5, 0, 1)
		time.Sleep(10 * silenceTimeout)
		if s := c.leader(0).peers.Status(); len(s) != 1 || !s[0].Connected || s[0].Streams != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// mute is a connection whose other end takes nothing any more: writing waits until it is closed.
type mute struct {
	net.Conn
	stuck  chan struct{}
	closed chan struct{}
}

func (m *mute) Write([]byte) (int, error) {
	close(m.stuck)
	<-m.closed
	return 0, net.ErrClosed
}

func (m *mute) Close() error {
	close(m.closed)
	return nil
}

func TestClosedStreamLetsGoOfWhoSends(t *testing.T) {
	bubble(t, func(t *testing.T) {
		near, _ := connected(nil)
		m := &mute{near, make(chan struct{}), make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		s := newStream(m)
		_ = s.closeWith(ctx)
		sent := make(chan error, 1)
		go func() { sent <- s.send(&replicationpb.ReplicateRequest{}) }()
		<-m.stuck
		cancel()
		synctest.Wait()
		if err := <-sent; err == nil {
			t.Error("it was sent")
		}
	})
}

// Buffers of a stream that had much to say are given back when it has nothing.
func TestQuietStreamKeepsNoLargeBuffers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		near, far := connected(nil)
		out, in := leaderStream{newStream(near)}, followerStream{newStream(far)}
		large := &replicationpb.ReplicateRequest{Parts: []*replicationpb.Part{{Batches: [][]byte{make([]byte, 1<<20)}}}}
		for _, m := range []*replicationpb.ReplicateRequest{large, {}} {
			if err := out.Send(m); err != nil {
				t.Fatal(err)
			}
			if _, err := in.Receive(); err != nil {
				t.Fatal(err)
			}
		}
		if cap(out.out) > keptBytes || cap(in.got) > keptBytes {
			t.Errorf("%d and %d bytes", cap(out.out), cap(in.got))
		}
	})
}

// heard is a connection that says something and ends.
type heard struct{ io.Reader }

func (heard) Write(b []byte) (int, error)      { return len(b), nil }
func (heard) Close() error                     { return nil }
func (heard) LocalAddr() net.Addr              { return nil }
func (heard) RemoteAddr() net.Addr             { return nil }
func (heard) SetDeadline(time.Time) error      { return nil }
func (heard) SetReadDeadline(time.Time) error  { return nil }
func (heard) SetWriteDeadline(time.Time) error { return nil }

func FuzzStream(f *testing.F) {
	hello, _ := hex.DecodeString(helloBytes)
	f.Add(hello)
	f.Add([]byte("\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, said []byte) {
		s := followerStream{newStream(heard{bytes.NewReader(said)})}
		for {
			if _, err := s.Receive(); err != nil {
				return
			}
		}
	})
}
