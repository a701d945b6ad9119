package raft

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	etcdraft "go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"golang.org/x/sync/semaphore"

	"github.com/rustmq/rustmq/mq"
)

// Node is one voter or learner. Its methods may be called from any goroutine.
type Node struct {
	cfg  Config
	log  *slog.Logger
	mark mark

	inbox    *queue[event]     // to the loop; bounded by what each kind of event is bounded by
	appender *queue[appendJob] // bounded by maxAppendsInFlight, and by what peers may have in flight to us
	applier  *queue[applyJob]  // bounded by raft: maxMessageBytes are being applied at most
	messages atomic.Int64      // of peers in the inbox
	room     *semaphore.Weighted

	status atomic.Pointer[Status]
	full   atomic.Pointer[mq.Error] // why the log takes nothing more, nil while it does
	stuck  atomic.Pointer[mq.Error] // why the state machine takes nothing more, nil while it does

	stop       context.CancelFunc
	stopped    context.Context // done when Close was called
	goroutines sync.WaitGroup
	failOnce   sync.Once
	failed     chan struct{}
	failure    atomic.Pointer[mq.Error]
	ended      chan struct{} // closed when the loop has ended

	loop loop // state of the loop's goroutine, nobody else's
}

// loop is what only the loop's goroutine touches.
type loop struct {
	rn                                   *etcdraft.RawNode
	lastLeader, leaderChanges, snapshots uint64 // for Status
	storage                              *storage
	state                                logState // what is to be durable
	submitted                            logState // as last handed to the appender
	conf                                 []byte   // membership as of the last entry that was handed to the applier
	members                              *members
	term                                 uint64
	leader                               uint64
	leading                              bool     // this node is the leader
	ready                                bool     // and has applied an entry of its term
	applied                              Position // as reported by the applier
	appended                             int      // jobs in flight to the appender that carry entries

	waiting  []*proposal       // accepted, not handed to raft yet
	proposed map[uint64]*group // handed to raft, by number
	numbers  uint64            // the last number used

	reads      []*read // not asked for yet
	asked      []*read // the round that is being asked for
	askedRound uint64  // its context; 0: none
	askedTicks int     // since then
	answered   []*read // wait to be applied

	ticks   uint64            // since the start
	heard   map[uint64]uint64 // tick of the last message of each member
	stalled bool              // the log's disk hangs
	gone    uint64            // the leader, when its process has ended and nobody leads instead yet; 0: none
	standAt uint64            // tick at which this node stands for election then
	told    hearsay           // what others have applied, when this node hears no leader
	led     uint64            // tick of the last message of a leader

	incoming *incoming       // a snapshot that was received and is being offered to raft
	since    int64           // bytes of entries applied since the log was last cut
	sending  map[uint64]bool // peers that a snapshot is on the way to
}

// event is something for the loop to do.
type event interface{ handle(n *Node) }

// Open recovers a node from its log and state machine and starts it. A new group is formed when both are new and cfg.Peers is given. A single
// voter is leader within a few milliseconds. Errors: WrongDataDir when log and state machine do not belong together, Corrupt when either is
// damaged beyond what this node can do about it alone, StorageFull when there is no room to begin a log or a state machine.
func Open(cfg Config) (*Node, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	n := &Node{
		cfg: cfg, log: cfg.Logger,
		inbox: newQueue[event](), appender: newQueue[appendJob](), applier: newQueue[applyJob](),
		room: semaphore.NewWeighted(maxWaitingBytes), failed: make(chan struct{}), ended: make(chan struct{}),
	}
	if _, err := io.ReadFull(cfg.Rand, n.mark[:]); err != nil {
		return nil, mq.Errorf(mq.Internal, "raft: draw a mark: %w", err)
	}
	if err := n.checkLog(); err != nil {
		return nil, err
	}
	recovered, err := recoverLog(&n.cfg)
	if err != nil {
		return nil, err
	}
	if err := n.start(recovered); err != nil {
		return nil, err
	}
	return n, nil
}

// checkLog sees to it that every proposal fits into the log.
func (n *Node) checkLog() error {
	size := int64(n.cfg.MaxProposal + entryHeader + maxBatchHeader)
	err := n.cfg.Log.Reserve(context.Background(), size)
	switch mq.CodeOf(err) {
	case mq.None:
		n.cfg.Log.Unreserve(size)
	case mq.StorageFull:
		if _, begun := n.cfg.Log.State(LogStream()); !begun {
			return mq.Wrapf(err, "raft: begin a log")
		}
		// It would fit if there was room, and this node may have all that it needs.
	default:
		return mq.Wrapf(err, "raft: the log must take proposals of %d bytes", n.cfg.MaxProposal)
	}
	return nil
}

