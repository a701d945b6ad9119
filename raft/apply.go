package raft

import (
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/rustmq/rustmq/mq"
)

// applyJob is what the applier does for the loop: apply entries, or install a snapshot.
type applyJob struct {
	entries   []*raftpb.Entry
	groups    []*group // per entry: who waits for it here, or nil
	at        Position // after entries
	responses []*raftpb.Message

	install *install
}

// submitApply takes a MsgStorageApply of raft: committed entries, durable here. Changes of membership take effect at once; the position that
// goes to the state machine with the entries holds the membership as of them.
func (n *Node) submitApply(m *raftpb.Message) {
	l := &n.loop
	job := applyJob{entries: m.GetEntries(), responses: m.GetResponses()}
	job.groups = make([]*group, len(job.entries))
	for i, e := range job.entries {
		l.since += int64(len(e.GetData()))
		var err error
		switch {
		case e.GetType() != raftpb.EntryNormal:
			job.groups[i], err = n.applyChange(e)
		case len(e.GetData()) > 0:
			job.groups[i], err = n.takeGroup(e.GetData())
		}
		if err != nil {
			n.fail(mq.Wrapf(err, "apply raft entry %d", e.GetIndex()))
			return
		}
	}
	last := job.entries[len(job.entries)-1]
	job.at = Position{Index: last.GetIndex(), Term: last.GetTerm(), Conf: l.conf}
	n.applier.push(job)
}

// takeGroup finds who waits for an entry. From here on the applier answers them, whoever leads by then.
func (n *Node) takeGroup(data []byte) (*group, error) {
	b, err := openBatch(data)
	if err != nil || b.mark != n.mark {
		return nil, err
	}
	g := n.loop.proposed[b.number]
	delete(n.loop.proposed, b.number)
	return g, nil
}

// applyLoop is the applier: the goroutine that changes the state machine. What has gathered while it was busy it applies together.
func (n *Node) applyLoop() {
	for {
		jobs := n.applier.takeAll()
		for len(jobs) > 0 {
			count := 0
			for count < len(jobs) && jobs[count].install == nil {
				count++
			}
			var err error
			if count > 0 {
				err = n.apply(jobs[:count])
				jobs = jobs[count:]
			} else {
				err = n.whileFull(jobs[0].install.staged.Install)
				jobs[0].install.done <- err
				jobs = jobs[1:]
			}
			if n.gaveUp(err) {
				return
			}
		}
		select {
		case <-n.applier.wake:
		case <-n.stopped.Done():
			return
		}
	}
}

// apply applies jobs in one transaction and answers who waits for them.
func (n *Node) apply(jobs []applyJob) error {
	var entries []Entry
	for _, job := range jobs {
		for _, e := range job.entries {
			var err error
			if entries, err = appendProposals(entries, e); err != nil {
				return mq.Wrapf(err, "apply raft entry %d", e.GetIndex())
			}
		}
	}
	at := jobs[len(jobs)-1].at
	results, err := n.applyEntries(entries, at)
	if err != nil {
		return err
	}
	if len(results) != len(entries) {
		return mq.Errorf(mq.Internal, "raft: %d results for %d proposals", len(results), len(entries))
	}
	next := 0
	for _, job := range jobs {
		for i, e := range job.entries {
			count := 0
			for next+count < len(entries) && entries[next+count].Index == e.GetIndex() {
				count++
			}
			n.answerGroup(job.groups[i], results[next:next+count])
			next += count
		}
		n.inbox.push(&applied{at: job.at, responses: job.responses})
	}
	return nil
}

// applyEntries has the state machine apply entries: what is committed cannot be given up.
func (n *Node) applyEntries(entries []Entry, at Position) (results [][]byte, err error) {
	err = n.whileFull(func() (err error) {
		results, err = n.cfg.SM.Apply(entries, at)
		return err
	})
	return results, err
}

// whileFull has the state machine do something, and waits while that finds no room on the disk. Propose says so meanwhile.
func (n *Node) whileFull(change func() error) error {
	for {
		err := change()
		if mq.CodeOf(err) != mq.StorageFull {
			if err == nil && n.stuck.Swap(nil) != nil {
				n.log.Info("the state machine has room again")
			}
			return err
		}
		if n.stuck.Swap(mq.Errorf(mq.StorageFull, "raft: %w", err)) == nil {
			n.log.Warn("the state machine has no room", "err", err)
		}
		select {
		case <-time.After(fullRetry):
		case <-n.stopped.Done():
			return mq.Errorf(mq.ShuttingDown, "raft: node %d is closing", n.cfg.ID)
		}
	}
}

// appendProposals takes an entry apart. Elections and changes of membership are nothing to the state machine but a position.
func appendProposals(entries []Entry, e *raftpb.Entry) ([]Entry, error) {
	if e.GetType() != raftpb.EntryNormal || len(e.GetData()) == 0 {
		return entries, nil
	}
	b, err := openBatch(e.GetData())
	if err != nil {
		return nil, err
	}
	for {
		data, ok, err := b.next()
		if err != nil || !ok {
			return entries, err
		}
		entries = append(entries, Entry{Index: e.GetIndex(), Term: e.GetTerm(), Data: data})
	}
}

// answerGroup gives each proposal of an entry its result. A change of membership has none.
func (n *Node) answerGroup(g *group, results [][]byte) {
	if g == nil {
		return
	}
	for i, p := range g.proposals {
		var o outcome
		if p.change == nil {
			o.result = results[i]
		} else {
			o.err = g.refusal
		}
		n.answer(p, o)
	}
}

// applied brings an applied job back to the loop.
type applied struct {
	at        Position
	responses []*raftpb.Message
}

func (e *applied) handle(n *Node) {
	n.loop.noteApplied(e.at)
	n.deliver(e.responses)
	n.cut()
}

func (l *loop) noteApplied(at Position) {
	l.applied = at
	l.ready = l.leading && at.Term == l.term
	l.answerReads()
}
