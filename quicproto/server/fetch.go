package server

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// subscription is one fetch stream. One goroutine reads the client's commands; another owns everything else: it carries the
// commands out, and pushes what its partitions have, one Records frame of one partition after the other in turn. A
// partition that has nothing to give costs neither a goroutine nor a timer: it is registered with the broker, and is put
// in the queue of ready ones by Wake.
type subscription struct {
	ss       *session
	st       stream
	out      *quicproto.FrameWriter
	iso      mq.Isolation
	max      int // usual size of a Records frame's batches, bytes
	ctx      context.Context
	commands chan quicproto.Frame
	byHandle map[uint32]*assignment
	buf      []byte // for the broker to read into, kept while there is something to read

	logReads, storeReads asideReads

	wake  chan struct{} // cap 1: ready is not empty
	mu    sync.Mutex
	ready []*assignment // from head on; each at most once
	head  int
}

// commandQueue is how many commands wait for the pushing goroutine before the stream is read no further.
const commandQueue = 16

func (ss *session) serveFetch(st stream, in *quicproto.FrameReader, open *quicproto.OpenFetch) error {
	ctx, cancel := context.WithCancel(ss.ctx)
	defer cancel()
	size := ss.srv.limits.RecordsBytes
	if open.RecordsBytes > 0 {
		size = int(min(uint32(size), open.RecordsBytes))
	}
	s := &subscription{
		ss: ss, st: st, ctx: ctx,
		out: quicproto.NewFrameWriter(st), iso: open.Isolation, max: size,
		commands: make(chan quicproto.Frame, commandQueue),
		byHandle: make(map[uint32]*assignment),
		wake:     make(chan struct{}, 1),
	}
	s.logReads.limit, s.storeReads.limit = ss.srv.limits.LogReads, ss.srv.limits.ColdReads
	pushed := make(chan error, 1)
	go func() { // joined below
		err := s.push()
		cancel()
		if err != nil {
			st.Abort(mq.CodeOf(faultOf(err))) // else the reader may wait for the client for ever
		}
		pushed <- err
	}()
	err := s.read(in)
	if !errors.Is(err, io.EOF) {
		st.Abort(mq.CodeOf(faultOf(err))) // else the pusher may wait for the client for ever
	}
	cancel() // a client that says no more has unsubscribed
	return worst(<-pushed, err)
}

// read hands the client's commands to the pusher until the stream ends, which is io.EOF.
func (s *subscription) read(in *quicproto.FrameReader) error {
	for {
		f, err := in.Read()
		if err != nil {
			return err
		}
		switch f.(type) {
		case *quicproto.Assign, *quicproto.Unassign, *quicproto.Seek, *quicproto.Pause, *quicproto.Resume:
		default:
			return mq.Errorf(mq.ProtocolViolation, "%v on a fetch stream", f.Type())
		}
		select {
		case s.commands <- f:
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
	}
}

// push runs the subscription until its context ends, which is no error, or the stream fails.
func (s *subscription) push() error {
	defer s.close()
	for {
		if s.ctx.Err() != nil {
			return nil
		}
		select {
		case f := <-s.commands:
			if err := s.command(f); err != nil {
				return err
			}
			continue
		default:
		}
		if a := s.next(); a != nil {
			if err := a.serve(); err != nil {
				return err
			}
			continue
		}
		if s.out.Buffered() > 0 { // and look again: more may have come while this was written
			if err := s.out.Flush(); err != nil {
				return err
			}
			continue
		}
		s.out.Release()
		s.buf = nil
		s.logReads.forget()
		select {
		case f := <-s.commands:
			if err := s.command(f); err != nil {
				return err
			}
		case <-s.wake:
		case <-s.ctx.Done():
			return nil
		}
	}
}

func (s *subscription) close() {
	for _, a := range s.byHandle {
		a.remove()
	}
	s.logReads.wg.Wait()
	s.storeReads.wg.Wait()
}

// enqueue puts a at the end of the ready ones, if it is not among them. Any goroutine may call it.
func (s *subscription) enqueue(a *assignment) {
	s.mu.Lock()
	if a.queued {
		s.mu.Unlock()
		return
	}
	a.queued = true
	s.ready = append(s.ready, a)
	s.mu.Unlock()
	signal(s.wake)
}

// next takes the first of the ready ones, nil if there is none.
func (s *subscription) next() *assignment {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.head == len(s.ready) {
		return nil
	}
	a := s.ready[s.head]
	s.ready[s.head] = nil
	s.head++
	if 2*s.head >= len(s.ready) { // move the rest down, each at most once per turn taken
		n := copy(s.ready, s.ready[s.head:])
		clear(s.ready[n:])
		s.ready, s.head = s.ready[:n], 0
	}
	a.queued = false
	return a
}

// command carries out one command.
func (s *subscription) command(f quicproto.Frame) error {
	switch f := f.(type) {
	case *quicproto.Assign:
		return s.assign(f)
	case *quicproto.Seek:
		if a := s.byHandle[f.Handle]; a != nil {
			return a.seek(f)
		}
		return s.out.Write(&quicproto.Assigned{
			Handle: f.Handle, Generation: f.Generation, Offset: -1, LogStart: -1, HighWatermark: -1,
			Code: mq.InvalidRequest, Msg: "seek: the handle is not assigned",
		})
	case *quicproto.Unassign:
		if a := s.byHandle[f.Handle]; a != nil {
			a.remove()
			delete(s.byHandle, f.Handle)
		}
	case *quicproto.Pause:
		for _, h := range f.Handles {
			if a := s.byHandle[h]; a != nil {
				a.paused = true
			}
		}
	case *quicproto.Resume:
		for _, h := range f.Handles {
			if a := s.byHandle[h]; a != nil && a.paused {
				a.paused = false
				s.enqueue(a)
			}
		}
	}
	return nil
}

func (s *subscription) assign(f *quicproto.Assign) error {
	if int(f.Handle) >= s.ss.srv.limits.Handles {
		return mq.Errorf(mq.ProtocolViolation, "handle %d, at most %d", f.Handle, s.ss.srv.limits.Handles-1)
	}
	if old := s.byHandle[f.Handle]; old != nil {
		old.remove()
		delete(s.byHandle, f.Handle)
	}
	if f.From != quicproto.FromLeader && s.ss.Features&quicproto.FeatureTieredReads == 0 {
		return mq.Errorf(mq.ProtocolViolation, "an origin without the feature for it")
	}
	r, err := s.open(f)
	if err != nil {
		code, msg := quicproto.CodeAndText(err)
		return s.out.Write(&quicproto.Assigned{
			Handle: f.Handle, Generation: f.Generation, Offset: -1, LogStart: -1, HighWatermark: -1, Code: code, Msg: msg,
		})
	}
	a := &assignment{sub: s, reader: r, handle: f.Handle, origin: f.From}
	s.byHandle[f.Handle] = a
	return a.start(f.Generation, f.Offset)
}

func (s *subscription) open(f *quicproto.Assign) (Reader, error) {
	b := s.ss.srv.cfg.Broker
	if f.From != quicproto.FromTiered {
		return b.OpenFetch(s.ctx, &s.ss.Session, f.Topic, f.Partition, f.LeaderEpoch, s.iso)
	}
	return b.OpenTiered(s.ctx, &s.ss.Session, f.Topic, f.Partition, f.LeaderEpoch)
}
