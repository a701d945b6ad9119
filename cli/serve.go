package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/node"
)

func (a *app) serveCommand() *cli.Command {
	return &cli.Command{
		Name:  "serve",
		Usage: "run a node",
		Description: "Without flags: one node with both roles on loopback, data in ./rustmq-data, objects in ./rustmq-data/objects, and a certificate\n" +
			"authority of its own in ./rustmq-data/pki which client commands of the same user trust, for it leaves them a profile.\n" +
			"SIGTERM drains and exits 0; a second one exits at once.\n\n" +
			"Example: rustmq serve --data-dir /var/lib/rustmq --listen 0.0.0.0:9092 --advertise broker.example.org:9092",
		Flags:  append([]cli.Flag{configFileFlag()}, settingFlags()...),
		Action: a.serve,
	}
}

func configFileFlag() cli.Flag {
	return &cli.StringFlag{Name: "config", Usage: "TOML `FILE` with settings [$RUSTMQ_CONFIG]"}
}

// settingFlags are the settings that have a flag.
func settingFlags() []cli.Flag {
	var flags []cli.Flag
	for _, s := range node.Settings() {
		if s.Flag == "" {
			continue
		}
		usage := fmt.Sprintf("%s [$%s]", strings.ReplaceAll(s.Doc, "`", ""), s.Env)
		if s.Type == "list" {
			flags = append(flags, &cli.StringSliceFlag{Name: s.Flag, Usage: "May be repeated. " + usage, DefaultText: s.Default})
			continue
		}
		flags = append(flags, &cli.StringFlag{Name: s.Flag, Usage: usage, DefaultText: s.Default})
	}
	return flags
}

// loadConfig reads all sources of settings. What is wrong there is a usage error.
func (a *app) loadConfig(c *cli.Context) (*node.Loaded, error) {
	flags := map[string]any{}
	for _, s := range node.Settings() {
		switch {
		case s.Flag == "" || !c.IsSet(s.Flag):
		case s.Type == "list":
			flags[s.Key] = c.StringSlice(s.Flag)
		default:
			flags[s.Key] = c.String(s.Flag)
		}
	}
	loaded, err := node.Load(node.Sources{File: or(c.String("config"), a.env("RUSTMQ_CONFIG")), Environ: a.environ, Flags: flags})
	if err != nil {
		return nil, usagef("%v", err)
	}
	return loaded, nil
}

func (a *app) serve(c *cli.Context) error {
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	loaded, err := a.loadConfig(c)
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	defer signal.Stop(signals)

	logger := newLogger(a.stderr, loaded.Log)
	// A signal during the start ends it; what was started is closed by Start itself.
	starting, stop := context.WithCancel(c.Context)
	defer stop()
	type outcome struct {
		node *node.Node
		err  error
	}
	started := make(chan outcome, 1)
	go func() {
		n, err := node.Start(starting, loaded.Config, logger)
		started <- outcome{n, err}
	}()
	var n *node.Node
	select {
	case o := <-started:
		if o.err != nil {
			return fmt.Errorf("start node %d in %s: %w", loaded.Node.ID, loaded.Node.DataDir, o.err)
		}
		n = o.node
	case <-signals:
		stop()
		if o := <-started; o.err == nil {
			return closeNode(o.node, loaded.Config, signals)
		}
		return nil
	}
	a.announce(n, loaded.Config, logger)
	select {
	case <-signals:
		logger.Info("draining", "timeout", loaded.Server.DrainTimeout)
		return closeNode(n, loaded.Config, signals)
	case <-c.Context.Done():
		return closeNode(n, loaded.Config, signals)
	case err := <-n.Done():
		return errors.Join(fmt.Errorf("node %d stopped: %w", loaded.Node.ID, err), closeNode(n, loaded.Config, signals))
	}
}

// closeNode drains for as long as the configuration says, or until the next signal.
func closeNode(n *node.Node, cfg node.Config, signals <-chan os.Signal) error {
	ctx, cancel := context.WithTimeout(context.Background(), cfg.Server.DrainTimeout)
	defer cancel()
	closed := make(chan error, 1)
	go func() { closed <- n.Close(ctx) }()
	select {
	case err := <-closed:
		if mq.CodeOf(err) == mq.RequestTimedOut {
			return nil // not all clients went by themselves: they were told, and lose nothing
		}
		return err
	case <-signals:
		return errors.New("stopped at once by the second signal")
	}
}

// announce prints where the node is to be found, and leaves a profile for client
// commands when it has an authority of its own.
func (a *app) announce(n *node.Node, cfg node.Config, logger *slog.Logger) {
	dir, err := filepath.Abs(cfg.Node.DataDir)
	if err != nil {
		dir = cfg.Node.DataDir
	}
	fmt.Fprintf(a.stdout, "rustmq %s, node %d of cluster %s\n", node.Version(), cfg.Node.ID, n.ClusterID())
	fmt.Fprintf(a.stdout, "  clients  %s (QUIC)\n", n.Addr())
	if nodes := n.RPCAddr(); nodes != nil {
		fmt.Fprintf(a.stdout, "  nodes    %s\n", nodes)
	}
	fmt.Fprintf(a.stdout, "  data     %s\n", dir)
	if cfg.ObjectStore.URL != "" {
		fmt.Fprintf(a.stdout, "  objects  %s\n", cfg.Tree()["object_store"]["url"])
	}
	fmt.Fprintf(a.stdout, "  console  http://%s/\n", n.AdminAddr())
	if cfg.PKI.Dir == "" {
		name, one := nodeProfile(n.Addr(), cfg.Server.Advertise, n.CAFile())
		if path, err := a.writeProfile(name, one); err != nil {
			logger.Warn("client commands will need --ca", "ca", one.CA, "err", err)
		} else if path != "" {
			fmt.Fprintf(a.stdout, "  profile  %s in %s\n", name, path)
		}
	}
	fmt.Fprintln(a.stdout, "ready")
}

// nodeProfile is the profile for a node of this machine: "local" on the default
// port, with the port's number on another.
func nodeProfile(addr net.Addr, advertise []string, ca string) (string, profile) {
	if abs, err := filepath.Abs(ca); err == nil {
		ca = abs
	}
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return "local", profile{Server: []string{client.DefaultServer}, CA: ca}
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	server := []string{net.JoinHostPort(host, port)}
	if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
		server = append(server, net.JoinHostPort("localhost", port))
	}
	for _, other := range advertise {
		if other != server[0] {
			server = append(server, other)
		}
	}
	if server[0] == client.DefaultServer {
		return "local", profile{Server: server, CA: ca}
	}
	return "local-" + strings.NewReplacer(":", "-", ".", "-").Replace(port), profile{Server: server, CA: ca}
}

func newLogger(w io.Writer, cfg node.LogConfig) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Level)); err != nil {
		level = slog.LevelInfo
	}
	opts := &slog.HandlerOptions{Level: level}
	if cfg.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}
