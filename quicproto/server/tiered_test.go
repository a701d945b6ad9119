package server_test

import (
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/server"
)

func assignFrom(from quicproto.Origin, handle, generation uint32, offset mq.Offset) *quicproto.Assign {
	a := assign(handle, generation, "t", 0, offset)
	a.From = from
	return a
}

// wantReferral reads a Status without an error.
func (s *channel) wantReferral(handle, generation uint32, next mq.Offset) {
	s.t.Helper()
	if m := recv[*quicproto.Status](s); m.Handle != handle || m.Generation != generation || m.Code != mq.None || m.Next != next {
		s.t.Fatalf("got %+v, want to be referred at %d", m, next)
	}
}

// below makes a partition of ten batches of which the store has those below 6 only.
func tieredPartition(f *fixture, other server.Source) *fakePartition {
	p := f.broker.add("t", 1).partitions[0]
	fill(p, 10, 500)
	p.source = func(from mq.Offset) server.Source {
		if from < 6 {
			return server.FromStore
		}
		return other
	}
	return p
}

func TestLeaderRefersWhoReadsTieredRecordsElsewhere(t *testing.T) {
	f := start(t, server.Limits{})
	tieredPartition(f, server.FromMemory)
	s := f.dialWith(t, quicproto.FeatureTieredReads).open(&quicproto.OpenFetch{}, assignFrom(quicproto.FromLeaderUntilTiered, 1, 1, quicproto.OffsetEarliest))
	if a := recv[*quicproto.Assigned](s); a.Err() != nil || a.Offset != 0 {
		t.Fatalf("got %+v", a)
	}
	s.wantReferral(1, 1, 0)
	s.nothing(20 * time.Millisecond)
	// What is not only there it has itself.
	s.send(assignFrom(quicproto.FromLeaderUntilTiered, 1, 2, 6))
	recv[*quicproto.Assigned](s)
	s.collect(1, 2, 6, 10)
	// Who has nobody else to read from gets all.
	s.send(assignFrom(quicproto.FromLeader, 1, 3, 0))
	recv[*quicproto.Assigned](s)
	s.collect(1, 3, 0, 10)
	if n := f.Stats().FetchReferrals; n != 1 {
		t.Errorf("%d referrals were counted", n)
	}
}

func TestWhatIsBelowTheLogStartIsNotReferred(t *testing.T) {
	f := start(t, server.Limits{})
	tieredPartition(f, server.FromMemory).start = 3
	s := f.dialWith(t, quicproto.FeatureTieredReads).open(&quicproto.OpenFetch{}, assignFrom(quicproto.FromLeaderUntilTiered, 1, 1, 2))
	recv[*quicproto.Assigned](s)
	if m := recv[*quicproto.Status](s); m.Code != mq.OffsetOutOfRange || m.LogStart != 3 {
		t.Errorf("got %+v", m)
	}
}

func TestTieredReaderIsReferredWhereItEnds(t *testing.T) {
	f := start(t, server.Limits{})
	tieredPartition(f, server.FromElsewhere)
	s := f.dialWith(t, quicproto.FeatureTieredReads).open(&quicproto.OpenFetch{RecordsBytes: 1}, assignFrom(quicproto.FromTiered, 1, 1, 2))
	recv[*quicproto.Assigned](s)
	if r := s.collect(1, 1, 2, 6); r.End {
		t.Errorf("the end was told: %+v", r)
	}
	s.wantReferral(1, 1, 6)
	s.send(&quicproto.Seek{Handle: 1, Generation: 2, Offset: 5})
	recv[*quicproto.Assigned](s)
	s.collect(1, 2, 5, 6)
	s.wantReferral(1, 2, 6)
	for i, place := range []mq.Offset{quicproto.OffsetEarliest, quicproto.OffsetLatest} {
		s.send(&quicproto.Seek{Handle: 1, Generation: uint32(3 + i), Offset: place})
		if a := recv[*quicproto.Assigned](s); a.Code != mq.InvalidRequest {
			t.Errorf("place %d: %+v", place, a)
		}
	}
	s.send(assignFrom(quicproto.FromTiered, 1, 5, quicproto.OffsetEarliest))
	if a := recv[*quicproto.Assigned](s); a.Code != mq.InvalidRequest {
		t.Errorf("got %+v", a)
	}
	s.nothing(20 * time.Millisecond)
}

// TestOriginNeedsItsFeature: a client that did not ask for it does not send it.
func TestOriginNeedsItsFeature(t *testing.T) {
	f := start(t, server.Limits{})
	f.broker.add("t", 1)
	c := f.dial(t)
	s := c.open(&quicproto.OpenFetch{}, assign(1, 1, "t", 0, 0))
	recv[*quicproto.Assigned](s)
	s.send(assignFrom(quicproto.FromTiered, 1, 2, 0))
	c.wantClosed(mq.ProtocolViolation, "feature")
}
