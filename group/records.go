package group

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	grouppb "github.com/rustmq/rustmq/api/group/v1"
	"github.com/rustmq/rustmq/mq"
)

// formatVersion is the newest version of the records that this code reads, and the one that it writes.
const formatVersion = 1

// pieceBytes is about how long a record gets before another one is begun. Only a classic group is always in one.
const pieceBytes = 128 << 10

var marshal = proto.MarshalOptions{Deterministic: true}

// emit appends a record to the effects.
func (s *Shard) emit(key string, r *grouppb.Record) {
	r.Version = formatVersion
	value, err := marshal.Marshal(r)
	if err != nil {
		panic(mq.Errorf(mq.Internal, "encode a record of group %q: %w", key, err)) // only text that is not UTF-8, which is refused at the door
	}
	record := Record{Value: value}
	if key != "" {
		record.Key = []byte(key)
	}
	s.effects.Records = append(s.effects.Records, record)
	s.figures.SinceSnapshot += int64(len(key) + len(value))
}

func removedRecord(id string) *grouppb.Record {
	return &grouppb.Record{Kind: &grouppb.Record_Removed{Removed: &grouppb.Removed{Group: id}}}
}

// writer cuts the parts of a group's change into records.
type writer struct {
	s      *Shard
	change *grouppb.Change
	bytes  int
}

func (s *Shard) writer(g *group) *writer {
	return &writer{s: s, change: &grouppb.Change{Group: g.id}}
}

// room is called before a part of about n bytes is added.
func (w *writer) room(n int) {
	if w.bytes > 0 && w.bytes+n > pieceBytes {
		w.flush()
	}
	w.bytes += n
}

func (w *writer) flush() {
	if w.bytes == 0 {
		return
	}
	w.s.emit(w.change.Group, &grouppb.Record{Kind: &grouppb.Record_Change{Change: w.change}})
	w.change, w.bytes = &grouppb.Change{Group: w.change.Group}, 0
}

func (w *writer) head(g *group) {
	w.room(32)
	w.change.Head = &grouppb.Head{
		Protocol: grouppb.Protocol(g.protocol), GroupEpoch: g.epoch, TargetEpoch: g.targetEpoch, TopicsHash: g.topicsHash, EmptySinceMs: g.emptySince,
	}
}

func (w *writer) classic(g *group) {
	if g.classic == nil {
		return
	}
	w.room(proto.Size(g.classic.saved))
	w.change.Classic = g.classic.saved
}

func (w *writer) member(g *group, id string) {
	m := g.members[id]
	if m == nil {
		w.room(len(id) + 4)
		w.change.RemovedMembers = append(w.change.RemovedMembers, id)
		return
	}
	pb := m.proto()
	w.room(proto.Size(pb))
	w.change.Members = append(w.change.Members, pb)
}

func (w *writer) target(g *group, id string) {
	m := g.members[id]
	if m == nil {
		return // its removal says it
	}
	pb := &grouppb.Target{Member: id, Partitions: partitionsProto(m.target)}
	w.room(proto.Size(pb))
	w.change.Targets = append(w.change.Targets, pb)
}

// offset adds one committed offset, or that there is none.
func (w *writer) offset(g *group, topic string, index int32) {
	t := g.offsets.topics[topic]
	if t == nil {
		w.removedOffset(topic, index)
		return
	}
	c, ok := t.at[index]
	if !ok {
		w.removedOffset(topic, index)
		return
	}
	w.room(24 + len(c.metadata))
	last := len(w.change.Offsets) - 1
	if last < 0 || w.change.Offsets[last].Topic != topic {
		w.bytes += len(topic) + 24
		pb := &grouppb.Offsets{Topic: topic}
		if !t.id.IsZero() {
			pb.TopicId = t.id[:]
		}
		w.change.Offsets = append(w.change.Offsets, pb)
		last++
	}
	w.change.Offsets[last].Offsets = append(w.change.Offsets[last].Offsets, &grouppb.Offset{
		Partition: index, Offset: int64(c.offset), LeaderEpochPlusOne: int32(c.epoch) + 1, Metadata: c.metadata, CommitMs: c.commitMs,
	})
}

func (w *writer) removedOffset(topic string, index int32) {
	w.room(8)
	last := len(w.change.RemovedOffsets) - 1
	if last < 0 || w.change.RemovedOffsets[last].Topic != topic {
		w.bytes += len(topic) + 8
		w.change.RemovedOffsets = append(w.change.RemovedOffsets, &grouppb.RemovedOffsets{Topic: topic})
		last++
	}
	w.change.RemovedOffsets[last].Partitions = append(w.change.RemovedOffsets[last].Partitions, index)
}

// write makes records of a group's changes.
func (s *Shard) write(g *group) {
	c := g.changes
	g.changes = changes{}
	if c.none() {
		return
	}
	w := s.writer(g)
	if g.noteSize(s.now.UnixMilli()) || c.head || !g.written {
		w.head(g)
	}
	g.written = true
	for _, id := range sortedKeys(c.members) {
		w.member(g, id)
	}
	for _, id := range sortedKeys(c.targets) {
		w.target(g, id)
	}
	if c.classic {
		w.classic(g)
	}
	for _, topic := range sortedKeys(c.offsets) {
		for _, index := range slices.Sorted(maps.Keys(c.offsets[topic])) {
			w.offset(g, topic, index)
		}
	}
	w.flush()
}

func partitionsProto(p Partitions) []*grouppb.TopicPartitions {
	all := make([]*grouppb.TopicPartitions, len(p))
	for i := range p {
		all[i] = &grouppb.TopicPartitions{TopicId: p[i].Topic[:], Partitions: p[i].Partitions}
	}
	return all
}

func partitionsFrom(all []*grouppb.TopicPartitions) (Partitions, error) {
	if len(all) == 0 {
		return nil, nil
	}
	p := make(Partitions, len(all))
	for i, t := range all {
		id, err := topicIDFrom(t.GetTopicId())
		if err != nil {
			return nil, err
		}
		p[i] = TopicPartitions{Topic: id, Partitions: t.GetPartitions()}
		if len(t.GetPartitions()) > 0 && slices.Min(t.GetPartitions()) < 0 {
			return nil, mq.Errorf(mq.Corrupt, "partition %d", slices.Min(t.GetPartitions()))
		}
	}
	return p.normal(), nil
}

func topicIDFrom(b []byte) (id mq.TopicID, err error) {
	if len(b) != 0 && len(b) != len(id) {
		return id, mq.Errorf(mq.Corrupt, "a topic id of %d bytes", len(b))
	}
	copy(id[:], b)
	return id, nil
}
