package group

import (
	"google.golang.org/protobuf/proto"

	grouppb "github.com/rustmq/rustmq/api/group/v1"
	"github.com/rustmq/rustmq/mq"
)

// replay is what is known of the log while it is read.
type replay struct {
	begun  bool
	offset mq.Offset // of the first record
	opened uint64    // the snapshot that the log begins with
	whole  bool      // the log begins where it always did, or with a snapshot that has its end
}

// Replay takes the next record of the partition's log, at its offset. CORRUPT and UNSUPPORTED_VERSION name the offset; the shard is of no use then.
func (s *Shard) Replay(offset mq.Offset, r Record) error {
	decoded, err := decodeRecord(r.Value)
	if err != nil {
		return mq.Wrapf(err, "record at offset %d", offset)
	}
	s.replay.note(offset, decoded)
	s.figures.SinceSnapshot += int64(len(r.Key) + len(r.Value))
	if err := s.apply(decoded); err != nil {
		return mq.Wrapf(err, "record at offset %d", offset)
	}
	return nil
}

func (r *replay) note(offset mq.Offset, decoded *grouppb.Record) {
	if !r.begun {
		r.begun, r.offset, r.whole = true, offset, offset == 0
		r.opened = decoded.GetSnapshotBegin().GetId()
	}
	if end := decoded.GetSnapshotEnd(); end != nil && r.opened != 0 && end.GetId() == r.opened {
		r.whole = true
	}
}

// complete says whether nothing before what was replayed is missing.
func (r *replay) complete() error {
	if !r.begun || r.whole {
		return nil
	}
	if r.opened == 0 {
		return mq.Errorf(mq.Corrupt, "the log of groups begins at offset %d, and not with a snapshot", r.offset)
	}
	return mq.Errorf(mq.Corrupt, "the log of groups begins at offset %d with a snapshot that has no end", r.offset)
}

// DecodeRecord reads the value of a record, for tools that show it. Errors: CORRUPT, UNSUPPORTED_VERSION.
func DecodeRecord(value []byte) (*grouppb.Record, error) { return decodeRecord(value) }

func decodeRecord(value []byte) (*grouppb.Record, error) {
	if len(value) > mq.MaxGroupRecordBytes {
		return nil, mq.Errorf(mq.Corrupt, "a record of %d bytes, more than %d", len(value), mq.MaxGroupRecordBytes)
	}
	r := &grouppb.Record{}
	if err := proto.Unmarshal(value, r); err != nil {
		return nil, mq.Errorf(mq.Corrupt, "not a record of groups")
	}
	switch {
	case r.GetVersion() > formatVersion:
		return nil, mq.Errorf(mq.UnsupportedVersion, "a record of version %d, this program knows %d", r.GetVersion(), formatVersion)
	case r.GetVersion() == 0 || r.GetKind() == nil:
		return nil, mq.Errorf(mq.Corrupt, "a record without version or kind")
	}
	return r, nil
}

// apply is the catalogue of records.
func (s *Shard) apply(r *grouppb.Record) error {
	switch k := r.GetKind().(type) {
	case *grouppb.Record_Change:
		return s.applyChange(k.Change)
	case *grouppb.Record_Removed:
		delete(s.groups, k.Removed.GetGroup())
	case *grouppb.Record_SnapshotBegin:
		s.snap.last = max(s.snap.last, k.SnapshotBegin.GetId())
		s.figures.SinceSnapshot = 0
	case *grouppb.Record_SnapshotEnd:
		s.figures.Snapshot = s.figures.SinceSnapshot
	}
	return nil
}

// applyChange refuses what is no change, but nothing for what the group is: between the begin and the end of a snapshot a group is known in part.
func (s *Shard) applyChange(c *grouppb.Change) error {
	g := s.groups[c.GetGroup()]
	if g == nil {
		if err := checkGroup(c.GetGroup()); err != nil {
			return mq.Errorf(mq.Corrupt, "a change of a group: %w", err)
		}
		g = newGroup(c.GetGroup())
		s.groups[g.id] = g
	}
	g.written = true
	if h := c.GetHead(); h != nil {
		p := Protocol(h.GetProtocol())
		if p != ProtocolClassic && p != ProtocolConsumer {
			return mq.Errorf(mq.Corrupt, "group %q with protocol %d", g.id, p)
		}
		g.load(p)
		g.epoch, g.targetEpoch, g.topicsHash, g.emptySince = h.GetGroupEpoch(), h.GetTargetEpoch(), h.GetTopicsHash(), h.GetEmptySinceMs()
	}
	if len(c.GetMembers())+len(c.GetRemovedMembers())+len(c.GetTargets()) > 0 {
		g.load(ProtocolConsumer)
		if err := g.applyMembers(c); err != nil {
			return mq.Wrapf(err, "group %q", g.id)
		}
	}
	if c.GetClassic() != nil {
		for _, m := range c.GetClassic().GetMembers() {
			if len(m.GetProtocols()) == 0 {
				return mq.Errorf(mq.Corrupt, "group %q: member %q without protocols", g.id, m.GetId())
			}
		}
		g.load(ProtocolClassic)
		g.classic.restore(c.GetClassic())
	}
	return g.offsets.apply(c)
}

// load gives the group the shape of a protocol.
func (g *group) load(p Protocol) {
	if g.protocol == p {
		return
	}
	g.protocol = p
	if p == ProtocolConsumer {
		g.classic = nil
		g.makeConsumer()
		return
	}
	g.members, g.instances, g.owners, g.patterns = nil, nil, nil, nil
	g.classic = newClassic()
}

func (g *group) applyMembers(c *grouppb.Change) error {
	for _, id := range c.GetRemovedMembers() {
		if m := g.members[id]; m != nil {
			g.drop(m)
		}
	}
	for _, pb := range c.GetMembers() {
		if err := g.loadMember(pb); err != nil {
			return err
		}
	}
	for _, t := range c.GetTargets() {
		target, err := partitionsFrom(t.GetPartitions())
		if err != nil {
			return err
		}
		if m := g.members[t.GetMember()]; m != nil {
			m.target = target
		}
	}
	return nil
}
