package bench

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// entrant is something that is measured in rounds, taking turns with others.
type entrant struct {
	measure func(ctx context.Context, d time.Duration) (Result, error)
	bounds  []int // indexes of entrants: it is divided by the smallest of them
	cold    bool  // it warms itself up in each round
}

// warmUp is how long an entrant runs before its first round that counts.
const warmUp = 500 * time.Millisecond

// interleave has the entrants take turns for some rounds of d each, and gives the summary of each.
func interleave(ctx context.Context, rounds int, d time.Duration, entrants []entrant) ([]Result, error) {
	for _, e := range entrants {
		if e.cold {
			continue
		}
		if _, err := e.measure(ctx, min(d, warmUp)); err != nil {
			return nil, err
		}
	}
	all := make([][]Result, len(entrants))
	for range rounds {
		for i, e := range entrants {
			r, err := e.measure(ctx, d)
			if err != nil {
				return nil, err
			}
			all[i] = append(all[i], r)
		}
	}
	results := make([]Result, len(entrants))
	for i := range entrants {
		results[i] = summary(all[i])
	}
	for i, e := range entrants {
		if len(e.bounds) == 0 {
			continue
		}
		least := slices.MinFunc(e.bounds, func(a, b int) int { return cmp.Compare(results[a].Value, results[b].Value) })
		results[i] = results[i].Against(results[least])
	}
	return results, nil
}
