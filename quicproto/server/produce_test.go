package server_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/server"
)

func produce(request uint64, handle uint32, partition int32, b mq.Batch) *quicproto.Produce {
	return &quicproto.Produce{Request: request, Handle: handle, Partition: partition, Durability: mq.DurabilityAll, Batch: b}
}

// held collects completions instead of completing.
type held struct {
	mu  sync.Mutex
	all []heldAppend
}

type heldAppend struct {
	partition int32
	batch     mq.Batch
	done      server.Completion
}

func (f *fixture) hold() *held {
	h := &held{}
	f.broker.appended = func(partition int32, b mq.Batch, done server.Completion) {
		h.mu.Lock()
		h.all = append(h.all, heldAppend{partition, b, done})
		h.mu.Unlock()
	}
	return h
}

func (h *held) len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.all)
}

func (h *held) take() []heldAppend {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.all
	h.all = nil
	return all
}

func TestBoundTellsTheTopic(t *testing.T) {
	f := start(t, server.Limits{})
	topic := f.broker.add("orders", 6)
	s := f.dial(t).open(&quicproto.OpenProduce{})
	if b := s.bind(9, "orders"); b.Handle != 9 || b.Err() != nil || b.TopicID != topic.id || b.Partitions != 6 || b.BatchBytes != mq.DefaultMaxBatchBytes {
		t.Errorf("got %+v", b)
	}
	if b := s.bind(10, "gone"); b.Handle != 10 || b.Code != mq.UnknownTopicOrPartition {
		t.Errorf("got %+v", b)
	}
}

func TestAnAckCarriesWhatTheBrokerSaid(t *testing.T) {
	f := start(t, server.Limits{})
	f.broker.add("t", 1)
	h := f.hold()
	s := f.dial(t).open(&quicproto.OpenProduce{})
	s.bind(1, "t")
	want := batch(1000)
	s.send(&quicproto.Produce{Request: 1, Handle: 1, Partition: 3, Durability: mq.DurabilityLeader, Batch: want}, produce(2, 1, 4, batch(0)))
	eventually(t, "both are appended", func() bool { return h.len() == 2 })
	s.nothing(20 * time.Millisecond) // no ack before completion
	got := h.take()
	if got[0].partition != 3 || !bytes.Equal(got[0].batch, want) || cap(got[0].batch) != len(want) {
		t.Errorf("appended %d bytes (room for %d) to %d", len(got[0].batch), cap(got[0].batch), got[0].partition)
	}
	got[1].done.Complete(server.Appended{Err: mq.Errorf(mq.StorageFull, "disk is full"), LogStart: 5})
	got[0].done.Complete(server.Appended{Base: 100, Mark: mq.MarkReplicated, LogStart: 50, Timestamp: 1234, Duplicate: true})
	acks := s.acks(2)
	if a := acks[0]; a != (quicproto.Ack{Request: 2, Code: mq.StorageFull, Base: -1, Timestamp: -1, LogStart: 5, Msg: "disk is full"}) {
		t.Errorf("got %+v", a)
	}
	if a := acks[1]; a != (quicproto.Ack{Request: 1, Mark: mq.MarkReplicated, Base: 100, LogStart: 50, Timestamp: 1234, Duplicate: true}) {
		t.Errorf("got %+v", a)
	}
	if n := f.Stats().InFlightBytes; n != 0 {
		t.Errorf("%d bytes are still counted as in flight", n)
	}
}

