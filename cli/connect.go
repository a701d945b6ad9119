package cli

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
)

const defaultTimeout = 30 * time.Second

// connectFlags are how a client command finds the cluster. The key file of
// produce has its long name only: --key is the record's there.
func connectFlags(keyNames ...string) []cli.Flag {
	const category = "Connection"
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "server", Category: category, Usage: "`HOST:PORT` of a server, may be repeated (default 127.0.0.1:9092) [$RUSTMQ_SERVER]"},
		&cli.StringFlag{Name: "profile", Category: category, Usage: "`NAME` of a table in ~/.config/rustmq/profiles.toml [$RUSTMQ_PROFILE]"},
		&cli.StringFlag{Name: "ca", Category: category, Usage: "PEM `FILE` of the authority to trust (default: that of the profile which names the server) [$RUSTMQ_CA]"},
		&cli.StringFlag{Name: "cert", Category: category, Usage: "PEM `FILE` of the certificate to show [$RUSTMQ_CERT]"},
		&cli.StringFlag{Name: keyNames[0], Aliases: keyNames[1:], Category: category, Usage: "PEM `FILE` of its key [$RUSTMQ_KEY]"},
		&cli.StringFlag{Name: "rack", Category: category, Usage: "`NAME` of the rack where this client stands: what only the object store has is read from brokers of that rack [$RUSTMQ_RACK]"},
		&cli.StringFlag{Name: "transport", Category: category, Usage: "`KIND`: auto (QUIC, and TCP where UDP does not get through), quic or tcp (default auto) [$RUSTMQ_TRANSPORT]"},
		&cli.DurationFlag{Name: "timeout", Category: category, Usage: "`TIME` after which a request, or a record's delivery, has failed (default 30s; 2m for produce) [$RUSTMQ_TIMEOUT]"},
	}
}

// connection is what the connection flags, the environment and the profile say.
type connection struct {
	profile
	timeout time.Duration
	over    client.TransportKind
}

// connection resolves: a flag is stronger than the environment, which is stronger than the profile. Without a
// profile's name it is the one that names a server that was given, or the file's default, or the one that names
// the default server.
func (a *app) connection(c *cli.Context, fallback time.Duration) (connection, error) {
	conn := connection{timeout: c.Duration("timeout")}
	if text := a.env("RUSTMQ_TIMEOUT"); conn.timeout == 0 && text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			return conn, usagef("RUSTMQ_TIMEOUT is %q: write a duration like 30s", text)
		}
		conn.timeout = d
	}
	if conn.timeout < 0 {
		return conn, usagef("--timeout %s is negative", conn.timeout)
	}
	if conn.timeout == 0 {
		conn.timeout = fallback
	}
	servers := c.StringSlice("server")
	if len(servers) == 0 {
		servers = splitList(a.env("RUSTMQ_SERVER"))
	}
	file, err := a.readProfiles()
	if err != nil {
		return conn, err
	}
	if conn.profile, err = file.choose(or(c.String("profile"), a.env("RUSTMQ_PROFILE")), servers); err != nil {
		return conn, err
	}
	if len(servers) > 0 {
		conn.Server = servers
	}
	if len(conn.Server) == 0 {
		conn.Server = []string{client.DefaultServer}
	}
	conn.CA = or(c.String("ca"), a.env("RUSTMQ_CA"), conn.CA)
	conn.Cert = or(c.String("cert"), a.env("RUSTMQ_CERT"), conn.Cert)
	conn.Key = or(c.String("key-file"), a.env("RUSTMQ_KEY"), conn.Key)
	conn.Rack = or(c.String("rack"), a.env("RUSTMQ_RACK"), conn.Rack)
	conn.Transport = or(c.String("transport"), a.env("RUSTMQ_TRANSPORT"), conn.Transport)
	if conn.Transport != "" {
		if conn.over, err = client.ParseTransport(conn.Transport); err != nil {
			return conn, usagef("%v", err)
		}
	}
	if (conn.Cert == "") != (conn.Key == "") {
		return conn, usagef("a certificate and its key go together: --cert and --key-file")
	}
	return conn, nil
}

func (p *profiles) choose(name string, servers []string) (profile, error) {
	switch {
	case name != "":
		return p.named(name)
	case len(servers) == 0 && p.def != "":
		return p.named(p.def)
	case len(servers) == 0:
		servers = []string{client.DefaultServer}
	}
	one, _ := p.serving(servers)
	return one, nil
}

// options are the client's.
func (conn connection) options() []client.Option {
	opts := []client.Option{client.Servers(conn.Server...), client.ClientID("rustmq-cli"), client.RequestTimeout(conn.timeout), client.Transport(conn.over)}
	if conn.Rack != "" {
		opts = append(opts, client.Rack(conn.Rack))
	}
	if conn.CA != "" {
		opts = append(opts, client.CAFile(conn.CA))
	}
	if conn.Cert != "" {
		opts = append(opts, client.CertKey(conn.Cert, conn.Key))
	}
	return opts
}

// withClient runs f with a client, and with a context that ends at the timeout.
func (a *app) withClient(c *cli.Context, f func(ctx context.Context, cl *client.Client) error) error {
	conn, err := a.connection(c, defaultTimeout)
	if err != nil {
		return err
	}
	cl, err := client.New(conn.options()...)
	if err != nil {
		return usageIfInvalid(err)
	}
	ctx, cancel := context.WithTimeout(c.Context, conn.timeout)
	defer cancel()
	err = conn.explain(f(ctx, cl))
	return errors.Join(err, cl.Close())
}

// explain adds what helps when nothing answers.
func (conn connection) explain(err error) error {
	if answered(err) {
		return err
	}
	switch mq.CodeOf(err) {
	case mq.RequestTimedOut, mq.NetworkException:
		return mq.Wrapf(err, "no answer from %s in %s (is it running? rustmq serve)", strings.Join(conn.Server, ", "), conn.timeout)
	}
	return err
}

// answered says whether an error holds what a server said: the last trouble of a request that was tried again until its time was up.
func answered(err error) bool {
	switch e := err.(type) { //nolint:errorlint // it unwraps by itself, below
	case *mq.Error:
		switch e.Code {
		case mq.RequestTimedOut, mq.NetworkException, mq.Canceled:
		default:
			return true
		}
	case nil:
		return false
	}
	switch e := err.(type) { //nolint:errorlint // this is the unwrapping
	case interface{ Unwrap() error }:
		return answered(e.Unwrap())
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(e.Unwrap(), answered)
	}
	return false
}

// usageIfInvalid makes a usage error of an option that the client refused.
func usageIfInvalid(err error) error {
	switch mq.CodeOf(err) {
	case mq.InvalidConfig, mq.InvalidRequiredAcks, mq.UnsupportedCompression:
		return usagef("%v", err)
	}
	return err
}

// or is the first text that is not empty.
func or(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}

func splitList(text string) []string {
	var list []string
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}
