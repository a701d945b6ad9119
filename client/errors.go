package client

import (
	"fmt"

	"github.com/rustmq/rustmq/mq"
)

// Errors that the client itself gives; compare with [errors.Is]. All other failures are *[mq.Error] with the code that the server or
// the protocol gave (see [mq.CodeOf]), most of them inside a *[PartitionError].
var (
	// ErrClosed tells that the client or consumer is closed.
	ErrClosed error = &sentinel{mq.ShuttingDown, "client is closed"}
	// ErrBufferFull tells that [MaxBufferedBytes] is reached.
	ErrBufferFull error = &sentinel{mq.TooManyRequests, "produce buffer is full"}
)

// sentinel is an error that is equal only to itself, and has a code.
type sentinel struct {
	code mq.Code
	text string
}

func (e *sentinel) Error() string { return e.text }

// Unwrap gives the error its code for [mq.CodeOf].
func (e *sentinel) Unwrap() error { return &mq.Error{Code: e.code, Msg: e.text} }

// PartitionError is a failure with the partition that it happened to.
type PartitionError struct {
	Topic     string
	Partition int32 // -1 when the whole topic is concerned
	Err       error // usually a *mq.Error
}

// Error implements error.
func (e *PartitionError) Error() string {
	if e.Partition < 0 {
		return fmt.Sprintf("topic %s: %v", e.Topic, e.Err)
	}
	return fmt.Sprintf("%s/%d: %v", e.Topic, e.Partition, e.Err)
}

// Unwrap returns Err.
func (e *PartitionError) Unwrap() error { return e.Err }
