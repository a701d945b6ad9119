package rpcerr

import (
	"errors"
	"math"
	"strconv"
	"unicode/utf8"

	"connectrpc.com/connect"

	"github.com/rustmq/rustmq/mq"
)

// CodeHeader names the header, or trailer, of an error that holds its mq.Code in decimal.
const CodeHeader = "Rustmq-Code"

// maxTextBytes bounds the text of an error on its way, so that it fits into a trailer. The rest is cut off.
const maxTextBytes = 4 << 10

// ToConnect is err as a *connect.Error for a handler to return; nil for nil. A *connect.Error with the header is given back as it is.
func ToConnect(err error) error {
	if err == nil {
		return nil
	}
	if c, ok := errors.AsType[*connect.Error](err); ok && c.Meta().Get(CodeHeader) != "" {
		return c
	}
	code := mq.CodeOf(err)
	if code == mq.None {
		code = mq.Unknown
	}
	c := connect.NewError(connectCode(code), errors.New(text(err)))
	c.Meta().Set(CodeHeader, strconv.Itoa(int(code)))
	return c
}

// text is what travels of an error: without the code, which travels beside it, when err is one of ours.
func text(err error) string {
	s := err.Error()
	if e, ok := err.(*mq.Error); ok { //nolint:errorlint // of what wraps it the text would be lost
		s = e.Msg
	}
	if len(s) <= maxTextBytes {
		return s
	}
	end := maxTextBytes
	for end > maxTextBytes-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}

// FromConnect is the *mq.Error that an error of a Connect client stands for; nil for nil. Its Cause is err, so that io.EOF and the
// errors of a context are still found.
func FromConnect(err error) error {
	if err == nil {
		return nil
	}
	c, ok := errors.AsType[*connect.Error](err)
	if !ok {
		if code := mq.CodeOf(err); code != mq.Unknown {
			return mq.Wrapf(err, "call")
		}
		return mq.Errorf(mq.NetworkException, "%w", err)
	}
	code := codeOf(c)
	return &mq.Error{Code: code, Msg: mq.Errorf(code, "%w", c.Unwrap()).Msg, Cause: err}
}

// codeOf is the code that a peer sent, or the one that the transport's failure stands for.
func codeOf(c *connect.Error) mq.Code {
	sent := c.Meta().Get(CodeHeader)
	if sent == "" {
		return transportCode(c.Code())
	}
	number, err := strconv.ParseInt(sent, 10, 32)
	if err != nil || number < math.MinInt16 || number > math.MaxInt16 || number == int64(mq.None) {
		return mq.Unknown
	}
	return mq.Code(number)
}

// transportCode says what a failure means that no handler of ours reported.
func transportCode(c connect.Code) mq.Code {
	switch c {
	case connect.CodeCanceled:
		return mq.Canceled
	case connect.CodeDeadlineExceeded:
		return mq.RequestTimedOut
	case connect.CodeUnavailable, connect.CodeAborted:
		return mq.NetworkException
	case connect.CodeUnimplemented:
		return mq.UnsupportedVersion
	case connect.CodeInvalidArgument:
		return mq.ProtocolViolation
	case connect.CodeResourceExhausted:
		return mq.MessageTooLarge
	case connect.CodePermissionDenied, connect.CodeUnauthenticated:
		return mq.ClusterAuthorizationFailed
	}
	return mq.Unknown
}

// connectCode is what a peer without our codes is told.
func connectCode(code mq.Code) connect.Code {
	for _, row := range table() {
		for _, c := range row.codes {
			if c == code {
				return row.code
			}
		}
	}
	return connect.CodeUnknown
}

type tableRow struct {
	code  connect.Code
	codes []mq.Code
}

// table has each of mq's codes once. Unavailable are those, and only those, that are worth another attempt, but for the few that have a
// better word.
func table() []tableRow {
	return []tableRow{
		{connect.CodeUnavailable, []mq.Code{
			mq.LeaderNotAvailable, mq.NotLeaderOrFollower, mq.NetworkException, mq.NotEnoughReplicas, mq.NotEnoughReplicasAfterAppend, mq.NotController,
			mq.KafkaStorageError, mq.FencedLeaderEpoch, mq.UnknownLeaderEpoch, mq.OffsetNotAvailable, mq.UnstableOffsetCommit, mq.StorageFull,
			mq.ObjectStoreUnavailable, mq.ShuttingDown, mq.CoordinatorLoadInProgress, mq.CoordinatorNotAvailable, mq.NotCoordinator,
		}},
		{connect.CodeDeadlineExceeded, []mq.Code{mq.RequestTimedOut}},
		{connect.CodeCanceled, []mq.Code{mq.Canceled}},
		{connect.CodeResourceExhausted, []mq.Code{mq.ThrottlingQuotaExceeded, mq.TooManyRequests, mq.MessageTooLarge, mq.RecordListTooLarge, mq.GroupMaxSizeReached, mq.PolicyViolation}},
		{connect.CodeNotFound, []mq.Code{mq.UnknownTopicOrPartition, mq.UnknownTopicID, mq.UnknownProducerID, mq.GroupIDNotFound}},
		{connect.CodeAlreadyExists, []mq.Code{mq.TopicAlreadyExists, mq.DuplicateSequence}},
		{connect.CodePermissionDenied, []mq.Code{mq.TopicAuthorizationFailed, mq.ClusterAuthorizationFailed, mq.GroupAuthorizationFailed}},
		{connect.CodeOutOfRange, []mq.Code{mq.OffsetOutOfRange}},
		{connect.CodeDataLoss, []mq.Code{mq.CorruptMessage, mq.Corrupt, mq.PartitionQuarantined}},
		{connect.CodeInternal, []mq.Code{mq.Internal}},
		{connect.CodeUnimplemented, []mq.Code{mq.UnsupportedVersion, mq.UnsupportedForMessageFormat, mq.UnsupportedCompression}},
		{connect.CodeFailedPrecondition, []mq.Code{
			mq.OutOfOrderSequence, mq.InvalidProducerEpoch, mq.StaleBrokerEpoch, mq.InconsistentClusterID, mq.WrongDataDir, mq.ReadOnly,
			mq.IllegalGeneration, mq.InconsistentGroupProtocol, mq.UnknownMemberID, mq.RebalanceInProgress, mq.NonEmptyGroup, mq.MemberIDRequired,
			mq.FencedInstanceID, mq.GroupSubscribedToTopic, mq.FencedMemberEpoch, mq.UnreleasedInstanceID, mq.StaleMemberEpoch,
		}},
		{connect.CodeInvalidArgument, []mq.Code{
			mq.InvalidTopic, mq.InvalidRequiredAcks, mq.InvalidTimestamp, mq.InvalidPartitions, mq.InvalidReplicationFactor, mq.InvalidConfig,
			mq.InvalidRequest, mq.InvalidRecord, mq.ProtocolViolation, mq.OffsetMetadataTooLarge, mq.InvalidGroupID, mq.InvalidSessionTimeout,
			mq.UnsupportedAssignor, mq.InvalidRegularExpression,
		}},
		{connect.CodeUnknown, []mq.Code{mq.Unknown}},
	}
}
