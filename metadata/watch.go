package metadata

// Watch tells that the Image changed. Changes coalesce: a slow watcher sees the latest only, and Diff says what happened since
// the image that it saw before.
type Watch struct {
	store *Store
	wake  chan struct{}
}

// C receives after the Image changed.
func (w *Watch) C() <-chan struct{} { return w.wake }

// Image is the present image.
func (w *Watch) Image() *Image { return w.store.Image() }

// Close ends the subscription; C receives no more.
func (w *Watch) Close() { panic("not yet") }
