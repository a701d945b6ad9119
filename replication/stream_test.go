package replication

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	replicationpb "github.com/rustmq/rustmq/api/replication/v1"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
)

// helloBytes is the hello of node 1 in incarnation 300 to node 2: its length, then the message.
const helloBytes = "0000000b" + "0a09" + "0802" + "1001" + "18ac02" + "2002"

// saidOfParts is what is said of handle 1 in round 2, with two pieces of batches of 5 bytes in all: watermark 7, log start 3, tiered end 4.
const saidOfParts = "0000000e" + "320c" + "0801" + "1002" + "1807" + "2003" + "2804" + "3805" + "0102030405"

func TestStreamHasTheseBytes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		near, far := connected(nil)
		s := leaderStream{newStream(near)}
		for _, m := range []request{
			saying(&replicationpb.ReplicateRequest{Hello: &replicationpb.Hello{Version: protocolVersion, Leader: 1, LeaderBrokerEpoch: 300, Follower: 2}}),
			{
				&replicationpb.ReplicateRequest{Parts: []*replicationpb.Part{{Handle: 1, Round: 2, HighWatermark: 7, LogStart: 3, TieredEnd: 4, BatchBytes: 5}}},
				[][][]byte{{{1, 2}, {3, 4, 5}}},
			},
			saying(&replicationpb.ReplicateRequest{}), // a sign of life
		} {
			if err := s.Send(m); err != nil {
				t.Fatal(err)
			}
		}
		s.close()
		want, _ := hex.DecodeString(helloBytes + saidOfParts + "00000000")
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
		"version 1":     {"000000080a06080110012002", mq.UnsupportedVersion},
		"other version": {"000000080a06080910012002", mq.UnsupportedVersion},
		"to another":    {"000000080a06080210012003", mq.InvalidRequest},
		"not itself":    {"000000080a06080210042002", mq.ClusterAuthorizationFailed},
		"many batches":  {"00000008" + "3206" + "38ffffffff0f", mq.ProtocolViolation},
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

// A message that a slow line brings in more time than silence may last comes all the same, and one that breaks off is silence.
func TestMessageMayTakeLongerThanSilence(t *testing.T) {
	bubble(t, func(t *testing.T) {
		near, far := connected(nil)
		s := followerStream{newStream(far)}
		batch := bytes.Repeat([]byte{7}, 1<<20)
		var whole bytes.Buffer
		part := &replicationpb.Part{Handle: 1, BatchBytes: uint32(len(batch))}
		m := &replicationpb.ReplicateRequest{Parts: []*replicationpb.Part{part}}
		said, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		_ = binary.Write(&whole, binary.BigEndian, uint32(len(said)))
		whole.Write(said)
		whole.Write(batch)
		go func() {
			for piece := range slices.Chunk(whole.Bytes(), 64<<10) {
				time.Sleep(silenceTimeout / 3)
				_, _ = near.Write(piece)
			}
			_, _ = near.Write(whole.Bytes()[:1000])
		}()
		began := time.Now()
		got, err := s.Receive()
		if err != nil || len(got.batches) != 1 || !bytes.Equal(got.batches[0][0], batch) {
			t.Fatalf("after %v: %v", time.Since(began), err)
		}
		if took := time.Since(began); took < 3*silenceTimeout {
			t.Fatalf("it took %v only", took)
		}
		began = time.Now()
		if _, err := s.Receive(); err == nil || time.Since(began) != silenceTimeout {
			t.Fatalf("after %v: %v", time.Since(began), err)
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
		go func() { sent <- s.send(&replicationpb.ReplicateRequest{}, nil) }()
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
		out, in := leaderStream{newStream(plain{Gather(near)})}, followerStream{newStream(far)}
		large := saying(&replicationpb.ReplicateRequest{Closes: make([]uint32, keptBytes+1)})
		for _, m := range []request{large, saying(&replicationpb.ReplicateRequest{})} {
			if err := out.Send(m); err != nil {
				t.Fatal(err)
			}
			if _, err := in.Receive(); err != nil {
				t.Fatal(err)
			}
		}
		if cap(out.said) > keptBytes || cap(in.got) > keptBytes || out.below.buf != nil {
			t.Errorf("%d, %d and %d bytes", cap(out.said), cap(in.got), cap(out.below.buf))
		}
	})
}

// What the batches of parts are arrives as it was, whatever the sizes are, each part's in memory of its own.
func TestBatchesFollowTheirMessage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		near, far := connected(nil)
		out, in := leaderStream{newStream(near)}, followerStream{newStream(far)}
		random := rand.New(rand.NewPCG(1, 2))
		for range 100 {
			m := request{ReplicateRequest: &replicationpb.ReplicateRequest{}}
			var want [][]byte
			for range random.IntN(5) {
				var pieces [][]byte
				for range random.IntN(4) {
					b := make([]byte, random.IntN(3*keptBytes))
					for i := range b {
						b[i] = byte(random.Uint32())
					}
					pieces = append(pieces, b)
				}
				all := bytes.Join(pieces, nil)
				m.Parts = append(m.Parts, &replicationpb.Part{BatchBytes: uint32(len(all))})
				m.batches, want = append(m.batches, pieces), append(want, all)
			}
			if err := out.Send(m); err != nil {
				t.Fatal(err)
			}
			got, err := in.Receive()
			if err != nil || len(got.batches) != len(want) {
				t.Fatalf("%d parts, %v, want %d", len(got.batches), err, len(want))
			}
			for i, pieces := range got.batches {
				if all := bytes.Join(pieces, nil); !bytes.Equal(all, want[i]) {
					t.Fatalf("%d bytes of part %d are not the %d that were sent", len(all), i, len(want[i]))
				}
			}
		}
	})
}

// sent is what m is on a connection.
func written(t testing.TB, m request) []byte {
	var out said
	if err := (leaderStream{newStream(&out)}).Send(m); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// said is a connection that keeps what is written.
type said struct {
	heard
	bytes.Buffer
}

func (s *said) Read(b []byte) (int, error)  { return s.Buffer.Read(b) }
func (s *said) Write(b []byte) (int, error) { return s.Buffer.Write(b) }

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
	f.Add(written(f, part(1, 2, 7, []byte{1, 2}, []byte{3})))
	f.Fuzz(func(t *testing.T, said []byte) {
		s := followerStream{newStream(heard{bytes.NewReader(said)})}
		for {
			m, err := s.Receive()
			if err != nil {
				return
			}
			for i, part := range m.GetParts() {
				if all := bytes.Join(m.batches[i], nil); len(all) != int(part.GetBatchBytes()) {
					t.Fatalf("%d bytes of part %d: %v", len(all), i, part)
				}
			}
		}
	})
}
