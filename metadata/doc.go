// Package metadata is what the cluster agrees on: brokers, topics, partitions and their leaders, settings, blocks of ids, and
// the index of what lies in the object store.
//
// # Purpose
//
// It is a state machine. Commands (api/metadata/v1, [Command kinds] with numbers that never change) go in through raft, in one
// order everywhere; out come a result per command, a new [Image], and the object index in the database. Commands go up, images
// come down. Decisions that need judgement are pure functions of an Image and return what to propose ([PlaceTopic], [PlanElections],
// [PlanBalance], [PlanShutdown], [PlanDrain]).
//
// # What it does not do
//
// It knows no clock, draws no random numbers, starts no goroutine and talks to nobody: times and ids are in the commands. It does
// not upload, delete or read objects. It does not decide when a broker is dead.
//
// # Invariants
//
//   - Applying a batch of entries is one durable transaction, together with the raft position. So is what [Store.Image] shows:
//     never more than is durable.
//   - Raft entries are synced to the log before they are applied. So the position here never passes what the raft log holds
//     durably; it may lie behind it, and raft applies the rest again after a restart. Results are the same then.
//   - The same commands give the same results, the same contents of the database and equal images on every machine, however they were
//     cut into batches. No file that decides anything imports a clock, a random source or uses a Go map (a test holds
//     this).
//   - A command is checked whole before its first write: it is applied or refused, never half. What is decided by parts
//     (ranges of an object, changes of partitions) says so, and each part is whole.
//   - A command that any replica may not understand is refused by all: it carries the feature level that it needs, and that is
//     compared with the cluster's level, not with the binary's.
//   - Of all commands that use one join token at most one succeeds. Times are those in the commands.
//   - A raft id stands for one data directory, and never comes again.
//   - An image of another generation is of another history (recover.go): what was handed out in one is below all that the next one hands out.
//   - Log start, tiered end, leader epoch, partition epoch, broker epoch and ids only grow.
//   - A partition's ranges are contiguous up to its tiered end, but for gaps below its log start.
//   - A new incarnation of a broker never continues a leader epoch of the one before.
//   - Who leads is in sync. Leaders are elected from the in-sync set, then from the eligible replicas (election.go), and from others only
//     where unclean.leader.election.enable is on; the partition says then in which epoch that was. The in-sync set is never empty.
//   - What a merge replaces is named by object and offsets, which come once: ReplaceRanges replaces exactly what was read, or is refused.
//   - An object is garbage when its last range went, or when no range of it was accepted; it is never used again then.
//   - A fork (fork.go) has ranges of its own in the objects of its source, counted like any others; the last of them may end inside a section of its object, where a batch
//     ends. Its leader epochs begin above the source's, and it has no producers.
//
// # How an image travels
//
// [ImagePages] gives what turns one image into a later one, as messages of api/metadata/v1 (ImagePage); a whole image is what turns nothing
// into it. [ImageReader] makes images of them, and keeps what did not change. What is derived is derived at the other end, by the same code.
//
// # The database
//
// One bbolt file. Integers in keys are big-endian, so that they sort. Every value starts with the CRC32C of bucket name, key and
// the rest of the value; the rest is a message of api/metadata/v1 unless said otherwise.
//
//	bucket      key                              value
//	meta        "format"                         u32 format version (1)
//	            "position"                       u64 index | u64 term | membership, opaque to this package
//	            "cluster"                        Cluster
//	            "next_producer_id"               u64
//	            "next_object_id"                 u64
//	            "next_raft_id"                   u64, missing before a controller was recorded
//	configs     setting                          its text
//	brokers     u32 node id                      Broker
//	controllers u64 raft id                      Controller
//	topics      16 topic id                      Topic
//	partitions  16 topic id | u32 partition      Partition
//	checkpoints 16 topic id | u32 partition      Checkpoint
//	ranges      16 topic id | u32 partition      Range
//	            | u64 end offset
//	objects     u64 object id                    Object
//	garbage     u64 object id                    Object
//	reclaim     16 topic id | u32 partition      Reclaim
//	join_tokens 16 token id                      JoinToken
//	group_configs group                          GroupConfig
//	quotas      whose: see QuotaEntity           Quota
//
// A snapshot, as it goes to another replica, is the file between a header and a checksum:
//
//	"RMQMETA1" | u64 length of the file | the bbolt file | u32 CRC32C of the file
//
// [Command kinds]: https://pkg.go.dev/github.com/rustmq/rustmq/api/metadata/v1#Command
package metadata
