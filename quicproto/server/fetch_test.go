package server_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/server"
)

func assign(handle, generation uint32, topic string, partition int32, offset mq.Offset) *quicproto.Assign {
	return &quicproto.Assign{Handle: handle, Generation: generation, Topic: topic, Partition: partition, LeaderEpoch: -1, Offset: offset}
}

// offsetsOf lists the base offsets of the batches in a Records frame.
func offsetsOf(t testing.TB, r *quicproto.Records) []mq.Offset {
	t.Helper()
	var all []mq.Offset
	for rest := r.Batches; len(rest) > 0; {
		var b mq.Batch
		var err error
		b, rest, err = mq.NextBatch(rest)
		must(t, err)
		all = append(all, b.BaseOffset())
	}
	return all
}

// collect reads Records of one handle until next is reached, and checks that there are neither gaps nor repetitions.
func (s *channel) collect(handle, generation uint32, from, to mq.Offset) *quicproto.Records {
	s.t.Helper()
	for next := from; ; {
		r := recv[*quicproto.Records](s)
		if r.Handle != handle || r.Generation != generation {
			s.t.Fatalf("got handle %d generation %d, want %d and %d", r.Handle, r.Generation, handle, generation)
		}
		for _, o := range offsetsOf(s.t, r) {
			if o != next {
				s.t.Fatalf("got offset %d, want %d", o, next)
			}
			next++
		}
		if r.Next != next {
			s.t.Fatalf("next is %d, want %d", r.Next, next)
		}
		if next >= to {
			return r
		}
	}
}

func fill(p *fakePartition, n, size int) {
	for range n {
		p.append(batch(size))
	}
}

func TestFetchPushesWhatIsThereAndWhatComes(t *testing.T) {
	f := start(t, server.Limits{})
	topic := f.broker.add("t", 2)
	p := topic.partitions[1]
	fill(p, 10, 500)
	p.start = 2
	s := f.dial(t).open(&quicproto.OpenFetch{}, assign(4, 1, "t", 1, 3))
	if a := recv[*quicproto.Assigned](s); a.Handle != 4 || a.Generation != 1 || a.Err() != nil || a.TopicID != topic.id || a.Offset != 3 || a.LogStart != 2 || a.HighWatermark != 10 {
		t.Errorf("got %+v", a)
	}
	if r := s.collect(4, 1, 3, 10); !r.End || r.HighWatermark != 10 || r.LogStart != 2 || r.LogEnd != 10 {
		t.Errorf("got %+v", r)
	}
	for i := range 20 {
		p.append(batch(300))
		s.collect(4, 1, mq.Offset(10+i), mq.Offset(11+i))
	}
}

func TestACaughtUpReaderIsToldOnceAndThenLeftAlone(t *testing.T) {
	f := start(t, server.Limits{})
	p := f.broker.add("t", 1).partitions[0]
	fill(p, 5, 100)
	s := f.dial(t).open(&quicproto.OpenFetch{}, assign(1, 1, "t", 0, quicproto.OffsetLatest))
	if a := recv[*quicproto.Assigned](s); a.Offset != 5 {
		t.Errorf("latest is %d", a.Offset)
	}
	if r := recv[*quicproto.Records](s); !r.End || r.Next != 5 || len(r.Batches) != 0 {
		t.Errorf("got %+v", r)
	}
	s.nothing(30 * time.Millisecond)
	p.mu.Lock()
	awaited := p.awaited
	p.mu.Unlock()
	if awaited != 1 {
		t.Errorf("registered %d times", awaited)
	}
}

func TestEarliestStartsAtTheLogStart(t *testing.T) {
	f := start(t, server.Limits{})
	p := f.broker.add("t", 1).partitions[0]
	fill(p, 5, 100)
	p.start = 3
	s := f.dial(t).open(&quicproto.OpenFetch{}, assign(1, 1, "t", 0, quicproto.OffsetEarliest))
	if a := recv[*quicproto.Assigned](s); a.Offset != 3 {
		t.Errorf("earliest is %d", a.Offset)
	}
	s.collect(1, 1, 3, 5)
}

