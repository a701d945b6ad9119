package metadata

import (
	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

// Compaction merges ranges of many objects into one range of one, and proposes ReplaceRanges. No epoch fences it, and none is needed: what is
// replaced is compared and swapped. A range is named by its object, whose id comes once, and once it was replaced it does not come back; so whoever
// read something else than what is there now is refused, however stale he is otherwise. A change of leadership does not spoil a merge.

// MaxReplaced bounds the ranges that one ReplaceRanges replaces, in all its partitions: it does to the database what one ReclaimRanges does.
const MaxReplaced = maxReclaim

// replaceRanges decides each replacement by itself: one partition that was changed meanwhile does not sink the object.
func (m *machine) replaceRanges(c *metadatapb.ReplaceRanges) (*metadatapb.Result, error) {
	replaced := 0
	for _, r := range c.GetReplacements() {
		replaced += max(1, len(r.GetOld()))
	}
	if replaced > MaxReplaced {
		return nil, mq.Errorf(mq.InvalidRequest, "replace ranges by object %d: %d are too many, at most %d can be replaced at once", c.GetObjectId(), replaced, MaxReplaced)
	}
	verdicts, err := m.commitEach(c, len(c.GetReplacements()), func(i int) (bool, error) { return m.replace(c, c.GetReplacements()[i]) })
	if err != nil {
		return nil, err
	}
	return &metadatapb.Result{Value: &metadatapb.Result_ReplaceRanges{ReplaceRanges: &metadatapb.ReplaceRangesResult{Verdicts: verdicts}}}, nil
}

// replace puts one range into the place of those that it was made of. fresh is false for one that is there already from an earlier proposal of the
// same object.
func (m *machine) replace(c *metadatapb.ReplaceRanges, r *metadatapb.Replacement) (fresh bool, err error) {
	id, p, err := m.partitionOf(r.GetPartition())
	if err != nil {
		return false, err
	}
	if m.isCommitted(c, id, r.GetFirst(), r.GetEnd()) {
		return false, nil
	}
	if err := checkReplacement(id, p, c, r); err != nil {
		return false, err
	}
	next := metadatapb.Range{
		First: r.GetFirst(), End: r.GetEnd(), MinTime: r.GetMinTime(), MaxTime: r.GetMaxTime(),
		Position: r.GetPosition(), Bytes: r.GetBytes(), Crc: r.GetCrc(), ObjectId: c.GetObjectId(), ByKey: r.GetByKey(),
	}
	unknown := false // when one of them was written
	for _, old := range r.GetOld() {
		there := metadatapb.Range{}
		if !m.db.get(bucketRanges, rangeKey(id, mq.Offset(old.GetEnd())), &there) || there.GetFirst() != old.GetFirst() || there.GetObjectId() != old.GetObjectId() {
			return false, mq.Errorf(mq.OffsetOutOfRange, "partition %s: [%d, %d) of object %d is not there any more", id, old.GetFirst(), old.GetEnd(), old.GetObjectId())
		}
		next.LeaderEpoch, next.Rewrites = max(next.GetLeaderEpoch(), there.GetLeaderEpoch()), max(next.GetRewrites(), there.GetRewrites()+1)
		next.WrittenMs = max(next.GetWrittenMs(), there.GetWrittenMs())
		unknown = unknown || there.GetWrittenMs() == 0
	}
	if unknown {
		next.WrittenMs = 0
	}
	for _, old := range r.GetOld() {
		m.db.del(bucketRanges, rangeKey(id, mq.Offset(old.GetEnd())))
		m.dropReference(old.GetObjectId())
	}
	m.db.put(bucketRanges, rangeKey(id, mq.Offset(r.GetEnd())), &next)
	return true, nil
}

// checkReplacement wants ranges that follow each other, and one in their place with exactly their offsets. Only below the log start may something be
// missing: nobody reads there any more.
func checkReplacement(id mq.PartitionID, p *Partition, c *metadatapb.ReplaceRanges, r *metadatapb.Replacement) error {
	first, end, old := r.GetFirst(), r.GetEnd(), r.GetOld()
	if len(old) == 0 || first < 0 || end <= first {
		return mq.Errorf(mq.InvalidRequest, "partition %s: [%d, %d) replaces %d ranges", id, first, end, len(old))
	}
	if !isInside(r.GetPosition(), r.GetBytes(), c.GetSize()) {
		return mq.Errorf(mq.InvalidRequest, "partition %s: %d bytes at %d are not inside an object of %d bytes", id, r.GetBytes(), r.GetPosition(), c.GetSize())
	}
	next := old[0].GetFirst()
	for _, o := range old {
		if o.GetFirst() != next || o.GetEnd() <= next || o.GetObjectId() == c.GetObjectId() {
			return mq.Errorf(mq.InvalidRequest, "partition %s: [%d, %d) of object %d cannot be replaced behind %d", id, o.GetFirst(), o.GetEnd(), o.GetObjectId(), next)
		}
		next = o.GetEnd()
	}
	if begins := old[0].GetFirst(); end != next || first < begins || first > max(begins, int64(p.LogStart)) {
		return mq.Errorf(mq.InvalidRequest, "partition %s: [%d, %d) does not hold the offsets of [%d, %d), log start %d", id, first, end, begins, next, p.LogStart)
	}
	return nil
}
