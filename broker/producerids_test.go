package broker_test

import (
	"math"
	"sync"
	"testing"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

func newProducer(f *fixture) (mq.ProducerID, error) {
	resp, err := f.InitProducerID(f.t.Context(), alice, &quicproto.InitProducerIDRequest{ProducerID: mq.NoProducerID, ProducerEpoch: mq.NoProducerEpoch})
	if err != nil {
		return 0, err
	}
	if resp.ProducerEpoch != 0 {
		f.t.Errorf("a new producer begins in epoch %d", resp.ProducerEpoch)
	}
	return resp.ProducerID, nil
}

func TestProducerIDsAreUniqueAndLeasedInBlocks(t *testing.T) {
	const producers, each = 25, 100
	f := newFixture(t, 1)
	var mu sync.Mutex
	seen := make(map[mq.ProducerID]bool)
	var wg sync.WaitGroup
	for range producers {
		wg.Go(func() {
			for range each {
				id, err := newProducer(f)
				mu.Lock()
				if err != nil || seen[id] {
					t.Errorf("id %d, %v", id, err)
				}
				seen[id] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if got := f.proposals(); got != 3 { // of 1,000 each
		t.Errorf("%d ids took %d commands", producers*each, got)
	}
}

func TestProducerIDsAreNotHandedOutAgainByTheNextRun(t *testing.T) {
	f := newFixture(t, 1)
	first, err := newProducer(f)
	f.must(err)
	f.Broker = f.again()
	second, err := newProducer(f)
	if err != nil || second <= first {
		t.Errorf("%d after %d, %v", second, first, err)
	}
}

func TestProducerGoesOnUnderTheNextEpoch(t *testing.T) {
	f := newFixture(t, 1)
	for _, c := range []struct {
		id      mq.ProducerID
		epoch   mq.ProducerEpoch
		next    mq.ProducerEpoch
		another bool // it gets another id
	}{
		{4711, 0, 1, false},
		{4711, math.MaxInt16 - 1, math.MaxInt16, false},
		{4711, math.MaxInt16, 0, true},
		{4711, mq.NoProducerEpoch, 0, true},
		{mq.NoProducerID, 3, 0, true},
	} {
		resp, err := f.InitProducerID(t.Context(), alice, &quicproto.InitProducerIDRequest{ProducerID: c.id, ProducerEpoch: c.epoch})
		if err != nil || resp.ProducerEpoch != c.next || (resp.ProducerID != c.id) != c.another || resp.ProducerID < 0 {
			t.Errorf("%+v: got %+v, %v", c, resp, err)
		}
	}
}