func TestSeekStartsANewGeneration(t *testing.T) {
	f := start(t, server.Limits{})
	p := f.broker.add("t", 1).partitions[0]
	fill(p, 10, 100)
	s := f.dial(t).open(&quicproto.OpenFetch{}, assign(1, 1, "t", 0, 0))
	recv[*quicproto.Assigned](s)
	s.collect(1, 1, 0, 10)
	s.send(&quicproto.Seek{Handle: 1, Generation: 2, Offset: 7})
	if a := recv[*quicproto.Assigned](s); a.Generation != 2 || a.Offset != 7 {
		t.Errorf("got %+v", a)
	}
	s.collect(1, 2, 7, 10)
	s.send(&quicproto.Seek{Handle: 99, Generation: 3})
	if a := recv[*quicproto.Assigned](s); a.Handle != 99 || a.Code != mq.InvalidRequest {
		t.Errorf("seek of nothing: %+v", a)
	}
}

func TestADeliveryThatFailsIsToldAndASeekRevivesIt(t *testing.T) {
	f := start(t, server.Limits{})
	p := f.broker.add("t", 1).partitions[0]
	fill(p, 10, 100)
	p.start = 2
	s := f.dial(t).open(&quicproto.OpenFetch{}, assign(1, 1, "t", 0, 500))
	recv[*quicproto.Assigned](s)
	if st := recv[*quicproto.Status](s); st.Handle != 1 || st.Generation != 1 || st.Code != mq.OffsetOutOfRange || st.Next != 500 || st.LogStart != 2 || st.LogEnd != 10 {
		t.Errorf("got %+v", st)
	}
	p.append(batch(100))
	s.nothing(20 * time.Millisecond)
	s.send(&quicproto.Seek{Handle: 1, Generation: 2, Offset: quicproto.OffsetEarliest})
	recv[*quicproto.Assigned](s)
	s.collect(1, 2, 2, 11)
}

func TestWhatCannotBeAssignedIsAnsweredAndTheStreamGoesOn(t *testing.T) {
	f := start(t, server.Limits{})
	fill(f.broker.add("t", 1).partitions[0], 1, 100)
	s := f.dial(t).open(&quicproto.OpenFetch{}, assign(1, 1, "gone", 0, 0), assign(2, 1, "t", 7, 0))
	fenced := assign(3, 1, "t", 0, 0)
	fenced.LeaderEpoch = 6
	s.send(fenced, assign(4, 1, "t", 0, 0))
	for handle, code := range []mq.Code{1: mq.UnknownTopicOrPartition, 2: mq.UnknownTopicOrPartition, 3: mq.UnknownLeaderEpoch, 4: mq.None} {
		if handle == 0 {
			continue
		}
		if a := recv[*quicproto.Assigned](s); int(a.Handle) != handle || a.Code != code {
			t.Errorf("got %+v, want %v for %d", a, code, handle)
		}
	}
	s.collect(4, 1, 0, 1)
}

func TestPauseHoldsAndResumeContinuesWhereItStopped(t *testing.T) {
	f := start(t, server.Limits{})
	p := f.broker.add("t", 1).partitions[0]
	s := f.dial(t).open(&quicproto.OpenFetch{}, assign(1, 1, "t", 0, 0))
	recv[*quicproto.Assigned](s)
	recv[*quicproto.Records](s) // the end
	s.send(&quicproto.Pause{Handles: []uint32{1, 5}}, &quicproto.Seek{Handle: 99})
	recv[*quicproto.Assigned](s) // the answer to the bad seek: the pause before it is in force
	fill(p, 3, 100)
	s.nothing(20 * time.Millisecond)
	s.send(&quicproto.Resume{Handles: []uint32{1, 5}})
	s.collect(1, 1, 0, 3)
}

