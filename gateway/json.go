package gateway

import (
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/rustmq/rustmq/mq"
)

// jsonCodec is JSON for people: a field that does not exist is an error, for it was meant to be another one, and what is zero is written out. It replaces Connect's, which does neither.
type jsonCodec struct{ name string }

// jsonCodecs are the names under which Connect knows JSON.
func jsonCodecs() []jsonCodec { return []jsonCodec{{"json"}, {"json; charset=utf-8"}} }

// Name implements connect.Codec.
func (c jsonCodec) Name() string { return c.name }

// Marshal implements connect.Codec.
func (jsonCodec) Marshal(message any) ([]byte, error) {
	m, ok := message.(proto.Message)
	if !ok {
		return nil, mq.Errorf(mq.Internal, "%T is no message", message)
	}
	return protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
}

// Unmarshal implements connect.Codec.
func (jsonCodec) Unmarshal(data []byte, message any) error {
	m, ok := message.(proto.Message)
	if !ok {
		return mq.Errorf(mq.Internal, "%T is no message", message)
	}
	if len(data) == 0 {
		return invalid("an empty body: for a request without fields it is {}")
	}
	if countObjects(data, maxMessages) < 0 {
		return tooManyMessages()
	}
	return protojson.Unmarshal(data, m)
}