func TestABadBatchIsAckedAndTheStreamGoesOn(t *testing.T) {
	f := start(t, server.Limits{})
	topic := f.broker.add("t", 1)
	f.broker.openProduce = func(_ *server.Session, name string) error {
		if name == "secret" {
			return mq.Errorf(mq.TopicAuthorizationFailed, "not for you")
		}
		return nil
	}
	s := f.dial(t).open(&quicproto.OpenProduce{})
	s.bind(1, "t")
	if b := s.bind(2, "secret"); b.Code != mq.TopicAuthorizationFailed {
		t.Fatalf("got %+v", b)
	}
	flipped := batch(1000)
	flipped[500] ^= 1
	two := append(bytes.Clone(batch(100)), batch(100)...)
	s.send(
		produce(1, 1, 0, flipped), produce(2, 1, 0, nil), produce(3, 1, 0, two), produce(4, 2, 0, batch(0)),
		produce(5, 77, 0, batch(0)), produce(6, 1, 0, batch(2<<20)), produce(7, 1, 9, batch(0)), produce(8, 1, 0, batch(0)),
	)
	want := []mq.Code{
		mq.CorruptMessage, mq.CorruptMessage, mq.InvalidRecord, mq.TopicAuthorizationFailed, mq.InvalidRequest,
		mq.MessageTooLarge, mq.UnknownTopicOrPartition, mq.None,
	}
	for i, a := range s.acks(8) {
		if a.Request != uint64(i+1) || a.Code != want[i] {
			t.Errorf("got %+v, want %v", a, want[i])
		}
	}
	f.broker.mu.Lock()
	topic.maxBatch = 4 << 20
	f.broker.mu.Unlock()
	s.send(produce(9, 1, 0, batch(2<<20)))
	if a := s.acks(1)[0]; a.Err() != nil || a.Base != 1 {
		t.Errorf("after the topic's limit was raised: %+v", a)
	}
	// A handle may be given another meaning.
	f.broker.add("u", 1)
	s.send(&quicproto.Bind{Handle: 2, Topic: "u"}, produce(10, 2, 0, batch(0)))
	recv[*quicproto.Bound](s)
	if a := s.acks(1)[0]; a.Err() != nil {
		t.Errorf("after binding anew: %+v", a)
	}
	if n := f.Stats().ProduceErrors; n != 7 {
		t.Errorf("%d errors counted", n)
	}
}

func TestBatchesBehindBindNeedNotWaitForBound(t *testing.T) {
	f := start(t, server.Limits{})
	f.broker.add("t", 1)
	s := f.dial(t).open(
		&quicproto.OpenProduce{}, &quicproto.Bind{Handle: 1, Topic: "t"}, produce(1, 1, 0, batch(0)),
		&quicproto.Bind{Handle: 2, Topic: "gone"}, produce(2, 2, 0, batch(0)),
	)
	var bounds, acks []mq.Code
	for len(bounds)+len(acks) < 4 {
		fr, err := s.next()
		must(t, err)
		switch fr := fr.(type) {
		case *quicproto.Bound:
			bounds = append(bounds, fr.Code)
		case *quicproto.ProduceAcks:
			for _, a := range fr.Acks {
				acks = append(acks, a.Code)
			}
			if len(acks) > len(bounds) {
				t.Errorf("an ack came before its Bound")
			}
		}
	}
	want := []mq.Code{mq.None, mq.UnknownTopicOrPartition}
	if !slices.Equal(bounds, want) || !slices.Equal(acks, want) {
		t.Errorf("bounds %v, acks %v", bounds, acks)
	}
}

func TestABatchOfOneMiBAndOneSentByteByByteArrive(t *testing.T) {
	f := start(t, server.Limits{})
	f.broker.add("t", 1)
	s := f.dial(t).open(&quicproto.OpenProduce{})
	s.bind(1, "t")
	s.send(produce(1, 1, 0, batch(1<<20)))
	if a := s.acks(1)[0]; a.Err() != nil {
		t.Errorf("1 MiB: %+v", a)
	}
	slow := batch(2000)
	for _, b := range quicproto.AppendFrame(nil, produce(2, 1, 0, slow)) {
		_, err := s.st.Write([]byte{b})
		must(t, err)
	}
	if a := s.acks(1)[0]; a.Err() != nil || a.Base != 1 {
		t.Errorf("byte by byte: %+v", a)
	}
	if got := f.broker.topics["t"].partitions[0].log()[1]; !bytes.Equal(got[12:], slow[12:]) {
		t.Error("the batch that came byte by byte is another one")
	}
}