func TestUnassignStopsAndClosesTheReader(t *testing.T) {
	f := start(t, server.Limits{})
	topic := f.broker.add("t", 2)
	s := f.dial(t).open(&quicproto.OpenFetch{}, assign(1, 1, "t", 0, 0), assign(2, 1, "t", 1, 0))
	for range 4 {
		_, err := s.next()
		must(t, err)
	}
	s.send(&quicproto.Unassign{Handle: 1}, &quicproto.Unassign{Handle: 77})
	eventually(t, "one reader is left", func() bool { return f.broker.openReaders() == 1 })
	fill(topic.partitions[0], 3, 100)
	fill(topic.partitions[1], 3, 100)
	s.collect(2, 1, 0, 3)
	s.send(assign(2, 2, "t", 0, 0)) // the handle gets another meaning
	recv[*quicproto.Assigned](s)
	s.collect(2, 2, 0, 3)
	if n := f.broker.openReaders(); n != 1 {
		t.Errorf("%d readers are open", n)
	}
	must(t, s.st.Close())
	if _, err := s.next(); !errors.Is(err, io.EOF) {
		t.Errorf("after the end of the subscription: %v", err)
	}
	if n := f.broker.openReaders(); n != 0 {
		t.Errorf("%d readers are open", n)
	}
}

func TestPartitionsAreServedInTurn(t *testing.T) {
	f := start(t, server.Limits{RecordsBytes: 20_000})
	topic := f.broker.add("t", 4)
	for _, p := range topic.partitions {
		fill(p, 100, 5000)
	}
	s := f.dial(t).open(&quicproto.OpenFetch{}, assign(0, 1, "t", 0, 0), assign(1, 1, "t", 1, 0), assign(2, 1, "t", 2, 0), assign(3, 1, "t", 3, 0))
	// The assignments come one after the other: a partition has turns before the last is known. What counts is what each sent since then.
	next, met := make(map[uint32]mq.Offset), map[uint32]mq.Offset(nil)
	for done := 0; done < 4; {
		fr, err := s.next()
		must(t, err)
		r, ok := fr.(*quicproto.Records)
		if !ok {
			continue
		}
		if len(r.Batches) > 20_000 {
			t.Errorf("a frame of %d bytes", len(r.Batches))
		}
		next[r.Handle] = r.Next
		if r.Next == 100 {
			done++
		}
		if len(next) == 4 && met == nil {
			met = maps.Clone(next)
		}
		if met != nil && done == 0 {
			low, high := mq.Offset(100), mq.Offset(0)
			for handle, n := range next {
				low, high = min(low, n-met[handle]), max(high, n-met[handle])
			}
			if high-low > 12 { // 4 batches to a frame
				t.Fatalf("since all are served, one partition advanced by %d while another did by %d", low, high)
			}
		}
	}
}

func TestABatchLargerThanAFrameIsSupposedToBeComesWhole(t *testing.T) {
	f := start(t, server.Limits{})
	p := f.broker.add("t", 1).partitions[0]
	fill(p, 3, 300_000)
	s := f.dial(t).open(&quicproto.OpenFetch{RecordsBytes: 1000}, assign(1, 1, "t", 0, 0))
	recv[*quicproto.Assigned](s)
	s.collect(1, 1, 0, 3)
}

func TestTwoThousandIdlePartitionsTakeNoGoroutine(t *testing.T) {
	f := start(t, server.Limits{})
	const n = 2000
	topic := f.broker.add("t", n)
	s := f.dial(t).open(&quicproto.OpenFetch{})
	before := runtime.NumGoroutine()
	for i := range uint32(n) {
		must(t, s.out.Write(assign(i, 1, "t", int32(i), 0)))
	}
	must(t, s.out.Flush())
	for range 2 * n { // Assigned and the end
		_, err := s.next()
		must(t, err)
	}
	if after := runtime.NumGoroutine(); after > before+3 {
		t.Errorf("%d goroutines became %d", before, after)
	}
	for _, i := range []uint32{1999, 0, 1234} {
		topic.partitions[i].append(batch(100))
		s.collect(i, 1, 0, 1)
	}
}

