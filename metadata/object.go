package metadata

import (
	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
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
	object := metadatapb.Object{}
	known := m.db.get(bucketObjects, objectKey(c.GetObjectId()), &object)
	if err := m.checkObject(c, known, &object); err != nil {
		return nil, err
	}
	if !known {
		object.Key, object.Size = c.GetKey(), c.GetSize()
	}
	verdicts := make([]*metadatapb.Verdict, len(c.GetRanges()))
	for i, r := range c.GetRanges() {
		fresh, err := m.commitRange(c, r)
		verdicts[i] = verdict(err)
		if fresh {
			object.LiveRanges++
		}
	}
	// Without a range it is garbage at once: it is in the bucket, and somebody must delete it.
	if object.GetLiveRanges() > 0 {
		m.db.put(bucketObjects, objectKey(c.GetObjectId()), &object)
	} else {
		m.db.put(bucketGarbage, objectKey(c.GetObjectId()), &object)
	}
	return &metadatapb.Result{Value: &metadatapb.Result_CommitObject{CommitObject: &metadatapb.CommitObjectResult{Verdicts: verdicts}}}, nil
}

func (m *machine) checkObject(c *metadatapb.CommitObject, known bool, object *metadatapb.Object) error {
	id := c.GetObjectId()
	switch {
	case id == 0 || id >= m.db.number(keyNextObjectID):
		return mq.Errorf(mq.InvalidRequest, "commit object %d: this id was never leased", id)
	case c.GetKey() == "" || len(c.GetKey()) > maxObjectKeyBytes:
		return mq.Errorf(mq.InvalidRequest, "commit object %d: a key has 1 to %d bytes, not %d", id, maxObjectKeyBytes, len(c.GetKey()))
	case c.GetSize() <= 0:
		return mq.Errorf(mq.InvalidRequest, "commit object %d: it cannot have %d bytes", id, c.GetSize())
	case known && (object.GetKey() != c.GetKey() || object.GetSize() != c.GetSize()):
		return mq.Errorf(mq.InvalidRequest, "commit object %d: the id belongs to %.80q", id, object.GetKey())
	case m.db.raw(bucketGarbage, objectKey(id)) != nil:
		return mq.Errorf(mq.InvalidRequest, "commit object %d: it is garbage, and may be deleted at any time", id)
	}
	return nil
}

// commitRange makes one range part of its partition. fresh is false for one that is there already from an earlier proposal of the
// same object.
func (m *machine) commitRange(c *metadatapb.CommitObject, r *metadatapb.RangeCommit) (fresh bool, err error) {
	id, p, err := m.partitionOf(r.GetPartition())
	if err != nil {
		return false, err
	}
	key := rangeKey(id, mq.Offset(r.GetEnd()))
	if there := (metadatapb.Range{}); m.db.get(bucketRanges, key, &there) {
		if there.GetObjectId() == c.GetObjectId() && there.GetFirst() == r.GetFirst() {
			return false, nil
		}
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
	m.db.put(bucketRanges, key, &metadatapb.Range{
		First: r.GetFirst(), End: r.GetEnd(), LeaderEpoch: r.GetLeaderEpoch(), MinTime: r.GetMinTime(), MaxTime: r.GetMaxTime(),
		Position: r.GetPosition(), Bytes: r.GetBytes(), Crc: r.GetCrc(), ObjectId: c.GetObjectId(),
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
	case r.GetPosition() < 0 || r.GetBytes() <= 0 || r.GetBytes() > c.GetSize() || r.GetPosition() > c.GetSize()-r.GetBytes():
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
