package client

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/rustmq/rustmq/mq"
)

// TestEndOfTimeIsFoundInItsError: programs ask for the context's error or for ErrClosed, and for what the server had said.
func TestEndOfTimeIsFoundInItsError(t *testing.T) {
	refusal := mq.Errorf(mq.StorageFull, "no room")
	late, cancel := context.WithTimeout(t.Context(), -1)
	defer cancel()
	gone, end := context.WithCancelCause(t.Context())
	end(ErrClosed)
	for _, c := range []struct {
		ctx  context.Context
		want error
		code mq.Code
	}{{late, context.DeadlineExceeded, mq.RequestTimedOut}, {gone, ErrClosed, mq.Canceled}} {
		err := mq.Wrapf(outOfTime(c.ctx, c.ctx.Err(), refusal), "fetch metadata")
		if !errors.Is(err, c.want) || !errors.Is(err, refusal) || mq.CodeOf(err) != c.code || !strings.Contains(err.Error(), "no room") {
			t.Errorf("got %v, want %v and %v in it", err, c.want, refusal)
		}
	}
}
