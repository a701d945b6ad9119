package tier

import (
	"context"
	"errors"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"

	"github.com/rustmq/rustmq/mq"
)

const (
	// deleteConcurrency is how many objects are deleted at a time: few enough not to be in the way of uploads.
	deleteConcurrency = 8
	// maxFewTries is how often the store is asked by those who come again later anyway.
	maxFewTries = 3
)

// DeleteObjects deletes objects and says of each, in order, why it may be there still. One that the store says that it does not have counts as deleted: an earlier
// try may have succeeded without our hearing of it. Any other trouble is no success: the caller tries again later.
func DeleteObjects(ctx context.Context, store *Store, keys []string) []error {
	errs := make([]error, len(keys))
	var group errgroup.Group
	group.SetLimit(deleteConcurrency)
	for i, key := range keys {
		group.Go(func() error {
			errs[i] = fewTries(ctx, func() error { return store.Delete(ctx, key) })
			return nil
		})
	}
	_ = group.Wait()
	return errs
}

// fewTries tries what may fail for a moment. Damage and versions are final.
func fewTries(ctx context.Context, try func() error) error {
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := try()
		if code := mq.CodeOf(err); code == mq.Corrupt || code == mq.UnsupportedVersion || errors.Is(err, ErrOther) || errors.Is(err, ErrAbsent) {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(newBackOff()), backoff.WithMaxTries(maxFewTries))
	return err
}
