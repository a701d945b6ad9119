package kafkaproto

import "github.com/rustmq/rustmq/mq"

// fetchCodeOf is codeOf for a partition that is fetched. Java's consumer knows some codes there, and takes any other for a bug that ends it: so what is damaged is told as
// KAFKA_STORAGE_ERROR, and what else there may be as NOT_LEADER_OR_FOLLOWER. Clients ask for the leader after either, and try again. LEADER_NOT_AVAILABLE is none of those that it knows.
func fetchCodeOf(err error) int16 {
	switch code := mq.CodeOf(err); code {
	case mq.None, mq.OffsetOutOfRange, mq.UnknownTopicOrPartition, mq.NotLeaderOrFollower, mq.TopicAuthorizationFailed, mq.KafkaStorageError,
		mq.FencedLeaderEpoch, mq.UnknownLeaderEpoch, mq.OffsetNotAvailable, mq.UnknownTopicID:
		return int16(code)
	case mq.CorruptMessage, mq.InvalidRecord, mq.UnsupportedForMessageFormat, mq.UnsupportedCompression:
		return int16(mq.KafkaStorageError)
	case mq.InvalidTopic: // there is none of that name
		return int16(mq.UnknownTopicOrPartition)
	case mq.GroupAuthorizationFailed, mq.ClusterAuthorizationFailed:
		return int16(mq.TopicAuthorizationFailed)
	}
	switch code := codeOf(err); mq.Code(code) {
	case mq.KafkaStorageError, mq.Unknown:
		return code
	}
	return int16(mq.NotLeaderOrFollower)
}
