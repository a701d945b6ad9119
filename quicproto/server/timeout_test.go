package server_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/testutils/simnet"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/server"
	"github.com/rustmq/rustmq/quicproto/transport"
)

// wantClosedAfter waits until the server closes the session for being too slow, and checks how long that took.
func wantClosedAfter(t *testing.T, conn transport.Conn, d time.Duration) {
	t.Helper()
	began := time.Now()
	<-conn.Context().Done()
	var app *quic.ApplicationError
	if err := context.Cause(conn.Context()); !errors.As(err, &app) || quicproto.CodeOfError(uint64(app.ErrorCode)) != mq.RequestTimedOut {
		t.Errorf("ended with %v", err)
	}
	if took := time.Since(began); took < d-50*time.Millisecond || took > d+50*time.Millisecond {
		t.Errorf("closed after %v, want %v", took, d)
	}
}

func TestASilentClientIsClosedWhenItsHelloIsDue(t *testing.T) {
	for _, sent := range [][]byte{nil, {}, {0, 0, 0}, quicproto.AppendFrame(nil, &quicproto.Hello{ClientID: "slow"})[:20]} {
		synctest.Test(t, func(t *testing.T) {
			f := startSimulated(t, server.Limits{HelloTimeout: 3 * time.Second}, nil)
			conn, err := f.dialRaw(t, nil)
			must(t, err)
			if sent != nil { // nil opens no stream
				st, err := conn.OpenStream(t.Context())
				must(t, err)
				_, err = st.Write(sent)
				must(t, err)
			}
			wantClosedAfter(t, conn, 3*time.Second)
			synctest.Wait()
			if n := f.Stats().Sessions; n != 0 {
				t.Errorf("%d sessions", n)
			}
		})
	}
}

func TestAStreamWithoutAFirstFrameClosesItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startSimulated(t, server.Limits{FirstFrame: 4 * time.Second}, nil)
		c := f.dial(t)
		time.Sleep(time.Second) // the control stream's time does not count
		st, err := c.conn.OpenStream(t.Context())
		must(t, err)
		_, err = st.Write([]byte{0, 0, 0, 1})
		must(t, err)
		wantClosedAfter(t, c.conn, 4*time.Second)
	})
}

func TestABatchThatStallsClosesItsSessionAndGivesItsBudgetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startSimulated(t, server.Limits{FrameTimeout: 10 * time.Second, IdleTimeout: time.Minute}, nil)
		f.broker.add("t", 1)
		c := f.dial(t)
		s := c.open(&quicproto.OpenProduce{})
		s.bind(1, "t")
		frame := quicproto.AppendFrame(nil, produce(1, 1, 0, batch(10_000)))
		_, err := s.st.Write(frame[:5000])
		must(t, err)
		time.Sleep(100 * time.Millisecond)
		if n := f.Stats().InFlightBytes; n != 10_000 {
			t.Errorf("%d bytes in flight", n)
		}
		wantClosedAfter(t, c.conn, 10*time.Second-100*time.Millisecond)
		synctest.Wait()
		if n := f.Stats().InFlightBytes; n != 0 {
			t.Errorf("%d bytes in flight after the end", n)
		}
	})
}

func TestSlowButSteadyStreamsLiveOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startSimulated(t, server.Limits{FrameTimeout: 10 * time.Second, FirstFrame: time.Second}, nil)
		f.broker.add("t", 1)
		s := f.dial(t).open(&quicproto.OpenProduce{})
		s.bind(1, "t")
		for i := range uint64(10) { // 9 s from byte to byte, but each batch begins anew
			must(t, s.out.WriteProduce(produce(i, 1, 0, batch(100))))
			must(t, s.out.Flush())
			s.acks(1)
			time.Sleep(9 * time.Second)
		}
	})
}

