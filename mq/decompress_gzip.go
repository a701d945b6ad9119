package mq

import (
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
)

// minGzipRead is the least room that is made for decompressed bytes.
const minGzipRead = 4 << 10

// decompressGzip reads one or more gzip members into data.
func (d *DecodeBuffer) decompressGzip(src []byte) (err error) {
	d.src.Reset(src)
	defer d.src.Reset(nil)
	if d.gzip == nil {
		d.gzip, err = gzip.NewReader(&d.src)
	} else {
		err = d.gzip.Reset(&d.src)
	}
	if err != nil {
		return damaged(CompressionGzip, "%w", noEOF(err))
	}
	for {
		if len(d.data) == cap(d.data) || len(d.data) == d.limit() {
			if len(d.data) == d.limit() {
				return d.endGzip(src)
			}
			d.reserve(min(max(len(src), minGzipRead), d.limit()-len(d.data)))
		}
		n, err := d.gzip.Read(d.data[len(d.data):min(cap(d.data), d.limit())])
		d.data = d.data[:len(d.data)+n]
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return damaged(CompressionGzip, "%w", err)
		}
	}
}

// endGzip is called when the limit is reached: nothing but the end may follow.
func (d *DecodeBuffer) endGzip(src []byte) error {
	var more [1]byte
	switch _, err := io.ReadFull(d.gzip, more[:]); {
	case err == nil:
		return d.bomb(CompressionGzip, src)
	case errors.Is(err, io.EOF):
		return nil
	default:
		return damaged(CompressionGzip, "%w", err)
	}
}

// noEOF keeps the end of the input within a header from looking like an end.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
