package control

import (
	"slices"
	"sync"
	"time"
)

// finder knows where the leading controller probably is. It is told what became of attempts.
type finder struct {
	seeds []string

	mu      sync.Mutex
	learned []string // addresses of controllers in the image
	current string   // the one to try next, never ""
}

func newFinder(seeds []string) *finder { return &finder{seeds: seeds, current: seeds[0]} }

// learn takes the controllers' addresses that an image has.
func (f *finder) learn(addresses []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.learned = addresses
}

// pick is the address to try now.
func (f *finder) pick() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.current
}

// failed says that the leader is not at an address, and where it is said to be, or "".
func (f *finder) failed(address, hint string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.current != address: // somebody found out before
	case hint != "" && hint != address:
		f.current = hint
	default:
		all := f.all()
		f.current = all[(slices.Index(all, address)+1)%len(all)]
	}
}

// all lists the addresses to try in turn, each once.
func (f *finder) all() []string {
	all := slices.Clone(f.seeds)
	for _, a := range f.learned {
		if !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	return all
}

// Pauses between rounds of attempts to find the leading controller: an election takes about a second, and the first one that is asked
// after it should not be asked late.
const (
	firstPause = 10 * time.Millisecond
	maxPause   = 100 * time.Millisecond
)

// pauses says how long to wait before the next attempt of one task. The zero value is ready.
type pauses struct {
	failures int
	pause    time.Duration
}

// next is the pause after a failure: none while there are addresses that were not tried, then more and more. jitter is in [0, 1).
func (p *pauses) next(f *finder, hinted bool, jitter float64) time.Duration {
	f.mu.Lock()
	round := len(f.all())
	f.mu.Unlock()
	p.failures++
	if hinted && p.failures <= round || p.failures < round {
		return 0
	}
	p.pause = min(maxPause, max(firstPause, 2*p.pause))
	return time.Duration((0.5 + jitter) * float64(p.pause))
}
