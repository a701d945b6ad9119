// Package coordinator hosts the coordinators of consumer groups on a broker: for each partition of [mq.OffsetsTopic] that this node leads a [group.Shard], which is
// loaded from the partition's log and writes what it decides to it.
//
// # What it does not do
//
// What groups are and do package group decides. Who may do what, and which partitions and topics there are to commit to, is for package broker, which is the front
// door. It opens no partition, and elects nobody: who leads a partition coordinates its groups.
//
// # A request's path
//
//	shard of the group -> its mutex: group.Shard.Handle -> records: to the outbox
//	-> one batch to the partition, durability all -> the watermark has passed it: replies and wakes are told, in order
//
// A few batches are on their way at a time. What is decided meanwhile waits in the outbox and goes in one batch, so that many members that commit at once cost the log, and who reads it, about as
// much as a few.
//
// What has no records of its own waits for what was decided before it: nothing is ever told that could be taken back. Then the partition is asked
// once more whether it still leads, and has a lease: a coordinator that was replaced tells nothing.
//
// When an append fails, or the leadership ends, the shard is thrown away as it is, what waits gets NOT_COORDINATOR, and whoever leads loads it anew. After a failed append
// that may be this node, in the same epoch: then it loads what is in its log by then.
//
// # Loading and snapshots
//
// A shard is loaded from the log start to the log end, once the watermark has passed that; a few are read at a time. When the log behind the
// last snapshot is many times what a snapshot takes, the shard writes one, in pieces between requests. When its end is replicated and in the object store, the log start is moved to its begin.
//
// # Members
//
// A member on a stream says nothing while nothing changes: its session is its liveness. The shard only knows heartbeats, and gets them from here in its place, as long
// as something comes from its client. Nothing is said for a member that has not taken note of its last assignment.
// While this process stands still, or the log takes or replicates nothing, nobody is heard, or answered: nobody is put out for that, and then all have their whole sessions again.
//
// # Invariants
//
//  1. One mutex per shard, held for memory work only: never while an append is handed over, and never while anybody is told anything.
//  2. Batches of a shard go to the partition in the order of its decisions, from one goroutine at a time. What one decision writes is in one batch, whole.
//  3. What a shard appends is in the log in its own leader epoch or not at all: whatever was decided in between by others is not overwritten by what it knew before.
//  4. A shard that is dead appends nothing and tells nothing; the next one of its partition is made when its last append was handed over.
package coordinator
