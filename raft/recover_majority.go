package raft

import (
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/rustmq/rustmq/mq"
)

// Recovery says what [RecoverAlone] found and did.
type Recovery struct {
	Index   uint64 // of the last entry that the group goes on from
	Term    uint64 // of that entry
	Commit  uint64 // index up to which this member knew that entries were committed; those behind it may have been acknowledged to nobody
	Applied uint64 // index up to which the state machine had applied
	// Members are those of the group before, this one among them. None of them must ever be started again with its old data.
	Voters, Learners []uint64
}

// String says to an operator what may be lost.
func (r *Recovery) String() string {
	s := fmt.Sprintf("the group goes on from index %d of term %d, with one voter instead of %d; what others had committed behind that is lost", r.Index, r.Term, len(r.Voters))
	if r.Commit >= r.Index {
		return s
	}
	return fmt.Sprintf("%s; entries %d to %d are kept, and it is not known whether they were committed", s, r.Commit+1, r.Index)
}

// generationShift is where in an index its generation begins: a generation has room for a trillion entries, which is a year of 30,000 each second.
const generationShift = 40

// Generation is how often a group had been recovered from the loss of a majority when the entry with an index was written. It is the upper part of the index, so
// that whoever has an index of the lost members knows by it alone that another history goes on, and that nothing of his is in it.
func Generation(index uint64) uint64 { return index >> generationShift }

// RecoverAlone makes a member the only voter of its group, when a majority of the voters is lost for good. It is for a stopped node: log and state machine are opened, and no Node
// runs on them. All entries that the log has are kept and become committed, as those of a new leader would. What only the lost members had is lost, and may have
// been acknowledged: of the members that are left the one with the highest Term and Index is to be recovered. The others must come back with
// empty data directories and under new ids: an old one that starts again would be of a second group.
//
// The group goes on with the first index of the next [Generation], which is above all that the lost members can have written. The state machine applies begin there, as
// if it had been proposed: it says what becomes void of what they may have decided.
//
// Errors: InvalidRequest when this id is no voter of the group, or its only one (as it is after a recovery); those of [Open] for a log or a state machine that is
// damaged. After a crash the member is as it was, or recovered: the state machine changes in one transaction, and Open goes on from it.
func RecoverAlone(cfg Config, begin []byte) (*Recovery, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	cfg.Peers = nil // no group is founded here
	if _, ok := cfg.Log.State(LogStream()); !ok {
		return nil, mq.Errorf(mq.InvalidRequest, "raft: recover: there is no log of a member here")
	}
	r, err := recoverLog(&cfg)
	if err != nil {
		return nil, err
	}
	conf := r.members.conf
	found := &Recovery{
		Index: r.storage.last, Term: r.storage.lastTerm(), Commit: r.state.commit, Applied: r.position.Index,
		Voters: conf.GetVoters(), Learners: conf.GetLearners(),
	}
	if !slices.Contains(conf.GetVoters(), cfg.ID) || alone(conf, cfg.ID) {
		return nil, mq.Errorf(mq.InvalidRequest, "raft: recover: member %d is not one of several voters, which are %v", cfg.ID, conf.GetVoters())
	}
	entries, highest, err := r.rest()
	if err != nil {
		return nil, err
	}
	encoded, err := membersOf(raftpb.EnsureConfState(&raftpb.ConfState{Voters: []uint64{cfg.ID}}), highest).encode()
	if err != nil {
		return nil, err
	}
	// Behind the log's last entry, so that no change of membership in the log comes after this one.
	at := Position{Index: (Generation(found.Index) + 1) << generationShift, Term: found.Term + 1, Conf: encoded}
	if _, err := cfg.SM.Apply(append(entries, Entry{Index: at.Index, Data: begin}), at); err != nil {
		return nil, mq.Wrapf(err, "raft: recover: apply what the log has")
	}
	return found, r.goOnFrom(&cfg, at)
}

// rest is what the log has behind the state machine, and the highest id that was ever a member's. It fits into memory: a log is cut long before it does not.
func (r *recovered) rest() (entries []Entry, highest uint64, err error) {
	highest = r.members.highest
	for next := r.position.Index + 1; next <= r.storage.last; {
		batch, err := r.storage.Entries(next, r.storage.last+1, maxMessageBytes)
		if err != nil {
			return nil, 0, mq.Wrapf(err, "raft: recover: read the log at %d", next)
		}
		for _, e := range batch {
			if entries, err = appendProposals(entries, e); err != nil {
				return nil, 0, mq.Wrapf(err, "raft: recover: entry %d", e.GetIndex())
			}
			if highest, err = highestOf(e, highest); err != nil {
				return nil, 0, err
			}
		}
		next += uint64(len(batch))
	}
	return entries, highest, nil
}

// highestOf follows the ids that changes of membership name.
func highestOf(e *raftpb.Entry, highest uint64) (uint64, error) {
	if e.GetType() == raftpb.EntryNormal {
		return highest, nil
	}
	change, err := decodeChange(e)
	if err != nil {
		return 0, mq.Wrapf(err, "raft: recover: entry %d", e.GetIndex())
	}
	for _, c := range change.GetChanges() {
		highest = max(highest, c.GetNodeId())
	}
	return highest, nil
}

// goOnFrom empties the log, which goes on behind the state machine in a term that no lost member can have voted in with this one.
func (r *recovered) goOnFrom(cfg *Config, at Position) error {
	r.position = at
	r.state.term = max(r.state.term, at.Term) + 1
	r.state.vote, r.state.commit = 0, at.Index
	return r.restart(cfg) // which waits until that is durable
}
