package udp

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

const (
	// pieceBytes is the largest piece that a socket gives, bytes: the largest UDP payload.
	pieceBytes = 64 << 10
	// controlBytes is room for the control messages of a piece, bytes: size of its packets, ECN bits and destination.
	controlBytes = 128
)

// conn is a UDP socket with UDP_GRO.
type conn struct {
	*net.UDPConn

	// The reader's own: the piece that is being given out.
	piece   [pieceBytes]byte
	control [controlBytes]byte
	rest    []byte // of piece, not given out yet
	size    int    // of each packet in rest but the last, which may be smaller, bytes
	oob     []byte // of control, for each packet
	flags   int
	from    netip.AddrPort
	addr    *net.UDPAddr // from, shared by all packets and never written to
}

// gather has the kernel give the socket whole pieces, if it can.
func gather(c *net.UDPConn) net.PacketConn {
	raw, err := c.SyscallConn()
	if err != nil {
		return c
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_GRO, 1)
	})
	if err != nil || failed != nil {
		return c
	}
	return &conn{UDPConn: c}
}

// ReadBatch fills ms, from the first on, with the packets of one piece, or the
// rest of one, and returns how many messages it filled. It waits for at least one. A packet
// larger than its message's buffer is cut, as by recvmsg. quic-go calls it in the place of its own.
func (c *conn) ReadBatch(ms []ipv4.Message, _ int) (int, error) {
	if len(c.rest) == 0 {
		if err := c.fetch(); err != nil {
			return 0, err
		}
		if len(c.rest) == 0 { // an empty datagram
			c.give(&ms[0], nil)
			return 1, nil
		}
	}
	n := 0
	for n < len(ms) && len(c.rest) > 0 {
		size := min(c.size, len(c.rest))
		c.give(&ms[n], c.rest[:size])
		c.rest = c.rest[size:]
		n++
	}
	return n, nil
}

// give puts one packet into m.
func (c *conn) give(m *ipv4.Message, packet []byte) {
	m.N = copy(m.Buffers[0], packet)
	m.NN = copy(m.OOB, c.oob)
	m.Flags, m.Addr = c.flags, c.addr
}

// fetch waits for the next piece.
func (c *conn) fetch() error {
	n, oobn, flags, from, err := c.ReadMsgUDPAddrPort(c.piece[:], c.control[:])
	if err != nil {
		return err
	}
	c.rest, c.oob, c.flags = c.piece[:n], c.control[:oobn], flags
	c.size = packetSize(c.oob, n)
	if from != c.from || c.addr == nil {
		c.from, c.addr = from, net.UDPAddrFromAddrPort(from)
	}
	return nil
}

// packetSize is the size of the packets that a piece of n bytes consists of, as its control messages say: n if they do not, then it is one packet.
func packetSize(control []byte, n int) int {
	for len(control) >= unix.SizeofCmsghdr { // of less the parser would read what lies behind
		head, body, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			break
		}
		if head.Level == unix.SOL_UDP && head.Type == unix.UDP_GRO && len(body) >= 4 {
			if size := int(binary.NativeEndian.Uint32(body)); size > 0 && size < n {
				return size
			}
		}
		control = rest
	}
	return n
}
