package metadata

import (
	"bytes"
	"encoding/json"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

// currentLevel is the cluster feature level of this code. What came with each:
//
//	1  the first
//	2  PutJoinToken, UseJoinToken, ElectUnclean; RegisterBroker.doubt
//	3  ReplaceRanges; the settings of compaction by key; CommitObject.written_ms; garbage since when it is
//	4  ForkTopic
//	5  AlterGroupConfigs
//	6  AlterQuota
const currentLevel = 6

// Feature levels from which on something is done.
const (
	// CompactionLevel is that of ReplaceRanges, and of the settings of compaction by key, which are refused below it.
	CompactionLevel = 3
	// KeepingLevel is the one from which on ranges say when they were written, and garbage says since when it is garbage: below it nothing is
	// deleted from the object store.
	KeepingLevel = 3
	// ForkLevel is that of ForkTopic: below it a node may take an object's ranges for those of one topic.
	ForkLevel = 4
	// GroupConfigLevel is that of AlterGroupConfigs: below it nobody knows settings of groups.
	GroupConfigLevel = 5
	// QuotaLevel is that of AlterQuota: below it nobody knows quotas.
	QuotaLevel = 6
)

// EncodeCommand is the proposal for a command. It sets the feature level that the command needs.
func EncodeCommand(command *metadatapb.Command) ([]byte, error) {
	command.FeatureLevel = featureLevelOf(command)
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(command)
	if err != nil {
		return nil, mq.Errorf(mq.InvalidRequest, "encode a metadata command: %w", err)
	}
	return data, nil
}

// featureLevelOf is the level at which all of a command is understood.
func featureLevelOf(command *metadatapb.Command) uint32 {
	switch c := command.GetKind().(type) {
	case *metadatapb.Command_FormCluster:
		return 0 // it is what sets the level
	case *metadatapb.Command_RegisterBroker:
		if c.RegisterBroker.GetDoubt() {
			return 2
		}
	case *metadatapb.Command_CommitObject:
		if c.CommitObject.GetWrittenMs() != 0 {
			return KeepingLevel
		}
	case *metadatapb.Command_PutJoinToken, *metadatapb.Command_UseJoinToken, *metadatapb.Command_ElectUnclean:
		return 2
	case *metadatapb.Command_ReplaceRanges:
		return CompactionLevel
	case *metadatapb.Command_ForkTopic:
		return ForkLevel
	case *metadatapb.Command_AlterGroupConfigs:
		return GroupConfigLevel
	case *metadatapb.Command_AlterQuota:
		return QuotaLevel
	case *metadatapb.Command_CreateTopic:
		return settingsLevel(c.CreateTopic.GetConfigs())
	case *metadatapb.Command_AlterTopicConfigs:
		return settingsLevel(c.AlterTopicConfigs.GetChanges())
	case *metadatapb.Command_SetClusterConfigs:
		return settingsLevel(c.SetClusterConfigs.GetChanges())
	}
	return 1
}

// settingsLevel is the level at which all settings, and the values that they are given, are known.
func settingsLevel[S interface {
	GetKey() string
	GetValue() string
}](settings []S) uint32 {
	for _, s := range settings {
		switch s.GetKey() {
		case "cleanup.policy":
			if s.GetValue() != "delete" && s.GetValue() != "" {
				return CompactionLevel
			}
		case "delete.retention.ms", "min.cleanable.dirty.ratio", "durability", "min.compaction.lag.ms":
			return CompactionLevel
		}
	}
	return 1
}

// DecodeResult reads what applying a command gave. A refusal comes back as an *mq.Error, together with the result.
func DecodeResult(data []byte) (*metadatapb.Result, error) {
	result := &metadatapb.Result{}
	if err := proto.Unmarshal(data, result); err != nil {
		return nil, mq.Errorf(mq.Corrupt, "decode the result of a metadata command: %w", err)
	}
	return result, VerdictError(result)
}

// VerdictError is the error that a result or a verdict carries, nil for none.
func VerdictError(verdict interface {
	GetCode() int32
	GetMessage() string
},
) error {
	if verdict.GetCode() == 0 {
		return nil
	}
	return &mq.Error{Code: mq.Code(verdict.GetCode()), Msg: verdict.GetMessage()}
}

// DescribeCommand is a command as one line of JSON, for dumps.
func DescribeCommand(data []byte) string {
	command := &metadatapb.Command{}
	if err := proto.Unmarshal(data, command); err != nil {
		return "not a metadata command: " + err.Error()
	}
	text, err := protojson.Marshal(command)
	if err != nil {
		return "not printable: " + err.Error()
	}
	var line bytes.Buffer
	if err := json.Compact(&line, text); err != nil {
		return string(text)
	}
	return line.String()
}

// VerdictErrors are the errors that verdicts carry, in order.
func VerdictErrors(verdicts []*metadatapb.Verdict) []error {
	out := make([]error, len(verdicts))
	for i, v := range verdicts {
		out[i] = VerdictError(v)
	}
	return out
}
