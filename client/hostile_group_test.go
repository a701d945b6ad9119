package client

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// TestHostileCoordinatorsEndInErrorsAndNeverHang has group streams that end, lie or stall: whoever polls gets nothing and hears when its time is over, it is not tried in a hot loop, and Close comes back and
// leaves no goroutine.
func TestHostileCoordinatorsEndInErrorsAndNeverHang(t *testing.T) {
	assignment := func(a *quicproto.Assignment) []byte { return quicproto.AppendFrame(nil, a) }
	mine := []quicproto.GroupPartitions{{TopicID: mq.TopicID{9}, Topic: "t", Partitions: []int32{0}}}
	good := assignment(&quicproto.Assignment{Epoch: 1, Changed: true, Partitions: mine})
	if overTCP {
		return // the server is one of QUIC, and was met before
	}
	var all sync.WaitGroup
	defer all.Wait()
	for name, misbehave := range map[string]func(s *quic.Stream){
		"silence":             func(s *quic.Stream) { _, _ = s.Read(make([]byte, 1<<16)) },
		"silence then":        func(s *quic.Stream) { _, _ = s.Write(good) },
		"reset":               func(s *quic.Stream) { s.CancelWrite(7); s.CancelRead(7) },
		"ended":               func(s *quic.Stream) { s.Close() },
		"ended then":          func(s *quic.Stream) { _, _ = s.Write(good); s.Close() },
		"garbage":             func(s *quic.Stream) { _, _ = s.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) },
		"half frame":          func(s *quic.Stream) { _, _ = s.Write(good[:7]); s.Close() },
		"half frame, no end":  func(s *quic.Stream) { _, _ = s.Write(good[:len(good)-1]) },
		"huge frame":          func(s *quic.Stream) { _, _ = s.Write([]byte{0xff, 0xff, 0xff, 0xff, byte(quicproto.TypeAssignment)}) },
		"wrong frame":         func(s *quic.Stream) { _, _ = s.Write(quicproto.AppendFrame(nil, &quicproto.GoAway{})) },
		"epoch that is none":  func(s *quic.Stream) { _, _ = s.Write(assignment(&quicproto.Assignment{Epoch: -1})) },
		"epochs that go back": func(s *quic.Stream) { _, _ = s.Write(append(assignment(&quicproto.Assignment{Epoch: 7}), good...)) },
		"partitions that are not there": func(s *quic.Stream) {
			_, _ = s.Write(assignment(&quicproto.Assignment{Epoch: 1, Changed: true, Partitions: []quicproto.GroupPartitions{
				{TopicID: mq.TopicID{1}, Topic: "gone", Partitions: []int32{0, 0, -5, 1 << 30}}, {Partitions: []int32{1}},
			}}))
		},
		"never the same": func(s *quic.Stream) {
			for e := int32(1); e < 1000; e++ {
				if _, err := s.Write(assignment(&quicproto.Assignment{Epoch: e, Changed: true, Partitions: mine[:e%2]})); err != nil {
					return
				}
			}
		},
		"close frame": func(s *quic.Stream) {
			_, _ = s.Write(quicproto.AppendFrame(nil, &quicproto.Close{Code: mq.Internal, Msg: "boom"}))
		},
		"fenced for ever": func(s *quic.Stream) {
			_, _ = s.Write(quicproto.AppendFrame(good, &quicproto.Close{Code: mq.FencedMemberEpoch, Msg: "again"}))
		},
	} {
		streams := new(atomic.Int64)
		c := hostile(t, func(s *quic.Stream) {
			streams.Add(1)
			misbehave(s)
		})
		k, err := c.NewConsumer(Group("g"), Topics("t"))
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() { // they wait, most of the time
			began := time.Now()
			ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
			defer cancel()
			if recs, err := k.Poll(ctx); err == nil {
				t.Errorf("%s: consumed %v", name, recs)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("%s: Poll came back after %v", name, took)
			}
			if err := k.CommitSync(context.Background(), CommitOffset{Topic: "t", Offset: 1}); err == nil {
				t.Errorf("%s: a commit was acknowledged", name)
			}
			_ = k.Close() // what could not be committed may be an error
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("%s: all was closed after %v", name, took)
			}
			select {
			case <-k.member.left: // goleak looks for the goroutines of its connections
			default:
				t.Errorf("%s: a closed consumer is still a member", name)
			}
			if n := streams.Load(); n > 60 {
				t.Errorf("%s: hot loop: %d streams", name, n)
			}
		})
	}
}
