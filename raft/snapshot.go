package raft

import (
	"context"
	"io"

	etcdraft "go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
)

// sendSnapshot sends a copy of the state machine to a peer that needs entries which are gone. The copy may be newer than what raft asked for;
// the message then says so. A goroutine per peer and snapshot does it, and ends with it.
func (n *Node) sendSnapshot(m *raftpb.Message) {
	to := m.GetTo()
	if n.loop.sending[to] {
		return // the one on its way will be reported
	}
	n.loop.sending[to] = true
	n.goroutines.Go(func() {
		err := n.copyTo(m)
		if err != nil {
			n.log.Warn("send a raft snapshot", "to", to, "err", err)
		}
		n.inbox.push(call(func(n *Node) {
			delete(n.loop.sending, to)
			status := etcdraft.SnapshotFinish
			if err != nil {
				status = etcdraft.SnapshotFailure
			}
			n.loop.rn.ReportSnapshot(to, status)
		}))
	})
}

func (n *Node) copyTo(m *raftpb.Message) error {
	body, at, err := n.cfg.SM.Snapshot()
	if err != nil {
		return err
	}
	metadata, err := snapshotMetadata(at)
	if err == nil {
		m = proto.Clone(m).(*raftpb.Message)
		m.Snapshot = &raftpb.Snapshot{Metadata: metadata}
		n.log.Info("raft snapshot leaves", "to", m.GetTo(), "index", at.Index)
		err = n.cfg.Transport.SendSnapshot(n.stopped, m, body)
	}
	if closeErr := body.Close(); closeErr != nil {
		n.log.Warn("close a raft snapshot", "err", closeErr)
	}
	return err
}

// incoming is a received snapshot on its way to raft.
type incoming struct {
	message *raftpb.Message
	staged  Staged
	done    chan error
}

// install is a received snapshot that raft accepted.
type install struct {
	*incoming
	before logState // with the intent
	after  logState
}

// ReceiveSnapshot takes a MsgSnap of a peer and the body that belongs to it. It returns when the snapshot has taken the place of the state
// machine, durably, or was found to be of no use (which is no error: raft has told the sender how far this node is). The transport calls it.
func (n *Node) ReceiveSnapshot(ctx context.Context, m *raftpb.Message, body io.Reader) error {
	staged, err := n.cfg.SM.Stage(body)
	if err != nil {
		return err
	}
	in := &incoming{message: m, staged: staged, done: make(chan error, 1)}
	if err := in.check(); err != nil {
		staged.Discard()
		return err
	}
	n.inbox.push(in) // which owns it now
	select {
	case err := <-in.done:
		return err
	case <-ctx.Done():
		return mq.Wrapf(ctx.Err(), "raft: receive a snapshot")
	case <-n.ended:
		return n.endError()
	}
}

// check compares what the message says with what the body is.
func (in *incoming) check() error {
	at, metadata := in.staged.Position(), in.message.GetSnapshot().GetMetadata()
	own, err := decodeMembers(at.Conf)
	if err != nil {
		return err
	}
	if at.Index == 0 || at.Index != metadata.GetIndex() || at.Term != metadata.GetTerm() || !proto.Equal(own.conf, raftpb.EnsureConfState(metadata.GetConfState())) {
		return mq.Errorf(mq.ProtocolViolation, "raft: a snapshot of index %d and term %d came with a message about index %d and term %d",
			at.Index, at.Term, metadata.GetIndex(), metadata.GetTerm())
	}
	return nil
}

// handle offers the snapshot to raft, which takes it at once (see takeIncoming) or not at all.
func (in *incoming) handle(n *Node) {
	l := &n.loop
	l.incoming = in
	if err := l.rn.Step(in.message); err != nil {
		n.log.Debug("raft ignores a snapshot", "err", err)
	}
	n.drain()
	if l.incoming == nil {
		return
	}
	l.incoming = nil
	n.goroutines.Go(func() {
		in.staged.Discard()
		in.done <- nil
	})
}

// takeIncoming turns the snapshot that raft accepted into the first part of an append.
func (n *Node) takeIncoming(snapshot *raftpb.Snapshot, job *appendJob) bool {
	l := &n.loop
	in, index := l.incoming, snapshot.GetMetadata().GetIndex()
	if in == nil || in.staged.Position().Index != index {
		n.fail(mq.Errorf(mq.Internal, "raft: the snapshot of index %d was accepted and is not here", index))
		return false
	}
	l.incoming = nil
	at := in.staged.Position()
	before := l.state
	before.installing = at.Index
	job.install = &install{incoming: in, before: before}
	m, err := decodeMembers(at.Conf)
	if err != nil {
		n.fail(err) // it was checked, so it cannot be
		return false
	}
	l.storage.reset(at.Index, at.Term)
	l.state.compacted, l.state.compactedTerm = at.Index, at.Term
	job.install.after = l.state
	l.conf, l.members, l.since = at.Conf, m, 0
	return true
}

// install puts a snapshot in the place of state machine and log. The intent goes first, so that a recovery which finds the state machine ahead
// of the log knows why, and finishes.
func (a *appender) install(in *install) error {
	n := a.n
	next := in.staged.Position().Index + 1
	reset := wal.Entry{Stream: LogStream(), Type: wal.EntryReset, First: next, End: next}
	intent := []wal.Entry{stateEntry(in.before)}
	if n.cfg.planted.resetTooEarly {
		intent = []wal.Entry{reset, stateEntry(in.after)}
	}
	if err := appendAndWait(n.cfg.Log, intent...); err != nil {
		return err
	}
	wait := make(chan error, 1)
	job := &install{incoming: &incoming{staged: in.staged, done: wait}}
	n.applier.push(applyJob{install: job})
	select {
	case err := <-wait:
		if err != nil {
			return err
		}
	case <-n.stopped.Done():
		return mq.Errorf(mq.ShuttingDown, "raft: node %d is closing", n.cfg.ID)
	}
	n.cfg.Log.Append(reset, nil)
	return nil
}

// installed is what the loop does when a snapshot and the log behind it are durable.
func (n *Node) installed(in *install) {
	at := in.staged.Position()
	n.log.Info("raft snapshot installed", "index", at.Index, "term", at.Term)
	n.loop.snapshots++
	n.loop.noteApplied(at)
	in.done <- nil
}

// appendAndWait appends to the log and waits until it is durable.
func appendAndWait(log *wal.Log, entries ...wal.Entry) error {
	done := make(waitDone, 1)
	for i, e := range entries {
		if i < len(entries)-1 {
			log.Append(e, nil)
		} else {
			log.Append(e, done)
		}
	}
	return mq.Wrapf(<-done, "append to the raft log")
}

type waitDone chan error

// Appended implements wal.Done.
func (d waitDone) Appended(err error) { d <- err }
