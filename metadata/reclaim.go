package metadata

import (
	"bytes"
	"math"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

// Deleting a topic or moving a log start can make millions of ranges superfluous. They are noted, and dropped by ReclaimRanges
// in steps of a bounded size, so that no command holds up the others.

// maxReclaim bounds one step.
const maxReclaim = 10_000

// reclaimBelow notes that ranges ending at or below an offset can go, if there are any.
func (m *machine) reclaimBelow(id mq.PartitionID, below mq.Offset) {
	r := metadatapb.Range{}
	key := m.db.seek(bucketRanges, partitionKey(id), &r)
	if at, ok := keyPartition(key); ok && at == id && mq.Offset(r.GetEnd()) <= below {
		m.db.put(bucketReclaim, partitionKey(id), &metadatapb.Reclaim{Below: int64(below)})
	}
}

// reclaimPartition notes that all of a partition can go, if the object store holds any of it.
func (m *machine) reclaimPartition(id mq.PartitionID) {
	if m.db.raw(bucketCheckpoints, partitionKey(id)) != nil {
		m.db.put(bucketReclaim, partitionKey(id), &metadatapb.Reclaim{Below: math.MaxInt64, Deleted: true})
	}
}

// reclaimPending says whether ranges of a deleted topic are still there.
func (m *machine) reclaimPending(topic mq.TopicID) bool {
	key, _ := m.db.seekRaw(bucketReclaim, topic[:])
	return bytes.HasPrefix(key, topic[:])
}

func (m *machine) reclaimRanges(c *metadatapb.ReclaimRanges) (*metadatapb.Result, error) {
	limit := int(c.GetLimit())
	if limit < 1 || limit > maxReclaim {
		return nil, mq.Errorf(mq.InvalidRequest, "reclaim %d ranges: from 1 to %d can go at once", limit, maxReclaim)
	}
	done, steps := 0, 0
	for ; steps < limit; steps++ {
		work := metadatapb.Reclaim{}
		key := m.db.seek(bucketReclaim, nil, &work)
		id, ok := keyPartition(key)
		if !ok {
			break
		}
		n := m.reclaimFrom(id, &work, limit-steps)
		done += n
		steps += n
	}
	next, _ := m.db.seekRaw(bucketReclaim, nil)
	return &metadatapb.Result{Value: &metadatapb.Result_ReclaimRanges{
		ReclaimRanges: &metadatapb.ReclaimRangesResult{Reclaimed: int32(done), More: next != nil},
	}}, nil
}

// reclaimFrom drops at most limit ranges of one partition, and its note when nothing is left to do.
func (m *machine) reclaimFrom(id mq.PartitionID, work *metadatapb.Reclaim, limit int) int {
	for n := range limit {
		r := metadatapb.Range{}
		key := m.db.seek(bucketRanges, partitionKey(id), &r)
		at, ok := keyPartition(key)
		if !ok || at != id || r.GetEnd() > work.GetBelow() {
			m.db.del(bucketReclaim, partitionKey(id))
			if work.GetDeleted() {
				m.db.del(bucketCheckpoints, partitionKey(id))
			}
			return n
		}
		m.db.del(bucketRanges, key)
		m.dropReference(r.GetObjectId())
	}
	return limit
}

// dropReference takes one range away from an object, which is garbage when that was the last. But one that was regained after a recovery is left alone and forgotten: another partition's
// leader may still bring its range.
func (m *machine) dropReference(id uint64) {
	object := metadatapb.Object{}
	if !m.db.get(bucketObjects, objectKey(id), &object) {
		m.db.fail(mq.Errorf(mq.Corrupt, "metadata database: a range refers to object %d, which is not there", id))
		return
	}
	object.LiveRanges--
	if object.GetLiveRanges() > 0 {
		m.db.put(bucketObjects, objectKey(id), &object)
		return
	}
	m.db.del(bucketObjects, objectKey(id))
	if !object.GetRegained() {
		m.discard(id, &object)
	}
}

// discard makes an object garbage, from this command on.
func (m *machine) discard(id uint64, object *metadatapb.Object) {
	if m.img.FeatureLevel >= KeepingLevel {
		object.GarbageIndex = m.index
	}
	m.db.put(bucketGarbage, objectKey(id), object)
}

// removeObjects forgets garbage. An id that is no garbage (any more) is left alone, so the command may come twice.
func (m *machine) removeObjects(c *metadatapb.RemoveObjects) error {
	for _, id := range c.GetObjectIds() {
		m.db.del(bucketGarbage, objectKey(id))
	}
	return nil
}
