package raft

import (
	"slices"
	"sort"

	etcdraft "go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
)

// storage is what raft sees of the log: an index of terms and a window of recent entries in memory, the rest in the stream. It belongs
// to the loop. It is ahead of the disk: an entry is in it from the moment it is handed to the appender, and stays in the window
// until it is durable.
type storage struct {
	log    *wal.Log
	stream wal.StreamID
	sm     StateMachine

	hard *raftpb.HardState // as recovered
	conf *raftpb.ConfState // as recovered

	compacted, compactedTerm uint64
	last                     uint64
	terms                    []termRun // ascending, the first begins at or below compacted+1
	durable                  uint64    // entries up to here can be read from the stream

	window      []*raftpb.Entry // the newest entries, up to last
	windowBytes int

	err error // what a read failed with: the node's end
}

// termRun says that entries from index on have a term.
type termRun struct{ from, term uint64 }

var _ etcdraft.Storage = (*storage)(nil)

// InitialState implements etcdraft.Storage.
func (s *storage) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	return s.hard, s.conf, nil
}

// FirstIndex implements etcdraft.Storage.
func (s *storage) FirstIndex() (uint64, error) { return s.compacted + 1, nil }

// LastIndex implements etcdraft.Storage.
func (s *storage) LastIndex() (uint64, error) { return s.last, nil }

// Term implements etcdraft.Storage.
func (s *storage) Term(index uint64) (uint64, error) {
	switch {
	case index < s.compacted:
		return 0, etcdraft.ErrCompacted
	case index == s.compacted:
		return s.compactedTerm, nil
	case index > s.last:
		return 0, etcdraft.ErrUnavailable
	}
	i := sort.Search(len(s.terms), func(i int) bool { return s.terms[i].from > index })
	return s.terms[i-1].term, nil
}

// Entries implements etcdraft.Storage.
func (s *storage) Entries(low, high, maxSize uint64) ([]*raftpb.Entry, error) {
	if low <= s.compacted {
		return nil, etcdraft.ErrCompacted
	}
	if high > s.last+1 {
		return nil, etcdraft.ErrUnavailable
	}
	if first := s.windowFirst(); low >= first {
		return limitEntries(s.window[low-first:high-first], maxSize), nil
	}
	return s.read(low, min(high, s.windowFirst()), maxSize)
}

func (s *storage) windowFirst() uint64 { return s.last + 1 - uint64(len(s.window)) }

// limitEntries gives the first entries that fit into maxSize, one at least, in a slice that the caller may append to.
func limitEntries(entries []*raftpb.Entry, maxSize uint64) []*raftpb.Entry {
	var size uint64
	for i, e := range entries {
		size += uint64(proto.Size(e))
		if size > maxSize && i > 0 {
			return slices.Clip(entries[:i])
		}
	}
	return slices.Clip(entries)
}

// read gets entries from the stream.
func (s *storage) read(low, high, maxSize uint64) ([]*raftpb.Entry, error) {
	var entries []*raftpb.Entry
	budget := int(min(maxSize, maxMessageBytes))
	for next := low; next < high && budget > 0; {
		var err error
		next, err = s.log.ReadEntries(s.stream, next, budget, func(e wal.Entry) error {
			if e.First >= high {
				return nil
			}
			entry, err := decodeLogEntry(e)
			if err != nil {
				return err
			}
			entries = append(entries, entry)
			budget -= len(e.Payload)
			return nil
		})
		if err != nil {
			s.err = mq.Wrapf(err, "read raft entries [%d, %d)", low, high)
			return nil, s.err
		}
	}
	return limitEntries(entries, maxSize), nil
}

// Snapshot implements etcdraft.Storage. The body goes beside the message, see Node.sendSnapshot.
func (s *storage) Snapshot() (*raftpb.Snapshot, error) {
	metadata, err := snapshotMetadata(s.sm.Position())
	if err != nil {
		s.err = err
		return nil, err
	}
	return &raftpb.Snapshot{Metadata: metadata}, nil
}

func snapshotMetadata(at Position) (*raftpb.SnapshotMetadata, error) {
	m, err := decodeMembers(at.Conf)
	if err != nil {
		return nil, err
	}
	return &raftpb.SnapshotMetadata{Index: new(at.Index), Term: new(at.Term), ConfState: m.conf}, nil
}

// append takes entries in. They continue the log, or replace its end from the first of them on.
func (s *storage) append(entries []*raftpb.Entry) {
	for _, e := range entries {
		if e.GetIndex() <= s.last {
			s.truncate(e.GetIndex())
		}
		s.last = e.GetIndex()
		if n := len(s.terms); n == 0 || s.terms[n-1].term != e.GetTerm() {
			s.terms = append(s.terms, termRun{e.GetIndex(), e.GetTerm()})
		}
		s.window = append(s.window, e)
		s.windowBytes += len(e.GetData())
	}
	s.trim()
}

// truncate forgets entries from index on.
func (s *storage) truncate(index uint64) {
	if first := s.windowFirst(); index > first {
		for _, e := range s.window[index-first:] {
			s.windowBytes -= len(e.GetData())
		}
		// Clipped: raft may hold slices of what is behind, and the next append must not write into them.
		s.window = slices.Clip(s.window[:index-first])
	} else {
		s.window, s.windowBytes = nil, 0
	}
	s.last = index - 1
	s.durable = min(s.durable, s.last)
	for n := len(s.terms); n > 0 && s.terms[n-1].from >= index; n-- {
		s.terms = s.terms[:n-1]
	}
}

// synced notes that entries up to index are durable, if the log still ends at or behind it with that term.
func (s *storage) synced(index, term uint64) {
	if index > s.durable && index <= s.last {
		if t, err := s.Term(index); err == nil && t == term {
			s.durable = index
			s.trim()
		}
	}
}

// trim takes from the window what is too much and can be read from the stream.
func (s *storage) trim() {
	n, first := 0, s.windowFirst()
	for n < len(s.window) && s.windowBytes > cacheBytes && first+uint64(n) <= s.durable {
		s.windowBytes -= len(s.window[n].GetData())
		n++
	}
	s.window = s.window[n:]
}

// compact forgets entries up to index, which must be in the log.
func (s *storage) compact(index uint64) error {
	term, err := s.Term(index)
	if err != nil {
		return mq.Errorf(mq.Internal, "compact the raft log up to %d: %w", index, err)
	}
	s.compacted, s.compactedTerm = index, term
	n := 0
	for n+1 < len(s.terms) && s.terms[n+1].from <= index+1 {
		n++
	}
	s.terms = slices.Clone(s.terms[n:])
	if first := s.windowFirst(); index >= first {
		for _, e := range s.window[:index+1-first] {
			s.windowBytes -= len(e.GetData())
		}
		s.window = slices.Clone(s.window[index+1-first:])
	}
	return nil
}

// reset empties the log, which goes on behind index.
func (s *storage) reset(index, term uint64) {
	s.compacted, s.compactedTerm, s.last, s.durable = index, term, index, index
	s.terms, s.window, s.windowBytes = nil, nil, 0
}
