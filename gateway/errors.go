package gateway

import (
	"context"
	"errors"
	"strings"

	"connectrpc.com/connect"

	"github.com/rustmq/rustmq/api/rpcerr"
	rustmqpb "github.com/rustmq/rustmq/api/rustmq/v1"
	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
)

// errStopping is the end of streams when the node is being stopped.
var errStopping = mq.Errorf(mq.ShuttingDown, "this node is being stopped: ask another one")

// maxMessageBytes bounds the text in a detail, which travels in a trailer with gRPC. The rest is cut off.
const maxMessageBytes = 1 << 10

// failure is what an answer, or the detail of an error, says of err.
func failure(err error) *rustmqpb.Error {
	code := mq.CodeOf(err)
	message := plain(err, code)
	f := &rustmqpb.Error{Code: rustmqpb.ErrorCode(code), Message: text(message[:min(len(message), maxMessageBytes)]), Retriable: code.Retriable()}
	if at, ok := errors.AsType[*client.PartitionError](err); ok {
		f.Topic = text(at.Topic)
		if at.Partition >= 0 {
			f.Partition = &at.Partition
		}
	}
	return f
}

// plain is the text of err without its code, which goes beside it.
func plain(err error, code mq.Code) string {
	if e, ok := err.(*mq.Error); ok { //nolint:errorlint // of what wraps it the text would be lost
		return e.Msg
	}
	return mq.Errorf(code, "%w", err).Msg
}

// connectError is how a call fails with err: the code goes with it as [rpcerr] has it, and as a detail.
func connectError(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); errors.Is(cause, errStopping) && ctx.Err() != nil {
		err = cause
	}
	if own, ok := errors.AsType[*connect.Error](err); ok {
		return own // of what the library read or wrote
	}
	failed, _ := errors.AsType[*connect.Error](rpcerr.ToConnect(err))
	if detail, bad := connect.NewErrorDetail(failure(err)); bad == nil {
		failed.AddDetail(detail)
	}
	return failed
}

// codeOf is what is counted for an error of a call.
func codeOf(err error) mq.Code {
	if err == nil {
		return mq.None
	}
	return mq.CodeOf(rpcerr.FromConnect(err))
}

// invalid is INVALID_REQUEST.
func invalid(format string, args ...any) error { return mq.Errorf(mq.InvalidRequest, format, args...) }

// text is s as protobuf takes it: names of groups and clients, and keys of headers, may be any bytes.
func text(s string) string { return strings.ToValidUTF8(s, "�") }
