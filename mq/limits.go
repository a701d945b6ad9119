package mq

// Every limit that more than one package must agree on, with its unit and its
// reason. Limits that concern one package only live in that package. What
// happens when one is reached is written at whoever enforces it.
const (
	// MaxBatchBytes is the hard cap of one record batch as it travels and is
	// stored, header included. It bounds what a session must hold to receive
	// one. A topic's max.message.bytes lies at or below it.
	MaxBatchBytes = 64 << 20

	// DefaultMaxBatchBytes is the default of a topic's max.message.bytes: a
	// record with a value of 1 MiB, its key and headers, and the batch header.
	// Kafka's default (1,048,588) is just too small for that.
	DefaultMaxBatchBytes = 1<<20 + 12<<10

	// MaxDecompressedBatchBytes bounds the records of one batch once
	// decompressed, whatever the batch claims: the most memory that reading
	// one batch can take.
	MaxDecompressedBatchBytes = 128 << 20

	// MaxRecordsPerBatch is the most records of one batch. It bounds the
	// offsets that a single append can use up, and the work that one batch can
	// make for a reader that was sent a few highly compressed bytes.
	MaxRecordsPerBatch = 1 << 20

	// MaxHeadersPerRecord is the most headers of one record: more are a
	// mistake, and each costs a reader 40 bytes whatever its length.
	MaxHeadersPerRecord = 1 << 16

	// MinRecordBytes is what the shortest possible record takes: length,
	// attributes, timestamp delta, offset delta, null key, null value, no
	// headers, one byte each.
	MinRecordBytes = 7

	// minHeaderBytes is what the shortest possible record header takes: an
	// empty key and a null value.
	minHeaderBytes = 2

	// MaxProducerWindow is the most batches that one idempotent producer may
	// have in flight to one partition, and so the number of sequences that
	// deduplication keeps. In batches.
	MaxProducerWindow = 1024

	// MaxFrameBytes is the most bytes of one frame of the QUIC protocol: the
	// largest batch and what is said about it.
	MaxFrameBytes = MaxBatchBytes + 64<<10

	// MaxTopicNameBytes is the longest topic name, in bytes (Kafka's limit: it
	// leaves room for a partition's suffix in a file name of 255).
	MaxTopicNameBytes = 249

	// MaxPartitionsPerTopic bounds what one create-topic command makes the
	// controllers and brokers do at once.
	MaxPartitionsPerTopic = 10_000

	// MaxReplicationFactor is the most replicas of one partition.
	MaxReplicationFactor = 15

	// MaxGroupIDBytes is the longest name of a consumer group. It is the key
	// of each of the group's records. Kafka has no limit of its own.
	MaxGroupIDBytes = 1024

	// MaxGroupsPerPartition is the most groups that groups.max_groups allows in
	// one partition of the groups' topic: they are all in its coordinator's
	// memory, a kilobyte or so each, and are gone through at times.
	MaxGroupsPerPartition = 1_000_000

	// MaxMemberIDBytes is the longest id of a group's member, of a static
	// member's instance, a client id, host or rack: a client id and a UUID, with room.
	MaxMemberIDBytes = 1024

	// MaxGroupSize is the most members that group.max.size allows: each
	// change of a group makes the coordinator look at all of them.
	MaxGroupSize = 10_000

	// MaxSubscribedTopics is the most names of topics that one member
	// subscribes to. What is more is a pattern.
	MaxSubscribedTopics = 10_000

	// MaxPatternBytes is the longest pattern of topic names, in bytes and,
	// with what it repeats written out, about in steps of its program: it
	// is held against each character of each topic's name.
	MaxPatternBytes = 4096

	// MaxOffsetsPerCommit is the most partitions of one commit: with the
	// default bound on metadata it fits into a batch.
	MaxOffsetsPerCommit = 10_000

	// MaxClassicGroupBytes is what the members of a group with the classic
	// protocol may bring and get assigned, together: it is one record.
	MaxClassicGroupBytes = 16 << 20

	// MaxGroupRecordBytes is the longest record of a consumer group that is
	// read: what a classic group may hold, and what is said about it.
	MaxGroupRecordBytes = MaxClassicGroupBytes + 16<<20
)

// How the limits hang together: each line fails to compile when what it
// subtracts is the greater one.
const (
	_ uint = MaxBatchBytes - DefaultMaxBatchBytes              // the default is allowed
	_ uint = DefaultMaxBatchBytes - (1<<20 + BatchHeaderSize)  // a value of 1 MiB fits the default
	_ uint = MaxDecompressedBatchBytes - MaxBatchBytes         // every uncompressed batch can be read
	_ uint = MaxBatchBytes - MaxRecordsPerBatch*MinRecordBytes // the count limits before the bytes do, so it is a limit
	_ uint = MaxBatchBytes - 4096*MaxOffsetsPerCommit          // the largest commit is one batch
	_ uint = MaxBatchBytes - MaxGroupRecordBytes               // every record of a group fits into one
	_ uint = MaxFrameBytes - MaxBatchBytes - BatchHeaderSize   // every batch fits into a frame
	_ uint = 1<<31 - 1 - MaxDecompressedBatchBytes             // lengths are varints of 32 bits
	_ uint = 1<<31 - 1 - MaxProducerWindow*MaxRecordsPerBatch  // a window cannot overtake itself in sequence space
)
