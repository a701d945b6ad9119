package server

import (
	"errors"
	"io"
	"os"

	"github.com/quic-go/quic-go"

	"github.com/rustmq/rustmq/mq"
)

// faultOf gives what reading a stream ended with the code that the session is closed with.
func faultOf(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return mq.Errorf(mq.RequestTimedOut, "a frame took too long to arrive")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return mq.Errorf(mq.ProtocolViolation, "a stream ended inside a frame")
	default:
		return err
	}
}

// isStreamError reports whether err is of one stream that was given up, and not of the session.
func isStreamError(err error) bool {
	_, ok := errors.AsType[*quic.StreamError](err)
	return ok
}
