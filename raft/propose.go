package raft

import (
	"context"
	"encoding/binary"
	"errors"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/rustmq/rustmq/mq"
)

// proposal is one caller's wait.
type proposal struct {
	ctx    context.Context // of the caller; only looked at
	data   []byte
	change *raftpb.ConfChangeV2 // instead of data
	done   chan outcome         // takes one
}

type outcome struct {
	result []byte
	err    error
}

// group is the proposals of one entry.
type group struct {
	term      uint64
	proposals []*proposal
	refusal   error // of a change of membership, once it was to be applied
}

// undecided is the cause of errors after which a proposal may still be applied.
type undecided struct{}

func (undecided) Error() string { return "the outcome is unknown" }

// Undecided says of an error of Propose that the proposal may have been applied, or may be yet. After any other error it has not been and
// will not be.
func Undecided(err error) bool {
	_, ok := errors.AsType[undecided](err)
	return ok
}

func makeUndecided(err error) error {
	return mq.Errorf(mq.CodeOf(err), "%w", errors.Join(err, undecided{}))
}

// Propose hands data to the group and returns the state machine's result, when that is durable here. Waiting proposals are combined. data must
// not be changed until Propose returns, nor after an error for which Undecided is true.
//
// Errors: NotController (retriable) when this node does not lead, or ceased to while the proposal was on its way; StorageFull (retriable) when
// the log or the state machine has no room; MessageTooLarge beyond Config.MaxProposal; ShuttingDown and KafkaStorageError at the node's end; those of ctx. See Undecided.
func (n *Node) Propose(ctx context.Context, data []byte) (result []byte, err error) {
	if len(data) > n.cfg.MaxProposal {
		return nil, mq.Errorf(mq.MessageTooLarge, "raft: a proposal of %d bytes: at most %d are allowed", len(data), n.cfg.MaxProposal)
	}
	return n.submit(ctx, &proposal{ctx: ctx, data: data, done: make(chan outcome, 1)})
}

func (n *Node) submit(ctx context.Context, p *proposal) ([]byte, error) {
	if full := n.Full(); full != nil {
		return nil, full
	}
	if err := n.room.Acquire(ctx, p.cost()); err != nil {
		return nil, mq.Wrapf(err, "raft: wait to propose")
	}
	n.inbox.push(p)
	select {
	case o := <-p.done:
		return o.result, o.err
	case <-ctx.Done():
		return nil, mq.Wrapf(makeUndecided(ctx.Err()), "raft: propose")
	case <-n.ended:
	}
	select {
	case o := <-p.done:
		return o.result, o.err
	default:
		return nil, makeUndecided(n.endError())
	}
}

func (p *proposal) cost() int64 { return int64(len(p.data)) + proposalOverhead }

func (p *proposal) handle(n *Node) { n.loop.waiting = append(n.loop.waiting, p) }

// answer ends a caller's wait. Called once per proposal.
func (n *Node) answer(p *proposal, o outcome) {
	p.done <- o
	n.room.Release(p.cost())
}

// notLeader says who leads instead.
func (n *Node) notLeader() error {
	if n.loop.leader == 0 || n.loop.leader == n.cfg.ID {
		return mq.Errorf(mq.NotController, "raft: node %d does not lead; nobody is known to", n.cfg.ID)
	}
	return mq.Errorf(mq.NotController, "raft: node %d does not lead, node %d does", n.cfg.ID, n.loop.leader)
}

// propose hands waiting proposals to raft, as few entries as can be. While enough appends are in flight they wait, and gather.
func (n *Node) propose() {
	l := &n.loop
	if len(l.waiting) > 0 && !l.leading {
		err := n.notLeader()
		for _, p := range l.waiting {
			n.answer(p, outcome{err: err})
		}
		l.waiting = nil
	}
	for handed := 0; len(l.waiting) > 0 && l.appended < maxAppendsInFlight && handed < maxMessageBytes; {
		if p := l.waiting[0]; p.change != nil {
			l.waiting = l.waiting[1:]
			n.proposeChange(p)
			continue
		}
		g, size := n.combine()
		if len(g.proposals) == 0 {
			continue
		}
		handed += size
		l.numbers++
		data := batchOf(n.mark, l.numbers, g.proposals)
		n.hand(g, &raftpb.Entry{Type: raftpb.EntryNormal.Enum(), Data: data})
	}
	if len(l.waiting) == 0 {
		l.waiting = nil // gives the memory back after a burst
	}
}

// combine takes proposals for one entry off the waiting ones.
func (n *Node) combine() (g *group, size int) {
	l := &n.loop
	g = &group{term: l.term}
	for len(l.waiting) > 0 && l.waiting[0].change == nil {
		p := l.waiting[0]
		if err := p.ctx.Err(); err != nil {
			l.waiting = l.waiting[1:]
			n.answer(p, outcome{err: mq.Wrapf(err, "raft: propose")}) // nobody listens any more
			continue
		}
		framed := len(p.data) + binary.MaxVarintLen32
		if size > 0 && size+framed > min(combineBytes, n.cfg.MaxProposal) {
			break
		}
		g.proposals = append(g.proposals, p)
		size += framed
		l.waiting = l.waiting[1:]
	}
	return g, size
}

// hand gives raft one entry, which is number l.numbers.
func (n *Node) hand(g *group, e *raftpb.Entry) {
	l := &n.loop
	m := &raftpb.Message{Type: raftpb.MsgProp.Enum(), From: new(n.cfg.ID), Entries: []*raftpb.Entry{e}}
	kind := e.GetType()
	err := l.rn.Step(m)
	switch {
	case err != nil:
		// A transfer of the leadership is going on, or the leader lost its peers long ago.
		err = mq.Errorf(mq.NotController, "raft: node %d takes no proposals now: %w", n.cfg.ID, err)
	case m.GetEntries()[0].GetType() != kind:
		// raft puts an empty entry in the place of a change of membership that it does not take.
		err = mq.Errorf(mq.TooManyRequests, "raft: a change of membership is going on")
	default:
		l.proposed[l.numbers] = g
		l.appended++
		n.drain()
		return
	}
	for _, p := range g.proposals {
		n.answer(p, outcome{err: err})
	}
}

// failProposals ends all waits for proposals but those that keep holds on to. What raft had already may still be applied.
func (n *Node) failProposals(err error, keep func(*group) bool) {
	l := &n.loop
	for number, g := range l.proposed {
		if keep != nil && keep(g) {
			continue
		}
		for _, p := range g.proposals {
			n.answer(p, outcome{err: makeUndecided(err)})
		}
		delete(l.proposed, number)
	}
	if keep == nil {
		for _, p := range l.waiting {
			n.answer(p, outcome{err: err})
		}
		l.waiting = nil
	}
}
