package mq

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Error is the one error type that crosses a package's edge. Its code is what
// programs decide on and what travels on the wire; its message is for people.
type Error struct {
	Code  Code
	Msg   string // what was being done to what, and what went wrong; holds the cause's text too
	Cause error  // nil when there is none
}

// Errorf makes an Error. One %w among the verbs, as in [fmt.Errorf], sets its
// Cause.
func Errorf(code Code, format string, args ...any) *Error {
	for i, arg := range args {
		// The outermost code is printed; that of a cause would only repeat it.
		if cause, ok := arg.(*Error); ok && cause != nil && cause.Code == code {
			args = slices.Clone(args)
			args[i] = uncoded{cause}
		}
	}
	err := fmt.Errorf(format, args...)
	cause := errors.Unwrap(err)
	if u, ok := errors.AsType[uncoded](cause); ok {
		cause = u.err
	}
	return &Error{Code: code, Msg: err.Error(), Cause: cause}
}

// Wrapf says what was being done when err happened, and keeps its code:
//
//	return mq.Wrapf(err, "read partition %s at %d", id, offset)
//
// gives "CODE: read partition x at 7: <err>". Wrapf of nil is nil.
func Wrapf(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return Errorf(CodeOf(err), "%s: %w", fmt.Sprintf(format, args...), err)
}

// Error is "CODE: message".
func (e *Error) Error() string {
	if e.Msg == "" {
		return e.Code.String()
	}
	return e.Code.String() + ": " + e.Msg
}

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Is says whether target is an *Error of the same code, so that
// errors.Is(err, &mq.Error{Code: c}) finds a code anywhere in a chain.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// CodeOf is the code of the outermost *Error in err's chain. Without one it is
// [None] for nil, [Canceled] and [RequestTimedOut] for a context's errors, and
// [Unknown] for everything else.
func CodeOf(err error) Code {
	if err == nil {
		return None
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	switch {
	case errors.Is(err, context.Canceled):
		return Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return RequestTimedOut
	}
	return Unknown
}

// uncoded prints an Error without its code.
type uncoded struct{ err *Error }

func (u uncoded) Error() string {
	if u.err.Msg == "" {
		return u.err.Code.String()
	}
	return u.err.Msg
}
