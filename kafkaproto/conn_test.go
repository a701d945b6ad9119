package kafkaproto

import (
	"bytes"
	"testing"
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
