package filestore

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/rand"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"path"

	"gocloud.dev/blob/driver"
	"gocloud.dev/gcerrors"
)

// copyBytes is the unit in which streams are copied.
const copyBytes = 1 << 20

// NewTypedWriter implements [driver.Bucket]. The object is durable, and can be
// seen, when Close returns nil; before that nothing can be seen.
func (s *Store) NewTypedWriter(ctx context.Context, key, contentType string, opts *driver.WriterOptions) (driver.Writer, error) {
	if opts.BeforeWrite != nil {
		if err := opts.BeforeWrite(asNothing); err != nil {
			return nil, err
		}
	}
	return s.newWriter(ctx, key, opts.IfNotExist, attrs{
		ContentType:        contentType,
		MD5:                opts.ContentMD5, // the portable type refuses to close a writer whose bytes differ from it
		CacheControl:       opts.CacheControl,
		ContentDisposition: opts.ContentDisposition,
		ContentEncoding:    opts.ContentEncoding,
		ContentLanguage:    opts.ContentLanguage,
		Metadata:           opts.Metadata,
	})
}

func (s *Store) newWriter(ctx context.Context, key string, ifNotExist bool, a attrs) (*writer, error) {
	name, ok := pathOf(key)
	if !ok {
		return nil, &errKind{gcerrors.InvalidArgument, fmt.Sprintf("key %q cannot be a file name", key)}
	}
	w := &writer{ctx: ctx, store: s, name: name, ifNotExist: ifNotExist, attrs: a}
	if len(a.MD5) == 0 && !s.skipMD5 {
		w.hash = md5.New()
	}
	w.tmp = path.Join(tmpDir, rand.Text())
	var err error
	if w.file, err = s.createTmp(w.tmp); err != nil {
		return nil, err
	}
	return w, nil
}

// createTmp makes a file in .tmp, whose own name need not be durable.
func (s *Store) createTmp(name string) (File, error) {
	f, err := s.fs.Create(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	if err := s.fs.Mkdir(tmpDir); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return s.fs.Create(name)
}

type writer struct {
	ctx        context.Context // of the call that made the writer, as the driver interface wants it
	store      *Store
	name, tmp  string
	ifNotExist bool
	attrs      attrs
	hash       hash.Hash // nil: no MD5 to compute
	file       File
	err        error // the first one; the object is then never published
}

func (w *writer) Write(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, w.fail(err)
	}
	n, err := w.file.Write(p)
	if w.hash != nil {
		w.hash.Write(p[:n])
	}
	return n, w.fail(err)
}

// Upload implements [driver.Uploader].
func (w *writer) Upload(r io.Reader) error {
	var err error
	if from, ok := r.(*bytes.Reader); ok {
		_, err = from.WriteTo(w) // one write of all
	} else {
		_, err = io.CopyBuffer(struct{ io.Writer }{w}, r, make([]byte, copyBytes))
	}
	return w.fail(err)
}

func (w *writer) fail(err error) error {
	if w.err == nil {
		w.err = err
	}
	return err
}

// Close publishes the object, unless anything failed before.
func (w *writer) Close() error {
	if err := w.ctx.Err(); err != nil {
		_ = w.fail(err)
	}
	if w.err == nil {
		_ = w.fail(w.seal())
	}
	_ = w.fail(w.file.Close())
	if w.err == nil {
		_ = w.fail(w.publish())
	}
	// After a rename there is nothing to remove, and what cannot be removed is
	// for the next Open.
	_ = w.store.fs.Remove(w.tmp)
	return w.err
}

// seal makes content and attributes durable.
func (w *writer) seal() error {
	if w.hash != nil {
		w.attrs.MD5 = w.hash.Sum(nil)
	}
	if err := w.attrs.store(w.file); err != nil {
		return err
	}
	if local, err := w.file.Local(); err != nil || !local {
		w.store.doubted.Store(true)
	}
	return w.file.Sync()
}

// publish gives the file its name, durably.
func (w *writer) publish() error {
	dir := path.Dir(w.name)
	if err := w.store.ensureDir(dir); err != nil {
		return err
	}
	err := w.place()
	if errors.Is(err, fs.ErrNotExist) {
		// Somebody removed the directory.
		w.store.forgetDirs()
		if err := w.store.ensureDir(dir); err != nil {
			return err
		}
		err = w.place()
	}
	if err != nil {
		return err
	}
	return w.store.fs.SyncDir(dir)
}

func (w *writer) place() error {
	if !w.ifNotExist {
		return w.store.fs.Rename(w.tmp, w.name)
	}
	err := w.store.fs.Link(w.tmp, w.name)
	if errors.Is(err, fs.ErrExist) {
		return &errKind{gcerrors.FailedPrecondition, "an object with this key exists"}
	}
	return err
}

// Copy implements [driver.Bucket].
func (s *Store) Copy(ctx context.Context, dstKey, srcKey string, opts *driver.CopyOptions) error {
	f, info, err := s.open(srcKey)
	if err != nil {
		return err
	}
	defer f.Close()
	if opts.BeforeCopy != nil {
		if err := opts.BeforeCopy(asNothing); err != nil {
			return err
		}
	}
	a, err := loadAttrs(f)
	if err != nil {
		return err
	}
	w, err := s.newWriter(ctx, dstKey, false, a)
	if err != nil {
		return err
	}
	err = w.Upload(io.NewSectionReader(f, 0, info.Size))
	return errors.Join(err, w.Close())
}