func TestTheWindowBoundsWhatIsInFlight(t *testing.T) {
	const size = 10_000
	for name, c := range map[string]struct {
		limits server.Limits
		want   int
	}{
		"by count":           {server.Limits{WindowCount: 20}, 20},
		"by session bytes":   {server.Limits{WindowBytes: 15 * size}, 15},
		"by all bytes":       {server.Limits{TotalBytes: 10 * size}, 10},
		"but one gets in":    {server.Limits{WindowBytes: size / 2}, 1},
		"but one of them, 2": {server.Limits{TotalBytes: size / 2}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, c.limits)
			f.broker.add("t", 1)
			h := f.hold()
			s := f.dial(t).open(&quicproto.OpenProduce{})
			s.bind(1, "t")
			const n = 50
			for i := range uint64(n) {
				must(t, s.out.WriteProduce(produce(i, 1, 0, batch(size))))
			}
			must(t, s.out.Flush())
			eventually(t, "the window is full", func() bool { return h.len() == c.want })
			time.Sleep(20 * time.Millisecond)
			if got := h.len(); got != c.want {
				t.Fatalf("%d batches in flight, want %d", got, c.want)
			}
			done := 0
			for done < n {
				for _, a := range h.take() {
					a.done.Complete(server.Appended{Base: mq.Offset(done)})
					done++
				}
			}
			for i, a := range s.acks(n) {
				if a.Request != uint64(i) || a.Base != mq.Offset(i) {
					t.Fatalf("ack %d is %+v", i, a)
				}
			}
			if got := f.Stats().InFlightBytes; got != 0 {
				t.Errorf("%d bytes are still counted as in flight", got)
			}
		})
	}
}

func TestAClientThatReadsNoAcksIsReadNoFurther(t *testing.T) {
	f := start(t, server.Limits{WindowCount: 64})
	f.broker.add("t", 1)
	var mu sync.Mutex
	appended := 0
	f.broker.appended = func(_ int32, _ mq.Batch, done server.Completion) {
		mu.Lock()
		appended++
		mu.Unlock()
		done.Complete(server.Appended{Err: mq.Errorf(mq.StorageFull, "%s", bytes.Repeat([]byte("x"), 1000))})
	}
	s := f.dial(t).open(&quicproto.OpenProduce{})
	s.bind(1, "t")
	defer time.AfterFunc(2*time.Second, func() { s.st.Abort(mq.Canceled) }).Stop()
	var err error
	for i := uint64(0); err == nil && i < 100_000; i++ {
		err = s.out.WriteProduce(produce(i, 1, 0, batch(200)))
	}
	if err == nil {
		t.Fatal("the server read 100,000 batches from a client that reads no acks")
	}
	mu.Lock()
	defer mu.Unlock()
	t.Logf("%d batches were taken", appended)
}

func TestEndingAProduceStreamStillBringsAllAcks(t *testing.T) {
	f := start(t, server.Limits{})
	f.broker.add("t", 1)
	h := f.hold()
	s := f.dial(t).open(&quicproto.OpenProduce{})
	s.bind(1, "t")
	s.send(produce(1, 1, 0, batch(0)), produce(2, 1, 0, batch(0)))
	must(t, s.st.Close())
	eventually(t, "both are appended", func() bool { return h.len() == 2 })
	for _, a := range h.take() {
		a.done.Complete(server.Appended{})
	}
	s.acks(2)
	if _, err := s.next(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last ack: %v", err)
	}
}

func TestCompletionsAfterTheEndOfTheirSessionDoNoHarm(t *testing.T) {
	f := start(t, server.Limits{TotalBytes: 10_000})
	f.broker.add("t", 1)
	h := f.hold()
	c := f.dial(t)
	s := c.open(&quicproto.OpenProduce{})
	s.bind(1, "t")
	s.send(produce(1, 1, 0, batch(6000)), produce(2, 1, 0, batch(6000)))
	eventually(t, "one is appended, the other waits", func() bool { return h.len() == 1 })
	c.conn.Close(mq.None, "")
	eventually(t, "the session is gone", func() bool { return f.Stats().Sessions == 0 })
	h.take()[0].done.Complete(server.Appended{})
	if n := f.Stats().InFlightBytes; n != 0 {
		t.Errorf("%d bytes are still counted as in flight", n)
	}
	s = f.dial(t).open(&quicproto.OpenProduce{})
	s.bind(1, "t")
	s.send(produce(1, 1, 0, batch(9000)))
	eventually(t, "the budget is whole", func() bool { return h.len() == 1 })
	h.take()[0].done.Complete(server.Appended{})
	s.acks(1)
}

