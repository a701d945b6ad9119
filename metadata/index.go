package metadata

import (
	"encoding/binary"
	"math"
	"slices"

	"google.golang.org/protobuf/proto"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

// Range is one run of a partition's offsets inside an object.
type Range struct {
	First, End       mq.Offset // half-open
	LeaderEpoch      mq.Epoch  // of the leader that uploaded it
	MinTime, MaxTime int64     // milliseconds since 1970
	Position, Bytes  int64     // inside the object
	CRC              uint32
	Rewrites         uint32 // how often its bytes were written again after the first time, at most
	ByKey            bool   // it is compacted by key
	ObjectID         uint64
	Key              string
	ObjectSize       int64 // bytes
	// Written is when the records were first written to the object store, at the latest, milliseconds since 1970; 0: not known. It does not travel to
	// brokers.
	Written int64
}

// Checkpoint is what a replica starts from at a partition's tiered end.
type Checkpoint struct {
	End           mq.Offset // the tiered end: the rest is exact here
	ProducerState []byte
	Epochs        mq.EpochHistory
}

// Object is an object that was committed.
type Object struct {
	ID   uint64
	Key  string
	Size int64 // bytes
	// Ranges is how many ranges of partitions refer to it.
	Ranges int
	// Garbage is the index of the command that made it garbage; 0 while it is none, and of one that was garbage before the cluster had [KeepingLevel].
	Garbage uint64
}

// Ranges lists, in order, at most limit ranges of a partition that end above from: the index of what of it is in the object
// store, page by page. Empty: nothing there. It reads the database, not the Image: it may know more than that. Corrupt also when one is missing between
// two that are there, or where they begin: a page of the database in which a key is damaged has others overlooked.
func (s *Store) Ranges(id mq.PartitionID, from mq.Offset, limit int) ([]Range, error) {
	var ranges []Range
	err := s.view(func(d *db) {
		next := mq.Offset(math.MaxInt64) // where the next range begins at the latest
		partition := metadatapb.Partition{}
		if d.get(bucketPartitions, partitionKey(id), &partition) { // else its topic was deleted: what is left goes in pieces
			next = max(from, mq.Offset(partition.GetLogStart()))
		}
		for key := rangeKey(id, max(from, 0)+1); len(ranges) < limit; {
			r, object := metadatapb.Range{}, metadatapb.Object{}
			found := d.seek(bucketRanges, key, &r)
			if at, ok := keyPartition(found); !ok || at != id {
				return
			}
			if !d.get(bucketObjects, objectKey(r.GetObjectId()), &object) {
				d.fail(mq.Errorf(mq.Corrupt, "metadata database: partition %s: object %d is not there", id, r.GetObjectId()))
				return
			}
			if mq.Offset(r.GetFirst()) > next {
				d.fail(mq.Errorf(mq.Corrupt, "metadata database: partition %s: no range holds offset %d, and a later one begins at %d", id, next, r.GetFirst()))
				return
			}
			next = max(next, mq.Offset(r.GetEnd()))
			ranges = append(ranges, rangeFrom(&r, &object))
			key = rangeKey(id, mq.Offset(r.GetEnd())+1)
		}
	})
	if err != nil {
		return nil, err
	}
	return ranges, nil
}

func rangeFrom(r *metadatapb.Range, object *metadatapb.Object) Range {
	return Range{
		First: mq.Offset(r.GetFirst()), End: mq.Offset(r.GetEnd()), LeaderEpoch: mq.Epoch(r.GetLeaderEpoch()),
		MinTime: r.GetMinTime(), MaxTime: r.GetMaxTime(), Position: r.GetPosition(), Bytes: r.GetBytes(), CRC: r.GetCrc(),
		Rewrites: r.GetRewrites(), ByKey: r.GetByKey(), ObjectID: r.GetObjectId(), Key: object.GetKey(), ObjectSize: object.GetSize(),
		Written: r.GetWrittenMs(),
	}
}

// Checkpoint is the checkpoint of a partition; ok is false while nothing of it is in the object store.
func (s *Store) Checkpoint(id mq.PartitionID) (c Checkpoint, ok bool, err error) {
	r := metadatapb.Checkpoint{}
	err = s.view(func(d *db) { ok = d.get(bucketCheckpoints, partitionKey(id), &r) })
	if err != nil || !ok {
		return Checkpoint{}, false, err
	}
	return Checkpoint{End: mq.Offset(r.GetEnd()), ProducerState: r.GetProducerState(), Epochs: epochHistoryFrom(r.GetEpochs())}, true, nil
}

// Garbage lists, by id, at most limit objects with an id above after that nothing refers to any more: they can be deleted from the
// bucket, and then forgotten by RemoveObjects.
func (s *Store) Garbage(after uint64, limit int) ([]Object, error) {
	return s.objects(bucketGarbage, after, limit)
}

// Objects lists, by id, at most limit objects with an id above after that ranges refer to.
func (s *Store) Objects(after uint64, limit int) ([]Object, error) {
	return s.objects(bucketObjects, after, limit)
}

func (s *Store) objects(b bucket, after uint64, limit int) ([]Object, error) {
	var objects []Object
	err := s.view(func(d *db) {
		for id := after + 1; len(objects) < limit && id != 0; {
			r := metadatapb.Object{}
			key := d.seek(b, objectKey(id), &r)
			if key == nil {
				return
			}
			id = binary.BigEndian.Uint64(key)
			objects = append(objects, objectFrom(id, &r))
			id++
		}
	})
	if err != nil {
		return nil, err
	}
	return objects, nil
}

// Object is the object with an id, whether ranges refer to it or it is garbage; ok is false when the metadata does not know it.
func (s *Store) Object(id uint64) (o Object, garbage, ok bool, err error) {
	r := metadatapb.Object{}
	err = s.view(func(d *db) {
		if ok = d.get(bucketObjects, objectKey(id), &r); !ok {
			ok = d.get(bucketGarbage, objectKey(id), &r)
			garbage = ok
		}
	})
	if err != nil || !ok {
		return Object{}, false, false, err
	}
	return objectFrom(id, &r), garbage, true, nil
}

func objectFrom(id uint64, r *metadatapb.Object) Object {
	return Object{ID: id, Key: r.GetKey(), Size: r.GetSize(), Ranges: int(r.GetLiveRanges()), Garbage: r.GetGarbageIndex()}
}

// ReclaimPending says whether ReclaimRanges would find anything to do.
func (s *Store) ReclaimPending() (pending bool, err error) {
	err = s.view(func(d *db) {
		key, _ := d.seekRaw(bucketReclaim, nil)
		pending = key != nil
	})
	return pending, err
}

// each goes over a bucket. record is used again for each value.
func each[M proto.Message](d *db, b bucket, record M, visit func(key []byte, record M)) {
	for key := d.seek(b, nil, record); key != nil; key = d.seek(b, after(key), record) {
		visit(key, record)
	}
}

// after is the smallest key above key.
func after(key []byte) []byte { return append(slices.Clone(key), 0) }
