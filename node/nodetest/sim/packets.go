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

// SendPacket implements simnet.Router.
func (p *packets) SendPacket(packet simnet.Packet) error {
	from, to := packet.From.(*net.UDPAddr), packet.To.(*net.UDPAddr)
	p.net.mu.Lock()
	lost := p.net.blocked(hostOf(from.IP), hostOf(to.IP)) || p.net.loss > 0 && p.net.rand.Float64() < p.net.loss
	p.net.mu.Unlock()
	if lost {
		return nil
	}
	_ = p.PerfectRouter.SendPacket(packet) // nobody is there: the packet is lost
	return nil
}

func (p *packets) latency(simnet.Packet) time.Duration {
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	return p.net.latency()
}

// listen opens a socket, in place of whoever had the address before.
func (p *packets) listen(addr *net.UDPAddr) *socket {
	link := &simnet.SimulatedLink{LatencyFunc: p.latency, UploadPacket: p}
	conn := simnet.NewBlockingSimConn(addr, link)
	link.Start()
	p.AddNode(addr, link)
	return &socket{SimConn: conn, link: link}
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

// socket closes its link with itself.
type socket struct {
	*simnet.SimConn
	link *simnet.SimulatedLink
	once sync.Once
}

// Close implements net.PacketConn.
func (s *socket) Close() error {
	err := s.SimConn.Close()
	s.once.Do(func() { _ = s.link.Close() })
	return err
}

// addrOf is a host's address, 10.0.0.HOST, and hostOf the host of an address.
func addrOf(host int) net.IP { return net.IPv4(10, 0, 0, byte(host)).To4() }

func hostOf(ip net.IP) int {
	if four := ip.To4(); four != nil {
		return int(four[3])
	}
	return 0
}
