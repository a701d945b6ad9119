package tier

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	"github.com/rustmq/rustmq/mq"
)

// ErrAbsent is a store that answers, shows what it holds, and says that it does
// not have the object.
var ErrAbsent = errors.New("the store says that it does not have it")

// ErrOther is a Put under whose key there are other bytes: somebody's object, or
// half of ours. The key is spoilt for good.
var ErrOther = errors.New("the store holds something else under this key")

// trouble is the kind of a store's error.
type trouble int

const (
	troubleOther     trouble = iota // it cannot be reached, or has troubles of its own
	troubleAbsent                   // it knows nothing under that name: the object, or the whole bucket
	troubleExists                   // a create-only write, and something is there
	troubleDenied                   // whoever we are may not do that
	troubleThrottled                // too many requests
	troubles         = iota
)

// troubleOf is the kind of an error of a bucket: by what the store answered, and
// only where there is no answer by the bucket's own opinion. (Google's driver
// takes 403 for "not found", Azure's a name that DNS does not know.)
func troubleOf(err error) trouble {
	if a, ok := errors.AsType[*answer](err); ok {
		return troubleOfAnswer(a.status, a.code)
	}
	if errors.Is(err, fs.ErrPermission) {
		return troubleDenied
	}
	switch gcerrors.Code(err) {
	case gcerrors.NotFound:
		return troubleAbsent
	case gcerrors.FailedPrecondition:
		return troubleExists
	case gcerrors.PermissionDenied:
		return troubleDenied
	case gcerrors.ResourceExhausted:
		return troubleThrottled
	}
	return troubleOther
}

// answer is what a store answered, behind an error.
type answer struct {
	err    error
	status int
	code   string
	page   string
}

// Answered is err with what the store answered: a status of HTTP, and the store's
// word for it. page is text in err that is to be left out, since status and code
// say as much; "" for none.
func Answered(err error, status int, code, page string) error {
	if errors.As(err, new(*answer)) {
		return err
	}
	return &answer{err, status, code, page}
}

func (a *answer) Error() string {
	text := a.err.Error()
	if a.page != "" {
		text = strings.ReplaceAll(text, a.page, fmt.Sprintf("the store answers %d %s", a.status, a.code))
	}
	return text
}

func (a *answer) Unwrap() error { return a.err }

// The answers that mean something to us, as numbers: nobody here speaks HTTP.
func troubleOfAnswer(status int, code string) trouble {
	switch {
	case status == 429, status == 503, strings.Contains(strings.ToLower(code), "ratelimit"):
		return troubleThrottled
	case status == 401, status == 403:
		return troubleDenied
	case status == 412, status == 409 && code == "BlobAlreadyExists":
		return troubleExists
	case status == 404 && code != "NoSuchUpload":
		return troubleAbsent
	}
	return troubleOther
}

// orAbsent is the error of a request about an object. That the object is absent
// is believed only if the store lists its neighbourhood without it: other
// troubles, such as a bucket that is not there, look the same at first.
func (s *Store) orAbsent(r *request, err error, key, doing string, args ...any) error {
	err = s.backend.Explain(err)
	if troubleOf(err) != troubleAbsent || r.ctx.Err() != nil {
		return r.fail(err, doing, args...)
	}
	s.counters.bill(s.class, billedWrite, 1)
	found, _, listErr := s.bucket.ListPage(r.ctx, blob.FirstPageToken, 1, &blob.ListOptions{Prefix: key})
	if listErr != nil {
		return r.fail(fmt.Errorf("%w; to see whether that is so, it was listed: %w", err, listErr), doing, args...)
	}
	if len(found) > 0 && found[0].Key == key {
		return r.fail(fmt.Errorf("%w, and lists it", err), doing, args...)
	}
	return mq.Errorf(mq.ObjectStoreUnavailable, "%s: %w (%v)", fmt.Sprintf(doing, args...), ErrAbsent, err)
}

// storeError is what went wrong between us and the store: never a statement
// about what the store holds.
func storeError(ctx context.Context, err error, doing string, args ...any) *mq.Error {
	code := mq.ObjectStoreUnavailable
	if ctx.Err() != nil {
		code = mq.CodeOf(ctx.Err())
		err = ctx.Err()
	}
	if troubleOf(err) == troubleDenied {
		err = fmt.Errorf("access denied: %w", err)
	}
	return mq.Errorf(code, "%s: %w", fmt.Sprintf(doing, args...), printable(err))
}

// signature is that of a shared access signature of Azure's, which is a secret in
// a URL, and an error may show the URL.
var signature = regexp.MustCompile(`\bsig=[^&\s"']+`)

// printable is an error that may be shown: in one line, and without secrets.
func printable(err error) error {
	text := signature.ReplaceAllString(err.Error(), "sig=...")
	text = strings.Join(strings.Fields(text), " ")
	if text == err.Error() {
		return err
	}
	return &shownError{err, text}
}

// shownError is an error with another text.
type shownError struct {
	err  error
	text string
}

func (e *shownError) Error() string { return e.text }
func (e *shownError) Unwrap() error { return e.err }
