package metadata

import (
	"encoding/binary"
	"hash/crc32"

	"google.golang.org/protobuf/proto"

	"github.com/rustmq/rustmq/mq"
)

// bucket is one key space of the database. The names are in the file.
type bucket string

const (
	bucketMeta        bucket = "meta"
	bucketConfigs     bucket = "configs"
	bucketBrokers     bucket = "brokers"
	bucketControllers bucket = "controllers"
	bucketTopics      bucket = "topics"
	bucketPartitions  bucket = "partitions"
	bucketCheckpoints bucket = "checkpoints"
	bucketRanges      bucket = "ranges"
	bucketObjects     bucket = "objects"
	bucketGarbage     bucket = "garbage"
	bucketReclaim     bucket = "reclaim"
	bucketJoinTokens  bucket = "join_tokens"
	bucketGroups      bucket = "group_configs"
	bucketQuotas      bucket = "quotas"
)

func allBuckets() []bucket {
	return []bucket{
		bucketMeta, bucketConfigs, bucketBrokers, bucketTopics, bucketPartitions, bucketCheckpoints, bucketRanges,
		bucketObjects, bucketGarbage, bucketReclaim, bucketControllers, bucketJoinTokens, bucketGroups, bucketQuotas,
	}
}

// Keys of bucketMeta.
const (
	keyFormat         = "format"
	keyPosition       = "position"
	keyCluster        = "cluster"
	keyNextProducerID = "next_producer_id"
	keyNextObjectID   = "next_object_id"
	keyNextRaftID     = "next_raft_id"
	keyCopied         = "copied"         // of a view: the index of the copy that it is of
	keyCopyWritten    = "copied_written" // and when that was written
)

// reader is the database as a reader sees it. What it gives is valid until the transaction ends, and must not be changed.
type reader interface {
	// get gives nil for a key that is missing.
	get(b bucket, key []byte) []byte
	// seek gives the first key at or above from, or nil.
	seek(b bucket, from []byte) (key, value []byte)
}

// writer is the database as a command sees it. Failures to write are the writer's to remember: they end the whole
// transaction, and no command can do anything about them.
type writer interface {
	reader
	// put keeps key and value until the transaction ends.
	put(b bucket, key, value []byte)
	del(b bucket, key []byte)
}

// db is a writer with typed values. The first damage it meets it keeps in err; the transaction must then not be committed.
type db struct {
	r   reader
	w   writer // nil in read transactions
	err error
}

const checksumBytes = 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func valueChecksum(b bucket, key, value []byte) uint32 {
	sum := crc32.Update(0, castagnoli, []byte(b))
	sum = crc32.Update(sum, castagnoli, key)
	return crc32.Update(sum, castagnoli, value)
}

// open checks a stored value and gives what is behind the checksum.
func (d *db) open(b bucket, key, stored []byte) []byte {
	if len(stored) < checksumBytes || binary.BigEndian.Uint32(stored) != valueChecksum(b, key, stored[checksumBytes:]) {
		d.fail(mq.Errorf(mq.Corrupt, "metadata database: bucket %s, key %x: the value's checksum does not match", b, key))
		return nil
	}
	return stored[checksumBytes:]
}

func (d *db) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

// raw is the value of a key, nil when it is missing.
func (d *db) raw(b bucket, key []byte) []byte {
	stored := d.r.get(b, key)
	if stored == nil {
		return nil
	}
	return d.open(b, key, stored)
}

// get reads a message and says whether the key was there and whole.
func (d *db) get(b bucket, key []byte, into proto.Message) bool {
	value := d.raw(b, key)
	return value != nil && d.decode(b, key, value, into)
}

func (d *db) decode(b bucket, key, value []byte, into proto.Message) bool {
	if err := proto.Unmarshal(value, into); err != nil {
		d.fail(mq.Errorf(mq.Corrupt, "metadata database: bucket %s, key %x: %w", b, key, err))
		return false
	}
	return true
}

// seek reads the first message at or above from. It gives a nil key at the end of the bucket, and after damage.
func (d *db) seek(b bucket, from []byte, into proto.Message) (key []byte) {
	key, value := d.seekRaw(b, from)
	if key == nil || !d.decode(b, key, value, into) {
		return nil
	}
	return key
}

// seekRaw is the first key at or above from and its value.
func (d *db) seekRaw(b bucket, from []byte) (key, value []byte) {
	key, stored := d.r.seek(b, from)
	if key == nil {
		return nil, nil
	}
	if value = d.open(b, key, stored); value == nil {
		return nil, nil
	}
	return key, value
}

// putRaw stores a copy of value.
func (d *db) putRaw(b bucket, key, value []byte) {
	stored := make([]byte, checksumBytes, checksumBytes+len(value))
	binary.BigEndian.PutUint32(stored, valueChecksum(b, key, value))
	d.w.put(b, key, append(stored, value...))
}

func (d *db) put(b bucket, key []byte, message proto.Message) {
	stored := make([]byte, checksumBytes, checksumBytes+proto.Size(message))
	stored, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(stored, message)
	if err != nil {
		d.fail(mq.Errorf(mq.Internal, "metadata database: bucket %s, key %x: %w", b, key, err))
		return
	}
	binary.BigEndian.PutUint32(stored, valueChecksum(b, key, stored[checksumBytes:]))
	d.w.put(b, key, stored)
}

func (d *db) del(b bucket, key []byte) { d.w.del(b, key) }

func (d *db) number(key string) uint64 {
	value := d.raw(bucketMeta, []byte(key))
	if len(value) != 8 {
		if value != nil {
			d.fail(mq.Errorf(mq.Corrupt, "metadata database: %s has %d bytes, want 8", key, len(value)))
		}
		return 0
	}
	return binary.BigEndian.Uint64(value)
}

func (d *db) putNumber(key string, n uint64) {
	d.putRaw(bucketMeta, []byte(key), binary.BigEndian.AppendUint64(nil, n))
}

func brokerKey(id mq.NodeID) []byte { return binary.BigEndian.AppendUint32(nil, uint32(id)) }

func controllerKey(raftID uint64) []byte { return binary.BigEndian.AppendUint64(nil, raftID) }

func objectKey(id uint64) []byte { return binary.BigEndian.AppendUint64(nil, id) }

func partitionKey(id mq.PartitionID) []byte {
	key := id.Key()
	return key[:]
}

// rangeKey is the key of the range that ends at end. So the range that holds an offset is the first at or above offset+1.
func rangeKey(id mq.PartitionID, end mq.Offset) []byte {
	return binary.BigEndian.AppendUint64(partitionKey(id), uint64(end))
}

// keyPartition takes the partition out of a key that starts with one.
func keyPartition(key []byte) (id mq.PartitionID, ok bool) {
	if len(key) < mq.PartitionKeySize {
		return id, false
	}
	return mq.PartitionIDFromKey([mq.PartitionKeySize]byte(key)), true
}
