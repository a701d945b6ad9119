package raft

import (
	"bytes"
	"context"
	"encoding/binary"

	etcdraft "go.etcd.io/raft/v3"

	"github.com/rustmq/rustmq/mq"
)

// read is one caller's wait for an index.
type read struct {
	index uint64 // set when it is known
	done  chan outcomeIndex
}

type outcomeIndex struct {
	index uint64
	err   error
}

// ReadIndex waits until this node has applied all that was committed when ReadIndex was called, and returns an index that is at least
// that: what is read from the state machine afterwards is not older than the call. It works on every member, as long as the leader can
// reach a majority; while there is no leader it waits. Errors: those of ctx, ShuttingDown, KafkaStorageError.
func (n *Node) ReadIndex(ctx context.Context) (uint64, error) {
	r := &read{done: make(chan outcomeIndex, 1)}
	n.inbox.push(r)
	select {
	case o := <-r.done:
		return o.index, o.err
	case <-ctx.Done():
		return 0, mq.Wrapf(ctx.Err(), "raft: read index")
	case <-n.ended:
		return 0, n.endError()
	}
}

func (r *read) handle(n *Node) { n.loop.reads = append(n.loop.reads, r) }

// askReads asks raft for an index on behalf of all reads that have come since it was last asked. One round at a time is on its way, so that
// however many there are, they cost few messages. A round has a context that is never used again: an answer to an
// earlier attempt cannot be taken for this one's.
func (n *Node) askReads() {
	l := &n.loop
	if l.askedRound != 0 || len(l.reads) == 0 || l.leader == 0 {
		return
	}
	if n.cfg.planted.readNotAsked && l.leading && l.ready {
		for _, r := range l.reads {
			r.index = l.applied.Index
		}
		l.answered, l.reads = append(l.answered, l.reads...), nil
		l.answerReads()
		return
	}
	l.numbers++
	l.asked, l.reads, l.askedRound, l.askedTicks = l.reads, nil, l.numbers, 0
	l.rn.ReadIndex(n.readContext(l.askedRound))
	n.drain()
}

func (n *Node) readContext(round uint64) []byte {
	if n.cfg.planted.contextAgain {
		round = 0
	}
	return binary.BigEndian.AppendUint64(bytes.Clone(n.mark[:]), round)
}

// askAgain gives up the round that is on its way: the leader may have gone. The next one is for the same reads.
func (n *Node) askAgain() {
	l := &n.loop
	l.reads = append(l.asked, l.reads...)
	l.asked, l.askedRound = nil, 0
}

func (n *Node) noteReads(states []etcdraft.ReadState) {
	l := &n.loop
	for _, s := range states {
		if l.askedRound == 0 || !bytes.Equal(s.RequestCtx, n.readContext(l.askedRound)) {
			continue
		}
		for _, r := range l.asked {
			r.index = s.Index
		}
		l.answered = append(l.answered, l.asked...)
		l.asked, l.askedRound = nil, 0
	}
	l.answerReads()
}

// answerReads ends the waits for indexes that are applied.
func (l *loop) answerReads() {
	kept := l.answered[:0]
	for _, r := range l.answered {
		if r.index <= l.applied.Index {
			r.done <- outcomeIndex{index: r.index}
		} else {
			kept = append(kept, r)
		}
	}
	clear(l.answered[len(kept):])
	l.answered = kept
}

func (n *Node) failReads(err error) {
	l := &n.loop
	for _, reads := range [][]*read{l.reads, l.asked, l.answered} {
		for _, r := range reads {
			r.done <- outcomeIndex{err: err}
		}
	}
	l.reads, l.asked, l.answered, l.askedRound = nil, nil, nil, 0
}
