package udp

import (
	"bytes"
	"net"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// A server's socket takes both families, and QUIC asks for all control messages of both. A packet of IPv4 on it has 120 bytes of them.
func TestBothFamiliesComeWithAllTheirControlMessages(t *testing.T) {
	if v6, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback}); err != nil {
		t.Skip("this machine has no IPv6")
	} else {
		v6.Close()
	}
	pc, err := Listen("udp", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	c := pc.(*conn)
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	options := map[string][2]int{
		"IP_RECVTOS": {unix.IPPROTO_IP, unix.IP_RECVTOS}, "IPV6_RECVTCLASS": {unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS},
		"IP_PKTINFO": {unix.IPPROTO_IP, unix.IP_PKTINFO}, "IPV6_RECVPKTINFO": {unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO},
	}
	err = raw.Control(func(fd uintptr) {
		for name, o := range options {
			if err := unix.SetsockoptInt(int(fd), o[0], o[1], 1); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	port := c.LocalAddr().(*net.UDPAddr).Port
	for _, ip := range []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback} {
		from, err := net.ListenUDP("udp", &net.UDPAddr{IP: ip})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { from.Close() })
		segmented(t, from, &net.UDPAddr{IP: ip, Port: port}, bytes.Repeat([]byte("x"), 450), 100)
		ms := make([]ipv4.Message, batchSize)
		for i := range ms {
			ms[i].Buffers, ms[i].OOB = [][]byte{make([]byte, bufferBytes)}, make([]byte, 128)
		}
		n, err := c.ReadBatch(ms, 0)
		if err != nil || n != 5 || ms[4].N != 50 {
			t.Fatalf("from %v: %d packets, the last of %d bytes, %v", ip, n, ms[max(n, 1)-1].N, err)
		}
		for i, m := range ms[:n] {
			if m.Flags&unix.MSG_CTRUNC != 0 {
				t.Errorf("from %v: the control messages of packet %d were cut", ip, i)
			}
			if got := m.Addr.(*net.UDPAddr); !got.IP.Equal(ip) || got.Port != from.LocalAddr().(*net.UDPAddr).Port {
				t.Errorf("packet %d of %v came from %v", i, from.LocalAddr(), got)
			}
		}
	}
}
