package metadata

import (
	"slices"
	"sync"
	"sync/atomic"
)

// Watch tells that the Image changed. Changes coalesce: a slow watcher sees the latest only, and Diff says what happened since
// the image that it saw before.
type Watch struct {
	image    func() *Image
	watchers *watchers
	wake     chan struct{}
}

// watchers are who is told of changes.
type watchers struct {
	mu   sync.Mutex
	list []*Watch
}

func (ws *watchers) add(image func() *Image) *Watch {
	w := &Watch{image: image, watchers: ws, wake: make(chan struct{}, 1)}
	w.wake <- struct{}{}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.list = append(ws.list, w)
	return w
}

func (ws *watchers) tell() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, w := range ws.list {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// Watch subscribes to changes of the Image. C is ready from the start, so that a watcher has but one place where it looks.
func (s *Store) Watch() *Watch { return s.watchers.add(s.Image) }

// C receives after the Image changed.
func (w *Watch) C() <-chan struct{} { return w.wake }

// Image is the present image.
func (w *Watch) Image() *Image { return w.image() }

// Close ends the subscription; C receives no more.
func (w *Watch) Close() {
	w.watchers.mu.Lock()
	defer w.watchers.mu.Unlock()
	w.watchers.list = slices.DeleteFunc(w.watchers.list, func(o *Watch) bool { return o == w })
}

// Feed is the image of a node that has no Store: somebody publishes what comes from the controllers. The zero value has the empty
// image, at index 0. Its methods may be called at the same time.
type Feed struct {
	image    atomic.Pointer[Image]
	watchers watchers
}

// Image is the present image. It never waits, and is never nil.
func (f *Feed) Image() *Image {
	if img := f.image.Load(); img != nil {
		return img
	}
	return &Image{}
}

// Publish makes img the present image. One goroutine publishes.
func (f *Feed) Publish(img *Image) {
	f.image.Store(img)
	f.watchers.tell()
}

// Watch subscribes to changes of the Image, as [Store.Watch] does.
func (f *Feed) Watch() *Watch { return f.watchers.add(f.Image) }

// WatchOf is Watch of images that are had elsewhere, by one who calls Tell when they change.
func (f *Feed) WatchOf(image func() *Image) *Watch { return f.watchers.add(image) }

// Tell wakes all watches, as Publish does.
func (f *Feed) Tell() { f.watchers.tell() }
