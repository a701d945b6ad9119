package metadata

import "slices"

// Watch tells that the Image changed. Changes coalesce: a slow watcher sees the latest only, and Diff says what happened since
// the image that it saw before.
type Watch struct {
	store *Store
	wake  chan struct{}
}

// Watch subscribes to changes of the Image. C is ready from the start, so that a watcher has but one place where it looks.
func (s *Store) Watch() *Watch {
	w := &Watch{store: s, wake: make(chan struct{}, 1)}
	w.wake <- struct{}{}
	s.watching.Lock()
	defer s.watching.Unlock()
	s.watches = append(s.watches, w)
	return w
}

// C receives after the Image changed.
func (w *Watch) C() <-chan struct{} { return w.wake }

// Image is the present image.
func (w *Watch) Image() *Image { return w.store.Image() }

// Close ends the subscription; C receives no more.
func (w *Watch) Close() {
	w.store.watching.Lock()
	defer w.store.watching.Unlock()
	w.store.watches = slices.DeleteFunc(w.store.watches, func(o *Watch) bool { return o == w })
}
