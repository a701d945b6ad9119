package node

import (
	"context"
	"net"

	"github.com/rustmq/rustmq/quicproto/udp"
)

// Network is where a node's listeners are, and how it reaches other nodes. The admin listener is always the machine's.
type Network interface {
	// Listen opens the listener for nodes, host:port.
	Listen(addr string) (net.Listener, error)
	// Dial reaches another node's. An error that is ECONNREFUSED says that nothing listens there.
	Dial(ctx context.Context, addr string) (net.Conn, error)
	// ListenPacket opens the clients' socket.
	ListenPacket(addr *net.UDPAddr) (net.PacketConn, error)
	// ListenClients opens the clients' listener for TCP, host:port: that of their socket. Nil without an error is a network that has none.
	ListenClients(addr string) (net.Listener, error)
}

// machineNetwork is that of the machine.
type machineNetwork struct{}

// Listen implements Network.
func (machineNetwork) Listen(addr string) (net.Listener, error) { return net.Listen("tcp", addr) }

// ListenClients implements Network.
func (machineNetwork) ListenClients(addr string) (net.Listener, error) {
	return net.Listen("tcp", addr)
}

// Dial implements Network.
func (machineNetwork) Dial(ctx context.Context, addr string) (net.Conn, error) {
	return (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", addr)
}

// ListenPacket implements Network.
func (machineNetwork) ListenPacket(addr *net.UDPAddr) (net.PacketConn, error) {
	return udp.Listen("udp", addr)
}
