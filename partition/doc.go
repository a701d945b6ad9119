// Package partition is this node's replica of one topic-partition, as leader and as follower: offsets, marks, hot tail, idempotent
// producers, epoch history, and what recovery, replication and the object store need of them.
//
// # What is here
//
//   - [Partition.Append]: dedup, offsets, stamps, hot tail, log; completion when the mark asked for has passed
//   - [Partition.Read] from hot tail, log or object store; [Partition.Await] and [Partition.Wait] for more
//   - roles: [Partition.Lead], [Partition.Follow], [Partition.Acked], [Partition.ProposeISR], [Partition.Replicate], [Partition.Truncate],
//     [Partition.Reset], [Partition.Refetch]; whoever carries batches and acknowledgements between replicas is told of news by [Partition.Watch]
//   - [tier.Source]: what the uploader reads, and the checkpoint that each commit carries
//   - [Recovery] and [Open]: the same again after a restart
//
// # What is not here
//
// No network and no goroutine; the disk only through [wal.Log], the bucket only through [Cold]. Who leads is decided elsewhere and
// told by Lead and Follow. Whether a client may do what it asks is the broker's business, and so is [mq.CheckBatch].
//
// # Marks
//
//	0 ......... log start ......... object mark ......... high watermark ......... local mark ......... log end
//	  deleted            tiered                to be tiered              replicating           being synced
//
// Each is an end offset, on a boundary of batches (the log start excepted). On one node the high watermark is the local mark. The order shown is
// the usual one; local mark and high watermark may stand the other way round on a follower. A request completes when the mark that
// it asked for has passed its batch; readers see nothing at or above the high watermark.
//
// # Who may do what
//
// One mutex per partition, held for memory work only. Under it all marks are written, and log entries are queued, so that
// their order in the log is that of their offsets. Without it marks and hot tail are read: see the tail type for why that is sound.
// Completions are called without it, one at a time, in order (see unlock); waiters, watchers and the hooks of [Config] with it. Lock order:
// partition, then tail budget, uploads, or the log's own.
//
// # In the log
//
// A partition is one stream, named by its key. Each batch is one data entry, so that a truncation can cut between any two. Besides there are
// truncations, resets, and a small sticky state entry (drawn in state.go). Epochs and producers are not logged: the batches say
// it all, on top of the checkpoint that the last tier commit carried (drawn in producers_codec.go).
//
// # Invariants
//
//   - Offsets are dense; a batch never changes once it is in the hot tail.
//   - A batch leaves the hot tail only when the log has it synced, and the log only when it is committed to the object store.
//   - The state of the producers is that of the batches in the log, whatever was truncated, lost or recovered; except that
//     idle producers are forgotten.
//   - The epoch a replica last took part in is synced before it acknowledges anything in it, and is never gone back behind.
//   - A follower acknowledges, takes and releases nothing in an epoch before its log was found to be the beginning of that leader's.
//   - The watermark passes only what all in-sync replicas have, of every set that may be in force, and none of which is below
//     min.insync.replicas.
//   - Whatever is damaged stops its own partition, and is never served.
package partition
