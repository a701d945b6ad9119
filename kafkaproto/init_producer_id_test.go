package kafkaproto

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

// A producer of Java's takes every error for fatal but COORDINATOR_LOAD_IN_PROGRESS, and a few that have it look for the coordinator of a transaction, which it has not.
func TestNoProducerIDForTheMomentIsNotFatal(t *testing.T) {
	r := newRig(t)
	p := r.connect()
	for _, code := range mq.Codes() {
		err := error(&mq.Error{Code: code, Msg: "x"})
		if code == mq.None {
			err = nil
		}
		r.broker.mu.Lock()
		r.broker.initErr = err
		r.broker.mu.Unlock()
		got := mq.Code(ask[*kmsg.InitProducerIDResponse](p, kmsg.NewPtrInitProducerIDRequest()).ErrorCode)
		if (code.Retriable() || got.Retriable()) && got != mq.CoordinatorLoadInProgress || (code == mq.None) != (got == mq.None) {
			t.Errorf("%s is told as %s", code, got)
		}
	}
}
