package client

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// hostile is a server that shakes hands and answers metadata as it should, and does what misbehave says on produce and
// fetch streams.
func hostile(t *testing.T, misbehave func(s *quic.Stream)) *Client {
	t.Helper()
	return hostileAt(t, func(*quic.Conn) bool { return false }, misbehave)
}

// hostileAt lets greet do something else with a connection first; true ends it.
func hostileAt(t *testing.T, greet func(*quic.Conn) bool, misbehave func(s *quic.Stream)) *Client {
	t.Helper()
	cert, roots := selfSigned(t)
	listener, err := quic.ListenAddr("127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{quicproto.ALPN}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	broker := newFakeBroker()
	broker.addr = listener.Addr().String()
	broker.create("t", 1)
	go func() { // ends with the listener
		for {
			conn, err := listener.Accept(context.Background())
			if err != nil {
				return
			}
			go func() {
				if greet(conn) {
					return
				}
				for {
					stream, err := conn.AcceptStream(context.Background())
					if err != nil {
						return
					}
					go serveHostile(stream, broker, misbehave)
				}
			}()
		}
	}()
	c, err := New(Servers(listener.Addr().(*net.UDPAddr).String()), TLSConfig(&tls.Config{RootCAs: roots}),
		DeliveryTimeout(500*time.Millisecond), RequestTimeout(500*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func serveHostile(s *quic.Stream, broker *fakeBroker, misbehave func(*quic.Stream)) {
	frames := quicproto.NewFrameReader(s, quicproto.MaxBatchBytes)
	f, err := frames.Read()
	if err != nil {
		return
	}
	switch f := f.(type) {
	case *quicproto.Hello:
		_, _ = s.Write(quicproto.AppendFrame(nil, &quicproto.Welcome{
			Version: 1, ClusterID: mq.ClusterID{1}, NodeID: 1,
			Limits: quicproto.Limits{BatchBytes: 1 << 20, WindowBytes: 1 << 20, WindowCount: 16, RecordsBytes: 1 << 20, Streams: 16, Handles: 16},
		}))
		_, _ = frames.Read()
	case *quicproto.Request:
		req, err := quicproto.ParseRequest(f)
		if err != nil {
			return
		}
		var body quicproto.Body
		switch req := req.(type) {
		case *quicproto.MetadataRequest:
			body, _ = broker.Metadata(context.Background(), nil, req)
		case *quicproto.InitProducerIDRequest:
			body, _ = broker.InitProducerID(context.Background(), nil, req)
		case *quicproto.FindCoordinatorRequest:
			body = &quicproto.FindCoordinatorResponse{Node: 1, LeaderEpoch: 1}
		default:
			return
		}
		_, _ = s.Write(quicproto.AppendFrame(nil, &quicproto.Response{Body: body.AppendTo(nil)}))
		s.Close()
	default:
		misbehave(s)
	}
}

func TestHostileServersEndInErrorsAndNeverHang(t *testing.T) {
	bound := quicproto.AppendFrame(nil, &quicproto.Bound{TopicID: mq.TopicID{1}, Partitions: 1, BatchBytes: 1 << 20})
	for name, misbehave := range map[string]func(s *quic.Stream){
		"silence":     func(s *quic.Stream) { _, _ = s.Read(make([]byte, 1)) },
		"reset":       func(s *quic.Stream) { s.CancelWrite(7); s.CancelRead(7) },
		"ended":       func(s *quic.Stream) { s.Close() },
		"garbage":     func(s *quic.Stream) { _, _ = s.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) },
		"half frame":  func(s *quic.Stream) { _, _ = s.Write(bound[:7]); s.Close() },
		"huge frame":  func(s *quic.Stream) { _, _ = s.Write([]byte{0xff, 0xff, 0xff, 0xff, byte(quicproto.TypeProduceAcks)}) },
		"wrong frame": func(s *quic.Stream) { _, _ = s.Write(quicproto.AppendFrame(nil, &quicproto.GoAway{})) },
		"unasked ack": func(s *quic.Stream) {
			_, _ = s.Write(quicproto.AppendFrame(append([]byte(nil), bound...), &quicproto.ProduceAcks{Acks: []quicproto.Ack{{Request: 4711}}}))
		},
		"unasked handle": func(s *quic.Stream) {
			_, _ = s.Write(quicproto.AppendFrame(nil, &quicproto.Bound{Handle: 9}))
		},
		"unasked records": func(s *quic.Stream) {
			_, _ = s.Write(quicproto.AppendFrame(nil, &quicproto.Records{Handle: 9, Generation: 1, Batches: []byte("xx")}))
		},
		"close frame": func(s *quic.Stream) {
			_, _ = s.Write(quicproto.AppendFrame(nil, &quicproto.Close{Code: mq.Internal, Msg: "boom"}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var streams atomic.Int64
			c := hostile(t, func(s *quic.Stream) {
				streams.Add(1)
				misbehave(s)
			})
			err := c.ProduceSync(soon(t), &Record{Topic: "t", Value: []byte("v")}).FirstErr()
			wantCode(t, err, mq.RequestTimedOut)
			k := consumer(t, c, Assign("t", 0, Start()))
			ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
			defer cancel()
			if recs, err := k.Poll(ctx); err == nil {
				t.Errorf("consumed %v", recs)
			}
			if s := c.Stats(); s.Connects > 60 || s.BatchesSent > 60 || streams.Load() > 60 {
				t.Errorf("hot loop: %d streams, %+v", streams.Load(), s)
			}
		})
	}
}

// TestServerOfAnotherVersionIsNamedAtOnce has servers of the future: the user reads what does not fit, and does not wait for it to change.
func TestServerOfAnotherVersionIsNamedAtOnce(t *testing.T) {
	welcome := func(w quicproto.Welcome) func(*quic.Conn) bool {
		return func(conn *quic.Conn) bool {
			s, err := conn.AcceptStream(context.Background())
			if err != nil {
				return true
			}
			if _, err := quicproto.NewFrameReader(s, 0).Read(); err != nil {
				return true
			}
			_, _ = s.Write(quicproto.AppendFrame(nil, &w))
			return true
		}
	}
	for name, c := range map[string]struct {
		greet func(*quic.Conn) bool
		about string
	}{
		"no common version": {func(conn *quic.Conn) bool {
			conn.CloseWithError(quic.ApplicationErrorCode(quicproto.ErrorCode(mq.UnsupportedVersion)), "client speaks protocol versions 1 to 1, server 2 to 3")
			return true
		}, "server 2 to 3"},
		"a version that was not offered": {welcome(quicproto.Welcome{Version: 2}), "version 2"},
		"a feature that was not offered": {welcome(quicproto.Welcome{Version: 1, Features: 1 << 63}), "0x8000000000000000"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := hostileAt(t, c.greet, func(*quic.Stream) {})
			_, err := client.DescribeTopic(soon(t), "t")
			if mq.CodeOf(err) != mq.UnsupportedVersion || !strings.Contains(err.Error(), c.about) {
				t.Errorf("got %v, want %s and %q", err, mq.UnsupportedVersion, c.about)
			}
			if n := client.Stats().Connects; n > 1 {
				t.Errorf("tried %d times", n)
			}
		})
	}
}
