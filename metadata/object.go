package metadata

import (
	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/raft"
)

// Bounds of one commit.
const (
	// maxObjectKeyBytes is the longest key that every object store takes.
	maxObjectKeyBytes = 1024
	// maxProducerStateBytes bounds the dedup state of one partition, which is rewritten with each commit of it.
	maxProducerStateBytes = 4 << 20
	// maxEpochHistory bounds the number of leader epochs that a partition's history keeps.
	maxEpochHistory = 1 << 16
)

// commitObject decides each range of an object by itself: one stale partition does not sink the object.
func (m *machine) commitObject(c *metadatapb.CommitObject) (*metadatapb.Result, error) {
	verdicts, err := m.commitEach(c, len(c.GetRanges()), func(i int) (bool, error) { return m.commitRange(c, c.GetRanges()[i]) })
	if err != nil {
		return nil, err
	}
	return &metadatapb.Result{Value: &metadatapb.Result_CommitObject{CommitObject: &metadatapb.CommitObjectResult{Verdicts: verdicts}}}, nil
}

// objectOf is what a command says of the object that it commits ranges of.
type objectOf interface {
	GetObjectId() uint64
	GetKey() string
	GetSize() int64
}

// commitEach commits n ranges of an object, one by one. commit says whether one was not there from an earlier proposal of the same object, or why it cannot be taken.
func (m *machine) commitEach(c objectOf, n int, commit func(i int) (fresh bool, err error)) ([]*metadatapb.Verdict, error) {
	object, err := m.objectToCommit(c.GetObjectId(), c.GetKey(), c.GetSize())
	if err != nil {
		return nil, err
	}
	verdicts := make([]*metadatapb.Verdict, n)
	for i := range n {
		fresh, err := commit(i)
		verdicts[i] = verdict(err)
		if fresh {
			object.LiveRanges++
		}
	}
	m.putObject(c.GetObjectId(), object)
	return verdicts, nil
}

// isCommitted says whether a range of an object is there from an earlier proposal of it.
func (m *machine) isCommitted(c objectOf, id mq.PartitionID, first, end int64) bool {
	there := metadatapb.Range{}
	return m.db.get(bucketRanges, rangeKey(id, mq.Offset(end)), &there) && there.GetObjectId() == c.GetObjectId() && there.GetFirst() == first
}

// objectToCommit is the record of an object of which ranges are to be committed, with those that it has already.
func (m *machine) objectToCommit(id uint64, key string, size int64) (*metadatapb.Object, error) {
	object := &metadatapb.Object{}
	known := m.db.get(bucketObjects, objectKey(id), object)
	switch {
	case id == 0 || id >= m.db.number(keyNextObjectID):
		return nil, mq.Errorf(mq.InvalidRequest, "commit object %d: this id was never leased", id)
	case key == "" || len(key) > maxObjectKeyBytes:
		return nil, mq.Errorf(mq.InvalidRequest, "commit object %d: a key has 1 to %d bytes, not %d", id, maxObjectKeyBytes, len(key))
	case size <= 0:
		return nil, mq.Errorf(mq.InvalidRequest, "commit object %d: it cannot have %d bytes", id, size)
	case known && (object.GetKey() != key || object.GetSize() != size):
		return nil, mq.Errorf(mq.InvalidRequest, "commit object %d: the id belongs to %.80q", id, object.GetKey())
	case m.db.raw(bucketGarbage, objectKey(id)) != nil:
		return nil, mq.Errorf(mq.InvalidRequest, "commit object %d: it is garbage, and may be deleted at any time", id)
	}
	object.Key, object.Size = key, size
	return object, nil
}

// putObject keeps an object that was committed. Without a range it is garbage at once: it is in the bucket, and somebody must delete it. But one of before a recovery, that controllers
// which are lost may have committed, is left alone: another partition's leader may still bring its range.
func (m *machine) putObject(id uint64, object *metadatapb.Object) {
	earlier := ObjectGeneration(id) != raft.Generation(m.index)
	switch {
	case object.GetLiveRanges() > 0:
		if earlier && m.img.FeatureLevel >= KeepingLevel && m.db.raw(bucketObjects, objectKey(id)) == nil {
			object.Regained = true
		}
		m.db.put(bucketObjects, objectKey(id), object)
	case !earlier:
		m.discard(id, object)
	}
}

