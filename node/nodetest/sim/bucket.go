package sim

import (
	"context"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/driver"

	"github.com/rustmq/rustmq/tier/faultstore"
)

// shelf is the bucket as one life of a node sees it: what a machine that is off asks for does not happen.
type shelf struct {
	*faultstore.Store
	l *life
}

func (c *cluster) bucket(l *life) *blob.Bucket { return blob.NewBucket(&shelf{c.store, l}) }

// NewTypedWriter implements driver.Bucket.
func (s *shelf) NewTypedWriter(ctx context.Context, key, contentType string, opts *driver.WriterOptions) (driver.Writer, error) {
	w, err := s.Store.NewTypedWriter(ctx, key, contentType, opts)
	return &shelfWriter{w, s.l}, err
}

// Delete implements driver.Bucket.
func (s *shelf) Delete(ctx context.Context, key string, opts *driver.DeleteOptions) error {
	if err := s.l.gate(); err != nil {
		return err
	}
	return s.Store.Delete(ctx, key, opts)
}

type shelfWriter struct {
	driver.Writer
	l *life
}

// Close is when a write happens.
func (w *shelfWriter) Close() error {
	if err := w.l.gate(); err != nil {
		return err
	}
	return w.Writer.Close()
}

// bucketFault is what befalls an operation while the bucket is in trouble.
func (c *cluster) bucketFault(op faultstore.Op) (f faultstore.Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.Delay = time.Duration(1+c.rand.IntN(20)) * time.Millisecond
	if c.away {
		f.Before = faultstore.ErrConnection
		return f
	}
	if !c.trouble {
		return f
	}
	switch c.rand.IntN(4) {
	case 0:
		f.Before = faultstore.ErrConnection
	case 1:
		f.After = faultstore.ErrConnection // done, but nobody hears of it
	case 2:
		f.Delay = time.Duration(c.rand.IntN(3000)) * time.Millisecond
		if op.Kind == faultstore.Write {
			f.Late, f.After = true, faultstore.ErrConnection
		}
	}
	return f
}
