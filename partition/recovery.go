package partition

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
)

// Recovery collects, while the log is replayed, what each partition needs to open. It looks at the headers of batches only and keeps no
// payload. Not safe for concurrent use.
type Recovery struct {
	now     int64 // milliseconds since 1970
	streams map[wal.StreamID]*Recovered
	recent  [wal.StreamSlots]*Recovered // by their slots: mostly the next entry is of one of them
	suspect map[wal.StreamID]bool
	doubt   bool
}

// Recovered is what the log has of one partition.
type Recovered struct {
	stream     wal.StreamID
	begun      bool      // something with offsets was found
	first, end mq.Offset // of what is there
	holeEnd    mq.Offset // end of the last gap inside, 0: none
	state      replicaState
	epochs     mq.EpochHistory // of the batches
	producers  *producers      // of the batches
	index      index
	err        error // what can not be
	doubt      bool  // there may have been more, nobody knows what
}

// NewRecovery is for a replay that begins now.
func NewRecovery(now time.Time) *Recovery {
	return &Recovery{now: now.UnixMilli(), streams: make(map[wal.StreamID]*Recovered), suspect: make(map[wal.StreamID]bool)}
}

// Visit takes the next entry of the log: it is what wal.Open calls. It never fails: what is wrong with a stream is that partition's
// alone, and shows when it is opened.
func (r *Recovery) Visit(e wal.Entry) error {
	if e.Type == wal.EntryDrop {
		delete(r.streams, e.Stream)
		r.recent[e.Stream.Slot()] = nil
		return nil
	}
	recent := &r.recent[e.Stream.Slot()]
	if *recent == nil || (*recent).stream != e.Stream {
		*recent = r.stream(e.Stream)
	}
	s := *recent
	switch e.Type {
	case wal.EntryData:
		s.data(&e, r.now)
	case wal.EntryState:
		s.remember(e)
	case wal.EntryTruncate:
		s.truncate(mq.Offset(e.First))
	case wal.EntryReset:
		s.reset(mq.Offset(e.First))
	}
	return nil
}

func (r *Recovery) stream(id wal.StreamID) *Recovered {
	s := r.streams[id]
	if s == nil {
		s = &Recovered{stream: id, state: replicaState{epoch: mq.NoEpoch}}
		r.streams[id] = s
	}
	return s
}

// Finish is told what wal.Open found.
func (r *Recovery) Finish(found *wal.Recovery) {
	clear(r.recent[:])
	r.doubt = found.Doubt
	for _, id := range found.Suspect {
		r.suspect[id] = true
	}
}

// Partitions lists those that the log has something of and that nobody took, in the order of their keys. Those that the metadata does not
// know are of deleted topics: have the log drop them.
func (r *Recovery) Partitions() []mq.PartitionID { return partitionsOf(r.streams) }

// Suspects lists the partitions that can not show all they had promised, in the order of their keys: this replica must not keep its
// place in their in-sync sets.
func (r *Recovery) Suspects() []mq.PartitionID { return partitionsOf(r.suspect) }

// Doubt says that the log may have had partitions which it does not know any more: of those that nobody named, none can show what it had promised.
// Whole lists those that can, as long as nobody took them, in the order of their keys.
func (r *Recovery) Doubt() (doubt bool, whole []mq.PartitionID) {
	if !r.doubt {
		return false, nil
	}
	return true, slices.DeleteFunc(r.Partitions(), func(id mq.PartitionID) bool { return r.suspect[wal.StreamID(id.Key())] })
}

func partitionsOf[V any](streams map[wal.StreamID]V) []mq.PartitionID {
	keys := make([]wal.StreamID, 0, len(streams))
	for id := range streams {
		keys = append(keys, id)
	}
	slices.SortFunc(keys, func(a, b wal.StreamID) int { return bytes.Compare(a[:], b[:]) })
	ids := make([]mq.PartitionID, len(keys))
	for i, key := range keys {
		ids[i] = mq.PartitionIDFromKey(key)
	}
	return ids
}

// Take hands over what was found of a partition that existed before the start; nil: nothing.
func (r *Recovery) Take(id mq.PartitionID) *Recovered {
	key := wal.StreamID(id.Key())
	s := r.streams[key]
	delete(r.streams, key)
	if s == nil && r.doubt {
		// The damage may have eaten all that the log had of it.
		return &Recovered{stream: key, state: replicaState{epoch: mq.NoEpoch}, doubt: true}
	}
	return s
}

// Behind says whether the log of a partition that nobody took has let go of records above tiered, the tiered end of the metadata, because they were in the object
// store by what was known then: the metadata was set back since. held is what the log has. Of damage nothing is said: see Open.
func (r *Recovery) Behind(id mq.PartitionID, log *wal.Log, tiered mq.Offset) (held Held, behind bool) {
	s := r.streams[wal.StreamID(id.Key())]
	if s == nil || s.err != nil || s.state.tieredEnd <= tiered {
		return Held{}, false
	}
	held, _ = r.Held(id, log)
	return held, held.First > tiered
}

