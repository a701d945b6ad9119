package udp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// batchSize and bufferBytes are quic-go's.
const (
	batchSize   = 8
	bufferBytes = 1452
)

func listen(t *testing.T) (*conn, *net.UDPAddr) {
	t.Helper()
	pc, err := Listen("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	c, ok := pc.(*conn)
	if !ok {
		t.Fatalf("the socket is a %T: this kernel should know UDP_GRO", pc)
	}
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c, c.LocalAddr().(*net.UDPAddr)
}

func sender(t *testing.T) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// segmented sends a piece that the kernel is to take for packets of size bytes.
func segmented(t *testing.T, from *net.UDPConn, to *net.UDPAddr, piece []byte, size int) {
	t.Helper()
	oob := make([]byte, unix.CmsgSpace(2))
	head := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0]))
	head.Level, head.Type = unix.SOL_UDP, unix.UDP_SEGMENT
	head.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(oob[unix.CmsgLen(0):], uint16(size))
	if _, _, err := from.WriteMsgUDP(piece, oob, to); err != nil {
		t.Fatal(err)
	}
}

// read reads n packets as quic-go does, in batches. most is the largest number that one call gave.
func read(t *testing.T, c *conn, n int) (packets []string, most int) {
	t.Helper()
	ms := make([]ipv4.Message, batchSize)
	for len(packets) < n {
		for i := range ms {
			ms[i].Buffers, ms[i].OOB = [][]byte{make([]byte, bufferBytes)}, make([]byte, 128)
		}
		got, err := c.ReadBatch(ms, 0)
		if err != nil {
			t.Fatalf("after %d of %d packets: %v", len(packets), n, err)
		}
		most = max(most, got)
		for _, m := range ms[:got] {
			packets = append(packets, string(m.Buffers[0][:m.N]))
			if m.Addr.(*net.UDPAddr).Port == 0 {
				t.Fatalf("packet from %v", m.Addr)
			}
		}
	}
	if len(packets) > n {
		t.Fatalf("%d packets, %d were sent", len(packets), n)
	}
	return packets, most
}

func TestPiecesComeApartIntoThePacketsThatWereSent(t *testing.T) {
	c, to := listen(t)
	from := sender(t)
	var want []string
	piece := func(packets, size, last int) {
		var b []byte
		for i := range packets {
			n := size
			if i == packets-1 {
				n = last
			}
			p := bytes.Repeat([]byte(fmt.Sprintf("%04d", len(want))), size/4+1)[:n]
			want = append(want, string(p))
			b = append(b, p...)
		}
		segmented(t, from, to, b, size)
	}
	piece(14, 1400, 1400) // more than a batch
	piece(8, 1200, 17)    // just a batch, the last one short
	piece(20, 64, 1)
	for range 3 { // and packets sent alone
		p := fmt.Sprintf("alone %d", len(want))
		want = append(want, p)
		if _, err := from.WriteTo([]byte(p), to); err != nil {
			t.Fatal(err)
		}
	}
	got, most := read(t, c, len(want))
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("packet %d is %.20q of %d bytes, want %.20q of %d", i, got[i], len(got[i]), want[i], len(want[i]))
		}
	}
	if most != batchSize {
		t.Errorf("a call gave at most %d packets: nothing was gathered", most)
	}
}

func TestPacketsAreTheirSendersOwn(t *testing.T) {
	c, to := listen(t)
	a, b := sender(t), sender(t)
	for range 3 {
		segmented(t, a, to, bytes.Repeat([]byte("a"), 300), 100)
		segmented(t, b, to, bytes.Repeat([]byte("b"), 300), 100)
	}
	want := map[string]string{a.LocalAddr().String(): "a", b.LocalAddr().String(): "b"}
	ms := make([]ipv4.Message, batchSize)
	for n := 0; n < 18; {
		for i := range ms {
			ms[i].Buffers, ms[i].OOB = [][]byte{make([]byte, bufferBytes)}, make([]byte, 128)
		}
		got, err := c.ReadBatch(ms, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range ms[:got] {
			if text := string(m.Buffers[0][:1]); want[m.Addr.String()] != text {
				t.Fatalf("packet of %q came from %v", text, m.Addr)
			}
		}
		n += got
	}
}

func TestOddDatagramsAreGivenAsTheyAre(t *testing.T) {
	c, to := listen(t)
	from := sender(t)
	for _, n := range []int{0, 1, bufferBytes, bufferBytes + 1, 60000} {
		if _, err := from.WriteTo(make([]byte, n), to); err != nil {
			t.Fatal(err)
		}
		got, _ := read(t, c, 1)
		if want := min(n, bufferBytes); len(got[0]) != want {
			t.Errorf("a datagram of %d bytes came as %d, want %d", n, len(got[0]), want)
		}
	}
}

func TestControlMessagesComeWithEachPacket(t *testing.T) {
	c, to := listen(t)
	from := sender(t)
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVTOS, 1) }); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	rawFrom, err := from.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	const ect0 = 2
	if err := rawFrom.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TOS, ect0) }); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	segmented(t, from, to, make([]byte, 500), 100)
	ms := make([]ipv4.Message, batchSize)
	for i := range ms {
		ms[i].Buffers, ms[i].OOB = [][]byte{make([]byte, bufferBytes)}, make([]byte, 128)
	}
	n, err := c.ReadBatch(ms, 0)
	if err != nil || n != 5 {
		t.Fatalf("%d packets, %v", n, err)
	}
	for i, m := range ms[:n] {
		found := false
		for rest := m.OOB[:m.NN]; len(rest) > 0; {
			head, body, next, err := unix.ParseOneSocketControlMessage(rest)
			if err != nil {
				t.Fatal(err)
			}
			if head.Level == unix.IPPROTO_IP && head.Type == unix.IP_TOS {
				found = body[0] == ect0
			}
			rest = next
		}
		if !found {
			t.Errorf("packet %d came without its ECN bits", i)
		}
	}
}

func TestClosedSocketEndsReading(t *testing.T) {
	c, _ := listen(t)
	ended := make(chan error, 1)
	go func() {
		ms := []ipv4.Message{{Buffers: [][]byte{make([]byte, bufferBytes)}}}
		_, err := c.ReadBatch(ms, 0)
		ended <- err
	}()
	c.Close()
	if err := <-ended; err == nil {
		t.Fatal("a read from a closed socket succeeded")
	}
}

func FuzzPacketSize(f *testing.F) {
	f.Add([]byte{}, 100)
	f.Add(binary.NativeEndian.AppendUint32(binary.NativeEndian.AppendUint32(binary.NativeEndian.AppendUint32(
		binary.NativeEndian.AppendUint64(nil, 20), unix.SOL_UDP), unix.UDP_GRO), 1400), 5000)
	f.Fuzz(func(t *testing.T, control []byte, n int) {
		if n < 0 || n > pieceBytes {
			return
		}
		if size := packetSize(control, n); size < 0 || size > n || size == 0 && n > 0 {
			t.Fatalf("packets of %d bytes in a piece of %d", size, n)
		}
	})
}
