package filestore

import (
	"context"
	"io"

	"gocloud.dev/blob/driver"
)

// NewRangeReader implements [driver.Bucket]. Each Read is one positional read.
func (s *Store) NewRangeReader(_ context.Context, key string, offset, length int64, opts *driver.ReaderOptions) (driver.Reader, error) {
	f, info, err := s.open(key)
	if err != nil {
		return nil, err
	}
	r := &reader{file: f, offset: offset, end: info.Size}
	if length >= 0 {
		r.end = min(r.end, offset+length)
	}
	if opts.BeforeRead != nil {
		err = opts.BeforeRead(asNothing)
	}
	var a attrs
	if err == nil {
		a, err = loadAttrs(f)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	r.attrs = driver.ReaderAttributes{ContentType: a.ContentType, ModTime: info.ModTime, Size: info.Size}
	return r, nil
}

type reader struct {
	file        File
	offset, end int64 // what is left to read
	attrs       driver.ReaderAttributes
}

func (r *reader) Read(p []byte) (int, error) {
	if r.offset >= r.end {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), r.end-r.offset)]
	n, err := r.file.ReadAt(p, r.offset)
	r.offset += int64(n)
	if n == len(p) {
		err = nil // ReadAt may say EOF together with all bytes
	}
	return n, err
}

func (r *reader) Close() error                         { return r.file.Close() }
func (r *reader) Attributes() *driver.ReaderAttributes { return &r.attrs }
func (r *reader) As(any) bool                          { return false }