func TestAVanishedClientIsForgottenAfterTheIdleTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cut atomic.Bool
		f := startSimulated(t, server.Limits{IdleTimeout: 20 * time.Second}, func(simnet.Packet) bool { return cut.Load() })
		f.broker.add("t", 1)
		s := f.dial(t).open(&quicproto.OpenFetch{}, assign(1, 1, "t", 0, 0))
		recv[*quicproto.Assigned](s)
		time.Sleep(time.Second)
		cut.Store(true)
		time.Sleep(18 * time.Second)
		if n := f.Stats().Sessions; n != 1 {
			t.Errorf("%d sessions before the timeout", n)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if n := f.Stats().Sessions; n != 0 || f.broker.openReaders() != 0 {
			t.Errorf("%d sessions and %d readers after the timeout", n, f.broker.openReaders())
		}
	})
}

func TestHalfOpenHandshakesAreBoundedAndForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var deaf atomic.Bool
		f := startSimulated(t, server.Limits{HalfOpen: 4, HandshakeTimeout: 3 * time.Second}, func(p simnet.Packet) bool {
			return deaf.Load() && p.From.String() == "1.0.0.1:9092" // what the server says gets lost
		})
		deaf.Store(true)
		ctx, cancel := context.WithCancel(t.Context())
		for range 10 {
			tr := &quic.Transport{Conn: f.socket()}
			t.Cleanup(func() { tr.Close() })
			go func() {
				_, err := tr.Dial(ctx, f.Addr(), f.ca.clientTLS(), nil)
				if err == nil {
					t.Error("a handshake went through in one direction")
				}
			}()
		}
		time.Sleep(time.Second)
		// Half of the places are given away for the asking; then addresses have to be proven, which these clients cannot.
		if n := f.Stats().HalfOpen; n != 2 {
			t.Errorf("%d half-open handshakes", n)
		}
		cancel()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := f.Stats().HalfOpen; n != 0 {
			t.Errorf("%d half-open handshakes after their timeout", n)
		}
		deaf.Store(false)
		f.dial(t)
	})
}

func TestPacketLossLosesNoFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Uint64
		f := startSimulated(t, server.Limits{}, func(simnet.Packet) bool { return n.Add(1)%11 == 0 })
		p := f.broker.add("t", 1).partitions[0]
		c := f.dial(t)
		s, r := c.open(&quicproto.OpenProduce{}), c.open(&quicproto.OpenFetch{}, assign(1, 1, "t", 0, 0))
		s.bind(1, "t")
		recv[*quicproto.Assigned](r)
		const batches = 100
		for i := range uint64(batches) {
			must(t, s.out.WriteProduce(produce(i, 1, 0, batch(3000))))
		}
		must(t, s.out.Flush())
		s.acks(batches)
		r.collect(1, 1, 0, batches)
		if n := len(p.log()); n != batches {
			t.Errorf("%d batches in the log", n)
		}
	})
}

func TestAFetchReactsToAnAppendWithinOneTripAndIsSilentOtherwise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var packets atomic.Uint64
		f := startSimulated(t, server.Limits{IdleTimeout: time.Hour}, func(simnet.Packet) bool {
			packets.Add(1)
			return false
		})
		p := f.broker.add("t", 1).partitions[0]
		s := f.dial(t).open(&quicproto.OpenFetch{}, assign(1, 1, "t", 0, 0))
		recv[*quicproto.Assigned](s)
		recv[*quicproto.Records](s)
		must(t, s.st.SetReadDeadline(time.Time{}))
		time.Sleep(5 * time.Second) // acknowledgements and path probes
		before := packets.Load()
		time.Sleep(30 * time.Second)
		if n := packets.Load() - before; n != 0 {
			t.Errorf("%d packets in 30 idle seconds", n)
		}
		began := time.Now()
		p.append(batch(100))
		s.collect(1, 1, 0, 1)
		if took := time.Since(began); took > 6*time.Millisecond {
			t.Errorf("an append took %v to its reader, the trip takes 5 ms", took)
		}
	})
}
