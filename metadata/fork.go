package metadata

import (
	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

// maxForked bounds the ranges that one fork refers to, in all its partitions: it holds up other commands for a second or two at most. Merged ranges of a terabyte are some 16,000.
const maxForked = 100_000

// forkedPartition is what a partition of a fork begins with.
type forkedPartition struct {
	partition  *Partition
	ranges     []*metadatapb.Range
	checkpoint *metadatapb.Checkpoint // nil: it is empty, and begins at 0
}

// forkTopic makes a topic that refers to the same objects as another one, up to a point in each partition. Both go on independently: an object is garbage when the last range of any
// topic went.
func (m *machine) forkTopic(c *metadatapb.ForkTopic) (*metadatapb.Result, error) {
	id, there, err := m.newTopicID(c.GetId(), c.GetName())
	if there != nil || err != nil {
		return there, err
	}
	source, err := m.topicOf(c.GetSource())
	if err != nil {
		return nil, err
	}
	if n := int(source.count); len(c.GetAssignments()) != n || len(c.GetPoints()) != n {
		return nil, mq.Errorf(mq.InvalidPartitions, "fork topic %q: it has %d partitions, not %d", source.Name, n, len(c.GetPoints()))
	}
	partitions, err := m.newPartitions(c.GetName(), 0, 0, c.GetAssignments())
	if err != nil {
		return nil, err
	}
	forked, left := make([]forkedPartition, source.count), maxForked
	for i, from := range source.All() {
		f := &forked[i]
		f.partition = partitions[i]
		if err := m.forkPartition(f, mq.PartitionID{Topic: source.ID, Index: i}, from, mq.Offset(c.GetPoints()[i]), left); err != nil {
			return nil, err
		}
		left -= len(f.ranges)
	}
	m.createTopic(Topic{ID: id, Name: c.GetName(), Config: source.Config, Overrides: source.Overrides})
	m.addPartitions(id, partitions)
	for i := range forked {
		m.putForked(mq.PartitionID{Topic: id, Index: int32(i)}, &forked[i])
	}
	return created(id), nil
}

// forkPartition gathers what a partition has below a point. Nothing is changed but f.
func (m *machine) forkPartition(f *forkedPartition, id mq.PartitionID, from *Partition, point mq.Offset, limit int) error {
	switch {
	case point < from.LogStart:
		return mq.Errorf(mq.OffsetOutOfRange, "fork partition %s at %d: its log starts at %d", id, point, from.LogStart)
	case point > max(from.TieredEnd, from.LogStart):
		return mq.Errorf(mq.OffsetNotAvailable, "fork partition %s at %d: the object store has it up to %d so far", id, point, from.TieredEnd)
	}
	for key := rangeKey(id, from.LogStart+1); point > from.LogStart; {
		r := &metadatapb.Range{}
		found := m.db.seek(bucketRanges, key, r)
		if at, ok := keyPartition(found); !ok || at != id || mq.Offset(r.GetFirst()) >= point {
			break
		}
		key = rangeKey(id, mq.Offset(r.GetEnd())+1)
		if r.GetByKey() && point != from.TieredEnd {
			// Of a key that came again the earlier records are gone, and where the later one is nobody knows but that it is below the tiered end.
			return mq.Errorf(mq.InvalidRequest, "fork partition %s at %d: [%d, %d) is compacted by key, so that it can be forked where the object store's copy ends, which is %d now, and not before",
				id, point, r.GetFirst(), r.GetEnd(), from.TieredEnd)
		}
		r.End = min(r.GetEnd(), int64(point))
		if f.ranges = append(f.ranges, r); len(f.ranges) > limit {
			return mq.Errorf(mq.InvalidRequest, "fork a topic of more than %d ranges in the object store: they are too many for one command; merge them first", maxForked)
		}
	}
	f.partition.LeaderEpoch, f.partition.LogStart, f.partition.TieredEnd = from.LeaderEpoch+1, from.LogStart, point
	if point == 0 {
		return nil
	}
	// Its producers are others: a sequence counts in one partition, and who has sent to this one never sent to that one.
	there := metadatapb.Checkpoint{}
	m.db.get(bucketCheckpoints, partitionKey(id), &there)
	f.checkpoint = &metadatapb.Checkpoint{End: int64(point), Epochs: EpochRecords(epochHistoryFrom(there.GetEpochs()).TruncateEnd(point))}
	return nil
}

// putForked writes what a partition of a fork begins with.
func (m *machine) putForked(id mq.PartitionID, f *forkedPartition) {
	for _, r := range f.ranges {
		m.db.put(bucketRanges, rangeKey(id, mq.Offset(r.GetEnd())), r)
		m.addReference(r.GetObjectId())
	}
	if f.checkpoint != nil {
		m.db.put(bucketCheckpoints, partitionKey(id), f.checkpoint)
	}
}

// addReference notes one range more of an object that has some.
func (m *machine) addReference(id uint64) {
	object := metadatapb.Object{}
	if !m.db.get(bucketObjects, objectKey(id), &object) {
		m.db.fail(mq.Errorf(mq.Corrupt, "metadata database: a range refers to object %d, which is not there", id))
		return
	}
	object.LiveRanges++
	m.db.put(bucketObjects, objectKey(id), &object)
}
