package udp

import (
	"net"
)

// Listen opens a UDP socket as net.ListenUDP does. What it returns is what a
// quic.Transport is to be given: it has all methods of a *net.UDPConn.
func Listen(network string, addr *net.UDPAddr) (net.PacketConn, error) {
	c, err := net.ListenUDP(network, addr)
	if err != nil {
		return nil, err
	}
	return gather(c), nil
}
