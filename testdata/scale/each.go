package main

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// each calls f for every number below n, some at a time, until one fails.
func each(ctx context.Context, n, atOnce int, f func(context.Context, int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i := range n {
		group.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return f(ctx, i)
		})
	}
	return group.Wait()
}
