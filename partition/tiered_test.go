package partition

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"

	"github.com/rustmq/rustmq/mq"
)

// Who waits for the object store has it come there soon, hears when it has, and leaves nothing behind when he waits no longer.
func TestAwaitTieredWaitsForTheObjectMark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 1, &bucket{})
		codeWanted(t, n.p.AwaitTiered(t.Context(), 0), mq.NotLeaderOrFollower)
		n.lead()
		for range 3 {
			n.send(plain(2), mq.DurabilityLeader, &results{})
		}
		synctest.Wait()
		if err := n.p.AwaitTiered(t.Context(), 0); err != nil {
			t.Errorf("nothing: %v", err)
		}
		codeWanted(t, n.p.AwaitTiered(t.Context(), 7), mq.OffsetOutOfRange)
		await := func(ctx context.Context, end mq.Offset) chan error {
			done := make(chan error, 1)
			go func() { done <- n.p.AwaitTiered(ctx, end) }()
			synctest.Wait()
			return done
		}
		ctx, cancel := context.WithCancel(t.Context())
		given, part, whole := await(ctx, 4), await(t.Context(), 3), await(t.Context(), 6)
		if !n.p.Pending().Awaited {
			t.Error("nobody hurries")
		}
		cancel()
		if err := <-given; err == nil {
			t.Error("there, and not waited for")
		}
		if _, _, err := n.p.ReadUpload(t.Context(), 0, 6, 1<<20, nil); err != nil {
			t.Fatal(err)
		}
		if _, _, err := n.p.Checkpoint(4); err != nil {
			t.Fatal(err)
		}
		n.p.Tiered(4, nil)
		synctest.Wait()
		if err := <-part; err != nil || len(whole) != 0 {
			t.Errorf("%v; all of it: %d", err, len(whole))
		}
		n.p.Offline(mq.Errorf(mq.LeaderNotAvailable, "the end"))
		if err := <-whole; err == nil {
			t.Error("the leadership is over, and it is said to be there")
		}
		if n.p.Pending().Awaited {
			t.Error("somebody is waited for still")
		}
	})
}

// What was deleted need not come to the object store.
func TestAwaitTieredDoesNotWaitForWhatWasDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 1, &bucket{})
		n.lead()
		n.send(plain(2), mq.DurabilityLeader, &results{})
		synctest.Wait()
		if err := n.p.SetLogStart(2); err != nil {
			t.Fatal(err)
		}
		if err := n.p.AwaitTiered(t.Context(), 2); err != nil {
			t.Error(err)
		}
	})
}

// Who waits for the object mark is no append: a batch that is sent again is answered at the mark that it asks for, be it the last one of what is waited for.
func TestAwaitTieredHoldsBackNoProducer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 1, &bucket{})
		n.lead()
		sent := batch(producedBy{5, 0, 0}, 2, 'a', 10, 0)
		n.must(bytes.Clone(sent))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- n.p.AwaitTiered(ctx, 2) }()
		synctest.Wait()
		again := make(future, 1)
		n.send(bytes.Clone(sent), mq.DurabilityAll, again)
		synctest.Wait()
		select {
		case r := <-again:
			if r.Err != nil || !r.Duplicate || r.Base != 0 {
				t.Errorf("%+v", r)
			}
		default:
			t.Error("it waits for the object store")
		}
		cancel()
		if err := <-done; err == nil {
			t.Error("it is there, and the store has nothing")
		}
	})
}
