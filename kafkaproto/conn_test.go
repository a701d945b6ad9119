package kafkaproto

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// A connection may be closed between the beginning of a request and its place in the queue, as by a writer that fails. It was at random whether the room of the request came back.
func TestRoomComesBackWhenAConnectionEndsInTheMiddleOfARequest(t *testing.T) {
	r := newRig(t)
	r.broker.make("t", 1)
	r.broker.opening = func(*Session) {
		r.server.mu.Lock()
		defer r.server.mu.Unlock()
		for c := range r.server.conns {
			c.stop()
		}
	}
	q := frame(produceOf(9, -1, "t", 0, batchOf(t, 1, nil)), 1)
	for range 64 {
		r.server.Serve(&recording{Reader: bytes.NewReader(q)}, nil, nil)
		until(t, func() bool { return r.server.Stats().Connections == 0 })
	}
	if !r.server.memory.try(int64(r.server.limits.TotalBytes)) {
		t.Fatal("room for requests is lost")
	}
}

// The time that a request has to come to its end is the client's: that we had no room for it is not.
func TestWaitForRoomIsNotTheClientsTime(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Limits.FrameTimeout, c.Limits.ConnectionBytes = 100*time.Millisecond, 1000
	})
	r.broker.make("t", 1)
	r.broker.hold = true
	p := r.connect()
	q := produceOf(9, -1, "t", 0, batchOf(t, 1, make([]byte, 100<<10)))
	first, second := p.send(q), p.send(q)
	until(t, func() bool { return r.broker.holds() == 1 })
	time.Sleep(200 * time.Millisecond)
	r.broker.release()
	response[*kmsg.ProduceResponse](p, q, first)
	until(t, func() bool { return r.broker.holds() == 1 })
	r.broker.release()
	response[*kmsg.ProduceResponse](p, q, second)
}

func TestTimeoutRunsFromTheEndOfTheRequest(t *testing.T) {
	r := newRig(t)
	r.broker.make("t", 1)
	r.broker.hold = true
	p := r.connect()
	q := produceOf(9, -1, "t", 0, batchOf(t, 1, nil))
	q.TimeoutMillis = 300
	b := frame(q, 1)
	p.raw(b[:40])
	time.Sleep(350 * time.Millisecond)
	p.raw(b[40:])
	until(t, func() bool { return r.broker.holds() == 1 })
	r.broker.release()
	if got := response[*kmsg.ProduceResponse](p, q, 1).Topics[0].Partitions[0]; got.ErrorCode != 0 {
		t.Fatalf("%+v", got)
	}
}

// A server that drains waits for no request that has not come.
func TestShutdownDoesNotWaitForRoom(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.ConnectionBytes = 1000 })
	r.broker.make("t", 1)
	r.broker.hold = true
	p := r.connect()
	q := produceOf(9, -1, "t", 0, batchOf(t, 1, nil))
	q.Topics[0].Partitions[0].Records = make([]byte, 2000)
	small := produceOf(9, -1, "t", 0, batchOf(t, 1, make([]byte, 2000)))
	id := p.send(small)
	until(t, func() bool { return r.broker.holds() == 1 })
	p.raw(frame(q, 2)[:100]) // the rest never comes
	time.Sleep(20 * time.Millisecond)
	done := make(chan error, 1)
	go func() { done <- r.server.Shutdown(context.Background()) }()
	until(t, func() bool { r.server.mu.Lock(); defer r.server.mu.Unlock(); return r.server.draining })
	r.broker.release()
	response[*kmsg.ProduceResponse](p, small, id)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// When large requests have taken all room, small ones are served.
func TestSmallRequestsAreNotBehindLargeOnes(t *testing.T) {
	r := newRig(t)
	r.broker.make("t", 1)
	if !r.server.memory.try(int64(r.server.limits.TotalBytes)) {
		t.Fatal("something is taken")
	}
	defer r.server.memory.give(int64(r.server.limits.TotalBytes), false)
	p := r.connect()
	_ = p.conn.SetDeadline(time.Now().Add(2 * time.Second))
	for range 3 {
		ask[*kmsg.MetadataResponse](p, kmsg.NewPtrMetadataRequest())
		ask[*kmsg.ProduceResponse](p, produceOf(9, -1, "t", 0, batchOf(t, 1, make([]byte, 20<<10))))
	}
	// And the reserve is whole again.
	until(t, func() bool { return r.server.small.TryAcquire(int64(r.server.limits.SmallBytes)) })
}

