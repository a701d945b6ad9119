package bench

import (
	"context"
	"time"
)

// entrant is something that is measured in rounds, taking turns with others.
type entrant struct {
	measure func(ctx context.Context, d time.Duration) (Result, error)
	bound   int  // index of the entrant that it is divided by, -1 for none
	cold    bool // it warms itself up in each round
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
		if e.bound >= 0 {
			results[i] = results[i].Against(results[e.bound])
		}
	}
	return results, nil
}
