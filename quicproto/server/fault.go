package server

import (
	"context"
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

// worst picks from what the two goroutines of a stream ended with: a fault that ends the session, else the end of this stream, else nil
// for an end in order. When one of them ends, the other is made to, and says no more than that.
func worst(a, b error) error {
	var ended error
	for _, err := range []error{a, b} {
		switch {
		case err == nil || errors.Is(err, io.EOF):
		case isStreamError(err) || errors.Is(err, context.Canceled):
			ended = err
		default:
			return err
		}
	}
	return ended
}

// isStreamError reports whether err is of one stream that was given up, and not of the session.
func isStreamError(err error) bool {
	_, ok := errors.AsType[*quic.StreamError](err)
	return ok
}
