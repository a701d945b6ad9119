package bench

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"time"

	"github.com/quic-go/quic-go"
)

const boundALPN = "rustmq-bound"

// loopbackTLS makes the two ends of a TLS 1.3 connection of this process to itself.
func loopbackTLS() (server, client *tls.Config, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	server = &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{boundALPN},
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
	}
	client = &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{boundALPN}, RootCAs: pool, ServerName: "127.0.0.1"}
	return server, client, nil
}

// quicPair is n QUIC connections from this process to itself: one listener, and
// a socket of its own for each connection.
type quicPair struct {
	listener *quic.Listener
	server   *quic.Transport
	sockets  []*quic.Transport
	conns    []*quic.Conn
}

func newQUICPair(ctx context.Context, n int, serve func(*quic.Conn)) (*quicPair, error) {
	serverTLS, clientTLS, err := loopbackTLS()
	if err != nil {
		return nil, err
	}
	sock, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, fmt.Errorf("open the server socket of the QUIC bound: %w", err)
	}
	p := &quicPair{server: &quic.Transport{Conn: sock}}
	cfg := &quic.Config{
		MaxIncomingStreams:             4096,
		InitialStreamReceiveWindow:     4 << 20,
		MaxStreamReceiveWindow:         16 << 20,
		InitialConnectionReceiveWindow: 8 << 20,
		MaxConnectionReceiveWindow:     32 << 20,
	}
	if p.listener, err = p.server.Listen(serverTLS, cfg); err != nil {
		return nil, firstError(err, p.Close())
	}
	go func() {
		for {
			conn, err := p.listener.Accept(context.Background())
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	for range n {
		udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return nil, firstError(err, p.Close())
		}
		tr := &quic.Transport{Conn: udp}
		p.sockets = append(p.sockets, tr)
		conn, err := tr.Dial(ctx, sock.LocalAddr(), clientTLS, cfg)
		if err != nil {
			return nil, firstError(fmt.Errorf("dial the QUIC bound: %w", err), p.Close())
		}
		p.conns = append(p.conns, conn)
	}
	return p, nil
}

// Close ends the connections, then the listener and the sockets.
func (p *quicPair) Close() error {
	var errs []error
	for _, c := range p.conns {
		errs = append(errs, c.CloseWithError(0, ""))
	}
	if p.listener != nil {
		errs = append(errs, p.listener.Close())
	}
	for _, t := range append(p.sockets, p.server) {
		errs = append(errs, t.Close(), t.Conn.Close())
	}
	return firstError(errs...)
}
