package mq

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
)

func TestCodesAreKafkasWhereKafkaHasTheError(t *testing.T) {
	// franz-go kept the name from before KIP-392.
	renamed := map[string]string{"NOT_LEADER_FOR_PARTITION": "NOT_LEADER_OR_FOLLOWER"}
	for _, c := range Codes() {
		theirs := kerr.TypedErrorForCode(int16(c))
		switch {
		case c == None || c >= 1000:
			if c >= 1000 && theirs != nil && theirs != kerr.UnknownServerError {
				t.Errorf("%s: %d is Kafka's %s", c, c, theirs.Message)
			}
			continue
		case theirs == nil || theirs.Code != int16(c):
			t.Errorf("%s: Kafka has no error %d", c, c)
			continue
		}
		name := theirs.Message
		if current, ok := renamed[name]; ok {
			name = current
		}
		if c.String() != name {
			t.Errorf("%d is %s, Kafka's is %s", c, c, name)
		}
		if c.Retriable() != theirs.Retriable {
			t.Errorf("%s: retriable is %t, Kafka's is %t", c, c.Retriable(), theirs.Retriable)
		}
	}
}

func TestCodesAreAClosedSetWithNames(t *testing.T) {
	codes := Codes()
	if !slices.IsSorted(codes) || len(slices.Compact(slices.Clone(codes))) != len(codes) {
		t.Fatalf("codes are not strictly ascending: %d", codes)
	}
	names := map[string]Code{}
	for _, c := range codes {
		name := c.String()
		if name == "" || name != strings.ToUpper(name) || strings.HasPrefix(name, "CODE_") || !c.Valid() {
			t.Errorf("%d is named %q", c, name)
		}
		if other, ok := names[name]; ok {
			t.Errorf("%d and %d are both named %s", c, other, name)
		}
		names[name] = c
	}
	for _, c := range []Code{-2, 4, 999, 1011, 32767, -32768} {
		if c.Valid() || c.Retriable() || c.String() != fmt.Sprintf("CODE_%d", c) {
			t.Errorf("%d is outside the set, and named %s", c, c)
		}
	}
}

// The set as it is on the wire and on disks: a number never changes.
func TestOurCodesKeepTheirNumbers(t *testing.T) {
	want := map[Code]struct {
		name      string
		retriable bool
	}{
		1000: {"STORAGE_FULL", true},
		1001: {"CORRUPT", false},
		1002: {"OBJECT_STORE_UNAVAILABLE", true},
		1003: {"SHUTTING_DOWN", true},
		1004: {"PROTOCOL_VIOLATION", false},
		1005: {"PARTITION_QUARANTINED", false},
		1006: {"CANCELED", false},
		1007: {"INTERNAL", false},
		1008: {"TOO_MANY_REQUESTS", true},
		1009: {"WRONG_DATA_DIR", false},
		1010: {"READ_ONLY", false},
	}
	n := 0
	for _, c := range Codes() {
		if c < 1000 {
			continue
		}
		n++
		if w := want[c]; c.String() != w.name || c.Retriable() != w.retriable {
			t.Errorf("%d is %s, retriable %t; want %s, %t", c, c, c.Retriable(), w.name, w.retriable)
		}
	}
	if n != len(want) {
		t.Errorf("%d codes of our own, want %d", n, len(want))
	}
}

// several is an error with causes that its text does not list.
type several []error

func (several) Error() string     { return "several" }
func (s several) Unwrap() []error { return s }

func TestErrorSaysItsCodeOnce(t *testing.T) {
	inner := Errorf(Corrupt, "frame at %d", 7)
	for _, c := range []struct {
		err  error
		want string
	}{
		{inner, "CORRUPT: frame at 7"},
		{Errorf(Corrupt, "read segment 3: %w", inner), "CORRUPT: read segment 3: frame at 7"},
		{Wrapf(inner, "read segment %d", 3), "CORRUPT: read segment 3: frame at 7"},
		{Errorf(StorageFull, "append: %w", inner), "STORAGE_FULL: append: CORRUPT: frame at 7"},
		{Wrapf(io.EOF, "read"), "UNKNOWN_SERVER_ERROR: read: EOF"},
		{Wrapf(&Error{Code: NotController}, "propose"), "NOT_CONTROLLER: propose: NOT_CONTROLLER"},
		{&Error{Code: Canceled}, "CANCELED"},
		{Wrapf(fmt.Errorf("here: %w", inner), "there"), "CORRUPT: there: here: frame at 7"},
		{Errorf(Corrupt, "all: %w", errors.Join(inner, Wrapf(inner, "read"))), "CORRUPT: all: frame at 7\nread: frame at 7"},
		{Errorf(Corrupt, "all: %w", errors.Join(io.EOF, fmt.Errorf("and %w", inner))), "CORRUPT: all: EOF\nand frame at 7"},
		{Errorf(NetworkException, "dial: %w", &net.OpError{Op: "dial", Net: "tcp", Err: Errorf(NetworkException, "nobody is there")}), "NETWORK_EXCEPTION: dial: dial tcp: nobody is there"},
		{Errorf(NetworkException, "accept: %w", several{net.ErrClosed, nil}), "NETWORK_EXCEPTION: accept: several"}, // as quic-go has it
		{Wrapf(inner, "100%% of %s", "%w"), "CORRUPT: 100% of %w: frame at 7"},
	} {
		if c.err.Error() != c.want {
			t.Errorf("%q, want %q", c.err, c.want)
		}
	}
}

func TestCausesAreFound(t *testing.T) {
	inner := Errorf(Corrupt, "read: %w", io.ErrUnexpectedEOF)
	for _, err := range []error{
		Wrapf(inner, "open"), Errorf(Corrupt, "open: %w", inner), Errorf(Internal, "open: %w", inner), fmt.Errorf("open: %w", Wrapf(inner, "x")),
	} {
		if !errors.Is(err, io.ErrUnexpectedEOF) || !errors.Is(err, &Error{Code: Corrupt}) || errors.Is(err, &Error{Code: Canceled}) {
			t.Errorf("%v: the cause is lost", err)
		}
	}
	args := []any{inner}
	if _ = Errorf(Corrupt, "x: %w", args...); args[0] != any(inner) {
		t.Error("the caller's arguments were changed")
	}
	if Wrapf(nil, "nothing") != nil {
		t.Error("nil was wrapped")
	}
}

func TestCodeOfIsThatOfTheOutermostError(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Code
	}{
		{nil, None},
		{io.EOF, Unknown},
		{context.Canceled, Canceled},
		{fmt.Errorf("x: %w", context.DeadlineExceeded), RequestTimedOut},
		{Errorf(InvalidTopic, "x"), InvalidTopic},
		{fmt.Errorf("x: %w", Errorf(InvalidTopic, "x")), InvalidTopic},
		{Errorf(StorageFull, "x: %w", Errorf(InvalidTopic, "x")), StorageFull},
		{Errorf(NotController, "x: %w", context.Canceled), NotController},
		{Wrapf(context.Canceled, "x"), Canceled},
	} {
		if got := CodeOf(c.err); got != c.want {
			t.Errorf("%v: %s, want %s", c.err, got, c.want)
		}
	}
}
