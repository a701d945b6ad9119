package raft

import (
	"math"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
)

// bootstrapIndex and bootstrapTerm are where every member of a new group stands: a snapshot that nobody had to send, of an empty state machine
// and the first membership.
const (
	bootstrapIndex = 1
	bootstrapTerm  = 1
)

// recovered is what a node goes on with.
type recovered struct {
	state    logState // to go on with
	stored   logState // as in the log
	position Position
	members  *members
	storage  *storage
}

// recoverLog finds out where log and state machine stand, and brings them together:
//
//	log new, state machine new         form a group of cfg.Peers, or wait to be added to one
//	log new, state machine not         refuse: half of a data directory is missing
//	a snapshot was being installed     finish it, or forget it
//	state machine behind the log       go on: raft applies the rest again
//	state machine behind what is left  refuse: an older database was put in place
//	log damaged or cut short           a single voter goes on from its state machine; any other refuses
func recoverLog(cfg *Config) (*recovered, error) {
	r := &recovered{position: cfg.SM.Position()}
	entry, ok := cfg.Log.State(LogStream())
	if !ok {
		return r, r.begin(cfg)
	}
	state, err := decodeState(entry.Payload)
	if err != nil {
		return nil, err
	}
	r.state, r.stored = state, state
	if err := r.finishInstall(cfg); err != nil {
		return nil, err
	}
	if r.position.Index == 0 && r.state.compacted == bootstrapIndex && len(cfg.Peers) > 0 {
		// The first start ended between log and state machine, or the database is gone and the log still has it all.
		if err := r.formGroup(cfg); err != nil {
			return nil, err
		}
	}
	if r.position.Index < r.state.compacted {
		return nil, mq.Errorf(mq.WrongDataDir, "raft: the state machine stands at %d, and the log begins behind %d: an older database was put in its place",
			r.position.Index, r.state.compacted)
	}
	err = r.load(cfg)
	if mq.CodeOf(err) == mq.Corrupt {
		err = r.heal(cfg, err)
	}
	if err != nil {
		return nil, err
	}
	cfg.Log.Release(LogStream(), r.state.compacted+1)
	return r, r.finish()
}

// begin starts with an empty log.
func (r *recovered) begin(cfg *Config) error {
	if r.position.Index != 0 {
		return mq.Errorf(mq.WrongDataDir, "raft: the state machine stands at %d, and there is no log: half of the data directory is missing",
			r.position.Index)
	}
	if err := cfg.Log.Quarantined(LogStream()); err != nil {
		return mq.Wrapf(err, "raft: recover the log")
	}
	if len(cfg.Peers) > 0 {
		r.state = logState{term: bootstrapTerm, commit: bootstrapIndex, compacted: bootstrapIndex, compactedTerm: bootstrapTerm}
	}
	next := r.state.compacted + 1
	reset := wal.Entry{Stream: LogStream(), Type: wal.EntryReset, First: next, End: next}
	r.stored = r.state
	if err := appendAndWait(cfg.Log, reset, stateEntry(r.state)); err != nil {
		return err
	}
	if len(cfg.Peers) > 0 {
		if err := r.formGroup(cfg); err != nil {
			return err
		}
	}
	r.storage = newStorage(cfg, r.state)
	return r.finish()
}

// formGroup puts the first membership into the state machine.
func (r *recovered) formGroup(cfg *Config) error {
	conf, err := membersOf(raftpb.EnsureConfState(&raftpb.ConfState{Voters: cfg.Peers}), 0).encode()
	if err != nil {
		return err
	}
	r.position = Position{Index: bootstrapIndex, Term: bootstrapTerm, Conf: conf}
	_, err = cfg.SM.Apply(nil, r.position)
	return err
}

// finishInstall looks whether the snapshot of which the log has the intent is in its place. If so, the log is of no use any more.
func (r *recovered) finishInstall(cfg *Config) error {
	if r.state.installing == 0 {
		return nil
	}
	if r.position.Index < r.state.installing {
		// Forgotten durably: once the state machine gets there by itself, it must not look as if the snapshot had done it.
		r.state.installing = 0
		r.stored = r.state
		return appendAndWait(cfg.Log, stateEntry(r.state))
	}
	return r.restart(cfg)
}