func TestAConsumerThatDoesNotReadHoldsUpNobody(t *testing.T) {
	f := start(t, server.Limits{})
	p := f.broker.add("t", 1).partitions[0]
	p.mu.Lock()
	p.loop, p.loopSize = batch(100_000), 1
	p.mu.Unlock()
	stuck := f.dial(t).open(&quicproto.OpenFetch{}, assign(1, 1, "t", 0, 0))
	recv[*quicproto.Assigned](stuck)
	q := f.broker.add("u", 1).partitions[0]
	s := f.dial(t).open(&quicproto.OpenFetch{}, assign(1, 1, "u", 0, 0))
	recv[*quicproto.Assigned](s)
	recv[*quicproto.Records](s)
	fill(q, 10, 100)
	s.collect(1, 1, 0, 10)
	eventually(t, "the server stops sending", func() bool {
		n := f.Stats().FetchBytes
		time.Sleep(20 * time.Millisecond)
		return f.Stats().FetchBytes == n
	})
	if n := f.Stats().FetchBytes; n > 64<<20 {
		t.Errorf("%d bytes were sent to a client that does not read", n)
	}
	f.Close() // and it does not keep the server from closing
}

// storeBelow says that what lies below an offset is in the object store.
func storeBelow(end mq.Offset) func(mq.Offset) server.Source {
	return func(from mq.Offset) server.Source {
		if from < end {
			return server.FromStore
		}
		return server.FromMemory
	}
}

// logBelow is storeBelow for the log.
func logBelow(end mq.Offset) func(mq.Offset) server.Source {
	return func(from mq.Offset) server.Source {
		if from < end {
			return server.FromLog
		}
		return server.FromMemory
	}
}

