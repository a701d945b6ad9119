package client

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// identity is what an idempotent producer is known by to servers.
type identity struct {
	id         mq.ProducerID
	epoch      mq.ProducerEpoch
	generation uint64 // counts the client's identities from 1
}

// identities fetches identities: one for the client, and another whenever a partition's sequence is beyond repair.
type identities struct {
	c       *Client
	current atomic.Pointer[identity]

	mu       sync.Mutex
	fetching bool
	waiting  []*partition // to be woken when there is a new one
}

// after returns an identity younger than generation, or nil, and then wakes p when there is one. Mutexes of partitions may be held.
func (ids *identities) after(generation uint64, p *partition) *identity {
	if id := ids.current.Load(); id != nil && id.generation > generation {
		return id
	}
	ids.mu.Lock()
	defer ids.mu.Unlock()
	id := ids.current.Load()
	if id != nil && id.generation > generation {
		return id
	}
	ids.waiting = append(ids.waiting, p)
	if !ids.fetching {
		ids.fetching = ids.c.spawn(ids.fetch)
	}
	return nil
}

// fetch asks for an identity until there is one or the client is closed.
func (ids *identities) fetch() {
	wait := ids.c.produceBackoff()
	for {
		var resp quicproto.InitProducerIDResponse
		req := quicproto.InitProducerIDRequest{ProducerID: mq.NoProducerID, ProducerEpoch: mq.NoProducerEpoch}
		ctx, cancel := context.WithTimeout(ids.c.ctx, ids.c.cfg.requestTimeout)
		err := ids.c.ask(ctx, &req, &resp, urgent)
		cancel()
		if err == nil {
			ids.set(&resp)
			return
		}
		ids.c.noteTrouble(mq.Wrapf(err, "get a producer id"))
		if !ids.c.sleep(wait.NextBackOff()) {
			return
		}
	}
}

func (ids *identities) set(resp *quicproto.InitProducerIDResponse) {
	next := &identity{id: resp.ProducerID, epoch: resp.ProducerEpoch, generation: 1}
	if old := ids.current.Load(); old != nil {
		next.generation = old.generation + 1
	}
	ids.mu.Lock()
	ids.current.Store(next)
	ids.fetching = false
	waiting := ids.waiting
	ids.waiting = nil
	ids.mu.Unlock()
	for _, p := range waiting {
		p.wake()
	}
}
