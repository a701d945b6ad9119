package tier

import (
	"context"

	"gocloud.dev/blob"
)

// OpenBucket opens an object store by its URL:
//
//	file:///var/lib/objects   a directory, made when missing; file://./objects is relative
//	mem://                    memory of this process, gone when it is closed
//
// A query "prefix=some/prefix/" confines it to keys below that prefix. Another
// scheme is InvalidConfig.
func OpenBucket(ctx context.Context, rawURL string) (*blob.Bucket, error) {
	panic("not yet")
}
