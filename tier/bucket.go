package tier

import (
	"context"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/tier/filestore"
)

// Location is the URL of a store, taken apart.
type Location struct {
	Name   string            // of the bucket, or the directory
	Prefix string            // of all keys, "" or ending in a slash
	Set    map[string]string // the settings that the URL has
	url    *url.URL
	// ReadOnly says that the store is opened as it is, and nothing is written.
	ReadOnly bool
}

// String is the URL without its query.
func (l *Location) String() string {
	return (&url.URL{Scheme: l.url.Scheme, Host: l.url.Host, Path: l.url.Path}).String()
}

// Scheme is a kind of store.
type Scheme struct {
	Name     string   // of its URLs
	Like     string   // an example of one
	Settings []string // of its query, beside prefix
	// Open opens one. It does not wait for a store that is away. Errors are
	// *[mq.Error], and show nothing secret.
	Open func(ctx context.Context, l *Location) (*Opened, error)
}

// Opened is what a scheme gives.
type Opened struct {
	Bucket  *blob.Bucket
	Backend Backend      // nil: by what all buckets have in common
	Close   func() error // after the bucket's; optional
}

// local are the stores that are always there.
var local = []Scheme{
	{Name: "file", Like: "file:///var/lib/rustmq/objects", Settings: []string{"md5", "read_back"}, Open: openDirectory},
	{Name: "mem", Like: "mem://", Open: openMemory},
}

// prefixes are the ones that every store takes as they are.
var prefixes = regexp.MustCompile(`^[A-Za-z0-9!_.*'()=+@,-]+(/[A-Za-z0-9!_.*'()=+@,-]+)*/$`)

// parseURL takes a URL apart. Its errors are InvalidConfig, and show no value of
// its query.
func parseURL(raw string, more []Scheme) (*Scheme, *Location, error) {
	schemes := slices.Concat(local, more)
	u, err := url.Parse(raw)
	if err != nil {
		return nil, nil, mq.Errorf(mq.InvalidConfig, "the object store's URL cannot be read: write it like %s", schemes[0].Like)
	}
	i := slices.IndexFunc(schemes, func(s Scheme) bool { return s.Name == u.Scheme })
	if i < 0 {
		names := make([]string, len(schemes))
		for i, s := range schemes {
			names[i] = s.Name + "://"
		}
		return nil, nil, mq.Errorf(mq.InvalidConfig, "no object store is known as %q: it may be %s", u.Scheme+"://", strings.Join(names, ", "))
	}
	s := &schemes[i]
	l := &Location{url: u, Name: u.Host, Set: map[string]string{}}
	if u.User != nil {
		return nil, nil, mq.Errorf(mq.InvalidConfig, "object store %s: a URL is no place for credentials: they come from the environment, or from a file", l)
	}
	if u.Opaque != "" || u.Fragment != "" {
		return nil, nil, mq.Errorf(mq.InvalidConfig, "object store: write its URL like %s", s.Like)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, nil, mq.Errorf(mq.InvalidConfig, "object store %s: its query cannot be read", l)
	}
	known := append([]string{"prefix"}, s.Settings...)
	for name, values := range query {
		if !slices.Contains(known, name) {
			return nil, nil, mq.Errorf(mq.InvalidConfig, "object store %s: unknown setting %q: known are %s", l, name, strings.Join(known, ", "))
		}
		if len(values) > 1 {
			return nil, nil, mq.Errorf(mq.InvalidConfig, "object store %s: setting %q is there twice", l, name)
		}
		l.Set[name] = values[0]
	}
	if l.Prefix = l.Set["prefix"]; l.Prefix != "" && (!prefixes.MatchString(l.Prefix) || strings.Contains(l.Prefix, "..")) {
		return nil, nil, mq.Errorf(mq.InvalidConfig, "object store %s: prefix %q must end in a slash and not begin with one, without .. and signs that some store does not take", l, l.Prefix)
	}
	if s.Name == "file" {
		l.Name = filepath.FromSlash(u.Host + u.Path)
		if l.Name == "" || u.Host != "" && u.Host != "." && u.Host != ".." {
			return nil, nil, mq.Errorf(mq.InvalidConfig, "object store %s: want file:///absolute/directory or file://./relative/directory", l)
		}
	} else if l.Name == "" && s.Name != "mem" {
		return nil, nil, mq.Errorf(mq.InvalidConfig, "object store: write its URL like %s", s.Like)
	} else if u.Path != "" && u.Path != "/" {
		return nil, nil, mq.Errorf(mq.InvalidConfig, "object store %s: a directory in it is named by prefix, as in %s?prefix=some/directory/", l, s.Name+"://"+u.Host)
	}
	return s, l, nil
}

