package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/sync/errgroup"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

const (
	// perSocket is how many connections share a socket of this program.
	perSocket = 500
	// dials is how many handshakes are under way at a time.
	dials = 16
)

// manyConnections opens sessions, each after Hello and Welcome, that then only keep alive.
func manyConnections(ctx context.Context, s *server) ([]figure, error) {
	before, err := s.rss()
	if err != nil {
		return nil, err
	}
	config, err := s.clientTLS()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	transports := make([]*quic.Transport, (*connections+perSocket-1)/perSocket)
	for i := range transports {
		socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return nil, err
		}
		defer socket.Close()
		transports[i] = &quic.Transport{Conn: socket}
		defer transports[i].Close()
	}
	conns := make([]*quic.Conn, *connections)
	var lost atomic.Int64
	group, dialing := errgroup.WithContext(ctx)
	group.SetLimit(dials)
	for i := range conns {
		group.Go(func() error {
			conn, err := session(dialing, transports[i%len(transports)], s.addr, config)
			if err != nil {
				return fmt.Errorf("connection %d: %w", i, err)
			}
			context.AfterFunc(conn.Context(), func() { lost.Add(1) })
			conns[i] = conn
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	took := time.Since(began)
	time.Sleep(*settle)
	figures, err := s.rest(fmt.Sprintf("%d idle connections", *connections), 1.2*1024)
	if n := lost.Load(); err == nil && n > 0 {
		err = fmt.Errorf("%d connections were lost", n)
	}
	if len(figures) > 0 {
		figures = append(figures,
			figure{name: "  each", value: (figures[0].value - before) * 1024 / float64(*connections), unit: "KiB"},
			figure{name: "  to connect all", value: took.Seconds(), unit: "s"})
	}
	for _, conn := range conns {
		_ = conn.CloseWithError(quic.ApplicationErrorCode(quicproto.ErrorCode(mq.None)), "")
	}
	return figures, err
}

func (s *server) clientTLS() (*tls.Config, error) {
	pem, err := os.ReadFile(s.caFile())
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no certificate in %s", s.caFile())
	}
	return &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", NextProtos: []string{quicproto.ALPN}, MinVersion: tls.VersionTLS13}, nil
}

// session connects and shakes hands.
func session(ctx context.Context, t *quic.Transport, addr string, config *tls.Config) (*quic.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	to, err := net.ResolveUDPAddr("udp4", addr)
	if err != nil {
		return nil, err
	}
	conn, err := t.Dial(ctx, to, config, &quic.Config{MaxIdleTimeout: 30 * time.Second, KeepAlivePeriod: 10 * time.Second})
	if err != nil {
		return nil, err
	}
	control, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	hello := quicproto.Hello{MinVersion: quicproto.MinVersion, MaxVersion: quicproto.MaxVersion, Software: "scale"}
	if _, err := control.Write(quicproto.AppendFrame(nil, &hello)); err != nil {
		return nil, err
	}
	f, err := quicproto.NewFrameReader(control, 0).Read()
	if err != nil {
		return nil, err
	}
	if _, ok := f.(*quicproto.Welcome); !ok {
		return nil, fmt.Errorf("%v for an answer to Hello", f.Type())
	}
	return conn, nil
}
