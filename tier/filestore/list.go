package filestore

import (
	"cmp"
	"context"
	"path"
	"slices"
	"strings"

	"gocloud.dev/blob/driver"
)

// defaultPageSize is how many objects a page has when the caller does not say.
const defaultPageSize = 1000

// ListPaged implements [driver.Bucket]. The token of a page is the last key of
// the one before. Only directories that can hold results are read.
func (s *Store) ListPaged(ctx context.Context, opts *driver.ListOptions) (*driver.ListPage, error) {
	if opts.BeforeList != nil {
		if err := opts.BeforeList(asNothing); err != nil {
			return nil, err
		}
	}
	l := lister{
		ctx: ctx, store: s,
		prefix: opts.Prefix, delimiter: opts.Delimiter, after: string(opts.PageToken),
		size: cmp.Or(opts.PageSize, defaultPageSize),
	}
	if err := l.walk(".", ""); err != nil {
		return nil, err
	}
	return &l.page, nil
}

type lister struct {
	ctx               context.Context
	store             *Store
	prefix, delimiter string
	after             string // results at or before it were in earlier pages
	size              int
	page              driver.ListPage
	full              bool
}

// walk lists what lies in dir, all of whose keys begin with key, in the order
// of the keys: a directory sorts as its name and a slash, since that is how all
// keys in it go on.
func (l *lister) walk(dir, key string) error {
	if err := l.ctx.Err(); err != nil {
		return err
	}
	entries, err := l.store.fs.ReadDir(dir)
	if isAbsent(err) {
		return nil // gone since its parent was read
	}
	if err != nil {
		return err
	}
	type child struct {
		key, name string
		isDir     bool
	}
	children := make([]child, 0, len(entries))
	for _, e := range entries {
		component, ok := unescape(e.Name)
		if !ok {
			continue
		}
		c := child{key: key + component, name: path.Join(dir, e.Name), isDir: e.IsDir}
		if e.IsDir {
			c.key = dirKey(key, component)
		}
		children = append(children, c)
	}
	slices.SortFunc(children, func(a, b child) int { return strings.Compare(a.key, b.key) })
	for _, c := range children {
		if l.full {
			return nil
		}
		if c.isDir {
			if l.mayHold(c.key) {
				err = l.walk(c.name, c.key)
			}
		} else if strings.HasPrefix(c.key, l.prefix) {
			err = l.add(c.key, c.name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// mayHold says whether a directory whose keys begin with key can hold a result
// that is still wanted.
func (l *lister) mayHold(key string) bool {
	if !hasEither(key, l.prefix) {
		return false
	}
	if prefix, ok := l.collapse(key); ok {
		return prefix > l.after && !l.isLast(prefix)
	}
	// All of them sort before the token, which is not among them.
	return key > l.after || strings.HasPrefix(l.after, key)
}

// collapse is the "directory" of the listing that a key belongs to.
func (l *lister) collapse(key string) (string, bool) {
	if l.delimiter == "" || !strings.HasPrefix(key, l.prefix) {
		return "", false
	}
	i := strings.Index(key[len(l.prefix):], l.delimiter)
	if i < 0 {
		return "", false
	}
	return key[:len(l.prefix)+i+len(l.delimiter)], true
}

func (l *lister) isLast(key string) bool {
	n := len(l.page.Objects)
	return n > 0 && l.page.Objects[n-1].Key == key
}

// add adds the object with this key, or the "directory" that stands for it.
func (l *lister) add(key, name string) error {
	result := &driver.ListObject{Key: key}
	if prefix, ok := l.collapse(key); ok {
		result = &driver.ListObject{Key: prefix, IsDir: true}
	}
	if result.Key <= l.after || l.isLast(result.Key) {
		return nil
	}
	if !result.IsDir {
		info, err := l.store.fs.Stat(name)
		if isAbsent(err) {
			return nil
		}
		if err != nil {
			return err
		}
		result.Size, result.ModTime = info.Size, info.ModTime
	}
	if len(l.page.Objects) == l.size {
		l.full = true
		l.page.NextPageToken = []byte(l.page.Objects[l.size-1].Key)
		return nil
	}
	l.page.Objects = append(l.page.Objects, result)
	return nil
}
