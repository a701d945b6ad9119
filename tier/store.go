package tier

import (
	"cmp"
	"context"
	"errors"
	"io"
	"time"

	"gocloud.dev/blob"

	"github.com/rustmq/rustmq/mq"
)

const (
	// DefaultRequests is the default of Limits.Requests.
	DefaultRequests = 64
	// DefaultTimeout is the default of Limits.Timeout.
	DefaultTimeout = 30 * time.Second
	// DefaultPartBytes is the default of Limits.PartBytes.
	DefaultPartBytes = 16 << 20

	// PartsAtOnce is how many parts of one object are sent beside each other, each a
	// copy in memory.
	PartsAtOnce = 4

	// leastRequests is the fewest that leave each class its share.
	leastRequests = 4
	// wholeParts is how many parts' worth is still sent by one request: an object
	// that is flushed is one.
	wholeParts = 4
	// patientBytes is how many bytes of a request let it take one second longer.
	patientBytes = 1 << 20
	// paceBytes is how much is moved at once where the rate is bounded.
	paceBytes = 256 << 10
	// listPage is how many objects are listed by one request.
	listPage = 1000
)

// Limits bounds what a [Store] asks of its bucket. Zero values mean their
// defaults.
type Limits struct {
	// Requests is how many may be under way at once, at least 4. An object in
	// parts is one. Default DefaultRequests.
	Requests int
	// UploadRate and DownloadRate bound the bytes per second. Zero: no bound.
	UploadRate, DownloadRate int64
	// Timeout is how long a request may take without getting anywhere, beside a
	// second for each MiB of it. What it waits for these limits does not count.
	// Default DefaultTimeout.
	Timeout time.Duration
	// PartBytes is the size of the parts of an object that is larger than four of
	// them: they are sent beside each other, or, by Google's, one after the other.
	// At least 5 MiB. Default DefaultPartBytes.
	PartBytes int64
	// ReadOnly refuses every request that would change what the bucket has, before it is made, with the code ReadOnly.
	ReadOnly bool
}

func (l Limits) withDefaults() Limits {
	l.Requests = max(leastRequests, cmp.Or(l.Requests, DefaultRequests))
	l.Timeout = cmp.Or(l.Timeout, DefaultTimeout)
	l.PartBytes = cmp.Or(l.PartBytes, DefaultPartBytes)
	return l
}

// Store is an object store within limits, for requests of one class: all bucket
// I/O goes through here. It is safe for concurrent use. Its errors are *[mq.Error]
// with the code ObjectStoreUnavailable, whatever the trouble is, or that of the
// context. None of them says anything about what the store holds, but one that
// wraps [ErrAbsent].
type Store struct {
	*storeCore
	class Class
}

// storeCore is what the handles of all classes share.
type storeCore struct {
	bucket  *blob.Bucket
	backend Backend
	limits  Limits
	name    string // for people: the URL without its query

	gate     *gate
	up, down *pace
	counters storeCounters
	closers  []func() error
}

// Info is what a store says about an object.
type Info struct {
	Key     string
	Size    int64 // in bytes
	ModTime time.Time
}

// NewStore makes a store of a bucket, which stays the caller's to close. Its
// class is ClassBackground; see [Store.For].
func NewStore(bucket *blob.Bucket, limits Limits) *Store {
	limits = limits.withDefaults()
	return &Store{class: ClassBackground, storeCore: &storeCore{
		bucket: bucket, backend: portable{bucket}, limits: limits, name: "the bucket",
		gate: newGate(limits.Requests), up: newPace(limits.UploadRate), down: newPace(limits.DownloadRate),
	}}
}

// For is the same store for requests of another class.
func (s *Store) For(c Class) *Store { return &Store{s.storeCore, c} }

// Close closes what [OpenStore] opened, for the handles of all classes. No
// request may be under way.
func (s *Store) Close() error {
	var errs []error
	for _, closer := range s.closers {
		errs = append(errs, closer())
	}
	return errors.Join(errs...)
}

// Idle says whether there is plenty of room in the limits: the time for what
// could as well be left.
func (s *Store) Idle() bool { return s.gate.idle() && s.down.idle() }

// reads counts the reads that consumers and replicas waited for, since the start.
func (s *Store) reads() int64 { return s.counters.requests[ClassRead][opRead].Load() }

// String is the store's URL without its query, which nobody should see.
func (s *Store) String() string { return s.name }

// request is one under way: it has its place in the gate, and a context that ends
// when it gets stuck.
type request struct {
	store  *Store
	outer  context.Context // the caller's
	ctx    context.Context
	cancel context.CancelCauseFunc
	stuck  *time.Timer
	limit  time.Duration
}

var errStuck = errors.New("it took too long")

// begin waits for a place. The request moves so many bytes. End it.
func (s *Store) begin(ctx context.Context, op operation, bytes int64) (*request, error) {
	if s.limits.ReadOnly && changes[op] {
		return nil, mq.Errorf(mq.ReadOnly, "%s is opened for reading only: no %s", s, operationNames[op])
	}
	since := time.Now()
	if err := s.gate.enter(ctx, s.class); err != nil {
		return nil, storeError(ctx, err, "wait for a request to the object store")
	}
	s.counters.began(s.class, op, time.Since(since))
	if as, one := billedAs[op]; one {
		s.counters.bill(s.class, as, 1)
	}
	r := &request{store: s, outer: ctx, limit: s.limits.Timeout + time.Duration(bytes/patientBytes)*time.Second}
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	r.stuck = time.AfterFunc(r.limit, func() { r.cancel(errStuck) })
	return r, nil
}

