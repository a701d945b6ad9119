package partition

import "slices"

// News is what a Watcher is told of.
type News uint8

const (
	// NewsAppended says that this node leads, and the log end moved.
	NewsAppended News = iota
	// NewsMarks says that this node leads, and its watermark, log start or tiered end moved.
	NewsMarks
	// NewsDurable says that this node follows, and Durable may say more than before.
	NewsDurable
	// NewsRole says that the replica ended what it did: it leads or follows in another epoch, or not at all.
	NewsRole
)

// Watcher is told of news: the leader's end of a stream to a follower, or the follower's end. It is called with the partition's mutex held: it
// must be quick, never block, and call nothing of the partition but ID.
type Watcher interface{ News(News) }

// Watch has w told of what happens from now on, until Unwatch.
func (p *Partition) Watch(w Watcher) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watchers = append(p.watchers, w)
}

// Unwatch ends that. Once it returned, w is told nothing. For one that does not watch it does nothing.
func (p *Partition) Unwatch(w Watcher) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watchers = slices.DeleteFunc(p.watchers, func(other Watcher) bool { return other == w })
}

// tell tells those who watch. The caller holds mu.
func (p *Partition) tell(n News) {
	for _, w := range p.watchers {
		w.News(n)
	}
}
