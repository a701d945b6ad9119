package quicproto

import "github.com/rustmq/rustmq/mq"

// GoAway on the control stream tells that the server will end the session soon. The client opens no more streams on it,
// connects anew (elsewhere if it can) and may finish what is in flight.
type GoAway struct {
	Code  mq.Code // why, usually SHUTTING_DOWN
	Drain uint32  // milliseconds until the server closes the session whatever is still going on
	Msg   string
}

// Type implements Frame.
func (*GoAway) Type() Type { return TypeGoAway }

// AppendTo implements Frame.
func (f *GoAway) AppendTo(dst []byte) []byte {
	dst = appendCode(dst, f.Code)
	dst = appendUint32(dst, f.Drain)
	return appendText(dst, f.Msg, MaxMessage)
}

// Decode implements Frame.
func (f *GoAway) Decode(payload []byte) error {
	d := decoder{frame: "GoAway", rest: payload}
	*f = GoAway{Code: d.code(), Drain: d.uint32(), Msg: d.text(MaxMessage)}
	return d.end()
}

// Close is the last frame that the server sends on a stream which it ends of its own accord, on any stream but the
// control stream. The session lives on.
type Close struct {
	Code mq.Code
	Msg  string
}

// Type implements Frame.
func (*Close) Type() Type { return TypeClose }

// AppendTo implements Frame.
func (f *Close) AppendTo(dst []byte) []byte {
	return appendText(appendCode(dst, f.Code), f.Msg, MaxMessage)
}

// Decode implements Frame.
func (f *Close) Decode(payload []byte) error {
	d := decoder{frame: "Close", rest: payload}
	*f = Close{Code: d.code(), Msg: d.text(MaxMessage)}
	return d.end()
}

// Err is the frame as an error, nil if its code is none.
func (f *Close) Err() error { return errOf(f.Code, f.Msg) }

func errOf(code mq.Code, msg string) error {
	if code == mq.None {
		return nil
	}
	return mq.Errorf(code, "%s", msg)
}

// ErrorCode is the number that code has as a QUIC application error, with which a session is closed or a stream reset.
func ErrorCode(code mq.Code) uint64 { return uint64(uint16(code)) }

// CodeOfError is the reverse of ErrorCode; numbers that are none of ours give UNKNOWN.
func CodeOfError(n uint64) mq.Code {
	if n > 0xffff {
		return mq.Unknown
	}
	return mq.Code(uint16(n))
}

// CodeAndText splits err into what frames carry of it: its code and its text without the code. It is none and "" for nil.
func CodeAndText(err error) (mq.Code, string) {
	if err == nil {
		return mq.None, ""
	}
	if e, ok := err.(*mq.Error); ok { //nolint:errorlint // of what wraps it the text would be lost
		return e.Code, e.Msg
	}
	return mq.CodeOf(err), err.Error()
}
