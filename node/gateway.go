package node

import (
	"context"
	"net"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/gateway"
)

// openGateway opens what serves rustmq.v1, on a broker. It is a client of the cluster, which it enters through this node.
func (n *Node) openGateway(context.Context) (err error) {
	if n.seams.Headless || !n.servesClients() || !n.cfg.Admin.Services {
		return nil
	}
	transport := client.QUIC
	if n.listener != nil {
		transport = client.TCP // between brokers there is nothing in the way of it, and it is several times cheaper
	}
	n.gateway, err = gateway.New(gateway.Config{
		Node: n.id.Node, Software: Software + " " + Version(), Logger: n.logger,
		Cluster: []client.Option{
			client.Servers(here(n.Addr())), client.TLSConfig(n.certs.ClientTLS()), client.Transport(transport), client.Rack(n.cfg.Node.Rack),
		},
	})
	if err != nil {
		return err
	}
	n.onClose(n.gateway.Shutdown)
	return nil
}

// here is an address at which a listener of this machine is reached from it.
func here(addr net.Addr) string {
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return addr.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip.To4() == nil {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, port)
}
