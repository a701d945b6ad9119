package raft

import (
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
)

// Dump is what a raft log's directory holds.
type Dump struct {
	Begun              bool // there is a state: a node has run here
	Term, Vote, Commit uint64
	// Entries up to SnapshotIndex are gone, or may be: the state machine holds what they did.
	SnapshotIndex, SnapshotTerm uint64
	Installing                  uint64 // index of a snapshot that was about to take the state machine's place; 0: none
	Entries                     []DumpedEntry
	Found                       *wal.Recovery // damage, and what was torn
}

// DumpedEntry is one entry of the log.
type DumpedEntry struct {
	Index, Term uint64
	Kind        string   // "proposals", "empty" (of a new leader), "membership", or "unknown"
	Bytes       int      // of its data
	Proposals   [][]byte // what the state machine was asked for
	Membership  string   // the change as JSON
	Err         error    // why it cannot be read
}

// ReadDump reads a raft log's directory. It takes no lock and writes nothing, so
// that a node may run on it or start meanwhile; what that is just writing is not there yet.
func ReadDump(fs wal.FS, dir string) (*Dump, error) {
	var d *Dump
	found, err := wal.Scan(fs, dir, func() func(wal.Entry) error {
		d = &Dump{}
		return d.visit
	})
	if err != nil {
		return nil, err
	}
	d.Found = found
	return d, nil
}

// visit takes the next entry of the log.
func (d *Dump) visit(e wal.Entry) error {
	if e.Stream != LogStream() {
		return nil
	}
	switch e.Type {
	case wal.EntryData:
		d.Entries = append(d.Entries, dumpEntry(e))
	case wal.EntryTruncate:
		for n := len(d.Entries); n > 0 && d.Entries[n-1].Index >= e.First; n-- {
			d.Entries = d.Entries[:n-1]
		}
	case wal.EntryReset:
		d.Entries = nil
	case wal.EntryDrop:
		*d = Dump{}
	case wal.EntryState:
		s, err := decodeState(e.Payload)
		if err != nil {
			return err
		}
		d.Begun, d.Term, d.Vote, d.Commit = true, s.term, s.vote, s.commit
		d.SnapshotIndex, d.SnapshotTerm, d.Installing = s.compacted, s.compactedTerm, s.installing
	}
	return nil
}

// dumpEntry takes an entry apart, as far as that can be done.
func dumpEntry(e wal.Entry) DumpedEntry {
	out := DumpedEntry{Index: e.First, Kind: "unknown", Bytes: len(e.Payload)}
	entry, err := decodeLogEntry(e)
	if err != nil {
		out.Err = err
		return out
	}
	out.Index, out.Term, out.Bytes = entry.GetIndex(), entry.GetTerm(), len(entry.GetData())
	switch {
	case entry.GetType() != raftpb.EntryNormal:
		out.Kind = "membership"
		out.Membership, out.Err = describeChange(entry)
	case len(entry.GetData()) == 0:
		out.Kind = "empty"
	default:
		out.Kind = "proposals"
		out.Proposals, out.Err = proposalsOf(entry.GetData())
	}
	return out
}

func proposalsOf(data []byte) ([][]byte, error) {
	b, err := openBatch(data)
	if err != nil {
		return nil, err
	}
	var list [][]byte
	for {
		proposal, ok, err := b.next()
		if err != nil || !ok {
			return list, err
		}
		list = append(list, proposal)
	}
}

func describeChange(entry *raftpb.Entry) (string, error) {
	var change proto.Message = &raftpb.ConfChangeV2{}
	if entry.GetType() == raftpb.EntryConfChange {
		change = &raftpb.ConfChange{}
	}
	if err := proto.Unmarshal(entry.GetData(), change); err != nil {
		return "", mq.Errorf(mq.Corrupt, "raft log: membership change at %d: %w", entry.GetIndex(), err)
	}
	text, err := protojson.Marshal(change)
	if err != nil {
		return "", mq.Errorf(mq.Internal, "print the membership change at %d: %w", entry.GetIndex(), err)
	}
	return string(text), nil
}
