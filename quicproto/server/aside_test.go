package server

import (
	"context"
	"testing"

	"github.com/rustmq/rustmq/mq"
)

// stuckReader reads until it is told to stop.
type stuckReader struct {
	Reader
	closed bool
}

func (r *stuckReader) Read(ctx context.Context, _ mq.Offset, _ int, _ []byte) (Fetched, error) {
	<-ctx.Done()
	return Fetched{}, ctx.Err()
}

func (r *stuckReader) Close() { r.closed = true }

// A client may say where to go on as often as it likes while others hold all turns: reads that wait and are not wanted any more do not pile up.
func TestReadsDroppedBeforeTheirTurnAreForgotten(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	sub := &subscription{ctx: ctx, wake: make(chan struct{}, 1)}
	sub.logReads.limit = 1
	running := &assignment{sub: sub, reader: &stuckReader{}}
	running.readAside(FromLog)
	waits := &assignment{sub: sub, reader: &stuckReader{}}
	waits.readAside(FromLog)
	for range 1000 {
		a := &assignment{sub: sub, reader: &stuckReader{}}
		a.readAside(FromLog)
		if !a.aside.drop(true) {
			t.Fatal("a read that had no turn yet is in use")
		}
		if n := len(sub.logReads.waiting); n > 4 {
			t.Fatalf("%d reads wait", n)
		}
	}
	if running.aside.drop(true) {
		t.Error("a running read was dropped")
	}
	cancel()
	sub.logReads.wg.Wait() // the turn went to who has waited
	if !running.reader.(*stuckReader).closed {
		t.Error("the reader of an abandoned read was not closed")
	}
	if !waits.aside.finished() || waits.reader.(*stuckReader).closed {
		t.Error("the one that waited did not get its turn")
	}
	waits.aside.release()
	if sub.logReads.held != 0 {
		t.Errorf("%d turns are held", sub.logReads.held)
	}
}

// keptReader gives back the memory that it reads into, which it makes when there is none.
type keptReader struct {
	Reader
	made int
}

func (r *keptReader) Read(_ context.Context, _ mq.Offset, _ int, dst []byte) (Fetched, error) {
	if dst == nil {
		dst = make([]byte, 1)
		r.made++
	}
	return Fetched{Buf: dst}, nil
}

func (r *keptReader) Close() {}

// Who has sent everything and waits for the next read goes on with the memory that there is; who waits for nothing keeps none.
func TestMemoryOfReadsIsKeptWhileOneIsUnderWay(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	sub := &subscription{ctx: ctx, wake: make(chan struct{}, 1)}
	r := &sub.logReads
	r.limit = 2
	running := &assignment{sub: sub, reader: &stuckReader{}}
	running.readAside(FromLog)
	kept := &keptReader{}
	a := &assignment{sub: sub, reader: kept}
	read := func() {
		a.readAside(FromLog)
		for !a.aside.finished() {
			<-sub.wake
		}
		a.aside.release()
		sub.next()
	}
	for range 3 {
		read()
		r.forget()
	}
	if kept.made != 1 {
		t.Errorf("memory was made %d times while another read was under way", kept.made)
	}
	running.aside.drop(true)
	cancel()
	r.wg.Wait()
	r.forget()
	if r.held != 0 || len(r.spare) != 0 {
		t.Errorf("%d pieces of memory are kept for nothing, %d turns are held", len(r.spare), r.held)
	}
}
