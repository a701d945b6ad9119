package quicproto

import "github.com/rustmq/rustmq/mq"

// Limits of the wire format itself. A server announces its own, which may only be lower, in Welcome.
const (
	// MaxBatchBytes is the largest record batch in a Produce frame, in bytes: the hard cap on max.message.bytes.
	MaxBatchBytes = mq.MaxBatchBytes
	// MaxRecordsBytes is the largest body of a Records frame, in bytes. One whole batch always fits.
	MaxRecordsBytes = MaxBatchBytes
	// MaxAcksBytes is the largest payload of a ProduceAcks frame in bytes: a full window of acks, half of them with
	// a message, and small enough to be decoded in one go.
	MaxAcksBytes = 256 << 10
	// MaxAcks is the largest number of acks in one ProduceAcks frame: a stream's whole window.
	MaxAcks = mq.MaxProducerWindow
	// MaxRequestBytes is the largest body of a Request in bytes: Metadata naming thousands of topics.
	MaxRequestBytes = 1 << 20
	// MaxResponseBytes is the largest payload of a Response in bytes: Metadata of 10,000 topics or partitions
	// several times over.
	MaxResponseBytes = 32 << 20
	// MaxHandles is the largest number of handles bound or assigned on one stream, and the bound of a handle's
	// number: handles are small and dense so that both sides may index by them.
	MaxHandles = 16384
	// MaxTopicName is the longest topic name in bytes (Kafka's).
	MaxTopicName = mq.MaxTopicNameBytes
	// MaxText is the longest client id, software name, host, rack or config key in bytes.
	MaxText = 1024
	// MaxValue is the longest config value in bytes.
	MaxValue = 16 << 10
	// MaxMessage is the longest human text beside an error code, in bytes. Longer ones are cut when encoded.
	MaxMessage = 1024

	// MaxTopics is the largest number of topics that one Metadata may ask for by name.
	MaxTopics = 10_000
	// MaxQueries is the largest number of partitions that one ListOffsets may ask about: all of a topic's.
	MaxQueries = mq.MaxPartitionsPerTopic
	// MaxConfigs is the largest number of configs of one topic.
	MaxConfigs = 256

	maxSmallPayload   = 8 << 10
	maxHandlesPayload = 4 + 4*MaxHandles
	requestPrefixSize = 2 + 1 + 1 + 4
)

// How they hang together: each line fails to compile when what it subtracts is the greater one.
const (
	_ uint = mq.MaxFrameBytes - HeaderSize - ProducePrefixSize - MaxBatchBytes   // a Produce frame is a frame
	_ uint = mq.MaxFrameBytes - HeaderSize - RecordsPrefixSize - MaxRecordsBytes // so is a Records frame
	_ uint = MaxAcksBytes - 4 - MaxAcks*ackMinSize                               // a whole window of acks fits
)
