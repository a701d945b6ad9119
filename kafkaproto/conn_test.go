package kafkaproto

import (
	"bytes"
	"context"
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
	if !r.server.memory.TryAcquire(int64(r.server.limits.TotalBytes)) {
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

// Whoever sends heads of large requests and no more takes room from large requests only.
func TestSmallRequestsAreNotBehindLargeOnes(t *testing.T) {
	r := newRig(t)
	r.broker.make("t", 1)
	taken := func() bool {
		if r.server.memory.TryAcquire(64 << 20) {
			r.server.memory.Release(64 << 20)
			return false
		}
		return true
	}
	for range 7 {
		r.connect().raw([]byte{6, 0x40, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1}) // 100 MiB
	}
	until(t, taken)
	p := r.connect()
	_ = p.conn.SetDeadline(time.Now().Add(2 * time.Second))
	for range 3 {
		ask[*kmsg.MetadataResponse](p, kmsg.NewPtrMetadataRequest())
		ask[*kmsg.ProduceResponse](p, produceOf(9, -1, "t", 0, batchOf(t, 1, make([]byte, 20<<10))))
	}
	// And the reserve is whole again.
	until(t, func() bool { return r.server.small.TryAcquire(int64(r.server.limits.SmallBytes)) })
}
