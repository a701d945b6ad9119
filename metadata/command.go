package metadata

import (
	"google.golang.org/protobuf/proto"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

// FeatureLevel is the highest cluster feature level that this code knows.
const FeatureLevel = 1

// EncodeCommand is the proposal for a command.
func EncodeCommand(command *metadatapb.Command) ([]byte, error) {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(command)
	if err != nil {
		return nil, mq.Errorf(mq.InvalidRequest, "encode a metadata command: %w", err)
	}
	return data, nil
}

// DecodeResult reads what applying a command gave. A refusal comes back as an *mq.Error, together with the result.
func DecodeResult(data []byte) (*metadatapb.Result, error) {
	result := &metadatapb.Result{}
	if err := proto.Unmarshal(data, result); err != nil {
		return nil, mq.Errorf(mq.Corrupt, "decode the result of a metadata command: %w", err)
	}
	return result, VerdictError(result.GetCode(), result.GetMessage())
}

// VerdictError is the error for the code and message of a result or verdict, nil for none.
func VerdictError(code int32, message string) error {
	if code == 0 {
		return nil
	}
	return &mq.Error{Code: mq.Code(code), Msg: message}
}
