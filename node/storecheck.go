package node

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	// storeCheckTimeout ends one try of the object store, with all that its own
	// client tries again.
	storeCheckTimeout = 2 * time.Minute
	// storeCheckPause is the longest pause between two tries.
	storeCheckPause = time.Minute
)

// checkStore tries the object store out, once the node is up: a store that is away keeps no node from starting, and what is
// wrong with it is said before the log has filled. A test's bucket is taken as it is.
func (n *Node) checkStore(context.Context) error {
	if n.objects == nil || n.seams.Bucket != nil || n.mounted() { // a view looks at it by itself, and tries nothing out
		return nil
	}
	n.background(n.tryStore)
	return nil
}

// tryStore tries until it works once, and says each time what does not.
func (n *Node) tryStore(ctx context.Context) {
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.Multiplier, pauses.MaxInterval = time.Second, 2, storeCheckPause
	for failed := false; ; failed = true {
		try, cancel := context.WithTimeout(ctx, storeCheckTimeout)
		report := n.objects.Probe(try, n.objectPrefix())
		cancel()
		err := report.Err()
		if ctx.Err() != nil {
			return
		}
		n.storeTrouble.Store(&err)
		switch {
		case err == nil && failed:
			n.logger.Info("the object store works now", "store", report.Store)
			return
		case err == nil:
			n.logger.Debug("the object store works", "store", report.Store)
			return
		case report.Denied():
			n.logger.Error("the object store refuses what this node needs: records stay in the log, until it is full; grant it, or see `rustmq object probe`", "error", err)
		default:
			n.logger.Error("the object store cannot be used: records stay in the log, until it is full; it is tried again", "error", err)
		}
		select {
		case <-time.After(pauses.NextBackOff()):
		case <-ctx.Done():
			return
		}
	}
}