// isInside says whether bytes at a position lie inside an object.
func isInside(position, bytes, size int64) bool {
	return position >= 0 && bytes > 0 && bytes <= size && position <= size-bytes
}

// commitRange makes one range part of its partition. fresh is false for one that is there already from an earlier proposal of the
// same object.
func (m *machine) commitRange(c *metadatapb.CommitObject, r *metadatapb.RangeCommit) (fresh bool, err error) {
	id, p, err := m.partitionOf(r.GetPartition())
	if err != nil {
		return false, err
	}
	if m.isCommitted(c, id, r.GetFirst(), r.GetEnd()) {
		return false, nil
	}
	if err := checkLeaderEpoch(id, p, mq.Epoch(r.GetLeaderEpoch())); err != nil {
		return false, err
	}
	if p.Leader != mq.NodeID(c.GetNodeId()) {
		return false, mq.Errorf(mq.NotLeaderOrFollower, "partition %s: node %d is not its leader", id, c.GetNodeId())
	}
	if err := checkRange(id, p, c, r); err != nil {
		return false, err
	}
	m.db.put(bucketRanges, rangeKey(id, mq.Offset(r.GetEnd())), &metadatapb.Range{
		First: r.GetFirst(), End: r.GetEnd(), LeaderEpoch: r.GetLeaderEpoch(), MinTime: r.GetMinTime(), MaxTime: r.GetMaxTime(),
		Position: r.GetPosition(), Bytes: r.GetBytes(), Crc: r.GetCrc(), ObjectId: c.GetObjectId(),
		WrittenMs: c.GetWrittenMs(),
	})
	m.db.put(bucketCheckpoints, partitionKey(id), &metadatapb.Checkpoint{
		End: r.GetEnd(), ProducerState: r.GetProducerState(), Epochs: r.GetEpochs(),
	})
	changed := *p
	changed.TieredEnd = mq.Offset(r.GetEnd())
	m.putPartition(id, &changed)
	if changed.TieredEnd <= p.LogStart {
		m.reclaimBelow(id, p.LogStart)
	}
	return true, nil
}

// checkRange wants a range that makes sense and continues the partition's tiered end. Only below the log start may something be
// missing: nobody reads there any more.
func checkRange(id mq.PartitionID, p *Partition, c *metadatapb.CommitObject, r *metadatapb.RangeCommit) error {
	first, end := mq.Offset(r.GetFirst()), mq.Offset(r.GetEnd())
	switch {
	case first < 0 || end <= first:
		return mq.Errorf(mq.InvalidRequest, "partition %s: [%d, %d) is not a range", id, first, end)
	case first < p.TieredEnd || first > max(p.TieredEnd, p.LogStart):
		return mq.Errorf(mq.OffsetOutOfRange, "partition %s: [%d, %d) does not continue the tiered end %d", id, first, end, p.TieredEnd)
	case !isInside(r.GetPosition(), r.GetBytes(), c.GetSize()):
		return mq.Errorf(mq.InvalidRequest, "partition %s: %d bytes at %d are not inside an object of %d bytes", id, r.GetBytes(),
			r.GetPosition(), c.GetSize())
	case len(r.GetProducerState()) > maxProducerStateBytes || len(r.GetEpochs()) > maxEpochHistory:
		return mq.Errorf(mq.InvalidRequest, "partition %s: a checkpoint has at most %d bytes of producer state and %d epochs", id,
			maxProducerStateBytes, maxEpochHistory)
	}
	history := epochHistoryFrom(r.GetEpochs())
	if err := history.Valid(); err != nil {
		return mq.Wrapf(err, "partition %s", id)
	}
	if latest, ok := history.Latest(); ok && latest.Start > end {
		return mq.Errorf(mq.InvalidRequest, "partition %s: its epoch history goes beyond %d", id, end)
	}
	return nil
}