func TestManyProducersAtATimeLoseNothing(t *testing.T) {
	f := start(t, server.Limits{})
	topic := f.broker.add("t", 3)
	const sessions, streams, batches = 4, 3, 200
	var wg sync.WaitGroup
	for range sessions {
		c := f.dial(t)
		for range streams {
			s := c.open(&quicproto.OpenProduce{})
			s.bind(1, "t")
			wg.Go(func() {
				for i := range uint64(batches) {
					must(t, s.out.WriteProduce(produce(i, 1, int32(i%3), batch(300))))
				}
				must(t, s.out.Flush())
			})
			wg.Go(func() {
				last := map[uint64]mq.Offset{0: -1, 1: -1, 2: -1}
				seen := 0
				for seen < batches {
					fr, err := s.next()
					if err != nil {
						t.Error(err)
						return
					}
					for _, a := range fr.(*quicproto.ProduceAcks).Acks {
						if a.Err() != nil || a.Base <= last[a.Request%3] {
							t.Errorf("ack %+v after offset %d", a, last[a.Request%3])
						}
						last[a.Request%3] = a.Base
						seen++
					}
				}
			})
		}
	}
	wg.Wait()
	for i, p := range topic.partitions {
		n := 0
		for j := range batches {
			if j%3 == i {
				n++
			}
		}
		if want := sessions * streams * n; len(p.log()) != want {
			t.Errorf("partition %d has %d batches, want %d", i, len(p.log()), want)
		}
	}
}

func TestShutdownLetsWhatIsInFlightFinish(t *testing.T) {
	f := start(t, server.Limits{DrainGrace: time.Second})
	f.broker.add("t", 1)
	h := f.hold()
	busy, idle := f.dial(t), f.dial(t)
	s := busy.open(&quicproto.OpenProduce{})
	s.bind(1, "t")
	s.send(produce(1, 1, 0, batch(0)))
	eventually(t, "the batch is in flight", func() bool { return h.len() == 1 })
	down := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
		defer cancel()
		down <- f.Shutdown(ctx)
	}()
	for _, c := range []*client{busy, idle} {
		if g := recv[*quicproto.GoAway](c.control); g.Code != mq.ShuttingDown || g.Drain == 0 || g.Drain > uint32(testTimeout.Milliseconds()) {
			t.Errorf("got %+v", g)
		}
	}
	idle.wantClosed(mq.ShuttingDown, "")
	refused := busy.open(&quicproto.OpenProduce{})
	if c := recv[*quicproto.Close](refused); c.Code != mq.ShuttingDown {
		t.Errorf("a new stream got %+v", c)
	}
	select {
	case err := <-down:
		t.Fatalf("shut down with a batch in flight: %v", err)
	case <-time.After(400 * time.Millisecond):
	}
	h.take()[0].done.Complete(server.Appended{Base: 42})
	if a := s.acks(1)[0]; a.Base != 42 {
		t.Errorf("got %+v", a)
	}
	busy.wantClosed(mq.ShuttingDown, "")
	must(t, <-down)
}

func TestShutdownEndsWithItsContextWhateverIsInFlight(t *testing.T) {
	f := start(t, server.Limits{})
	f.broker.add("t", 1)
	h := f.hold()
	c := f.dial(t)
	s := c.open(&quicproto.OpenProduce{})
	s.bind(1, "t")
	s.send(produce(1, 1, 0, batch(0)))
	eventually(t, "the batch is in flight", func() bool { return h.len() == 1 })
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := f.Shutdown(ctx); mq.CodeOf(err) != mq.RequestTimedOut {
		t.Errorf("got %v", err)
	}
	c.wantClosed(mq.ShuttingDown, "")
}