func (r *request) end() {
	r.stuck.Stop()
	r.cancel(nil)
	r.store.gate.leave(r.store.class)
}

// take waits until n bytes may be moved in one direction.
func (r *request) take(p *pace, n int64) error {
	r.stuck.Stop()
	defer r.stuck.Reset(r.limit)
	return p.take(r.ctx, r.store.class, n)
}

// fail is what went wrong with the request, in the words of what it did.
func (r *request) fail(err error, doing string, args ...any) error {
	err = r.store.backend.Explain(err)
	if errors.Is(context.Cause(r.ctx), errStuck) {
		err = mq.Errorf(mq.ObjectStoreUnavailable, "%w: %s without getting anywhere", errStuck, r.limit)
	}
	kind, told := troubleOf(err), storeError(r.outer, err, doing, args...)
	if r.outer.Err() == nil && kind != troubleExists {
		r.store.counters.failed(kind, told)
	}
	return told
}

// Body is a ranged read under way. It is one of the limit's requests until it is
// closed: read it into memory, and do nothing else meanwhile.
type Body struct {
	request *request
	reader  *blob.Reader
	key     string
	at      int64
}

// Open begins to read length bytes of an object from offset on; -1 for all that
// follow. An object that is not there is ErrAbsent. Close the body.
func (s *Store) Open(ctx context.Context, key string, offset, length int64) (*Body, error) {
	r, err := s.begin(ctx, opRead, max(0, length))
	if err != nil {
		return nil, err
	}
	reader, err := s.bucket.NewRangeReader(r.ctx, key, offset, length, nil)
	if err != nil {
		defer r.end()
		return nil, s.orAbsent(r, err, key, "read object %s at %d", key, offset)
	}
	return &Body{r, reader, key, offset}, nil
}

// ObjectSize is the size of the whole object, in bytes.
func (b *Body) ObjectSize() int64 { return b.reader.Size() }

// Read implements [io.Reader].
func (b *Body) Read(p []byte) (int, error) {
	s := b.request.store
	if s.down.perSecond > 0 {
		p = p[:min(len(p), paceBytes)]
		if err := b.request.take(s.down, int64(len(p))); err != nil {
			return 0, b.request.fail(err, "read object %s at %d", b.key, b.at)
		}
	}
	n, err := b.reader.Read(p)
	if n > 0 {
		b.request.stuck.Reset(b.request.limit)
	}
	b.at += int64(n)
	s.counters.downloaded(s.class, int64(n))
	if err != nil && !errors.Is(err, io.EOF) {
		err = b.request.fail(err, "read object %s at %d", b.key, b.at)
	}
	return n, err
}

// openCommitted begins to read the bytes [from, to) of an object of which it is known how large it is: another size is Corrupt. Close the body.
func (s *Store) openCommitted(ctx context.Context, o object, from, to int64) (*Body, error) {
	body, err := s.Open(ctx, o.key, from, to-from)
	if err != nil {
		return nil, err
	}
	if got := body.ObjectSize(); got != o.size {
		_ = body.Close() // what it would say is no news
		return nil, corrupt("object %s has %d bytes, it was committed with %d", o.key, got, o.size)
	}
	return body, nil
}

// fill reads len(p) bytes, which are there: a body that ends before is trouble of the store.
func (b *Body) fill(p []byte) (int, error) {
	n, err := io.ReadFull(b, p)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		err = mq.Errorf(mq.ObjectStoreUnavailable, "read object %s: it ended at %d", b.key, b.at)
	}
	return n, err
}

// Close ends the read.
func (b *Body) Close() error {
	defer b.request.end()
	return b.reader.Close()
}

// Stat asks for an object. One that is not there is ErrAbsent.
func (s *Store) Stat(ctx context.Context, key string) (Info, error) {
	r, err := s.begin(ctx, opStat, 0)
	if err != nil {
		return Info{}, err
	}
	defer r.end()
	attrs, err := s.bucket.Attributes(r.ctx, key)
	if err != nil {
		return Info{}, s.orAbsent(r, err, key, "ask for object %s", key)
	}
	return Info{key, attrs.Size, attrs.ModTime}, nil
}

// Delete deletes an object. One that is not there is no error.
func (s *Store) Delete(ctx context.Context, key string) error {
	r, err := s.begin(ctx, opDelete, 0)
	if err != nil {
		return err
	}
	defer r.end()
	s.counters.bill(s.class, billedRead, 1) // gocloud asks S3 for it first
	if err := s.bucket.Delete(r.ctx, key); err != nil {
		if err := s.orAbsent(r, err, key, "delete object %s", key); !errors.Is(err, ErrAbsent) {
			return err
		}
	}
	return nil
}

// List calls visit for each object whose key begins with prefix, in the order of
// keys, until it fails. It has no place in the limits while visit runs.
func (s *Store) List(ctx context.Context, prefix string, visit func(Info) error) error {
	token := blob.FirstPageToken
	for len(token) > 0 {
		page, next, err := s.page(ctx, prefix, token, listPage)
		if err != nil {
			return err
		}
		for _, o := range page {
			if err := visit(Info{o.Key, o.Size, o.ModTime}); err != nil {
				return err
			}
		}
		token = next
	}
	return nil
}

func (s *Store) page(ctx context.Context, prefix string, token []byte, size int) ([]*blob.ListObject, []byte, error) {
	r, err := s.begin(ctx, opList, 0)
	if err != nil {
		return nil, nil, err
	}
	defer r.end()
	page, next, err := s.bucket.ListPage(r.ctx, token, size, &blob.ListOptions{Prefix: prefix})
	if err != nil {
		return nil, nil, r.fail(err, "list objects %s*", prefix)
	}
	return page, next, nil
}
