package mq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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
		cause, ok := arg.(error)
		if own, is := arg.(*Error); !ok || is && own == nil {
			continue
		}
		// The outermost code is printed; that of a cause would only repeat it.
		if text := plain(cause, code); text != cause.Error() {
			args = slices.Clone(args)
			args[i] = uncoded{cause, text}
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

// uncoded is an error that prints another text.
type uncoded struct {
	err  error
	text string
}

func (u uncoded) Error() string { return u.text }

// plain is an error's text without the name of code, wherever one of its causes has that.
func plain(err error, code Code) string {
	whole := err.Error()
	switch e := err.(type) { //nolint:errorlint // each link is looked at by itself
	case *Error:
		if e.Code == code && e.Msg != "" {
			return e.Msg
		}
	case interface{ Unwrap() []error }:
		var texts, plains []string
		for _, cause := range e.Unwrap() {
			if cause == nil {
				continue
			}
			texts, plains = append(texts, cause.Error()), append(plains, plain(cause, code))
		}
		if strings.Join(texts, "\n") == whole { // as errors.Join has it
			return strings.Join(plains, "\n")
		}
	case interface{ Unwrap() error }:
		if cause := e.Unwrap(); cause != nil {
			if doing, ok := strings.CutSuffix(whole, cause.Error()); ok {
				return doing + plain(cause, code)
			}
		}
	}
	return whole
}
