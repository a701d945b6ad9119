package faultstore

import (
	"bytes"
	"cmp"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/driver"
	"gocloud.dev/gcerrors"
)

// Kind is what an operation does.
type Kind string

// The operations that can be made to fail.
const (
	Write      Kind = "write"
	Read       Kind = "read"
	Attributes Kind = "attributes"
	List       Kind = "list"
	Delete     Kind = "delete"
	Copy       Kind = "copy"
)

// Op is an operation about to happen.
type Op struct {
	Kind           Kind
	Key            string // of List: the prefix
	Offset, Length int64  // of Read; Length is -1 for all
}

// Fault is what befalls an operation. The zero value is none.
type Fault struct {
	// Delay passes first. The operation's context may end it.
	Delay time.Duration
	// Before is returned instead of doing anything.
	Before error
	// After is returned although all was done.
	After error
	// Late makes a Write return After at once, and happen when Delay has passed.
	Late bool
	// Again has a Write or a Delete happen once more so much later, as a request that was sent twice: nobody hears what became of it. Zero: it does not.
	Again time.Duration
	// Cut lets a Read deliver so many bytes, and a Write store so many, before
	// the connection breaks. Nil: all.
	Cut *int64
	// Flip flips this bit of what a Read delivers, or of what a Write stores,
	// counted from the first byte of that; a transfer that is shorter is not
	// touched. Nil: none. A Write that came with an MD5 is then refused.
	Flip *int64
}

// Store is a [driver.Bucket].
type Store struct {
	// NoMD5 makes the store ignore the MD5 that a Write comes with, and know
	// none of its objects.
	NoMD5 bool

	mu      sync.Mutex
	objects map[string]*driver.Attributes
	content map[string][]byte
	hook    func(Op) Fault
	ops     map[Kind]int
}

// New makes an empty store.
func New() *Store {
	return &Store{objects: map[string]*driver.Attributes{}, content: map[string][]byte{}, ops: map[Kind]int{}}
}

// Clone is a store of its own with the same objects and no hook.
func (s *Store) Clone() *Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := New()
	c.NoMD5, c.objects, c.content = s.NoMD5, maps.Clone(s.objects), maps.Clone(s.content)
	return c
}

// Bucket is a bucket on the store. Several may be open.
func (s *Store) Bucket() *blob.Bucket { return blob.NewBucket(s) }

// SetHook has hook asked about each operation from now on; nil ends it. It is
// called without a lock, by several goroutines at once.
func (s *Store) SetHook(hook func(Op) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = hook
}

// Keys lists what is stored, in order.
func (s *Store) Keys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.content))
}

// Content is what is stored under key, nil if nothing is. It is the store's:
// changing it is rot.
func (s *Store) Content(key string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.content[key]
}

// Flip flips one bit of a stored object, which its MD5 does not show.
func (s *Store) Flip(key string, bit int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	data := bytes.Clone(s.content[key])
	data[bit/8] ^= 1 << (bit % 8)
	s.content[key] = data
}

// Remove removes an object behind everybody's back.
func (s *Store) Remove(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.content, key)
	delete(s.objects, key)
}

// Ops is how many operations of a kind there were.
func (s *Store) Ops(kind Kind) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ops[kind]
}

// enter asks the hook and lets the delay pass.
func (s *Store) enter(ctx context.Context, op Op) (Fault, error) {
	s.mu.Lock()
	s.ops[op.Kind]++
	hook := s.hook
	s.mu.Unlock()
	if hook == nil {
		return Fault{}, ctx.Err()
	}
	f := hook(op)
	if f.Delay > 0 && !f.Late {
		timer := time.NewTimer(f.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return f, ctx.Err()
		}
	}
	return f, cmp.Or(f.Before, ctx.Err())
}

type codeError struct {
	code gcerrors.ErrorCode
	msg  string
}

func (e *codeError) Error() string { return e.msg }