// cold makes partitions read from a store that blocks until release is closed.
func cold(partitions []*fakePartition) (running *atomic.Int32, most *atomic.Int32, release chan struct{}) {
	running, most, release = new(atomic.Int32), new(atomic.Int32), make(chan struct{})
	for _, p := range partitions {
		p.source = storeBelow(10)
		p.read = func(ctx context.Context, from mq.Offset) error {
			if from >= 10 {
				return nil
			}
			n := running.Add(1)
			defer running.Add(-1)
			for {
				m := most.Load()
				if n <= m || most.CompareAndSwap(m, n) {
					break
				}
			}
			select {
			case <-release:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return running, most, release
}

func TestASlowStoreHoldsUpOnlyThePartitionsThatNeedIt(t *testing.T) {
	f := start(t, server.Limits{ColdReads: 3, RecordsBytes: 4000})
	topic := f.broker.add("t", 9)
	for _, p := range topic.partitions {
		fill(p, 12, 1000)
	}
	running, most, release := cold(topic.partitions[:8])
	s := f.dial(t).open(&quicproto.OpenFetch{})
	for i := range uint32(8) {
		s.send(assign(i, 1, "t", int32(i), 0))
		recv[*quicproto.Assigned](s)
	}
	eventually(t, "the store is busy", func() bool { return running.Load() == 3 })
	s.send(assign(8, 1, "t", 8, 0))
	recv[*quicproto.Assigned](s)
	s.collect(8, 1, 0, 12)
	// What waits for the store can be moved, paused and dropped.
	s.send(&quicproto.Unassign{Handle: 0}, &quicproto.Seek{Handle: 1, Generation: 2, Offset: 11}, &quicproto.Unassign{Handle: 7})
	if a := recv[*quicproto.Assigned](s); a.Handle != 1 || a.Generation != 2 {
		t.Errorf("got %+v", a)
	}
	s.collect(1, 2, 11, 12)
	close(release)
	next := make(map[uint32]mq.Offset)
	for done := 0; done < 5; {
		r := recv[*quicproto.Records](s)
		for _, o := range offsetsOf(t, r) {
			if o != next[r.Handle] {
				t.Fatalf("handle %d: got %d, want %d", r.Handle, o, next[r.Handle])
			}
			next[r.Handle]++
		}
		if r.End {
			done++
		}
	}
	for _, h := range []uint32{2, 3, 4, 5, 6} {
		if next[h] != 12 {
			t.Errorf("handle %d got to %d", h, next[h])
		}
	}
	if most.Load() != 3 {
		t.Errorf("%d reads at a time", most.Load())
	}
	if n := f.broker.openReaders(); n != 7 {
		t.Errorf("%d readers are open, want 7", n)
	}
}

// The memory of a read is used again when its frame was sent, and not before: the batches that arrive are those that were read.
func TestMemoryOfReadsIsNotOverwrittenWhileItIsSent(t *testing.T) {
	f := start(t, server.Limits{LogReads: 3, RecordsBytes: 100_000})
	const partitions, batches = 7, 12
	topic := f.broker.add("t", partitions)
	for _, p := range topic.partitions {
		fill(p, batches, 40_000)
		p.source = logBelow(batches)
	}
	s := f.dial(t).open(&quicproto.OpenFetch{})
	for i := range uint32(partitions) {
		s.send(assign(i, 1, "t", int32(i), 0))
	}
	got := make([][]byte, partitions)
	for done := 0; done < partitions; {
		fr, err := s.next()
		must(t, err)
		if r, ok := fr.(*quicproto.Records); ok {
			got[r.Handle] = append(got[r.Handle], r.Batches...)
			if r.End {
				done++
			}
		}
	}
	for i, p := range topic.partitions {
		var want []byte
		for _, b := range p.batches {
			want = append(want, b...)
		}
		if !bytes.Equal(got[i], want) {
			t.Errorf("partition %d: %d bytes came, not the %d that were read", i, len(got[i]), len(want))
		}
	}
}

func TestAConsumerThatDoesNotReadHoldsFewReads(t *testing.T) {
	const limit = 2
	f := start(t, server.Limits{LogReads: limit})
	const partitions = 20
	topic := f.broker.add("t", partitions)
	var reads atomic.Int32
	for _, p := range topic.partitions {
		p.mu.Lock()
		p.loop, p.loopSize = batch(100_000), 1
		p.mu.Unlock()
		p.source = logBelow(1 << 40)
		p.read = func(context.Context, mq.Offset) error {
			reads.Add(1)
			return nil
		}
	}
	s := f.dial(t).open(&quicproto.OpenFetch{})
	for i := range uint32(partitions) {
		must(t, s.out.Write(assign(i, 1, "t", int32(i), 0)))
	}
	must(t, s.out.Flush())
	eventually(t, "the server stops sending", func() bool {
		n := f.Stats().FetchFrames
		time.Sleep(20 * time.Millisecond)
		return n > 0 && f.Stats().FetchFrames == n
	})
	// One is being sent, or none is if that is counted already.
	if ahead := int(reads.Load()) - int(f.Stats().FetchFrames); ahead > limit {
		t.Errorf("%d reads were done ahead of %d frames, at most %d may be", ahead, f.Stats().FetchFrames, limit)
	}
	f.Close()
}

func TestClosingASubscriptionEndsItsReadsFromTheStore(t *testing.T) {
	f := start(t, server.Limits{})
	topic := f.broker.add("t", 6)
	for _, p := range topic.partitions {
		fill(p, 12, 100)
	}
	running, _, _ := cold(topic.partitions)
	c := f.dial(t)
	s := c.open(&quicproto.OpenFetch{})
	for i := range uint32(6) {
		s.send(assign(i, 1, "t", int32(i), 0))
	}
	eventually(t, "the store is busy", func() bool { return running.Load() == 4 })
	must(t, s.st.Close())
	eventually(t, "readers are closed", func() bool { return f.broker.openReaders() == 0 && running.Load() == 0 })
}

func TestTroubleThatPassesIsWaitedOutAndNotTold(t *testing.T) {
	f := start(t, server.Limits{})
	p := f.broker.add("t", 1).partitions[0]
	fill(p, 5, 100)
	var left atomic.Int32
	left.Store(2)
	p.source = storeBelow(1 << 40)
	p.read = func(context.Context, mq.Offset) error {
		if left.Add(-1) >= 0 {
			return mq.Errorf(mq.ObjectStoreUnavailable, "the bucket is away")
		}
		return nil
	}
	s := f.dial(t).open(&quicproto.OpenFetch{}, assign(1, 1, "t", 0, 0))
	recv[*quicproto.Assigned](s)
	s.collect(1, 1, 0, 5)
	if n := left.Load(); n >= 0 {
		t.Errorf("%d troubles were not met", n+1)
	}
}

func TestTroubleThatLastsIsToldAndMayBeTriedAgain(t *testing.T) {
	f := start(t, server.Limits{TroubleTime: 100 * time.Millisecond})
	p := f.broker.add("t", 1).partitions[0]
	fill(p, 5, 100)
	var well atomic.Bool
	p.source = storeBelow(1 << 40)
	p.read = func(context.Context, mq.Offset) error {
		if !well.Load() {
			return mq.Errorf(mq.ObjectStoreUnavailable, "nothing knows where it is")
		}
		return nil
	}
	s := f.dial(t).open(&quicproto.OpenFetch{}, assign(1, 1, "t", 0, 0))
	recv[*quicproto.Assigned](s)
	if told := recv[*quicproto.Status](s); told.Code != mq.ObjectStoreUnavailable || !told.Code.Retriable() || told.Next != 0 {
		t.Fatalf("told %+v", told)
	}
	well.Store(true)
	s.send(&quicproto.Seek{Handle: 1, Generation: 2, Offset: 0})
	recv[*quicproto.Assigned](s)
	s.collect(1, 2, 0, 5)
}

func TestABrokerThatSaysOneThingAndDoesAnotherDoesNotSpin(t *testing.T) {
	f := start(t, server.Limits{})
	p := f.broker.add("t", 1).partitions[0]
	fill(p, 5, 100)
	var reads atomic.Int32
	p.read = func(context.Context, mq.Offset) error {
		reads.Add(1)
		return nil
	}
	p.batches = nil // the end is at 5, and there is nothing
	s := f.dial(t).open(&quicproto.OpenFetch{}, assign(1, 1, "t", 0, 0))
	recv[*quicproto.Assigned](s)
	s.nothing(200 * time.Millisecond)
	if n := reads.Load(); n > 20 {
		t.Errorf("%d reads in 200 ms", n)
	}
}

func TestRandomCommandsNeverBreakOrderWithinAGeneration(t *testing.T) {
	f := start(t, server.Limits{RecordsBytes: 3000, LogReads: 2, ColdReads: 1})
	const n = 8
	topic := f.broker.add("t", n)
	for i, p := range topic.partitions {
		fill(p, 200, 400)
		switch i % 3 {
		case 0:
			p.source = storeBelow(101)
		case 1:
			p.source = logBelow(150)
		}
	}
	s := f.dial(t).open(&quicproto.OpenFetch{})
	gen := make([]uint32, n)
	go func() {
		w := quicproto.NewFrameWriter(s.st)
		for i := range uint32(400) {
			h := (i * 7) % n
			var fr quicproto.Frame
			switch i % 5 {
			case 0, 1:
				fr = &quicproto.Seek{Handle: h, Generation: i + 2, Offset: mq.Offset(i*13) % 200}
			case 2:
				fr = assign(h, i+2, "t", int32(h), mq.Offset(i*11)%200)
			case 3:
				fr = &quicproto.Pause{Handles: []uint32{h}}
			default:
				fr = &quicproto.Resume{Handles: []uint32{h, (h + 3) % n}}
			}
			if w.Write(fr) != nil || w.Flush() != nil {
				return
			}
		}
		all := &quicproto.Resume{}
		for h := range uint32(n) {
			if w.Write(assign(h, 1000, "t", int32(h), 0)) != nil {
				return
			}
			all.Handles = append(all.Handles, h)
		}
		if w.Write(all) == nil {
			_ = w.Flush()
		}
	}()
	next := make([]mq.Offset, n)
	for done := 0; done < n; {
		fr, err := s.next()
		must(t, err)
		switch fr := fr.(type) {
		case *quicproto.Assigned:
			if fr.Err() == nil {
				gen[fr.Handle], next[fr.Handle] = fr.Generation, fr.Offset
			}
		case *quicproto.Records:
			if fr.Generation != gen[fr.Handle] {
				t.Fatalf("handle %d: generation %d after %d was assigned", fr.Handle, fr.Generation, gen[fr.Handle])
			}
			for _, o := range offsetsOf(t, fr) {
				if o != next[fr.Handle] {
					t.Fatalf("handle %d: got %d, want %d", fr.Handle, o, next[fr.Handle])
				}
				next[fr.Handle]++
			}
			if fr.Generation == 1000 && fr.End {
				done++
			}
		default:
			t.Fatalf("%+v", fr)
		}
	}
}
