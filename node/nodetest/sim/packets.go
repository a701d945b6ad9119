package sim

import (
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go/testutils/simnet"
)

// packets carries what clients and nodes say to each other.
type packets struct {
	simnet.PerfectRouter
	net *network

	mu   sync.Mutex
	next uint16 // port of the next client's socket
}

// mtu is the size of the largest packet that gets through, in bytes.
const mtu = 1400

// SendPacket implements simnet.Router. Each packet takes its own time.
func (p *packets) SendPacket(packet simnet.Packet) error {
	from, to := packet.From.(*net.UDPAddr), packet.To.(*net.UDPAddr)
	p.net.mu.Lock()
	lost := p.net.blocked(hostOf(from.IP), hostOf(to.IP)) || p.net.loss > 0 && p.net.rand.Float64() < p.net.loss
	pause := p.net.latency()
	p.net.mu.Unlock()
	if !lost && len(packet.Data) <= mtu {
		time.AfterFunc(pause, func() { _ = p.PerfectRouter.SendPacket(packet) }) // nobody is there: the packet is lost
	}
	return nil
}

// listen opens a socket, in place of whoever had the address before.
func (p *packets) listen(addr *net.UDPAddr) *simnet.SimConn {
	return simnet.NewBlockingSimConn(addr, p)
}

// dial is how a client reaches addr.
func (p *packets) dial(addr string) (net.PacketConn, net.Addr, error) {
	to, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return nil, nil, err
	}
	to.IP = to.IP.To4()
	p.mu.Lock()
	p.next++
	own := &net.UDPAddr{IP: addrOf(0), Port: int(1000 + p.next)}
	p.mu.Unlock()
	return p.listen(own), to, nil
}

// addrOf is a host's address, 10.0.0.HOST, and hostOf the host of an address.
func addrOf(host int) net.IP { return net.IPv4(10, 0, 0, byte(host)).To4() }

func hostOf(ip net.IP) int {
	if four := ip.To4(); four != nil {
		return int(four[3])
	}
	return 0
}
