package client

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"

	"github.com/rustmq/rustmq/quicproto"
)

// loadTLS reads the files that options named and returns what connections are dialled with.
func (c *config) loadTLS() (*tls.Config, error) {
	tc := &tls.Config{}
	if c.tls != nil {
		tc = c.tls.Clone()
	}
	tc.NextProtos = []string{quicproto.ALPN}
	tc.MinVersion = tls.VersionTLS13
	if c.caFile != "" {
		pem, err := os.ReadFile(c.caFile)
		if err != nil {
			return nil, invalid("read CA certificates: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, invalid("no PEM certificate in %s", c.caFile)
		}
		tc.RootCAs = pool
	}
	if c.certFile != "" {
		pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
		if err != nil {
			return nil, invalid("read client certificate %s and key %s: %w", c.certFile, c.keyFile, err)
		}
		tc.Certificates = []tls.Certificate{pair}
	}
	return tc, nil
}

// tlsFor is the TLS configuration for one server: its name is that of the address unless the user fixed one.
func (c *config) tlsFor(addr string) *tls.Config {
	if c.tls.ServerName != "" {
		return c.tls
	}
	tc := c.tls.Clone()
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = addr
	}
	tc.ServerName = host
	return tc
}