// ErrConnection is a connection that broke.
var ErrConnection = errors.New("the connection broke")

// NotFound is the error of a store that knows nothing under that key.
func NotFound(key string) error {
	return &codeError{gcerrors.NotFound, fmt.Sprintf("no object %q", key)}
}

// Denied is the error of a store that does not let the caller do that.
func Denied() error { return &codeError{gcerrors.PermissionDenied, "you may not do that"} }

// Throttled is the error of a store that was asked too often.
func Throttled() error {
	return &codeError{gcerrors.ResourceExhausted, "503 Slow Down"}
}

// ErrorCode implements [driver.Bucket].
func (s *Store) ErrorCode(err error) gcerrors.ErrorCode {
	if e, ok := errors.AsType[*codeError](err); ok {
		return e.code
	}
	return gcerrors.Unknown
}

// As implements [driver.Bucket].
func (s *Store) As(any) bool { return false }

// ErrorAs implements [driver.Bucket].
func (s *Store) ErrorAs(error, any) bool { return false }

// Close implements [driver.Bucket]: what is stored stays.
func (s *Store) Close() error { return nil }

// SignedURL implements [driver.Bucket]: there are none.
func (s *Store) SignedURL(context.Context, string, *driver.SignedURLOptions) (string, error) {
	return "", &codeError{gcerrors.Unimplemented, "no signed URLs"}
}

// Attributes implements [driver.Bucket].
func (s *Store) Attributes(ctx context.Context, key string) (*driver.Attributes, error) {
	f, err := s.enter(ctx, Op{Kind: Attributes, Key: key})
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.objects[key]
	if a == nil {
		return nil, NotFound(key)
	}
	return a, f.After
}

// ListPaged implements [driver.Bucket].
func (s *Store) ListPaged(ctx context.Context, opts *driver.ListOptions) (*driver.ListPage, error) {
	f, err := s.enter(ctx, Op{Kind: List, Key: opts.Prefix})
	if err != nil {
		return nil, err
	}
	var page driver.ListPage
	after := string(opts.PageToken)
	for _, key := range s.Keys() {
		o := &driver.ListObject{Key: key}
		if rest, ok := strings.CutPrefix(key, opts.Prefix); !ok {
			continue
		} else if i := strings.Index(rest, opts.Delimiter); opts.Delimiter != "" && i >= 0 {
			o = &driver.ListObject{Key: opts.Prefix + rest[:i+len(opts.Delimiter)], IsDir: true}
		}
		if n := len(page.Objects); o.Key <= after || n > 0 && page.Objects[n-1].Key == o.Key {
			continue
		}
		if n := len(page.Objects); n == cmp.Or(opts.PageSize, 1000) {
			page.NextPageToken = []byte(page.Objects[n-1].Key)
			break
		}
		s.mu.Lock()
		if a := s.objects[key]; a != nil && !o.IsDir {
			o.Size, o.ModTime, o.MD5 = a.Size, a.ModTime, a.MD5
		}
		s.mu.Unlock()
		page.Objects = append(page.Objects, o)
	}
	return &page, f.After
}

// Delete implements [driver.Bucket].
func (s *Store) Delete(ctx context.Context, key string, _ *driver.DeleteOptions) error {
	f, err := s.enter(ctx, Op{Kind: Delete, Key: key})
	if err != nil {
		return err
	}
	if f.Again > 0 {
		time.AfterFunc(f.Again, func() { s.Remove(key) })
	}
	if s.Content(key) == nil {
		return NotFound(key)
	}
	s.Remove(key)
	return f.After
}

// Copy implements [driver.Bucket].
func (s *Store) Copy(ctx context.Context, dstKey, srcKey string, _ *driver.CopyOptions) error {
	f, err := s.enter(ctx, Op{Kind: Copy, Key: dstKey})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.content[srcKey] == nil {
		return NotFound(srcKey)
	}
	s.content[dstKey], s.objects[dstKey] = s.content[srcKey], s.objects[srcKey]
	return f.After
}