// Yes reads a setting that is true or false; false where it is not set.
func (l *Location) Yes(name string) (bool, error) {
	switch text := l.Set[name]; text {
	case "true":
		return true, nil
	case "", "false":
		return false, nil
	default:
		return false, mq.Errorf(mq.InvalidConfig, "object store %s: %s is %q: it may be true or false", l, name, text)
	}
}

// Endpoint is where the store answers, without a slash at its end; "" where its
// kind says that.
func (l *Location) Endpoint() (string, error) {
	text := strings.TrimSuffix(l.Set["endpoint"], "/")
	if text == "" {
		return "", nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", mq.Errorf(mq.InvalidConfig, "object store %s: endpoint is not like https://host:port", l)
	}
	return text, nil
}

// CheckURL says what is wrong with the URL of a store, as far as can be seen
// without opening it; see [OpenStore]. Errors are InvalidConfig.
func CheckURL(raw string, more ...Scheme) error {
	_, _, err := parseURL(raw, more)
	return err
}

// OpenStore opens an object store by its URL. more are the schemes beside file and
// mem: those of package clouds.
//
//	file:///var/lib/objects   a directory, made when missing; file://./objects is relative
//	mem://                    memory of this process, gone when it is closed
//	s3://BUCKET               Amazon S3, or what speaks like it
//	gs://BUCKET               Google Cloud Storage
//	azblob://CONTAINER        Azure Blob Storage
//
// Its query has settings, which docs/operations.md explains:
//
//	all      prefix=some/prefix/   confines it to keys below that
//	file     md5=true              keep the MD5 of each object
//	         read_back=true        read each object after it was written
//	s3       region, endpoint, path_style=true, credentials=FILE, profile,
//	         sse, kms_key, checksums=false
//	gs       endpoint, credentials=FILE, anonymous=true, kms_key
//	azblob   account, endpoint, credentials=FILE, encryption_scope
//
// Without credentials=FILE they are found as each cloud's own tools find them.
// What the URL has that is not known is InvalidConfig. A store that cannot be
// reached is opened all the same: see [Store.Probe]. The store's class is
// ClassBackground; see [Store.For]. Close it.
func OpenStore(ctx context.Context, raw string, limits Limits, more ...Scheme) (*Store, error) {
	s, l, err := parseURL(raw, more)
	if err != nil {
		return nil, err
	}
	l.ReadOnly = limits.ReadOnly
	got, err := s.Open(ctx, l)
	if err != nil {
		return nil, err
	}
	bucket := got.Bucket
	if l.Prefix != "" {
		bucket = blob.PrefixedBucket(bucket, l.Prefix)
	}
	store := NewStore(bucket, limits)
	store.name, store.closers = l.String(), []func() error{bucket.Close}
	if got.Backend != nil {
		store.backend = got.Backend
	}
	if got.Close != nil {
		store.closers = append(store.closers, got.Close)
	}
	return store, nil
}

func openDirectory(_ context.Context, l *Location) (*Opened, error) {
	md5, err := l.Yes("md5")
	if err != nil {
		return nil, err
	}
	readBack, err := l.Yes("read_back")
	if err != nil {
		return nil, err
	}
	bucket, err := filestore.OpenBucket(l.Name, filestore.Options{SkipMD5: !md5, ReadBack: readBack, Untouched: l.ReadOnly})
	if err != nil {
		return nil, mq.Errorf(mq.ObjectStoreUnavailable, "object store %s: %w", l, err)
	}
	return &Opened{Bucket: bucket}, nil
}

func openMemory(context.Context, *Location) (*Opened, error) {
	return &Opened{Bucket: memblob.OpenBucket(nil)}, nil
}