func (n *Node) start(r *recovered) error {
	rn, err := etcdraft.NewRawNode(&etcdraft.Config{
		ID: n.cfg.ID, ElectionTick: n.cfg.ElectionTicks, HeartbeatTick: n.cfg.HeartbeatTicks,
		Storage: r.storage, Applied: r.position.Index, AsyncStorageWrites: true,
		MaxSizePerMsg: maxMessageBytes, MaxCommittedSizePerReady: maxMessageBytes, MaxUncommittedEntriesSize: maxUncommittedBytes,
		MaxInflightMsgs: maxInflightMessages, MaxInflightBytes: maxInflightBytes,
		CheckQuorum: true, PreVote: true, DisableProposalForwarding: true, StepDownOnRemoval: true,
		Logger: raftLogger{n.log},
	})
	if err != nil {
		return mq.Errorf(mq.Internal, "raft: start: %w", err)
	}
	n.loop = loop{
		rn: rn, storage: r.storage, state: r.state, submitted: r.stored, conf: r.position.Conf, members: r.members, term: r.state.term, applied: r.position,
		proposed: map[uint64]*group{}, sending: map[uint64]bool{}, heard: map[uint64]uint64{},
	}
	n.status.Store(&Status{ID: n.cfg.ID, changed: make(chan struct{})})
	n.publish()
	n.stopped, n.stop = context.WithCancel(context.Background())
	n.cfg.Transport.Start(n)
	if alone(r.storage.conf, n.cfg.ID) {
		if err := rn.Campaign(); err != nil {
			return mq.Errorf(mq.Internal, "raft: campaign: %w", err)
		}
	}
	n.goroutines.Go(n.run)
	n.goroutines.Go(n.appendLoop)
	n.goroutines.Go(n.applyLoop)
	return nil
}

// alone says whether a membership is this one voter.
func alone(conf *raftpb.ConfState, id uint64) bool {
	return len(conf.GetVoters()) == 1 && conf.GetVoters()[0] == id && len(conf.GetVotersOutgoing()) == 0
}

// Close hands the leadership over, if another voter can have it, which takes an election timeout at most; stops the node and waits for its goroutines. Proposals without a result end with ShuttingDown; they may still be in the log.
func (n *Node) Close() error {
	n.abdicate()
	n.stop()
	n.goroutines.Wait()
	return n.Err()
}

// Failed is closed when the node cannot go on: its log or its state machine failed. It answers nothing more then; Err says why. The process
// should end: only a recovery shows what is on the disk.
func (n *Node) Failed() <-chan struct{} { return n.failed }

// Err is why the node failed, or nil.
func (n *Node) Err() error {
	if err := n.failure.Load(); err != nil {
		return err
	}
	return nil
}

// fail ends the node's work for good. It may be called from any goroutine.
func (n *Node) fail(err error) {
	n.failOnce.Do(func() {
		code := mq.CodeOf(err)
		if code == mq.Unknown {
			code = mq.KafkaStorageError
		}
		failure := mq.Errorf(code, "raft: node %d stopped: %w", n.cfg.ID, err)
		n.failure.Store(failure)
		n.log.Error("raft stopped", "err", err)
		close(n.failed)
	})
}

// run is the loop: the one goroutine that talks to raft. It does not wait for anything but events.
func (n *Node) run() {
	defer n.end()
	defer n.catch()
	ticker := time.NewTicker(n.cfg.Tick)
	defer ticker.Stop()
	for {
		n.drain()
		select {
		case <-ticker.C:
			n.tick()
		case <-n.inbox.wake:
		case <-n.cfg.Log.Failed():
			n.fail(n.cfg.Log.Err())
			return
		case <-n.failed:
			return
		case <-n.stopped.Done():
			return
		}
		for _, e := range n.inbox.takeAll() {
			e.handle(n)
		}
		n.propose()
		n.askReads()
	}
}

// catch turns raft's panic over entries that cannot be read into a failure of the node. All other panics go on.
func (n *Node) catch() {
	if p := recover(); p != nil {
		if n.loop.storage.err == nil && n.cfg.planted.panicked != nil {
			n.cfg.planted.panicked(p)
			n.loop.storage.err = mq.Errorf(mq.Internal, "raft panicked: %v", p)
		}
		if n.loop.storage.err == nil {
			panic(p)
		}
		n.fail(n.loop.storage.err)
	}
}

// end answers all that wait, when the loop has ended. Who comes later sees ended.
func (n *Node) end() {
	err := n.endError()
	n.failProposals(err, nil)
	n.failReads(err)
	n.stop()
	close(n.ended)
}

// endError is why nothing is answered any more.
func (n *Node) endError() error {
	if failure := n.failure.Load(); failure != nil {
		return failure
	}
	return mq.Errorf(mq.ShuttingDown, "raft: node %d is closing", n.cfg.ID)
}

// drain does all that raft wants done, and publishes what came of it.
func (n *Node) drain() {
	l := &n.loop
	for l.rn.HasReady() {
		rd := l.rn.Ready()
		n.noteTerm(rd)
		n.noteReads(rd.ReadStates)
		n.deliver(rd.Messages)
	}
	n.publish()
}

