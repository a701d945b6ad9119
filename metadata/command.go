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
const currentLevel = 2

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
	case *metadatapb.Command_PutJoinToken, *metadatapb.Command_UseJoinToken, *metadatapb.Command_ElectUnclean:
		return 2
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
