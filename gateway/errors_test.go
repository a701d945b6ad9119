package gateway

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"connectrpc.com/connect"

	rustmqpb "github.com/rustmq/rustmq/api/rustmq/v1"
	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
)

// TestEveryCodeHasItsNameAndDetail: the enum is mq's set, and a detail says what the error says.
func TestEveryCodeHasItsNameAndDetail(t *testing.T) {
	for _, code := range mq.Codes() {
		if code == mq.None {
			continue
		}
		name := rustmqpb.ErrorCode(code).String()
		if name != "ERROR_CODE_"+code.String() {
			t.Errorf("%v is %s in the .proto file", code, name)
		}
		err := connectError(t.Context(), fmt.Errorf("around: %w", &client.PartitionError{Topic: "orders", Partition: 3, Err: mq.Errorf(code, "because")}))
		failed, ok := errors.AsType[*connect.Error](err)
		if !ok || failed.Code() == 0 || len(failed.Details()) != 1 {
			t.Fatalf("%v: %v", code, err)
		}
		value, bad := failed.Details()[0].Value()
		if bad != nil {
			t.Fatal(bad)
		}
		detail := value.(*rustmqpb.Error)
		if mq.Code(detail.GetCode()) != code || detail.GetRetriable() != code.Retriable() || detail.GetTopic() != "orders" || detail.GetPartition() != 3 || codeOf(err) != code {
			t.Errorf("%v: %v, counted as %v", code, detail, codeOf(err))
		}
	}
	for number := range rustmqpb.ErrorCode_name {
		if !slices.Contains(mq.Codes(), mq.Code(number)) {
			t.Errorf("there is no code %d", number)
		}
	}
}

// TestEndOfTheNodeIsTheReason: what a node cuts off when it is stopped says so, whatever else it looks like.
func TestEndOfTheNodeIsTheReason(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errStopping)
	if err := connectError(ctx, ctx.Err()); codeOf(err) != mq.ShuttingDown {
		t.Error(err)
	}
	if err := connectError(t.Context(), context.Canceled); codeOf(err) != mq.Canceled {
		t.Error(err)
	}
	if connectError(ctx, nil) != nil {
		t.Error("no error became one")
	}
}

// TestAnyTimestampIsSent: a log has whatever producers wrote, protobuf takes the years from 1 to 9999, and JSON fails for others.
func TestAnyTimestampIsSent(t *testing.T) {
	for _, ms := range []int64{0, -1, 1_764_000_000_000, 1_764_000_000_000_000_000, math.MaxInt64, math.MinInt64} {
		rec := consumed(&client.Record{Timestamp: time.UnixMilli(ms)}, false)
		if _, err := (jsonCodec{"json"}).Marshal(rec); err != nil {
			t.Errorf("%d ms: %v", ms, err)
		}
		if got := rec.GetTimestamp().AsTime(); max(ms, -ms) < 1<<47 && ms > math.MinInt64 && got.UnixMilli() != ms || (ms < 0) != (got.UnixMilli() < 0) {
			t.Errorf("%d ms became %v", ms, got)
		}
	}
}

// TestTextThatIsNoTextIsSent: names may be any bytes, protobuf takes UTF-8 only.
func TestTextThatIsNoTextIsSent(t *testing.T) {
	if got := text("a\xffb"); got != "a�b" {
		t.Errorf("%q", got)
	}
	if got := failure(mq.Errorf(mq.Internal, "%s", strings.Repeat("€", 1000))).GetMessage(); len(got) > maxMessageBytes+3 || !utf8.ValidString(got) {
		t.Errorf("%d bytes", len(got))
	}
	rec := consumed(&client.Record{Key: []byte{0xff}, Value: []byte("x"), Headers: []mq.Header{{Key: "\xff"}}}, true)
	if rec.GetKey() == nil || rec.GetValueText() != "x" || rec.GetHeaders()[0].GetKey() != "�" {
		t.Errorf("%v", rec)
	}
}

// TestListThatIsNotWholeSaysSo, and is not lost; with nothing in it the call has failed.
func TestListThatIsNotWholeSaysSo(t *testing.T) {
	trouble := mq.Errorf(mq.CoordinatorLoadInProgress, "it is reading")
	some := []client.GroupListing{{Group: "g", Members: 2}}
	if resp, err := listing(some, trouble); err != nil || len(resp.GetGroups()) != 1 || mq.Code(resp.GetError().GetCode()) != mq.CoordinatorLoadInProgress {
		t.Errorf("%v, %v", resp, err)
	}
	if resp, err := listing(some, nil); err != nil || resp.GetError() != nil {
		t.Errorf("%v, %v", resp, err)
	}
	if _, err := listing(nil, trouble); mq.CodeOf(err) != mq.CoordinatorLoadInProgress {
		t.Error(err)
	}
}
