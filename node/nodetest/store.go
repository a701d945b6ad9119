package nodetest

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"regexp"
	"sync"

	"gocloud.dev/blob/driver"

	"github.com/rustmq/rustmq/tier/faultstore"
)

// store is the bucket of a machine, which is elsewhere and keeps its power. What a machine without power asks for does not happen,
// except that a write which was on its way when the power went may arrive.
type store struct {
	*faultstore.Store
	// Forgets makes a cut lose the objects written last, so many: for a bug to be planted.
	Forgets int

	rig  *Rig
	mu   sync.Mutex
	rand *rand.Rand
	keys []string // in the order of writing

	contents *contents
}

func newStore(seed uint64) *store {
	return &store{Store: faultstore.New(), rand: rand.New(rand.NewPCG(seed, 0x73746f7265)), contents: &contents{objects: make(map[string]map[string]bool)}}
}

func (s *store) clone(seed uint64) *store {
	c := newStore(seed)
	c.Store, c.Forgets, c.contents = s.Store.Clone(), s.Forgets, s.contents
	c.keys = append(c.keys, s.keys...)
	return c
}

// forget loses what the store never had.
func (s *store) forget() {
	for range min(s.Forgets, len(s.keys)) {
		s.Remove(s.keys[len(s.keys)-1])
		s.keys = s.keys[:len(s.keys)-1]
	}
}

// contents remembers which records are in an object: objects do not change, and the copies of a machine look at the same ones.
type contents struct {
	mu      sync.Mutex
	objects map[string]map[string]bool
}

// valueHead is what the value of a record begins with.
var valueHead = regexp.MustCompile(`\d{8}/\d{3}/`)

func (c *contents) of(s *faultstore.Store, key string) map[string]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.objects[key] == nil {
		heads := make(map[string]bool)
		for _, head := range valueHead.FindAll(s.Content(key), -1) {
			heads[string(head)] = true
		}
		c.objects[key] = heads
	}
	return c.objects[key]
}

// heads are the beginnings of all values in the bucket, as it is in one moment: what is merged is in one object, and then in another.
func (s *store) heads() map[string]bool {
	all, now := make(map[string]bool), s.Store.Clone()
	for _, key := range now.Keys() {
		maps.Copy(all, s.contents.of(now, key))
	}
	return all
}

var errNoPower = errors.New("the machine that asks has no power")

// NewTypedWriter implements driver.Bucket.
func (s *store) NewTypedWriter(ctx context.Context, key, contentType string, opts *driver.WriterOptions) (driver.Writer, error) {
	w, err := s.Store.NewTypedWriter(ctx, key, contentType, opts)
	return &storeWriter{Writer: w, store: s, key: key}, err
}

// Delete implements driver.Bucket.
func (s *store) Delete(ctx context.Context, key string, opts *driver.DeleteOptions) error {
	s.rig.mu.Lock()
	defer s.rig.mu.Unlock()
	if s.rig.FS.Cut() {
		return errNoPower
	}
	return s.Store.Delete(ctx, key, opts)
}

type storeWriter struct {
	driver.Writer
	store *store
	key   string
}

// Close is when a write happens.
func (w *storeWriter) Close() error {
	s, rig := w.store, w.store.rig
	sent := !rig.FS.Cut()
	rig.happens("object arriving")
	rig.mu.Lock()
	cut := rig.FS.Cut()
	var err error
	if !cut || sent && s.arrives() {
		if err = w.Writer.Close(); err == nil {
			s.keys = append(s.keys, w.key)
		}
	}
	rig.mu.Unlock()
	rig.happens("object arrived")
	if cut {
		return errNoPower
	}
	return err
}

func (s *store) arrives() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rand.IntN(2) == 0
}
