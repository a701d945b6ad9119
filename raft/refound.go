package raft

import (
	"go.etcd.io/raft/v3/raftpb"

	"github.com/rustmq/rustmq/mq"
)

// NextGeneration is the first index of the generation behind that of an index: see [Generation].
func NextGeneration(index uint64) uint64 { return (Generation(index) + 1) << generationShift }

// AloneConf is the membership of a group with one voter and nobody else, for a [Position].
func AloneConf(id uint64) ([]byte, error) {
	return membersOf(raftpb.EnsureConfState(&raftpb.ConfState{Voters: []uint64{id}}), 0).encode()
}

// Refound begins a log behind a state machine that has a past of its own, whose position says that cfg.ID is the only voter: so a new group goes on from a copy of what
// another one had. The log is durable when it returns. Errors: InvalidRequest where there is a log already, or another membership.
func Refound(cfg Config) error {
	if err := cfg.setDefaults(); err != nil {
		return err
	}
	if _, ok := cfg.Log.State(LogStream()); ok {
		return mq.Errorf(mq.InvalidRequest, "raft: refound: there is a log already")
	}
	r := &recovered{position: cfg.SM.Position()}
	m, err := decodeMembers(r.position.Conf)
	if err != nil {
		return err
	}
	if r.position.Index == 0 || !alone(m.conf, cfg.ID) {
		return mq.Errorf(mq.InvalidRequest, "raft: refound: member %d is not the only voter of the state machine at index %d", cfg.ID, r.position.Index)
	}
	r.state.term = r.position.Term
	return r.restart(&cfg)
}