// Heads of large requests, of which nothing else comes, hold nobody back.
func TestRoomIsTakenForWhatIsThere(t *testing.T) {
	r := newRig(t)
	r.broker.make("t", 1)
	for range 20 {
		r.connect().raw([]byte{6, 0x40, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1}) // 100 MiB
	}
	time.Sleep(50 * time.Millisecond)
	p := r.connect()
	_ = p.conn.SetDeadline(time.Now().Add(2 * time.Second))
	ask[*kmsg.ProduceResponse](p, produceOf(9, -1, "t", 0, batchOf(t, 1, make([]byte, 900<<10))))
}

// Requests that together need more than there is, and all have begun, come to their end.
func TestRequestsThatHaveBegunComeToTheirEnd(t *testing.T) {
	for _, address := range []int{1 << 20, 2 << 20} {
		t.Run(fmt.Sprint(address), func(t *testing.T) { requestsThatHaveBegunComeToTheirEnd(t, address) })
	}
}

func requestsThatHaveBegunComeToTheirEnd(t *testing.T, address int) {
	r := newRig(t, func(c *Config) { c.Limits.TotalBytes, c.Limits.AddressBytes = 1<<20, address })
	r.broker.make("t", 1)
	q := produceOf(9, -1, "t", 0, batchOf(t, 1, make([]byte, 900<<10)))
	b := frame(q, 1)
	var peers []*peer
	for range 16 {
		p := r.connect()
		p.raw(b[:12+firstPiece])
		peers = append(peers, p)
	}
	for _, p := range peers {
		go func() { _, _ = p.conn.Write(b[12+firstPiece:]) }()
	}
	for _, p := range peers {
		if got := response[*kmsg.ProduceResponse](p, q, 1).Topics[0].Partitions[0]; got.ErrorCode != 0 {
			t.Errorf("%+v", got)
		}
	}
	until(t, func() bool { return r.server.memory.try(1 << 20) })
	if r.server.memory.finisher {
		t.Error("somebody is still beyond")
	}
}

// What one address sends half of, or leaves waiting, keeps nobody from another one waiting.
func TestOneAddressDoesNotTakeAllRoom(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Limits.TotalBytes, c.Limits.AddressBytes, c.Limits.SmallBytes = 3<<20, 1<<20, 64<<10
	})
	r.broker.make("t", 1)
	large := produceOf(9, -1, "t", 0, batchOf(t, 1, make([]byte, 900<<10)))
	for range 16 {
		p := r.connect()
		go func() { _, _ = p.conn.Write(frame(large, 1)[:500<<10]) }()
	}
	waiting := func(m *room) int {
		m.mu.Lock()
		defer m.mu.Unlock()
		return len(m.begun) + len(m.fresh)
	}
	r.server.mu.Lock()
	from := r.server.from[netip.AddrFrom4([4]byte{127, 0, 0, 1})]
	r.server.mu.Unlock()
	until(t, func() bool { return waiting(&r.server.memory)+waiting(&from.memory) > 2 })
	r.broker.hold = true
	for range 16 {
		r.connect().send(produceOf(9, -1, "t", 0, batchOf(t, 1, make([]byte, 40<<10))))
	}
	time.Sleep(50 * time.Millisecond)
	r.broker.mu.Lock()
	r.broker.hold = false
	r.broker.mu.Unlock()
	p := r.connectFrom(&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 9})
	_ = p.conn.SetDeadline(time.Now().Add(2 * time.Second))
	for _, size := range []int{20 << 10, 900 << 10} {
		if got := ask[*kmsg.ProduceResponse](p, produceOf(9, -1, "t", 0, batchOf(t, 1, make([]byte, size)))).Topics[0].Partitions[0]; got.ErrorCode != 0 {
			t.Errorf("%d bytes: %+v", size, got)
		}
	}
	r.broker.release()
}