// NewRangeReader implements [driver.Bucket].
func (s *Store) NewRangeReader(ctx context.Context, key string, offset, length int64, _ *driver.ReaderOptions) (driver.Reader, error) {
	f, err := s.enter(ctx, Op{Kind: Read, Key: key, Offset: offset, Length: length})
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	data, a := s.content[key], s.objects[key]
	s.mu.Unlock()
	if a == nil {
		return nil, NotFound(key)
	}
	if f.After != nil {
		return nil, f.After
	}
	data = data[min(offset, int64(len(data))):]
	if length >= 0 {
		data = data[:min(length, int64(len(data)))]
	}
	data = flip(data, f.Flip)
	var r io.Reader = bytes.NewReader(data)
	if f.Cut != nil && *f.Cut < int64(len(data)) {
		r = io.MultiReader(bytes.NewReader(data[:*f.Cut]), broken{})
	}
	return &reader{r, driver.ReaderAttributes{ContentType: a.ContentType, ModTime: a.ModTime, Size: a.Size}}, nil
}

// flip is data with a bit flipped, a copy if so.
func flip(data []byte, bit *int64) []byte {
	if bit == nil || *bit/8 >= int64(len(data)) {
		return data
	}
	data = bytes.Clone(data)
	data[*bit/8] ^= 1 << (*bit % 8)
	return data
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, ErrConnection }

type reader struct {
	io.Reader
	attrs driver.ReaderAttributes
}

func (r *reader) Close() error                         { return nil }
func (r *reader) Attributes() *driver.ReaderAttributes { return &r.attrs }
func (r *reader) As(any) bool                          { return false }

// NewTypedWriter implements [driver.Bucket].
func (s *Store) NewTypedWriter(ctx context.Context, key, contentType string, opts *driver.WriterOptions) (driver.Writer, error) {
	return &writer{ctx: ctx, store: s, key: key, contentType: contentType, opts: *opts}, nil
}

type writer struct {
	ctx         context.Context
	store       *Store
	key         string
	contentType string
	opts        driver.WriterOptions
	buf         bytes.Buffer
}

func (w *writer) Write(p []byte) (int, error) { return w.buf.Write(p) }

// Close is when a write happens.
func (w *writer) Close() error {
	if err := w.ctx.Err(); err != nil {
		return err // cancelled before it was sent
	}
	f, err := w.store.enter(w.ctx, Op{Kind: Write, Key: w.key})
	if err != nil {
		return err
	}
	data := flip(w.buf.Bytes(), f.Flip)
	if f.Cut != nil && *f.Cut < int64(len(data)) {
		data = data[:*f.Cut]
		f.After = cmp.Or(f.After, ErrConnection)
	}
	if f.Again > 0 {
		time.AfterFunc(f.Again, func() { _ = w.put(data) })
	}
	if f.Late {
		time.AfterFunc(f.Delay, func() { _ = w.put(data) })
		return f.After
	}
	return cmp.Or(w.put(data), f.After)
}

func (w *writer) put(data []byte) error {
	sum := md5.Sum(data)
	if len(w.opts.ContentMD5) > 0 && !w.store.NoMD5 && !bytes.Equal(sum[:], w.opts.ContentMD5) {
		return &codeError{gcerrors.InvalidArgument, "the MD5 is not that of what arrived"}
	}
	now := time.Now()
	a := &driver.Attributes{ContentType: w.contentType, Metadata: w.opts.Metadata, CreateTime: now, ModTime: now, Size: int64(len(data)), MD5: sum[:]}
	if w.store.NoMD5 {
		a.MD5 = nil
	}
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	if w.opts.IfNotExist && w.store.objects[w.key] != nil {
		return &codeError{gcerrors.FailedPrecondition, "an object with this key exists"}
	}
	w.store.objects[w.key], w.store.content[w.key] = a, bytes.Clone(data)
	return nil
}
