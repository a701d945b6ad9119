package broker

import (
	"context"
	"math"
	"sync"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/server"
)

// producerIDBlock is how many producer ids a broker leases at once: a raft round
// trip per thousand producers, and at most so many ids lost by a crash.
const producerIDBlock = 1000

// producerIDs hands out ids from leased blocks.
type producerIDs struct {
	controller Controller
	lease      chan struct{} // holds one token: who has it may lease the next block

	mu        sync.Mutex
	next, end mq.ProducerID
}

func newProducerIDs(c Controller) *producerIDs {
	p := &producerIDs{controller: c, lease: make(chan struct{}, 1)}
	p.lease <- struct{}{}
	return p
}

// take gives an id that nobody had before.
func (p *producerIDs) take(ctx context.Context) (mq.ProducerID, error) {
	for {
		if id, ok := p.tryTake(); ok {
			return id, nil
		}
		select {
		case <-p.lease:
		case <-ctx.Done():
			return 0, mq.Errorf(mq.RequestTimedOut, "wait for a block of producer ids: %w", context.Cause(ctx))
		}
		err := p.leaseBlock(ctx)
		p.lease <- struct{}{}
		if err != nil {
			return 0, err
		}
	}
}

func (p *producerIDs) tryTake() (mq.ProducerID, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next == p.end {
		return 0, false
	}
	p.next++
	return p.next - 1, true
}

// leaseBlock gets the next block unless somebody else just did. The caller has the token.
func (p *producerIDs) leaseBlock(ctx context.Context) error {
	p.mu.Lock()
	empty := p.next == p.end
	p.mu.Unlock()
	if !empty {
		return nil
	}
	result, err := p.controller.Propose(ctx, &metadatapb.Command{Kind: &metadatapb.Command_AllocateProducerIds{
		AllocateProducerIds: &metadatapb.AllocateProducerIDs{Count: producerIDBlock},
	}})
	if err != nil {
		return mq.Wrapf(err, "lease a block of producer ids")
	}
	block := result.GetAllocate()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = mq.ProducerID(block.GetFirst())
	p.end = p.next + mq.ProducerID(block.GetCount())
	return nil
}

// InitProducerID implements server.Broker. A producer that has an id goes on with
// it under the next epoch, which fences its own late batches; at the last epoch it
// gets a new id.
func (b *Broker) InitProducerID(ctx context.Context, s *server.Session, req *quicproto.InitProducerIDRequest) (*quicproto.InitProducerIDResponse, error) {
	if err := b.authorise(s, OpIdempotentWrite, Resource{}); err != nil {
		return nil, err
	}
	if req.ProducerID >= 0 && req.ProducerEpoch >= 0 && req.ProducerEpoch < math.MaxInt16 {
		return &quicproto.InitProducerIDResponse{ProducerID: req.ProducerID, ProducerEpoch: req.ProducerEpoch + 1}, nil
	}
	if b.cfg.Mount != nil {
		// Any will do: nothing is ever appended under it. A client asks for one until it has it, and what it sends then is refused with the reason.
		return &quicproto.InitProducerIDResponse{}, nil
	}
	id, err := b.producers.take(ctx)
	if err != nil {
		return nil, err
	}
	return &quicproto.InitProducerIDResponse{ProducerID: id}, nil
}
