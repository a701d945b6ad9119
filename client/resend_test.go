package client

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/rustmq/rustmq/mq"
)

// wire watches batches as they come from the client, and what becomes of them.
type wire struct {
	t *testing.T

	mu     sync.Mutex
	count  int
	kills  int
	sent   map[batchName][]byte
	values map[string]*sending // by the value of a batch's first record
	again  int                 // batches that came again under their name
	anew   int                 // and under another
}

// batchName is what a producer calls a batch.
type batchName struct {
	partition int32
	id        mq.ProducerID
	epoch     mq.ProducerEpoch
	sequence  int32
}

// sending is how a batch was sent last.
type sending struct {
	name   batchName
	data   []byte
	unsure bool // an answer left it open whether it was appended
}

// anonymous is a batch without what renumbering may change.
func anonymous(b []byte) []byte {
	const crc, producer, count = 17, 43, 57
	out := bytes.Clone(b)
	clear(out[crc : crc+4])
	clear(out[producer:count])
	return out
}

// look compares a batch with what was sent before.
func (w *wire) look(partition int32, b mq.Batch) *sending {
	name := batchName{partition, b.ProducerID(), b.ProducerEpoch(), b.BaseSequence()}
	if old, ok := w.sent[name]; ok {
		w.again++
		if !bytes.Equal(old, b) {
			w.t.Errorf("%+v was sent with %d bytes, and again with other %d", name, len(old), len(b))
		}
	}
	w.sent[name] = bytes.Clone(b)
	var s *sending
	for rec, err := range b.Records(nil) {
		if err != nil {
			w.t.Error(err)
			break
		}
		known := w.values[string(rec.Value)]
		if s == nil {
			s = known
		}
		if known != s {
			w.t.Errorf("%+v: records of several batches were put together", name)
		}
	}
	if s == nil {
		s = &sending{name: name, data: bytes.Clone(b)}
		for rec, err := range b.Records(nil) {
			if err != nil {
				w.t.Errorf("%+v: %v", name, err)
			}
			w.values[string(rec.Value)] = s
		}
		return s
	}
	if s.name != name {
		w.anew++
		if s.unsure {
			w.t.Errorf("%+v may have been appended, and was sent again as %+v", s.name, name)
		}
		s.name = name
	}
	if !bytes.Equal(anonymous(s.data), anonymous(b)) {
		w.t.Errorf("%+v: the records were cut anew", name)
	}
	return s
}

// fault gives a batch its fate: most are appended.
func (w *wire) fault(partition int32, b mq.Batch, kill func()) fault {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.look(partition, b)
	w.count++
	switch n := w.count; {
	case n > 600:
	case n%17 == 3:
		return fault{refuse: mq.Errorf(mq.StorageFull, "injected")}
	case n%29 == 7:
		s.unsure = true
		return fault{refuse: mq.Errorf(mq.NotLeaderOrFollower, "injected")}
	case n%61 == 20:
		delete(w.sent, s.name) // for certain, and for good: if nothing was sent behind it, its number is the next batch's
		return fault{refuse: mq.Errorf(mq.InvalidRecord, "injected")}
	case n%90 == 40 && w.kills < 4:
		w.kills++
		s.unsure = true
		return fault{after: kill}
	}
	return fault{}
}

// TestBatchIsSentAgainAsItWas refuses batches in every way, and cuts connections: whatever comes again has the same bytes, unless it was
// refused for certain and has a new number, and then the same records.
func TestBatchIsSentAgainAsItWas(t *testing.T) {
	h := startCluster(t)
	ft := h.broker.create("t", 2)
	w := &wire{t: t, sent: map[batchName][]byte{}, values: map[string]*sending{}}
	dead, done := make(chan struct{}, 1), make(chan struct{})
	h.broker.setFault(func(partition int32, b mq.Batch) fault {
		return w.fault(partition, b, func() { dead <- struct{}{} })
	})
	go func() {
		defer close(done)
		for range dead {
			h.restart()
		}
	}()
	c := h.client(BatchBytes(1024), Window(8))
	var mu sync.Mutex
	delivered := map[string]bool{}
	for i := range 6000 {
		rec := &Record{Topic: "t", Key: fmt.Append(nil, i%2), Value: fmt.Appendf(nil, "%d:%080d", i, i)}
		c.Produce(context.Background(), rec, func(rec *Record, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				delivered[string(rec.Value)] = true
			}
		})
	}
	if err := c.Flush(soon(t)); err != nil {
		t.Fatal(err)
	}
	h.broker.setFault(nil)
	close(dead)
	<-done
	times := map[string]int{}
	for _, l := range ft.parts {
		for _, rec := range l.records() {
			times[string(rec.Value)]++
		}
	}
	for value, n := range times {
		if n != 1 {
			t.Errorf("%s is there %d times", value, n)
		}
	}
	for value := range delivered {
		if times[value] == 0 {
			t.Errorf("%s was acknowledged and is not there", value)
		}
	}
	if w.again < 10 || w.anew < 10 || w.kills == 0 {
		t.Errorf("%d batches came again, %d under another number, %d connections were cut", w.again, w.anew, w.kills)
	}
}
