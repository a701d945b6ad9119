package node

import (
	"context"
	"time"

	"github.com/rustmq/rustmq/mq"
)

const (
	// roomLook is how often a start that takes long looks whether it waits for room on the disk.
	roomLook = 100 * time.Millisecond
	// roomPatience is for how many looks in a row, 5 seconds, it waits for that: room that is about to be made is waited for, and whoever
	// started a node on a full disk hears of it.
	roomPatience = 50
)

// withRoom is a step of a start which appends to the logs or changes the metadata: it is refused when there is no room for that, where a
// node that serves already would wait.
func (n *Node) withRoom(step func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithCancelCause(ctx)
		looked := make(chan struct{})
		go func() {
			defer close(looked)
			n.lookForRoom(ctx, cancel)
		}()
		err := step(ctx)
		cancel(nil)
		<-looked
		if full := context.Cause(ctx); err != nil && mq.CodeOf(full) == mq.StorageFull {
			return mq.Wrapf(full, "there is no room for what a start has to write down")
		}
		return err
	}
}

// lookForRoom cancels a step with the reason when a log or the metadata had no room for too long.
func (n *Node) lookForRoom(ctx context.Context, cancel context.CancelCauseFunc) {
	ticker := time.NewTicker(roomLook)
	defer ticker.Stop()
	for looks := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		full := n.full(ctx)
		if full == nil {
			looks = 0
			continue
		}
		if looks++; looks >= roomPatience {
			cancel(full)
			return
		}
	}
}

// full says which of the logs, or the metadata, has no room.
func (n *Node) full(ctx context.Context) error {
	if n.raft != nil {
		if err := n.raft.Full(); err != nil {
			return mq.Wrapf(err, "the metadata")
		}
	}
	if n.dataLog == nil {
		return nil
	}
	const some = 1 // of any size: it is given back
	err := n.dataLog.Reserve(ctx, some)
	if err == nil {
		n.dataLog.Unreserve(some)
	}
	if mq.CodeOf(err) == mq.StorageFull {
		return mq.Wrapf(err, "the data log")
	}
	return nil
}
