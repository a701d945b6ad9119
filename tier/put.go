package tier

import (
	"bytes"
	"context"
	"crypto/md5"
	"fmt"
	"hash/crc32"
	"io"

	"gocloud.dev/blob"

	"github.com/rustmq/rustmq/tier/filestore"
)

// ContentType of our objects.
const ContentType = "application/vnd.rustmq.object"

// readBackBytes is how much is read back at once: enough for a local directory to read past the page cache.
const readBackBytes = 1 << 20

// Backend is what each kind of store does in its own way.
type Backend interface {
	// Put creates an object; one that is there is an answer of 409 or 412. What
	// arrives is checked by the store, as far as it can.
	Put(ctx context.Context, u *Upload) error
	// Holds is the size of the object that the store has under the key, and whether
	// the store vouches that it is the uploaded one: by a checksum, or a directory because it has just
	// written it. A store that does not vouch says nothing by that.
	Holds(ctx context.Context, u *Upload) (size int64, vouched bool, err error)
	// Explain wraps an error of the store, or of its bucket, by what the store
	// answered: see [Answered]. Where it did not it is err.
	Explain(err error) error
}

// Upload is an object on its way.
type Upload struct {
	Key       string // below the prefix
	Data      []byte
	CRC       uint32    // CRC-32C of Data
	Parts     io.Reader // Data as fast as it may go, for an object in parts; nil: one request
	PartBytes int64     // of each part but the last
	sum       []byte    // MD5 of Data, once asked for
	vouched   bool      // a directory that vouches wrote it
}

// MD5 is the MD5 of Data.
func (u *Upload) MD5() []byte {
	if u.sum == nil {
		sum := md5.Sum(u.Data)
		u.sum = sum[:]
	}
	return u.sum
}

// large says whether the object goes in parts.
func (u *Upload) large() bool { return int64(len(u.Data)) > wholeParts*u.PartBytes }

// requests is how many S3 takes to write the object: in parts it has a beginning and an end, too.
func (u *Upload) requests() int64 {
	if !u.large() {
		return 1
	}
	return (int64(len(u.Data))+u.PartBytes-1)/u.PartBytes + 2
}

// Put makes sure that the store holds exactly data, whose CRC-32C is crc, under
// key: it creates the object, if need be, and verifies it. It never overwrites.
// It may be called again after any failure; one that wraps ErrOther means that
// the key is spoilt for good. data must not change meanwhile.
func (s *Store) Put(ctx context.Context, key string, data []byte, crc uint32) error {
	r, err := s.begin(ctx, opPut, int64(len(data)))
	if err != nil {
		return err
	}
	defer r.end()
	u := &Upload{Key: key, Data: data, CRC: crc, PartBytes: s.limits.PartBytes}
	if u.large() {
		// Whether something is there is found out by the last of many requests.
		if _, _, err := s.holds(r, u); err == nil {
			return s.verify(r, u)
		}
	}
	// troubleExists: something is there. An earlier try of ours may have
	// succeeded without our hearing of it.
	if err := s.create(r, u); err != nil && troubleOf(err) != troubleExists {
		return err
	}
	return s.verify(r, u)
}

// create writes the object where there is none.
func (s *Store) create(r *request, u *Upload) error {
	size := int64(len(u.Data))
	if u.large() {
		u.Parts = &paced{request: r, data: u.Data}
	} else if err := r.take(s.up, size); err != nil {
		return r.fail(err, "upload object %s", u.Key)
	}
	s.counters.bill(s.class, billedWrite, u.requests())
	if err := s.backend.Put(r.ctx, u); err != nil {
		return r.fail(err, "upload object %s", u.Key)
	}
	s.counters.uploaded(s.class, size)
	return nil
}

// holds asks the store for the object.
func (s *Store) holds(r *request, u *Upload) (size int64, vouched bool, err error) {
	s.counters.bill(s.class, billedRead, 1)
	return s.backend.Holds(r.ctx, u)
}

// verify compares what the store holds with what was uploaded: by size and the store's checksum,
// or by reading it where there is none that says yes.
func (s *Store) verify(r *request, u *Upload) error {
	size, vouched, err := s.holds(r, u)
	if err != nil {
		return r.fail(err, "verify object %s", u.Key)
	}
	if size != int64(len(u.Data)) {
		return fmt.Errorf("object %s has %d bytes instead of %d: %w", u.Key, size, len(u.Data), ErrOther)
	}
	if vouched {
		return nil
	}
	s.counters.bill(s.class, billedRead, 1)
	reader, err := s.bucket.NewReader(r.ctx, u.Key, nil)
	if err != nil {
		return r.fail(err, "read back object %s", u.Key)
	}
	defer reader.Close()
	buf := make([]byte, min(size, readBackBytes))
	var got uint32
	for at := int64(0); at < size; {
		piece := buf[:min(int64(len(buf)), size-at)]
		if err := r.take(s.down, int64(len(piece))); err != nil {
			return r.fail(err, "read back object %s at %d", u.Key, at)
		}
		n, err := io.ReadFull(reader, piece)
		s.counters.downloaded(s.class, int64(n))
		if err != nil {
			return r.fail(err, "read back object %s at %d", u.Key, at)
		}
		got = crc32.Update(got, castagnoli, piece)
		at += int64(n)
	}
	if got != u.CRC {
		return fmt.Errorf("object %s has CRC32C %08x, what was uploaded has %08x: %w", u.Key, got, u.CRC, ErrOther)
	}
	return nil
}

// paced reads data as fast as the limits let it.
type paced struct {
	request *request
	data    []byte // what is left
}

func (p *paced) Read(buf []byte) (int, error) {
	if len(p.data) == 0 {
		return 0, io.EOF
	}
	n := min(len(buf), len(p.data), paceBytes)
	if err := p.request.take(p.request.store.up, int64(n)); err != nil {
		return 0, err
	}
	copy(buf, p.data[:n])
	p.data = p.data[n:]
	return n, nil
}

// portable is a backend by what all buckets have in common.
type portable struct{ bucket *blob.Bucket }

func (b portable) Put(ctx context.Context, u *Upload) error {
	opts := &blob.WriterOptions{ContentType: ContentType, IfNotExist: true, BufferSize: len(u.Data), MaxConcurrency: 1}
	dir := directoryOf(b.bucket)
	if dir == nil {
		// A remote store compares it with what arrived. For a directory it would only cost.
		opts.ContentMD5 = u.MD5()
	}
	data := u.Parts
	if data == nil {
		data = bytes.NewReader(u.Data)
	}
	// Upload never goes the way of azureblob's panicking Write.
	err := b.bucket.Upload(ctx, u.Key, data, opts)
	u.vouched = err == nil && dir != nil && dir.Vouches()
	return err
}

func (b portable) Holds(ctx context.Context, u *Upload) (int64, bool, error) {
	attrs, err := b.bucket.Attributes(ctx, u.Key)
	if err != nil {
		return 0, false, err
	}
	if len(attrs.MD5) == 0 || directoryOf(b.bucket) != nil {
		return attrs.Size, u.vouched, nil
	}
	return attrs.Size, bytes.Equal(attrs.MD5, u.MD5()), nil
}

// Explain implements [Backend]: the bucket has its own opinion.
func (b portable) Explain(err error) error { return err }

// directoryOf is the directory that a bucket is, or nil.
func directoryOf(bucket *blob.Bucket) *filestore.Store {
	var store *filestore.Store
	if !bucket.As(&store) {
		return nil
	}
	return store
}
