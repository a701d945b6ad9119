package kafkaproto

import "github.com/rustmq/rustmq/mq"

// codeOf is an error's code as Kafka's clients know it. What Kafka has not is told as what makes clients do the right thing: look for the leader again and retry, or give up.
func codeOf(err error) int16 {
	code := mq.CodeOf(err)
	switch code {
	case mq.StorageFull, mq.ObjectStoreUnavailable, mq.PartitionQuarantined, mq.Corrupt:
		return int16(mq.KafkaStorageError)
	case mq.ShuttingDown:
		return int16(mq.NotLeaderOrFollower)
	case mq.ProtocolViolation:
		return int16(mq.InvalidRequest)
	case mq.Canceled:
		return int16(mq.RequestTimedOut)
	case mq.TooManyRequests:
		return int16(mq.ThrottlingQuotaExceeded)
	case mq.ReadOnly:
		return int16(mq.PolicyViolation)
	case mq.Internal, mq.WrongDataDir:
		return int16(mq.Unknown)
	}
	return int16(code)
}

// coordinatorCodeOf is codeOf for what is asked of a group's coordinator, which clients look for anew by other codes than a leader.
func coordinatorCodeOf(err error) int16 {
	switch mq.CodeOf(err) {
	case mq.ShuttingDown, mq.StorageFull, mq.ObjectStoreUnavailable, mq.PartitionQuarantined, mq.Corrupt, mq.NotEnoughReplicas, mq.RequestTimedOut, mq.Canceled:
		return int16(mq.CoordinatorNotAvailable)
	case mq.TooManyRequests: // of the codes that have clients ask again the one by which they do not look for another coordinator
		return int16(mq.CoordinatorLoadInProgress)
	case mq.NotLeaderOrFollower, mq.FencedLeaderEpoch:
		return int16(mq.NotCoordinator)
	}
	return codeOf(err)
}

// textOf is what is told beside the code, nil for none.
func textOf(err error) *string {
	if err == nil {
		return nil
	}
	text := err.Error()
	return &text
}

// unsupportedVersion is the code of that name.
const unsupportedVersion = int16(mq.UnsupportedVersion)
