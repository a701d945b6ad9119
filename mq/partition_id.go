package mq

import (
	"encoding/binary"
	"strconv"
)

// PartitionID names one partition of one incarnation of a topic. It is
// comparable and serves as a map key.
type PartitionID struct {
	Topic TopicID
	Index int32 // from 0
}

// PartitionKeySize is the number of bytes of [PartitionID.Key].
const PartitionKeySize = idSize + 4

// Key is the id as 20 bytes that sort by topic id, then index: topic id, index
// big-endian.
func (p PartitionID) Key() (key [PartitionKeySize]byte) {
	copy(key[:idSize], p.Topic[:])
	binary.BigEndian.PutUint32(key[idSize:], uint32(p.Index))
	return key
}

// PartitionIDFromKey is the inverse of [PartitionID.Key].
func PartitionIDFromKey(key [PartitionKeySize]byte) PartitionID {
	return PartitionID{
		Topic: TopicID(key[:idSize]),
		Index: int32(binary.BigEndian.Uint32(key[idSize:])),
	}
}

// String is "topic id:index".
func (p PartitionID) String() string {
	return p.Topic.String() + ":" + strconv.FormatInt(int64(p.Index), 10)
}
