package server

import (
	"context"
	"io"
	"testing"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// endingStream has nothing to read, and is at its end in order once nothing more is wanted of it: as over TCP, when nobody was reading just then.
type endingStream struct {
	ackStream
	stopped chan struct{}
}

func (s *endingStream) Read([]byte) (int, error) {
	<-s.stopped
	return 0, io.EOF
}

func (s *endingStream) StopReading(mq.Code) { close(s.stopped) }

// endingBroker is done with a member as soon as that is there.
type endingBroker struct {
	Broker
	said []string
}

func (b *endingBroker) OpenGroup(_ context.Context, _ *Session, _ *quicproto.OpenGroup, w MemberWatcher) (Member, error) {
	w.Ended(mq.Errorf(mq.FencedMemberEpoch, "another"))
	return b, nil
}

func (b *endingBroker) Heartbeat(*quicproto.Heartbeat) {}
func (b *endingBroker) Detach()                        { b.said = append(b.said, "detached") }

func (b *endingBroker) Leave(context.Context) error {
	b.said = append(b.said, "left")
	return nil
}

// The client has not left when it was the broker that was done with it, though the stream ends in order.
func TestMemberThatTheBrokerEndedHasNotLeft(t *testing.T) {
	b := &endingBroker{}
	ss := &session{srv: &Server{cfg: Config{Broker: b}}, ctx: t.Context()}
	st := &endingStream{stopped: make(chan struct{})}
	if err := ss.serveGroup(st, quicproto.NewFrameReader(st, 1<<10), &quicproto.OpenGroup{}); err != nil {
		t.Error(err)
	}
	if len(b.said) != 1 || b.said[0] != "detached" {
		t.Errorf("the member %q", b.said)
	}
}
