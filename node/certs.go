package node

import (
	"context"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/pki"
)

// certified is the cluster that the node's certificate is of, or that of the authority which will issue it. It is the zero value
// for a node that is to make its own.
func (n *Node) certified() (mq.ClusterID, error) {
	if n.seams.Headless {
		return mq.ClusterID{}, nil
	}
	dir, node := n.cfg.PKIDir(), mq.NodeID(n.cfg.Node.ID)
	s, found, err := pki.ReadSubject(dir)
	switch {
	case err != nil:
		return mq.ClusterID{}, err
	case !found && n.cfg.PKI.Dir != "":
		return mq.ClusterID{}, mq.Errorf(mq.WrongDataDir, "there is no certificate in %s: issue one with `rustmq ctl ca node --node-id %d --out %s`", dir, node, dir)
	case s.Node != 0 && s.Node != node:
		return mq.ClusterID{}, mq.Errorf(mq.WrongDataDir, "the certificate in %s is that of node %d of cluster %s, and this is node %d: start with --node-id %d or name another directory",
			dir, s.Node, s.Cluster, node, s.Node)
	}
	return s.Cluster, nil
}

// openCertificates loads the node's certificate. One that is alone in its cluster makes it at the first start, with its authority.
func (n *Node) openCertificates(context.Context) error {
	if n.seams.Headless {
		return nil
	}
	subject := pki.Subject{Cluster: n.id.Cluster, Node: n.id.Node, Hosts: n.cfg.hosts()}
	var err error
	if n.certs, err = pki.Open(n.cfg.PKIDir(), subject, time.Now()); err != nil {
		return err
	}
	if lacks := n.certs.Lacks(); len(lacks) > 0 {
		n.logger.Warn("the certificate is not good for these hosts: clients that dial them do not believe this node",
			"hosts", strings.Join(lacks, " "), "dir", n.cfg.PKIDir())
	}
	return nil
}

// hosts are the names and addresses that clients of the node dial.
func (c *Config) hosts() []string {
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	dialled := c.Server.Advertise
	if len(dialled) == 0 {
		dialled = []string{c.Server.Listen}
		if addr, err := net.ResolveUDPAddr("udp", c.Server.Listen); err == nil {
			dialled = []string{addr.String()}
		}
	}
	for _, addr := range dialled {
		host, _, err := net.SplitHostPort(addr)
		if err != nil || host == "" || slices.Contains(hosts, host) {
			continue
		}
		if ip := net.ParseIP(host); ip == nil || !ip.IsUnspecified() {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

// CAFile is the certificate that a client has to trust.
func (n *Node) CAFile() string { return n.certs.CAFile() }
