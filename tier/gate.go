package tier

import (
	"context"
	"slices"
	"sync"
)

// gate bounds the requests under way. One that finds no room waits, and those
// that wait enter by class, then in turn. A class and the ones behind it have no
// more than their share together, so none of them can keep a more urgent one
// waiting for long: a request is not ended once it began.
type gate struct {
	limit int

	mu      sync.Mutex
	busy    [classes]int
	waiting [classes][]chan struct{} // closed when its request may begin
}

func newGate(limit int) *gate { return &gate{limit: limit} }

// admits says whether there is room for one more of a class: in its share, and in
// that of each class before it. The lock is held.
func (g *gate) admits(c Class) bool {
	together := 0
	for i := Class(classes - 1); i >= 0; i-- {
		together += g.busy[i]
		if i <= c && together >= g.limit*share[i]/4 {
			return false
		}
	}
	return true
}

// enter waits for room. leave gives it back.
func (g *gate) enter(ctx context.Context, c Class) error {
	g.mu.Lock()
	// Whoever waits could not be admitted when something last changed, so the
	// only ones before this request are those of its class.
	if len(g.waiting[c]) == 0 && g.admits(c) {
		g.busy[c]++
		g.mu.Unlock()
		return nil
	}
	ready := make(chan struct{})
	g.waiting[c] = append(g.waiting[c], ready)
	g.mu.Unlock()
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := slices.Index(g.waiting[c], ready); i >= 0 {
		g.waiting[c] = slices.Delete(g.waiting[c], i, i+1)
	} else { // let in meanwhile
		g.busy[c]--
		g.admit()
	}
	return ctx.Err()
}

func (g *gate) leave(c Class) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.busy[c]--
	g.admit()
}

// admit lets in whoever there is room for. The lock is held.
func (g *gate) admit() {
	for c := range Class(classes) {
		for len(g.waiting[c]) > 0 && g.admits(c) {
			close(g.waiting[c][0])
			g.waiting[c] = slices.Delete(g.waiting[c], 0, 1)
			g.busy[c]++
		}
	}
}

// idle says whether nobody waits and half of the room is free.
func (g *gate) idle() bool {
	busy, waiting := g.state()
	total := 0
	for c := range busy {
		if total += busy[c]; waiting[c] > 0 {
			return false
		}
	}
	return total < g.limit/2
}

// state is how many are under way and how many wait.
func (g *gate) state() (busy, waiting [classes]int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c, list := range g.waiting {
		waiting[c] = len(list)
	}
	return g.busy, waiting
}
