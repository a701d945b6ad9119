package rpcerr

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/rustmq/rustmq/mq"
)

// failing is a service that fails, unary and as a stream, with an error by the name of the path.
func failing(t *testing.T, fail func() error) (unary, stream func(...connect.ClientOption) error) {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("/unary", connect.NewUnaryHandler("/unary", func(context.Context, *connect.Request[emptypb.Empty]) (*connect.Response[emptypb.Empty], error) {
		return nil, ToConnect(fail())
	}))
	mux.Handle("/stream", connect.NewServerStreamHandler("/stream",
		func(_ context.Context, _ *connect.Request[emptypb.Empty], out *connect.ServerStream[emptypb.Empty]) error {
			if err := out.Send(&emptypb.Empty{}); err != nil {
				return err
			}
			return ToConnect(fail())
		}))
	server := httptest.NewUnstartedServer(mux)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	unary = func(opts ...connect.ClientOption) error {
		c := connect.NewClient[emptypb.Empty, emptypb.Empty](server.Client(), server.URL+"/unary", opts...)
		_, err := c.CallUnary(t.Context(), connect.NewRequest(&emptypb.Empty{}))
		return err
	}
	stream = func(opts ...connect.ClientOption) error {
		c := connect.NewClient[emptypb.Empty, emptypb.Empty](server.Client(), server.URL+"/stream", opts...)
		s, err := c.CallServerStream(t.Context(), connect.NewRequest(&emptypb.Empty{}))
		if err != nil {
			return err
		}
		for s.Receive() {
		}
		return errors.Join(s.Err(), s.Close())
	}
	return unary, stream
}

// Every code and its text come back as they were, and so does whether it is worth another attempt: unary, at the end of a stream, and
// in each of the protocols.
func TestEveryCodeSurvivesTheWay(t *testing.T) {
	var sent error
	unary, stream := failing(t, func() error { return sent })
	for _, code := range append(mq.Codes(), 4711) {
		if code == mq.None {
			continue
		}
		sent = mq.Errorf(code, "open %q: größer als %d", "a\nb", 7)
		for name, call := range map[string]func() error{
			"unary":       func() error { return unary() },
			"stream":      func() error { return stream() },
			"grpc unary":  func() error { return unary(connect.WithGRPC()) },
			"grpc stream": func() error { return stream(connect.WithGRPC()) },
		} {
			got := FromConnect(call())
			e, ok := got.(*mq.Error) //nolint:errorlint // it is to be one itself
			if !ok || e.Code != code || e.Error() != sent.Error() || e.Code.Retriable() != code.Retriable() {
				t.Errorf("%s: sent %v, got %v", name, sent, got)
			}
		}
	}
}

// Connect's own code agrees with ours about what is worth another attempt.
func TestEveryCodeHasOneConnectCode(t *testing.T) {
	var all []mq.Code
	for _, row := range table() {
		all = append(all, row.codes...)
		for _, code := range row.codes {
			if row.code == connect.CodeUnavailable && !code.Retriable() {
				t.Errorf("%v is Unavailable and not worth another attempt", code)
			}
			if connectCode(code) != row.code {
				t.Errorf("%v has two Connect codes", code)
			}
		}
	}
	slices.Sort(all)
	want := slices.DeleteFunc(mq.Codes(), func(c mq.Code) bool { return c == mq.None })
	if !slices.Equal(all, want) {
		t.Errorf("the table has %v\nwant %v", all, want)
	}
}

func TestErrorsThatAreNotOursGetACode(t *testing.T) {
	for _, c := range []struct {
		err  error
		want mq.Code
	}{
		{connect.NewError(connect.CodeUnavailable, io.ErrUnexpectedEOF), mq.NetworkException},
		{connect.NewError(connect.CodeCanceled, context.Canceled), mq.Canceled},
		{connect.NewError(connect.CodeDeadlineExceeded, context.DeadlineExceeded), mq.RequestTimedOut},
		{connect.NewError(connect.CodeUnimplemented, errors.New("404")), mq.UnsupportedVersion},
		{connect.NewError(connect.CodeResourceExhausted, errors.New("too large")), mq.MessageTooLarge},
		{connect.NewError(connect.CodeUnauthenticated, errors.New("who?")), mq.ClusterAuthorizationFailed},
		{connect.NewError(connect.CodeInvalidArgument, errors.New("no protobuf")), mq.ProtocolViolation},
		{connect.NewError(connect.CodeUnknown, errors.New("what?")), mq.Unknown},
		{context.Canceled, mq.Canceled},
		{io.EOF, mq.NetworkException},
		{fmt.Errorf("send: %w", io.ErrClosedPipe), mq.NetworkException},
		{mq.Errorf(mq.Corrupt, "here"), mq.Corrupt},
	} {
		got := FromConnect(c.err)
		if mq.CodeOf(got) != c.want || !errors.Is(got, c.err) {
			t.Errorf("%v: got %v, want code %v", c.err, got, c.want)
		}
	}
	if FromConnect(nil) != nil || ToConnect(nil) != nil {
		t.Error("no error became one")
	}
}

// What a peer calls an error is one, whatever it says.
func TestNoErrorIsTakenForSuccess(t *testing.T) {
	for _, header := range []string{"0", "x", "99999", "-40000", "9999999999999999999"} {
		e := connect.NewError(connect.CodeUnknown, errors.New("boom"))
		e.Meta().Set(CodeHeader, header)
		if got := mq.CodeOf(FromConnect(e)); got != mq.Unknown {
			t.Errorf("%s: got %v", header, got)
		}
	}
	if got := mq.CodeOf(FromConnect(ToConnect(&mq.Error{}))); got != mq.Unknown {
		t.Errorf("an error without a code: got %v", got)
	}
}

func TestTextIsCutBetweenRunes(t *testing.T) {
	for pad := range 4 {
		long := strings.Repeat("x", pad) + strings.Repeat("€", maxTextBytes)
		c, _ := errors.AsType[*connect.Error](ToConnect(mq.Errorf(mq.Internal, "%s", long)))
		if s := c.Message(); len(s) > maxTextBytes || len(s) < maxTextBytes-4 || !utf8.ValidString(s) {
			t.Errorf("%d bytes, valid: %v", len(s), utf8.ValidString(s))
		}
	}
	inner := ToConnect(mq.Errorf(mq.Corrupt, "x"))
	if again := ToConnect(inner); again != inner { //nolint:errorlint // the same one
		t.Error("an error that was made ready was made again")
	}
}