// Held is what the log has of a partition that nobody took; ok is false for nothing. What the log let go of may have been replayed, and is not there.
func (r *Recovery) Held(id mq.PartitionID, log *wal.Log) (held Held, ok bool) {
	s := r.streams[wal.StreamID(id.Key())]
	if s == nil {
		return Held{}, false
	}
	first, end, known := log.Bounds(s.stream)
	if !known {
		first, end = uint64(s.first), uint64(s.end)
	}
	return Held{First: mq.Offset(first), End: mq.Offset(end), Epochs: s.epochs}, true
}

// Held is what a replica's log has: the offsets [First, End), and the epochs that it knows of.
type Held struct {
	First, End mq.Offset
	Epochs     mq.EpochHistory
}

// Reread is what the log has of one partition that was closed, as a recovery would find it: for one that is to be opened again in the same run of the node. It reads all of
// that. Errors: those of the log; damage is no error here, and shows when the partition is opened.
func Reread(ctx context.Context, log *wal.Log, id mq.PartitionID, now time.Time) (*Recovered, error) {
	if err := log.Sync(ctx); err != nil { // what was appended before the partition was closed
		return nil, err
	}
	r, stream := NewRecovery(now), wal.StreamID(id.Key())
	first, end, ok := log.Bounds(stream)
	s := r.stream(stream)
	if ok {
		s.reset(mq.Offset(first))
	}
	if state, ok := log.State(stream); ok {
		s.remember(state)
	}
	for at := first; at < end; {
		next, err := log.ReadEntries(stream, at, uploadStride, r.Visit)
		if err == nil && next <= at {
			err = mq.Errorf(mq.Internal, "it goes no further")
		}
		if mq.CodeOf(err) == mq.Corrupt {
			s.fail("read the log again at %d: %w", at, err)
			break
		}
		if err != nil {
			return nil, mq.Wrapf(err, "partition %s: read the log again at %d", id, at)
		}
		at = next
	}
	return r.Take(id), nil
}

// Settle ends the recovery when everything that existed before the start is open: from now on Take returns nil, also where
// damage leaves a doubt. Without it a topic that is created later would inherit that doubt.
func (r *Recovery) Settle() { r.streams, r.doubt = nil, false }

// data notes an entry with batches.
func (s *Recovered) data(e *wal.Entry, now int64) {
	first := mq.Offset(e.First)
	switch {
	case !s.begun:
		s.begun, s.first, s.end = true, first, first
	case first > s.end:
		s.holeEnd, s.end = first, first
	case first < s.end:
		s.fail("entry [%d, %d) lies below %d, where the log had come to", e.First, e.End, s.end)
		return
	}
	for rest := e.Payload; len(rest) > 0; {
		b, after, err := mq.NextBatch(rest)
		if err != nil {
			s.fail("entry [%d, %d): %w", e.First, e.End, err)
			return
		}
		if b.BaseOffset() != s.end {
			s.fail("entry [%d, %d): batch at %d, expected at %d", e.First, e.End, b.BaseOffset(), s.end)
			return
		}
		s.batch(b, now)
		rest = after
	}
	if s.end != mq.Offset(e.End) {
		s.fail("entry [%d, %d): its batches end at %d", e.First, e.End, s.end)
	}
}

func (s *Recovered) batch(b mq.Batch, now int64) {
	base := s.end
	if n := len(s.epochs); n == 0 || s.epochs[n-1].Epoch != b.LeaderEpoch() {
		epochs, err := s.epochs.Assign(b.LeaderEpoch(), base)
		if err != nil {
			s.fail("batch at %d: %w", base, err)
		}
		s.epochs = epochs
	}
	if b.ProducerID() >= 0 {
		if s.producers == nil {
			s.producers = newProducers(0, 0)
		}
		s.producers.apply(sequenceOf(b), base, s.state.high, now)
	}
	s.index.add(b, base, now)
	s.end = b.NextOffset()
}

func (s *Recovered) remember(e wal.Entry) {
	state, err := decodeState(e.Payload)
	if err != nil {
		s.fail("state entry: %w", err)
		return
	}
	s.state = state
}

func (s *Recovered) truncate(to mq.Offset) {
	if !s.begun || to >= s.end {
		return
	}
	if to < s.first {
		// What it left was freed.
		s.reset(to)
		return
	}
	s.end = to
	if s.holeEnd > to {
		s.holeEnd = 0
	}
	s.epochs = s.epochs.TruncateEnd(to)
	if s.producers != nil {
		s.producers.rollback(to)
	}
	s.index.truncate(to)
}

func (s *Recovered) reset(to mq.Offset) {
	*s = Recovered{stream: s.stream, begun: true, first: to, end: to, state: s.state}
	s.index.restart(to)
}

func (s *Recovered) fail(format string, args ...any) {
	if s.err == nil {
		s.err = mq.Errorf(mq.Corrupt, format, args...)
	}
}
