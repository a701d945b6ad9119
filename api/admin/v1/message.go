package adminpb

import (
	"google.golang.org/protobuf/proto"

	"github.com/rustmq/rustmq/mq"
)

// Answer decodes a Request, has it answered, and encodes the Response. Errors: InvalidRequest for what is no Request, and those of answer.
func Answer(message []byte, answer func(*Request) (*Response, error)) ([]byte, error) {
	var req Request
	if err := proto.Unmarshal(message, &req); err != nil {
		return nil, mq.Errorf(mq.InvalidRequest, "decode the operation: %w", err)
	}
	resp, err := answer(&req)
	if err != nil {
		return nil, err
	}
	out, err := proto.Marshal(resp)
	if err != nil {
		return nil, mq.Errorf(mq.Internal, "encode the answer: %w", err)
	}
	return out, nil
}

// Ask encodes a Request, has it carried to where Answer is, and decodes the Response. Errors: Internal for what is no Response, and those of carry.
func Ask(req *Request, carry func(message []byte) ([]byte, error)) (*Response, error) {
	message, err := proto.Marshal(req)
	if err != nil {
		return nil, mq.Errorf(mq.Internal, "encode the operation: %w", err)
	}
	answer, err := carry(message)
	if err != nil {
		return nil, err
	}
	resp := new(Response)
	if err := proto.Unmarshal(answer, resp); err != nil {
		return nil, mq.Errorf(mq.Internal, "decode the answer: %w", err)
	}
	return resp, nil
}
