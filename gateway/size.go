package gateway

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/rustmq/rustmq/mq"
)

// maxMessages bounds the messages within one: an empty one is two bytes as it is sent, and some hundred of memory.
const maxMessages = 250_000

// protoCodec is protobuf. It replaces Connect's, which decodes whatever fits into a request.
type protoCodec struct{}

// Name implements connect.Codec.
func (protoCodec) Name() string { return "proto" }

// IsBinary says that it is no text.
func (protoCodec) IsBinary() bool { return true }

// Marshal implements connect.Codec.
func (c protoCodec) Marshal(message any) ([]byte, error) { return c.MarshalAppend(nil, message) }

// MarshalAppend is Marshal behind what is there.
func (protoCodec) MarshalAppend(dst []byte, message any) ([]byte, error) {
	m, ok := message.(proto.Message)
	if !ok {
		return nil, mq.Errorf(mq.Internal, "%T is no message", message)
	}
	return proto.MarshalOptions{}.MarshalAppend(dst, m)
}

// Unmarshal implements connect.Codec.
func (protoCodec) Unmarshal(data []byte, message any) error {
	m, ok := message.(proto.Message)
	if !ok {
		return mq.Errorf(mq.Internal, "%T is no message", message)
	}
	if left := countMessages(data, m.ProtoReflect().Descriptor(), maxMessages); left < 0 {
		return tooManyMessages()
	}
	return proto.Unmarshal(data, m)
}

func tooManyMessages() error {
	return invalid("more than %d records, headers and other parts in one message: send less at a time", maxMessages)
}

// countMessages takes from left what messages are within one of a kind, as far as that is one; below 0 it goes no further. It recurs as deep as the kind does.
func countMessages(data []byte, kind protoreflect.MessageDescriptor, left int) int {
	for len(data) > 0 && left >= 0 {
		number, wire, n := protowire.ConsumeTag(data)
		if n < 0 {
			return left
		}
		size := protowire.ConsumeFieldValue(number, wire, data[n:])
		if size < 0 {
			return left
		}
		if field := kind.Fields().ByNumber(number); wire == protowire.BytesType && field != nil && field.Message() != nil {
			within, _ := protowire.ConsumeBytes(data[n:])
			left = countMessages(within, field.Message(), left-1)
		}
		data = data[n+size:]
	}
	return left
}

// countObjects is countMessages for JSON: how many objects begin outside of strings.
func countObjects(data []byte, left int) int {
	for i, quoted := 0, false; i < len(data) && left >= 0; i++ {
		switch c := data[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && c == '{':
			left--
		}
	}
	return left
}