// restart empties the log, which goes on behind the state machine.
func (r *recovered) restart(cfg *Config) error {
	r.state.compacted, r.state.compactedTerm, r.state.installing = r.position.Index, r.position.Term, 0
	r.state.commit = max(r.state.commit, r.position.Index)
	next := r.position.Index + 1
	reset := wal.Entry{Stream: LogStream(), Type: wal.EntryReset, First: next, End: next}
	r.stored = r.state
	return appendAndWait(cfg.Log, reset, stateEntry(r.state))
}

// load reads the log. Corrupt when something is missing of it.
func (r *recovered) load(cfg *Config) error {
	r.storage = newStorage(cfg, r.state)
	if err := cfg.Log.Quarantined(LogStream()); err != nil {
		return mq.Errorf(mq.Corrupt, "raft: the log: %w", err)
	}
	first, end, ok := cfg.Log.Bounds(LogStream())
	if next := r.state.compacted + 1; !ok || first > next || end < next {
		return mq.Errorf(mq.Corrupt, "raft: the log has entries [%d, %d), and should go on at %d", first, end, next)
	}
	for next := r.state.compacted + 1; next < end; {
		var err error
		next, err = cfg.Log.ReadEntries(LogStream(), next, maxMessageBytes, func(e wal.Entry) error {
			entry, err := decodeLogEntry(e)
			if err != nil {
				return err
			}
			r.storage.append([]*raftpb.Entry{entry})
			r.storage.synced(entry.GetIndex(), entry.GetTerm())
			return nil
		})
		if err != nil {
			return mq.Wrapf(err, "raft: read the log")
		}
	}
	if r.storage.last < max(r.position.Index, r.state.commit) {
		return mq.Errorf(mq.Corrupt, "raft: the log ends at %d, but %d were committed and %d applied", r.storage.last, r.state.commit, r.position.Index)
	}
	return nil
}

// heal goes on from the state machine when the log is damaged and this node is the only voter. Nothing that was acknowledged is lost:
// Propose answers when the state machine has a proposal durably. With other voters that would be forgetting a vote or entries that
// they counted on.
func (r *recovered) heal(cfg *Config, damage error) error {
	m, err := decodeMembers(r.position.Conf)
	if err != nil {
		return err
	}
	if !alone(m.conf, cfg.ID) {
		return mq.Wrapf(damage, "raft: this member must be removed, and added again under a new id with an empty data directory")
	}
	cfg.Logger.Error("the raft log is damaged; the only voter goes on from its state machine", "index", r.position.Index, "damage", damage)
	r.state.term = max(r.state.term, r.position.Term, r.storage.lastTerm()) + 1
	r.state.vote, r.state.commit = 0, r.position.Index
	if err := r.restart(cfg); err != nil {
		return err
	}
	r.storage = newStorage(cfg, r.state)
	return nil
}

// finish gives raft what it begins with.
func (r *recovered) finish() (err error) {
	if r.members, err = decodeMembers(r.position.Conf); err != nil {
		return err
	}
	s := r.storage
	// Entries of a new term may be durable when the term is not yet: nobody was promised anything in it.
	if last := s.lastTerm(); last > r.state.term {
		r.state.term, r.state.vote = last, 0
	}
	// What was applied was committed. (A commit index that is not durable is no loss.)
	r.state.commit = min(max(r.state.commit, r.position.Index), s.last)
	s.conf = r.members.conf
	if r.state.term > 0 {
		s.hard = &raftpb.HardState{Term: new(r.state.term), Vote: new(r.state.vote), Commit: new(r.state.commit)}
	}
	return nil
}

func newStorage(cfg *Config, state logState) *storage {
	s := &storage{log: cfg.Log, stream: LogStream(), sm: cfg.SM}
	s.reset(state.compacted, state.compactedTerm)
	return s
}

// lastTerm is the term of the last entry.
func (s *storage) lastTerm() uint64 {
	term, err := s.Term(s.last)
	if err != nil {
		return math.MaxUint64 // cannot be: last is always in range
	}
	return term
}
