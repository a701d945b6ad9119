package client

import (
	"context"
	"log/slog"
	"testing"

	"github.com/rustmq/rustmq/mq"
)

// fate is what the producer does with a batch that was refused with a code.
type fate struct {
	retried  bool // it is sent again as it is, without anybody's doing
	appended bool // of those: it may be in the log already
	moved    bool // of those: the leader is looked up first
	fatal    bool // the sequence is beyond repair, all that was sent fails
}

// fates has every code: a new one must be thought about.
func fates() map[mq.Code]fate {
	final := fate{}
	again := fate{retried: true} // certainly not appended
	unsure := fate{retried: true, appended: true}
	elsewhere := fate{retried: true, appended: true, moved: true}
	return map[mq.Code]fate{
		mq.Unknown: final, mq.OffsetOutOfRange: final, mq.MessageTooLarge: final, mq.InvalidTopic: final, mq.RecordListTooLarge: final,
		mq.InvalidRequiredAcks: final, mq.TopicAuthorizationFailed: final, mq.ClusterAuthorizationFailed: final, mq.InvalidTimestamp: final,
		mq.UnsupportedVersion: final, mq.TopicAlreadyExists: final, mq.InvalidPartitions: final, mq.InvalidReplicationFactor: final,
		mq.InvalidConfig: final, mq.InvalidRequest: final, mq.UnsupportedForMessageFormat: final, mq.UnsupportedCompression: final,
		mq.StaleBrokerEpoch: final, mq.InvalidRecord: final, mq.InconsistentClusterID: final, mq.Corrupt: final, mq.ProtocolViolation: final,
		mq.PartitionQuarantined: final, mq.Canceled: final, mq.Internal: final, mq.WrongDataDir: final, mq.ReadOnly: final,

		// Of groups: no batch is answered with them.
		mq.OffsetMetadataTooLarge:    final,
		mq.PolicyViolation:           final,
		mq.CoordinatorLoadInProgress: unsure,
		mq.CoordinatorNotAvailable:   unsure,
		mq.NotCoordinator:            unsure,
		mq.IllegalGeneration:         final,
		mq.InconsistentGroupProtocol: final,
		mq.InvalidGroupID:            final,
		mq.UnknownMemberID:           final,
		mq.InvalidSessionTimeout:     final,
		mq.RebalanceInProgress:       final,
		mq.GroupAuthorizationFailed:  final,
		mq.NonEmptyGroup:             final,
		mq.GroupIDNotFound:           final,
		mq.MemberIDRequired:          final,
		mq.GroupMaxSizeReached:       final,
		mq.FencedInstanceID:          final,
		mq.GroupSubscribedToTopic:    final,
		mq.FencedMemberEpoch:         final,
		mq.UnreleasedInstanceID:      final,
		mq.UnsupportedAssignor:       final,
		mq.StaleMemberEpoch:          final,
		mq.InvalidRegularExpression:  final,

		mq.CorruptMessage: again, mq.ThrottlingQuotaExceeded: again, mq.StorageFull: again, mq.TooManyRequests: again,
		mq.UnknownTopicOrPartition: {retried: true, moved: true}, mq.UnknownTopicID: {retried: true, moved: true},
		mq.NotEnoughReplicas: {retried: true, moved: true},

		mq.UnstableOffsetCommit: unsure, mq.ObjectStoreUnavailable: unsure,
		mq.RequestTimedOut: elsewhere, mq.NetworkException: elsewhere, mq.NotEnoughReplicasAfterAppend: elsewhere, mq.NotController: elsewhere,
		mq.OffsetNotAvailable: elsewhere,
		// What waits fails with it when a partition goes offline, so it may be in the log.
		mq.LeaderNotAvailable:  elsewhere,
		mq.NotLeaderOrFollower: elsewhere, mq.FencedLeaderEpoch: elsewhere,
		mq.UnknownLeaderEpoch: elsewhere, mq.KafkaStorageError: elsewhere,
		mq.ShuttingDown: elsewhere,

		mq.OutOfOrderSequence: {retried: true, fatal: true}, mq.InvalidProducerEpoch: {retried: true, fatal: true},
		mq.DuplicateSequence: {retried: true, fatal: true},
		// The server has forgotten the producer, and so has not got the batch: it goes out under a new identity.
		mq.UnknownProducerID: {retried: true},
	}
}

func TestEveryCodeHasAFateAtTheProducer(t *testing.T) {
	known := fates()
	c := &Client{ctx: context.Background(), log: slog.New(slog.DiscardHandler)}
	for _, code := range mq.Codes() {
		want, ok := known[code]
		if code == mq.None {
			continue
		}
		if !ok {
			t.Errorf("%s: what does the producer do with it?", code)
			continue
		}
		p := &partition{c: c, topic: &topic{name: "t"}, id: &identity{}}
		b := &batch{part: p, state: onWire}
		p.sent.push(b)
		p.onWire = 1
		out := p.refuse(b, mq.Errorf(code, "no"), nil)
		got := fate{retried: b.state == again && len(out) == 0, appended: b.unsure, moved: p.moved, fatal: p.fatal != nil}
		if got != want {
			t.Errorf("%s: %+v, want %+v", code, got, want)
		}
		if got.retried != code.Retriable() && !want.fatal && code != mq.UnknownProducerID {
			t.Errorf("%s: retriable is %t, and the producer disagrees", code, code.Retriable())
		}
	}
	if got := len(known) + 1; got != len(mq.Codes()) {
		t.Errorf("%d codes are known here, there are %d", got, len(mq.Codes()))
	}
	// From a newer server: nobody knows whether it helps to try again.
	p := &partition{c: c, topic: &topic{name: "t"}}
	b := &batch{part: p, state: onWire}
	p.sent.push(b)
	p.onWire = 1
	if out := p.refuse(b, mq.Errorf(4711, "no"), nil); len(out) != 1 || mq.CodeOf(out[0].err) != 4711 {
		t.Errorf("a code that is not known: %+v", out)
	}
}
