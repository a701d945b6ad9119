//go:build !linux

package udp

import "net"

// gather is c: only Linux gathers.
func gather(c *net.UDPConn) net.PacketConn { return c }
