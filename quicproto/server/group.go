package server

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// leaveTime is how long a member that leaves may take to be out: who ends the stream waits for it, and so does the end of a session.
const leaveTime = 5 * time.Second

// groupStream is one group stream, and so one member. Its reading goroutine passes on what the client says; a second one writes what the broker pushes.
type groupStream struct {
	ss   *session
	st   stream
	wake chan struct{} // cap 1

	mu    sync.Mutex
	next  *quicproto.Assignment // to be written
	ended error                 // the broker is done with the member: is written, then the stream ends
}

var _ MemberWatcher = (*groupStream)(nil)

// Assigned implements MemberWatcher. What was not written yet need not be, but for the partitions where they are as in that.
func (g *groupStream) Assigned(a *quicproto.Assignment) {
	g.mu.Lock()
	if g.next != nil && g.next.Changed && !a.Changed {
		a = &quicproto.Assignment{Number: a.Number, Epoch: a.Epoch, Changed: true, Partitions: g.next.Partitions}
	}
	g.next = a
	if most := a.Type().MaxPayload(); a.PayloadSize() > most && g.ended == nil {
		g.ended = mq.Errorf(mq.MessageTooLarge, "the member is assigned more partitions than the %d bytes of a message can name: have more members, or subscribe to fewer topics", most)
	}
	g.mu.Unlock()
	signal(g.wake)
}

// Ended implements MemberWatcher.
func (g *groupStream) Ended(err error) {
	g.mu.Lock()
	if g.ended == nil {
		g.ended = err
	}
	g.mu.Unlock()
	signal(g.wake)
}

// Heard implements MemberWatcher.
func (g *groupStream) Heard() uint64 { return g.ss.conn.Received() }

// take is what is to be written next.
func (g *groupStream) take() (next *quicproto.Assignment, ended error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	next, g.next = g.next, nil
	return next, g.ended
}

// over says whether the broker is done with the member.
func (g *groupStream) over() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.ended != nil
}

// serveGroup has a member join, or go on, and serves it until its stream ends: in order, and then it leaves, or not, and then it is waited for until its session times out.
func (ss *session) serveGroup(st stream, in *quicproto.FrameReader, open *quicproto.OpenGroup) error {
	ctx, cancel := context.WithCancel(ss.ctx)
	defer cancel()
	g := &groupStream{ss: ss, st: st, wake: make(chan struct{}, 1)}
	member, err := ss.srv.cfg.Broker.OpenGroup(ctx, &ss.Session, open, g)
	if err != nil {
		refuse(st, err)
		return nil
	}
	written := make(chan error, 1)
	go func() { written <- g.write(ctx) }() // joined below
	err = g.read(in, member)
	if g.over() { // the client is told, and reading ended with that, over TCP as if the client had ended the stream
		member.Detach()
		return <-written
	}
	if !errors.Is(err, io.EOF) && !leftInOrder(err) {
		member.Detach()
		st.Abort(mq.CodeOf(faultOf(err))) // else the writer may wait for the client for ever
		cancel()
		return worst(<-written, err)
	}
	// The session may be over: the member leaves all the same.
	leaving, done := context.WithTimeout(context.WithoutCancel(ss.ctx), leaveTime)
	defer done()
	if failed := member.Leave(leaving); failed != nil {
		g.Ended(failed)
	} else {
		cancel()
	}
	return worst(<-written, err)
}

// read passes on what the client says until the stream ends, which is io.EOF when the client ends it.
func (g *groupStream) read(in *quicproto.FrameReader, member Member) error {
	for {
		f, err := in.Read()
		if err != nil {
			return err
		}
		h, ok := f.(*quicproto.Heartbeat)
		if !ok {
			return mq.Errorf(mq.ProtocolViolation, "%v on a group stream", f.Type())
		}
		member.Heartbeat(h)
	}
}

// write writes what the broker pushes until ctx ends, or the broker is done with the member.
func (g *groupStream) write(ctx context.Context) error {
	out := quicproto.NewFrameWriter(g.st)
	for {
		select {
		case <-g.wake:
		case <-ctx.Done():
			return nil
		}
		next, ended := g.take()
		if ended != nil {
			refuse(g.st, ended)
			return nil
		}
		if next == nil {
			continue
		}
		err := out.Write(next)
		if err == nil {
			err = out.Flush()
		}
		out.Release()
		if err != nil {
			g.st.Abort(mq.CodeOf(faultOf(err))) // else the reader may wait for the client for ever
			return err
		}
	}
}

// leftInOrder says whether a stream ended because its session was closed by a client that had nothing more to do.
func leftInOrder(err error) bool {
	app, ok := errors.AsType[*quic.ApplicationError](err)
	return ok && quicproto.CodeOfError(uint64(app.ErrorCode)) == mq.None
}
