package gateway

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	rustmqpb "github.com/rustmq/rustmq/api/rustmq/v1"
)

// TestSmallRequestsDoNotBecomeLargeOnes: what is nothing as it is sent is something in memory.
func TestSmallRequestsDoNotBecomeLargeOnes(t *testing.T) {
	json := jsonCodec{"json"}
	for name, decode := range map[string]func() error{
		"records": func() error {
			return protoCodec{}.Unmarshal(bytes.Repeat([]byte{3<<3 | 2, 0}, maxRequestBytes/2), new(rustmqpb.ProduceRequest))
		},
		"headers of one record": func() error {
			return protoCodec{}.Unmarshal(protowire.AppendBytes([]byte{3<<3 | 2}, bytes.Repeat([]byte{7<<3 | 2, 0}, maxRequestBytes/2-8)), new(rustmqpb.ProduceRequest))
		},
		"records in JSON": func() error {
			return json.Unmarshal([]byte(`{"records":[{"keyText":"\"{"}`+strings.Repeat(",{}", maxMessages)+`]}`), new(rustmqpb.ProduceRequest))
		},
	} {
		if err := decode(); err == nil || !strings.Contains(err.Error(), "send less at a time") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, decode := range map[string]func() error{
		"records": func() error {
			return protoCodec{}.Unmarshal(bytes.Repeat([]byte{3<<3 | 2, 0}, maxMessages), new(rustmqpb.ProduceRequest))
		},
		"a text of braces": func() error {
			return json.Unmarshal([]byte(`{"records":[{"valueText":"\"`+strings.Repeat("{", maxRequestBytes/2)+`"}]}`), new(rustmqpb.ProduceRequest))
		},
	} {
		if err := decode(); err != nil {
			t.Errorf("%s: %.100v", name, err)
		}
	}
}