// noteTerm follows term and leader. Whoever waits for a proposal of a term that is over must not wait on: it may have been replaced.
func (n *Node) noteTerm(rd etcdraft.Ready) {
	l := &n.loop
	before, was := l.term, l.leading
	if !etcdraft.IsEmptyHardState(rd.HardState) {
		l.term = rd.HardState.GetTerm()
	}
	if rd.SoftState != nil {
		l.leader = rd.SoftState.Lead
		l.leading = rd.SoftState.RaftState == etcdraft.StateLeader
	}
	if l.term == before && l.leading == was {
		return
	}
	l.ready = l.leading && l.applied.Term == l.term
	if was {
		n.failProposals(n.notLeader(), func(g *group) bool { return l.leading && g.term == l.term })
	}
	if l.leading != was {
		n.log.Info("raft leadership", "node", n.cfg.ID, "term", l.term, "leader", l.leader, "leading", l.leading)
	}
}

// deliver hands raft's messages to whom they are for.
func (n *Node) deliver(messages []*raftpb.Message) {
	var network []*raftpb.Message
	for _, m := range messages {
		switch {
		case m.GetTo() == etcdraft.LocalAppendThread:
			n.submitAppend(m)
		case m.GetTo() == etcdraft.LocalApplyThread:
			n.submitApply(m)
		case m.GetTo() == n.cfg.ID:
			n.stepLocal(m)
		case m.GetTo() == etcdraft.None: // raft's answer to believeIfDue
		case m.GetType() == raftpb.MsgSnap:
			n.sendSnapshot(m)
		default:
			network = append(network, m)
		}
	}
	if len(network) > 0 {
		n.cfg.Transport.Send(network)
	}
}

// stepLocal gives raft a message of this node's own. What raft does not want, it ignores.
func (n *Node) stepLocal(m *raftpb.Message) {
	if err := n.loop.rn.Step(m); err != nil {
		n.log.Debug("raft ignores its own message", "type", m.GetType().String(), "err", err)
	}
}

// Step gives the node a message of a peer. It does not wait; too many messages are dropped. A MsgSnap comes in by ReceiveSnapshot instead.
func (n *Node) Step(m *raftpb.Message) {
	if m.GetType() == raftpb.MsgSnap || n.messages.Add(1) > maxInboxMessages {
		n.messages.Add(-1)
		return
	}
	n.inbox.push(peerMessage{m})
}

type peerMessage struct{ m *raftpb.Message }

func (e peerMessage) handle(n *Node) {
	n.messages.Add(-1)
	if etcdraft.IsLocalMsg(e.m.GetType()) {
		return
	}
	n.loop.heard[e.m.GetFrom()] = n.loop.ticks
	n.hearLeader(e.m)
	n.tellApplied(e.m)
	if n.hearApplied(e.m) {
		return
	}
	if err := n.loop.rn.Step(e.m); err != nil {
		n.log.Debug("raft ignores a message", "from", e.m.GetFrom(), "type", e.m.GetType().String(), "err", err)
	}
}

// ReportUnreachable says that a peer cannot be reached: messages to it were lost. The transport calls it.
func (n *Node) ReportUnreachable(id uint64) {
	n.inbox.push(call(func(n *Node) { n.loop.rn.ReportUnreachable(id) }))
}

// call is an event that is a function.
type call func(n *Node)

func (f call) handle(n *Node) { f(n) }

// raftLogger passes on what etcd's raft has to say.
type raftLogger struct{ log *slog.Logger }

func (l raftLogger) Debug(v ...any)                 { l.log.Debug(fmt.Sprint(v...)) }
func (l raftLogger) Debugf(format string, v ...any) { l.printf(slog.LevelDebug, format, v) }
func (l raftLogger) Info(v ...any)                  { l.log.Debug(fmt.Sprint(v...)) }
func (l raftLogger) Infof(format string, v ...any)  { l.printf(slog.LevelDebug, format, v) }
func (l raftLogger) Warning(v ...any)               { l.log.Warn(fmt.Sprint(v...)) }
func (l raftLogger) Warningf(format string, v ...any) {
	l.printf(slog.LevelWarn, format, v)
}
func (l raftLogger) Error(v ...any)                 { l.log.Error(fmt.Sprint(v...)) }
func (l raftLogger) Errorf(format string, v ...any) { l.printf(slog.LevelError, format, v) }
func (l raftLogger) Fatal(v ...any)                 { panic(fmt.Sprint(v...)) }
func (l raftLogger) Fatalf(format string, v ...any) { panic(fmt.Sprintf(format, v...)) }
func (l raftLogger) Panic(v ...any)                 { panic(fmt.Sprint(v...)) }
func (l raftLogger) Panicf(format string, v ...any) { panic(fmt.Sprintf(format, v...)) }

// printf formats only what somebody will read: raft says much at debug level.
func (l raftLogger) printf(level slog.Level, format string, v []any) {
	if l.log.Enabled(context.Background(), level) {
		l.log.Log(context.Background(), level, fmt.Sprintf(format, v...))
	}
}
