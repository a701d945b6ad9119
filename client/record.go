package client

import (
	"fmt"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// Record is one record, produced or consumed.
//
// A producer sets Topic, Value and what else it wants of the upper half. From [Client.Produce] to its promise the record
// belongs to the client, except that Key, Value and Headers have been copied when Produce returns and may be reused.
//
// A consumed record, with all that it points to, is the caller's to keep and is never changed; it keeps the memory of the batch
// that it came in (see [BatchBytes]) from being freed, so copy what is kept for long.
type Record struct {
	Topic     string
	Key       []byte      // nil for none; records of one key go to one partition
	Value     []byte      // nil for null
	Headers   []mq.Header // in order; keys may repeat
	Timestamp time.Time   // millisecond precision; when zero, Produce sets it to now
	Partition int32       // where to with [ManualPartitioner]; else set by Produce
	Acks      Acks        // durability wanted for this record, by default that of [RequiredAcks]

	// Set on delivery and on consumption.

	Offset      mq.Offset // in the partition; -1 if the server gave none
	LeaderEpoch mq.Epoch  // of the leader that appended it, -1 if not known; not set on delivery
	Reached     mq.Mark   // durability that was reached when the record was acknowledged; not set on consumption

	stay stay
}

// stay is what a partitioner of this package knows of the records to come.
type stay uint8

const (
	stayUnknown stay = iota
	stayMore         // the next ones go to the same partition, as long as the batch has room for them
	stayLast         // the next one goes to another partition
)

// Acks is the durability that a record needs, or that of the client. Its zero value is the latter.
type Acks uint8

// What [Record].Acks may be.
const (
	AcksDefault Acks = iota // what RequiredAcks says
	AcksNone                // mq.DurabilityNone: accepted by the leader, on no disk yet
	AcksLeader              // mq.DurabilityLeader: on the leader's disk
	AcksAll                 // mq.DurabilityAll: on the disks of all in-sync replicas
	AcksObject              // mq.DurabilityObject: in the object store; takes as long as the server gathers an object
)

// AcksOf is the Acks that asks for d.
func AcksOf(d mq.Durability) Acks { return Acks(d) + AcksNone }

// String is "default", or the name of the durability.
func (a Acks) String() string {
	if a == AcksDefault {
		return "default"
	}
	return mq.Durability(a - AcksNone).String()
}

func (a Acks) durability(def mq.Durability) mq.Durability {
	if a == AcksDefault {
		return def
	}
	return mq.Durability(a - AcksNone)
}

// TopicPartition names a partition. It is comparable.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// String is "topic/partition".
func (tp TopicPartition) String() string { return fmt.Sprintf("%s/%d", tp.Topic, tp.Partition) }

// Result is the outcome of one record given to [Client.ProduceSync].
type Result struct {
	Record *Record // with Partition, Offset, Timestamp and Reached as they became
	Err    error   // nil: delivered
}

// Results are the outcomes in the order of the records.
type Results []Result

// FirstErr is the first error among the results, nil if all were delivered.
func (rs Results) FirstErr() error {
	for i := range rs {
		if rs[i].Err != nil {
			return rs[i].Err
		}
	}
	return nil
}
