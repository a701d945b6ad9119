package raft

import (
	"sync/atomic"
	"time"

	etcdraft "go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
)

// fullRetry is how long the appender waits before it asks a full log for room again, and the applier a full state machine.
const fullRetry = 100 * time.Millisecond

// appendJob is what the appender writes for the loop: all of it durable, in this order, before the loop hears of it.
type appendJob struct {
	install  *install        // first, when set
	truncate uint64          // forget entries from here on; 0: none
	entries  []*raftpb.Entry // continue the log
	state    logState
	store    bool // write state behind the entries

	paced     bool              // counted in loop.appended
	release   uint64            // entries below may go when state is durable; 0: none
	responses []*raftpb.Message // to be delivered then
}

// submitAppend takes a MsgStorageAppend of raft: what is to be durable, and the messages that wait for it.
func (n *Node) submitAppend(m *raftpb.Message) {
	l := &n.loop
	job := appendJob{entries: m.GetEntries(), responses: m.GetResponses()}
	if !etcdraft.IsEmptySnap(m.GetSnapshot()) && !n.takeIncoming(m.GetSnapshot(), &job) {
		return
	}
	if m.Term != nil {
		l.state.term, l.state.vote, l.state.commit = m.GetTerm(), m.GetVote(), m.GetCommit()
	}
	if len(job.entries) > 0 {
		job.paced = l.leading
		if first := job.entries[0].GetIndex(); first <= l.storage.last {
			job.truncate = first
		}
		l.storage.append(job.entries)
	}
	// What nothing waits for need not be durable yet, a commit index above all: it goes with the next append.
	if len(job.responses) > 0 || len(job.entries) > 0 || job.install != nil {
		n.submitJob(job)
	}
}

// submitJob gives the appender a job, with the state if that is not the one that was given last.
func (n *Node) submitJob(job appendJob) {
	l := &n.loop
	job.state = l.state
	if n.cfg.planted.voteForgotten {
		job.state.vote = 0
	}
	if n.cfg.planted.stateNotStored {
		job.state.term, job.state.vote, job.state.commit = bootstrapTerm, 0, bootstrapIndex
	}
	job.store = l.state != l.submitted
	l.submitted = l.state
	if n.cfg.planted.saidTooEarly && job.install == nil {
		responses := job.responses
		n.inbox.push(call(func(n *Node) { n.deliver(responses) }))
		job.responses = nil
	}
	n.appender.push(job)
}

// appendLoop is the appender: the goroutine that writes to the log. It may wait for room there, the loop may not.
func (n *Node) appendLoop() {
	a := &appender{n: n}
	for {
		for _, job := range n.appender.takeAll() {
			if n.gaveUp(a.append(job)) {
				return
			}
		}
		select {
		case <-n.appender.wake:
		case <-n.stopped.Done():
			return
		}
	}
}

// gaveUp says whether appender or applier has to end with this error. Not to have waited any longer for room when the node is
// closed is no failure: what was not done is still in the log, or was never answered.
func (n *Node) gaveUp(err error) bool {
	if err == nil {
		return false
	}
	code := mq.CodeOf(err)
	if n.stopped.Err() == nil || code != mq.ShuttingDown && code != mq.Canceled {
		n.fail(err)
	}
	return true
}

// appender is the state of the appender's goroutine.
type appender struct {
	n *Node
}

// append writes a job to the log. The last frame's completion is the job's: the log completes in order.
func (a *appender) append(job appendJob) error {
	n := a.n
	if job.install != nil {
		if err := a.install(job.install); err != nil {
			return err
		}
	}
	if job.truncate != 0 {
		n.cfg.Log.Append(wal.Entry{Stream: LogStream(), Type: wal.EntryTruncate, First: job.truncate, End: job.truncate}, nil)
	}
	done := &appendDone{n: n, job: job}
	for i, e := range job.entries {
		payload := encodeEntry(e)
		if err := a.reserve(int64(len(payload))); err != nil {
			return err
		}
		entry := wal.Entry{Stream: LogStream(), Type: wal.EntryData, First: e.GetIndex(), End: e.GetIndex() + 1, Payload: payload}
		switch {
		case i < len(job.entries)-1:
			n.cfg.Log.Append(entry, nil) // if it is refused, so are those behind it
		case job.store:
			n.cfg.Log.Append(entry, (*entriesDone)(done))
		default:
			n.cfg.Log.Append(entry, done)
			return nil
		}
	}
	// Entries first: a commit index that is durable is never above the last entry that is.
	n.cfg.Log.Append(stateEntry(job.state), done)
	return nil
}

func stateEntry(s logState) wal.Entry {
	return wal.Entry{Stream: LogStream(), Type: wal.EntryState, Payload: s.encode()}
}

// reserve waits for room in the log for as long as it takes. While there is none, Propose says so at once.
func (a *appender) reserve(bytes int64) error {
	n := a.n
	for {
		err := n.cfg.Log.Reserve(n.stopped, bytes)
		if err == nil {
			if n.full.Swap(nil) != nil {
				n.log.Info("the raft log has room again")
			}
			return nil
		}
		if mq.CodeOf(err) != mq.StorageFull {
			return err
		}
		if n.full.Swap(mq.Errorf(mq.StorageFull, "raft: %w", err)) == nil {
			n.log.Warn("the raft log has no room", "err", err)
		}
		select {
		case <-time.After(fullRetry):
		case <-n.stopped.Done():
			return mq.Errorf(mq.ShuttingDown, "raft: node %d is closing", n.cfg.ID)
		}
	}
}

// appendDone brings a durable job back to the loop.
type appendDone struct {
	n   *Node
	job appendJob
	err atomic.Pointer[error] // the first
}

// Appended implements wal.Done.
func (d *appendDone) Appended(err error) {
	d.note(err)
	d.n.inbox.push(d)
}

func (d *appendDone) note(err error) {
	if err != nil {
		d.err.CompareAndSwap(nil, &err)
	}
}

// entriesDone notes what became of a job's entries when more of the job comes behind them.
type entriesDone appendDone

// Appended implements wal.Done.
func (d *entriesDone) Appended(err error) { (*appendDone)(d).note(err) }

func (d *appendDone) handle(n *Node) {
	if err := d.err.Load(); err != nil {
		n.fail(mq.Wrapf(*err, "append to the raft log"))
		return
	}
	l := &n.loop
	if d.job.paced {
		l.appended--
	}
	if count := len(d.job.entries); count > 0 {
		last := d.job.entries[count-1]
		l.storage.synced(last.GetIndex(), last.GetTerm())
	}
	if d.job.install != nil {
		n.installed(d.job.install)
	}
	if d.job.release != 0 {
		n.cfg.Log.Release(LogStream(), d.job.release)
	}
	n.deliver(d.job.responses)
}

// cut forgets applied entries when there are enough of them. The state machine holds durably what they did.
func (n *Node) cut() {
	l := &n.loop
	count := l.applied.Index - l.storage.compacted
	if count < n.cfg.CompactEntries && l.since < n.cfg.CompactBytes {
		return
	}
	keep := uint64(0)
	if !alone(l.members.conf, n.cfg.ID) {
		keep = min(n.cfg.KeepEntries, count/2) // half, where few entries are many bytes
	}
	l.since = 0
	if count <= keep {
		return
	}
	if err := l.storage.compact(l.applied.Index - keep); err != nil {
		n.fail(err)
		return
	}
	l.state.compacted, l.state.compactedTerm = l.storage.compacted, l.storage.compactedTerm
	n.submitJob(appendJob{release: l.state.compacted + 1})
}
