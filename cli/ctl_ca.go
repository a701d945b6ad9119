package cli

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/node"
	"github.com/rustmq/rustmq/pki"
	"github.com/rustmq/rustmq/pki/join"
)

func (a *app) ctlCACommand() *cli.Command {
	return &cli.Command{
		Name:  "ca",
		Usage: "the authority that issues the certificates of a cluster's nodes",
		Subcommands: []*cli.Command{
			{
				Name: "init", Usage: "make a cluster's id and its authority, before there is any node",
				Description: "DIR is created, or is empty. Clients trust its ca.crt. Whoever has its ca.key can make nodes: keep it where certificates are\n" +
					"issued and nowhere else.\n\nExample: rustmq ctl ca init --dir ca",
				Flags:  []cli.Flag{&cli.StringFlag{Name: "dir", Usage: "`DIR` of the authority"}, outputFlag()},
				Action: a.ctlCAInit,
			},
			{
				Name: "node", Usage: "issue the certificate of one node, for serve --pki",
				Description: "It needs no server. The directory that --out names gets ca.crt, node.crt and node.key: bring it to the node. Clients believe the node on\n" +
					"localhost and on the hosts that are named here; other nodes believe its id and its cluster's, wherever it runs.\n\n" +
					"Example: rustmq ctl ca node --dir ca --node-id 2 --host broker2.example.org --out node2",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "dir", Usage: "`DIR` of the authority, as ctl ca init made it"},
					&cli.IntFlag{Name: "node-id", Usage: "`ID` of the node, 1 or more"},
					&cli.StringSliceFlag{Name: "host", Usage: "`HOST` or IP address that clients dial; may be repeated"},
					&cli.StringFlag{Name: "out", Usage: "`DIR` to write to, which is created"},
					&cli.BoolFlag{Name: "renew", Usage: "replace the certificate of the same node that is there; a node that runs takes it up by itself"},
					outputFlag(),
				},
				Action: a.ctlCANode,
			},
			{
				Name: "join-token", Usage: "let one new node fetch its certificate, once, with serve --join",
				Description: "It asks a node, any of them, in the name of the node whose directory of certificates --pki names: run it on that one's machine. The cluster\n" +
					"keeps the token, and every node takes it. Whoever has it can become the new node until it is used or has expired. A node that has the\n" +
					"authority's key has to run when it is used.\n\n" +
					"Example: rustmq ctl ca join-token --pki node1 --node-id 4 --address broker1.example.org:9093",
				Flags: []cli.Flag{
					&cli.IntFlag{Name: "node-id", Usage: "`ID` of the new node, 1 or more"},
					&cli.StringFlag{Name: "pki", Value: "rustmq-data/pki", Usage: "`DIR` with the certificate and the key of a node"},
					&cli.StringFlag{Name: "rpc", Value: "127.0.0.1:9093", Usage: "`HOST:PORT` of the listener for nodes of any node"},
					&cli.StringFlag{Name: "address", Usage: "`HOST:PORT` where the new node finds that listener, or another node's (default: as --rpc)"},
					&cli.DurationFlag{Name: "ttl", Value: time.Hour, Usage: "`TIME` that the token is good for, 7 days at most"},
					outputFlag(),
				},
				Action: a.ctlCAJoinToken,
			},
		},
	}
}

// authorityReport is an authority that was made.
type authorityReport struct {
	ClusterID   string    `json:"cluster_id"`
	CA          string    `json:"ca_file"`
	Fingerprint string    `json:"ca_sha256"`
	NotAfter    time.Time `json:"not_after"`
}

func (a *app) ctlCAInit(c *cli.Context) error {
	if err := ctlUsage(c, "dir"); err != nil {
		return err
	}
	cluster, err := mq.NewClusterID(rand.Reader)
	if err != nil {
		return fmt.Errorf("draw a cluster id: %w", err)
	}
	made, err := pki.NewAuthority(c.String("dir"), cluster, time.Now())
	if err != nil {
		return mq.Wrapf(err, "make an authority")
	}
	r := authorityReport{made.Cluster().String(), made.CAFile(), made.Fingerprint().String(), made.NotAfter().UTC()}
	return a.show(c, r, func(w io.Writer) {
		row(w, "cluster id", r.ClusterID)
		row(w, "trust", r.CA)
		row(w, "sha256", r.Fingerprint)
		row(w, "good until", r.NotAfter.Format(time.RFC3339))
	})
}

