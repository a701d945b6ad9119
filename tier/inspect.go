package tier

import (
	"context"
	"io"

	"gocloud.dev/blob"
)

// Object is an object opened for inspection.
type Object interface {
	io.ReaderAt
	io.Closer
	Name() string // key or path
	Size() int64  // in bytes
}

// OpenObject opens an object of a bucket for inspection.
func OpenObject(ctx context.Context, bucket *blob.Bucket, key string) (Object, error) {
	panic("not yet")
}

// OpenObjectFile opens an object that is a file.
func OpenObjectFile(path string) (Object, error) { panic("not yet") }

// Dump writes what an object says about itself, for people.
func Dump(o Object, w io.Writer) error { panic("not yet") }

// Damage is one place where an object is not what it should be.
type Damage struct {
	Position int64  // in bytes from the start of the object
	Section  string // "header", "footer", "trailer", or the partition and offsets of a range
	Reason   string
}

// Report is what Check found.
type Report struct {
	Object  string
	ID      uint64
	Size    int64
	Ranges  int
	Batches int64
	Records int64
	Damage  []Damage
}

// Check reads all of an object and verifies every byte of it. The error is for
// what could not be read; damage is in the report.
func Check(o Object) (Report, error) { panic("not yet") }
