package tier

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/url"
	"path/filepath"
	"strings"

	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"
	"gocloud.dev/gcerrors"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/tier/filestore"
)

// contentType of our objects.
const contentType = "application/vnd.rustmq.object"

// OpenBucket opens an object store by its URL:
//
//	file:///var/lib/objects   a directory, made when missing; file://./objects is relative
//	mem://                    memory of this process, gone when it is closed
//
// A query "prefix=some/prefix/" confines it to keys below that prefix; with
// "md5=true" a directory keeps the MD5 of each object. Another scheme, or
// another query, is InvalidConfig. The caller closes the bucket.
func OpenBucket(_ context.Context, rawURL string) (*blob.Bucket, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, mq.Errorf(mq.InvalidConfig, "object store: %w", err)
	}
	query := u.Query()
	prefix, md5 := query.Get("prefix"), query.Get("md5") == "true"
	query.Del("prefix")
	query.Del("md5")
	for name := range query {
		return nil, mq.Errorf(mq.InvalidConfig, "object store %s: unknown setting %q, known are prefix and md5", u.Redacted(), name)
	}
	if prefix != "" && (strings.HasPrefix(prefix, "/") || !strings.HasSuffix(prefix, "/")) {
		return nil, mq.Errorf(mq.InvalidConfig, "object store %s: prefix %q must end, and not begin, with a slash", u.Redacted(), prefix)
	}
	var bucket *blob.Bucket
	switch u.Scheme {
	case "file":
		dir := filepath.FromSlash(u.Host + u.Path)
		if dir == "" || u.Opaque != "" || u.Host != "" && u.Host != "." && u.Host != ".." {
			return nil, mq.Errorf(mq.InvalidConfig, "object store %s: want file:///absolute/directory or file://./relative/directory", rawURL)
		}
		if bucket, err = filestore.OpenBucket(dir, filestore.Options{SkipMD5: !md5}); err != nil {
			return nil, mq.Errorf(mq.ObjectStoreUnavailable, "object store %s: %w", rawURL, err)
		}
	case "mem":
		bucket = memblob.OpenBucket(nil)
	default:
		return nil, mq.Errorf(mq.InvalidConfig, "object store %s: unknown scheme %q, known are file and mem", u.Redacted(), u.Scheme)
	}
	if prefix != "" {
		bucket = blob.PrefixedBucket(bucket, prefix)
	}
	return bucket, nil
}

// storeError is what went wrong between us and the store: never a statement
// about what the store holds.
func storeError(ctx context.Context, err error, doing string, args ...any) *mq.Error {
	code := mq.ObjectStoreUnavailable
	if ctx.Err() != nil {
		code = mq.CodeOf(ctx.Err())
		err = ctx.Err()
	}
	return mq.Errorf(code, "%s: %w", fmt.Sprintf(doing, args...), err)
}

// errOther says that the key holds other bytes than ours: somebody's object, or
// half of ours.
var errOther = errors.New("the store holds something else under this key")

// place makes sure that the object store holds exactly data, whose CRC32C is crc, under key: it
// uploads, if need be, and verifies. It may be called again after any failure;
// errOther means that the key is spoilt for good.
func place(ctx context.Context, bucket *blob.Bucket, key string, data []byte, crc uint32) error {
	opts := &blob.WriterOptions{
		ContentType:    contentType,
		IfNotExist:     true,
		BufferSize:     len(data), // one request: the store then knows an MD5
		MaxConcurrency: 1,
	}
	var sum []byte
	if !isLocal(bucket) {
		// A remote store compares it with what arrived. For a directory, whose
		// bytes are read back below, it would only cost.
		s := md5.Sum(data)
		sum = s[:]
		opts.ContentMD5 = sum
	}
	// Upload never goes the way of azureblob's panicking Write.
	err := bucket.Upload(ctx, key, bytes.NewReader(data), opts)
	if err != nil && gcerrors.Code(err) != gcerrors.FailedPrecondition {
		return storeError(ctx, err, "upload object %s", key)
	}
	// FailedPrecondition: something is there. An earlier try of ours may have
	// succeeded without our hearing of it.
	return verify(ctx, bucket, key, int64(len(data)), crc, sum)
}

// verify compares what the store holds with what was uploaded: by size and MD5 if the store
// knows one, else by reading it.
func verify(ctx context.Context, bucket *blob.Bucket, key string, size int64, crc uint32, sum []byte) error {
	attrs, err := bucket.Attributes(ctx, key)
	if err != nil {
		return storeError(ctx, err, "verify object %s", key)
	}
	if attrs.Size != size {
		return fmt.Errorf("object %s has %d bytes instead of %d: %w", key, attrs.Size, size, errOther)
	}
	if len(attrs.MD5) > 0 && sum != nil {
		if !bytes.Equal(attrs.MD5, sum) {
			return fmt.Errorf("object %s has MD5 %x instead of %x: %w", key, attrs.MD5, sum, errOther)
		}
		return nil
	}
	r, err := bucket.NewReader(ctx, key, nil)
	if err != nil {
		return storeError(ctx, err, "read back object %s", key)
	}
	defer r.Close()
	buf := make([]byte, min(size, verifyBytes))
	var got uint32
	for at := int64(0); at < size; {
		n, err := io.ReadFull(r, buf[:min(int64(len(buf)), size-at)])
		if err != nil {
			return storeError(ctx, err, "read back object %s at %d", key, at)
		}
		got = crc32.Update(got, castagnoli, buf[:n])
		at += int64(n)
	}
	if got != crc {
		return fmt.Errorf("object %s has CRC32C %08x, what was uploaded has %08x: %w", key, got, crc, errOther)
	}
	return nil
}

// verifyBytes is how much is read back at once: enough for a local directory to read past the page cache.
const verifyBytes = 1 << 20

// isLocal says whether the bucket is a directory on this machine.
func isLocal(bucket *blob.Bucket) bool {
	var store *filestore.Store
	return bucket.As(&store)
}