// certificateReport is a node's certificate that was issued.
type certificateReport struct {
	ClusterID string    `json:"cluster_id"`
	NodeID    int       `json:"node_id"`
	Hosts     []string  `json:"hosts"`
	Dir       string    `json:"dir"`
	NotAfter  time.Time `json:"not_after"`
}

// loopbackHosts are in every certificate: whoever is on the node's machine reaches it by them.
var loopbackHosts = []string{"localhost", "127.0.0.1", "::1"}

func (a *app) ctlCANode(c *cli.Context) error {
	if err := ctlUsage(c, "dir", "node-id", "out"); err != nil {
		return err
	}
	id := c.Int("node-id")
	if id < 1 || int(mq.NodeID(id)) != id {
		return usagef("node: --node-id is %d: it must be at least 1", id)
	}
	hosts := slices.Clone(loopbackHosts)
	for _, h := range c.StringSlice("host") {
		if !slices.Contains(hosts, h) {
			hosts = append(hosts, h)
		}
	}
	if err := pki.CheckHosts(hosts); err != nil {
		return usagef("node: --host: %v", err)
	}
	authority, err := pki.OpenAuthority(c.String("dir"), time.Now())
	if err != nil {
		return mq.Wrapf(err, "open the authority")
	}
	end, err := authority.Issue(c.String("out"), mq.NodeID(id), hosts, c.Bool("renew"), time.Now())
	if err != nil {
		return mq.Wrapf(err, "issue the certificate of node %d", id)
	}
	r := certificateReport{authority.Cluster().String(), id, hosts, c.String("out"), end.UTC()}
	return a.show(c, r, func(w io.Writer) {
		row(w, "cluster id", r.ClusterID)
		row(w, "node id", r.NodeID)
		row(w, "hosts", strings.Join(r.Hosts, ", "))
		row(w, "directory", r.Dir)
		row(w, "good until", r.NotAfter.Format(time.RFC3339))
	})
}

// tokenReport is a token that was made.
type tokenReport struct {
	Token       string    `json:"token"`
	ClusterID   string    `json:"cluster_id"`
	NodeID      int       `json:"node_id"`
	Address     string    `json:"address"`
	Fingerprint string    `json:"ca_sha256"`
	Expires     time.Time `json:"expires"`
}

func (a *app) ctlCAJoinToken(c *cli.Context) error {
	if err := ctlUsage(c, "node-id"); err != nil {
		return err
	}
	id, ttl := c.Int("node-id"), c.Duration("ttl")
	if id < 1 || int(mq.NodeID(id)) != id {
		return usagef("join-token: --node-id is %d: it must be at least 1", id)
	}
	if ttl < time.Second || ttl > join.MaxTTL {
		return usagef("join-token: --ttl is %s: it must be between 1s and %s", ttl, join.MaxTTL)
	}
	address := or(c.String("address"), c.String("rpc"))
	for _, addr := range []string{c.String("rpc"), address} {
		if err := join.CheckAddress(addr); err != nil {
			return usagef("join-token: %v", err)
		}
	}
	ctx, cancel := context.WithTimeout(c.Context, defaultTimeout)
	defer cancel()
	t, err := node.CreateToken(ctx, c.String("pki"), node.TokenRequest{Node: mq.NodeID(id), TTL: ttl, Server: c.String("rpc"), Address: address})
	if err != nil {
		return err
	}
	r := tokenReport{t.Text(), t.Cluster.String(), id, t.Address, t.Authority.String(), t.Expires.UTC()}
	return a.show(c, r, func(w io.Writer) { row(w, r.Token) })
}

// ctlUsage checks a command that takes no arguments, and flags that it cannot do without.
func ctlUsage(c *cli.Context, needed ...string) error {
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	if err := checkOutput(c); err != nil {
		return err
	}
	for _, name := range needed {
		if !c.IsSet(name) || c.String(name) == "" && c.Value(name) == "" {
			return usagef("%s: --%s is missing (see %s --help)", c.Command.Name, name, c.Command.HelpName)
		}
	}
	return nil
}
