package server_test

import (
	"context"
	"crypto/tls"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/server"
)

func TestSessionsSendWithSegmentationOffload(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has it")
	}
	f := start(t, server.Limits{})
	if _, conn := f.overQUIC(t); !conn.ConnectionState().GSO {
		t.Skip("this kernel has it not")
	}
	if !f.GSO() {
		t.Error("the server's socket lost it: what wraps it?")
	}
}

func TestAFailedSocketIsToldAndEndsTheServer(t *testing.T) {
	f := start(t, server.Limits{})
	f.overQUIC(t)
	f.Kill()
	<-f.Done()
	if mq.CodeOf(f.Err()) != mq.NetworkException {
		t.Errorf("got %v", f.Err())
	}
}

func TestAClientOfADeadProcessLearnsOfItsDeathFromTheNext(t *testing.T) {
	f := start(t, server.Limits{}, func(c *server.Config) { c.ResetKey = &[32]byte{1, 2, 3} })
	_, conn := f.overQUIC(t)
	addr := f.Addr().String()
	f.Kill()
	cfg := f.config(t, server.Limits{}, func(c *server.Config) { c.ResetKey = &[32]byte{1, 2, 3} })
	next, err := server.Listen(addr, cfg)
	must(t, err)
	defer next.Close()
	st, err := conn.OpenStream()
	must(t, err)
	_, err = st.Write(make([]byte, 1000))
	must(t, err)
	select {
	case <-conn.Context().Done():
	case <-time.After(testTimeout):
		t.Fatal("the client still believes in its connection")
	}
	var reset *quic.StatelessResetError
	if err := context.Cause(conn.Context()); !errors.As(err, &reset) {
		t.Errorf("ended with %v", err)
	}
}

func TestListenRefusesWhatCannotWork(t *testing.T) {
	f := start(t, server.Limits{})
	good := f.config(t, server.Limits{})
	noTLS, noBroker := good, good
	noTLS.TLS, noBroker.Broker = nil, nil
	for name, try := range map[string]func() (*server.Server, error){
		"no address":        func() (*server.Server, error) { return server.Listen("nowhere", good) },
		"an address in use": func() (*server.Server, error) { return server.Listen(f.Addr().String(), good) },
		"no TLS":            func() (*server.Server, error) { return server.Listen("127.0.0.1:0", noTLS) },
		"no broker":         func() (*server.Server, error) { return server.Listen("127.0.0.1:0", noBroker) },
	} {
		if s, err := try(); mq.CodeOf(err) != mq.InvalidConfig || s != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCertificatesMayBeChosenPerHandshake(t *testing.T) {
	f := start(t, server.Limits{}, func(c *server.Config) {
		own := c.TLS.Clone()
		own.MinVersion, own.NextProtos = tls.VersionTLS12, nil // the server knows better
		c.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return own, nil }}
	})
	if cs := f.dial(t).conn.TLS(); cs.Version != tls.VersionTLS13 || cs.NegotiatedProtocol != quicproto.ALPN {
		t.Errorf("got %+v", cs)
	}
	if _, conn := f.overQUIC(t); conn.ConnectionState().Used0RTT || conn.ConnectionState().SupportsDatagrams.Remote {
		t.Errorf("got %+v", conn.ConnectionState())
	}
}

func TestReceiveWindowsGrowOnlyWithinTheirBudget(t *testing.T) {
	f := start(t, server.Limits{InitialWindowBytes: 32 << 10, TotalWindowGrowth: 100 << 10})
	topic := f.broker.add("t", 1)
	topic.partitions[0].discard = true
	c, conn := f.overQUIC(t)
	s := c.open(&quicproto.OpenProduce{})
	s.bind(1, "t")
	const n = 200
	go func() {
		w := quicproto.NewFrameWriter(s.st)
		for i := range uint64(n) {
			if w.WriteProduce(produce(i, 1, 0, batch(50_000))) != nil {
				return
			}
		}
		_ = w.Flush()
	}()
	s.acks(n)
	if grown, _ := f.Growth(); grown > 100<<10 {
		t.Errorf("windows grew by %d bytes", grown)
	}
	conn.CloseWithError(0, "")
	eventually(t, "growth is given back", func() bool {
		grown, sessions := f.Growth()
		return grown == 0 && sessions == 0
	})
}
