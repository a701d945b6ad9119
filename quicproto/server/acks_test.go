package server

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// ackStream takes bytes as a stream does: one writer at a time, and now and then no room for one that does not wait.
type ackStream struct {
	writing sync.Mutex
	buf     bytes.Buffer
	inline  int
}

var errNoRoom = errors.New("no room")

func (s *ackStream) Read([]byte) (int, error)        { return 0, io.EOF }
func (s *ackStream) SetReadDeadline(time.Time) error { return nil }
func (s *ackStream) Close() error                    { return nil }
func (s *ackStream) Abort(mq.Code)                   {}

func (s *ackStream) Write(p []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.buf.Write(p)
}

func (s *ackStream) StopReading(mq.Code) {}

func (s *ackStream) TryWriteAll(p []byte) error {
	if rand.IntN(4) == 0 || !s.writing.TryLock() {
		return errNoRoom
	}
	defer s.writing.Unlock()
	s.inline++
	s.buf.Write(p)
	return nil
}

// Whoever writes an ack, the log's writer or the stream's goroutine, each is written once.
func TestEachAckIsWrittenOnceByWhomever(t *testing.T) {
	inline := 0
	for range 20 {
		const requests, completers = 2000, 4
		srv := &Server{}
		st := &ackStream{}
		q := newAckQueue(&session{srv: srv}, st, requests)
		q.submitted()
		q.completed(quicproto.Ack{Request: requests}) // nobody else writes yet: inline, if there is room
		written := make(chan error, 1)
		go func() { written <- q.write(t.Context(), quicproto.NewFrameWriter(st)) }()
		todo := make(chan uint64)
		var all sync.WaitGroup
		for range completers {
			all.Go(func() {
				for request := range todo {
					if request%97 == 0 {
						q.bound(quicproto.Bound{Handle: uint32(request)})
					}
					q.submitted()
					q.completed(quicproto.Ack{Request: request})
				}
			})
		}
		for request := range uint64(requests) {
			todo <- request
		}
		close(todo)
		all.Wait()
		q.finish()
		if err := <-written; err != nil {
			t.Fatal(err)
		}
		seen := make(map[uint64]bool)
		for frames := quicproto.NewFrameReader(&st.buf, 0); ; {
			f, err := frames.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if acks, ok := f.(*quicproto.ProduceAcks); ok {
				for _, a := range acks.Acks {
					if seen[a.Request] {
						t.Fatalf("request %d is acknowledged twice", a.Request)
					}
					seen[a.Request] = true
				}
			}
		}
		if len(seen) != requests+1 || q.open != 0 {
			t.Fatalf("%d of %d acks came, %d open", len(seen), requests+1, q.open)
		}
		inline += st.inline
	}
	if inline == 0 {
		t.Error("no ack was written inline")
	}
}

// congested is a stream whose client lets the server send what it wants and confirms nothing of it: QUIC's buffer takes all that does not
// wait, and who waits does so for ever.
type congested struct {
	ackStream
	blocked chan struct{}
}

func (s *congested) Write([]byte) (int, error) {
	<-s.blocked
	return 0, errNoRoom
}

func (s *congested) TryWriteAll(p []byte) error {
	s.buf.Write(p)
	return nil
}

// What waits in QUIC's buffer is not in the window any more, so that as much again could come, and again.
func TestAcksWrittenInlineToAClientThatTakesNoneAreBounded(t *testing.T) {
	const window = 100
	st := &congested{blocked: make(chan struct{})}
	q := newAckQueue(&session{srv: &Server{}}, st, window)
	written := make(chan error, 1)
	go func() { written <- q.write(t.Context(), quicproto.NewFrameWriter(st)) }()
	taken := 0
	for ; taken < 100*window; taken++ {
		q.mu.Lock()
		full := q.open >= window
		q.mu.Unlock()
		if full {
			break
		}
		q.submitted()
		q.completed(quicproto.Ack{Request: uint64(taken)})
	}
	if most := 3 * window; taken > most {
		t.Errorf("%d batches were taken and answered into a buffer of %d bytes, want at most %d", taken, st.buf.Len(), most)
	}
	q.finish()
	close(st.blocked)
	if err := <-written; !errors.Is(err, errNoRoom) {
		t.Fatal(err)
	}
}
