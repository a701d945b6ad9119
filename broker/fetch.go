package broker

import (
	"context"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
	"github.com/rustmq/rustmq/quicproto/server"
)

// OpenFetch implements server.Broker.
func (b *Broker) OpenFetch(_ context.Context, s *server.Session, topic string, index int32, epoch mq.Epoch, iso mq.Isolation) (server.Reader, error) {
	g, err := b.grant(s, OpRead, topic)
	if err != nil {
		return nil, err
	}
	if b.cfg.Mount != nil {
		return b.openView(g, index, epoch)
	}
	_, part, err := b.running(topic, index)
	if err != nil {
		return nil, err
	}
	if err := checkEpoch(part.LeaderEpoch(), topic, index, epoch); err != nil {
		return nil, err
	}
	return &reader{grant: g, part: part, iso: iso}, nil
}

// checkEpoch refuses a client that knows another leader epoch than ours, the current one.
func checkEpoch(current mq.Epoch, topic string, index int32, epoch mq.Epoch) error {
	switch {
	case epoch < 0 || epoch == current:
		return nil
	case current == mq.NoEpoch:
		// It does not lead: a read says why. A quarantined one takes part in no epoch any more, and what it still serves lies in the
		// object store and is the same in all of them.
		return nil
	case epoch < current:
		return mq.Errorf(mq.FencedLeaderEpoch, "partition %d of topic %q is in leader epoch %d, not %d any more", index, topic, current, epoch)
	default:
		return mq.Errorf(mq.UnknownLeaderEpoch, "partition %d of topic %q is in leader epoch %d here, %d is not known yet", index, topic, current, epoch)
	}
}

// reader is one partition opened for reading by one stream.
type reader struct {
	grant grant
	part  *partition.Partition
	iso   mq.Isolation
	wait  *partition.Wait
}

var _ server.Reader = (*reader)(nil)

// Offsets implements server.Reader.
func (r *reader) Offsets() (topic mq.TopicID, logStart, highWatermark, end mq.Offset) {
	start, hw, _, object := r.part.Offsets()
	if r.iso == mq.IsolationObject {
		return r.part.ID().Topic, start, hw, object
	}
	return r.part.ID().Topic, start, hw, hw
}

// Source implements server.Reader.
func (r *reader) Source(from mq.Offset) server.Source {
	switch r.part.Source(from) {
	case partition.FromMemory:
		return server.FromMemory
	case partition.FromLog:
		return server.FromLog
	default:
		return server.FromStore
	}
}

// Read implements server.Reader. The list of batches is the caller's: a front door sends it while the next read is under way.
func (r *reader) Read(ctx context.Context, from mq.Offset, maxBytes int, dst []byte) (server.Fetched, error) {
	if err := r.grant.check(); err != nil {
		return server.Fetched{}, err
	}
	buf := partition.ReadBuffer{Bytes: dst}
	got, err := r.part.Read(ctx, from, maxBytes, r.iso, &buf)
	if err != nil {
		return server.Fetched{}, err
	}
	return server.Fetched{
		Batches: got.Batches, Buf: buf.Bytes, Next: got.Next, End: got.End,
		HighWatermark: got.HighWatermark, LogStart: got.LogStart, LogEnd: got.LogEnd,
	}, nil
}

// Await implements server.Reader.
func (r *reader) Await(from mq.Offset, w server.Waiter) bool {
	r.forget()
	wait, waiting := r.part.Await(from, r.iso, w)
	r.wait = wait
	return waiting
}

// Close implements server.Reader.
func (r *reader) Close() { r.forget() }

func (r *reader) forget() {
	if r.wait != nil {
		r.part.Cancel(r.wait)
		r.wait = nil
	}
}
