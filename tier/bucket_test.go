package tier

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"gocloud.dev/blob"

	"github.com/rustmq/rustmq/mq"
)

func TestOpenBucket(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, url := range []string{"mem://", "file://" + dir + "/a/b", "file://./rel", "file://" + dir + "/with%20space?md5=true", "file://./p?prefix=c/g1/", "mem://?prefix=x/"} {
		b, err := OpenBucket(t.Context(), url)
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if err := b.WriteAll(t.Context(), "k", []byte("v"), nil); err != nil {
			t.Errorf("%s: %v", url, err)
		}
		if got, err := b.ReadAll(t.Context(), "k"); err != nil || string(got) != "v" {
			t.Errorf("%s: %q, %v", url, got, err)
		}
		b.Close()
	}
	for _, file := range []string{"a/b/k", "rel/k", "with space/k", "p/c/g1/k"} {
		if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
			t.Error(err)
		}
	}
	for _, url := range []string{"", "rel", "/abs", "s4://bucket", "file://", "file://host/dir", "file:rel", "mem://?colour=red", "file://./x?prefix=/a/", "file://./x?prefix=a", "%"} {
		if _, err := OpenBucket(t.Context(), url); mq.CodeOf(err) != mq.InvalidConfig {
			t.Errorf("%q: %v", url, err)
		}
	}
	if _, err := OpenBucket(t.Context(), "file:///dev/null/x"); mq.CodeOf(err) != mq.ObjectStoreUnavailable {
		t.Errorf("a directory that cannot be: %v", err)
	}
}

// TestUploadToEveryStore runs the whole way on the real drivers.
func TestUploadToEveryStore(t *testing.T) {
	for _, url := range []string{"mem://", "file://" + t.TempDir(), "file://" + t.TempDir() + "?md5=true&prefix=c/"} {
		bucket := must[*blob.Bucket](t)(OpenBucket(t.Context(), url))
		r := newRig(t, 3)
		r.start(func(c *UploaderConfig) { c.Bucket = bucket })
		for i := range 300 {
			r.append(i%3, value(i))
		}
		if err := r.up.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.up.Close()
		reader := must[*Reader](t)(NewReader(ReaderConfig{Bucket: bucket, Catalog: r.catalog}))
		for _, s := range r.sources {
			if got, _ := readAll(t, reader, s.id, 0, s.end); string(got) != string(s.log) {
				t.Errorf("%s: %s reads %d bytes, its log has %d", url, s.id, len(got), len(s.log))
			}
		}
		reader.Close()
		// The same bytes again are no trouble, other bytes are noticed.
		if err := place(context.Background(), bucket, "again", []byte("bytes"), checksum([]byte("bytes"))); err != nil {
			t.Fatal(err)
		}
		if err := place(context.Background(), bucket, "again", []byte("bytes"), checksum([]byte("bytes"))); err != nil {
			t.Errorf("%s: %v", url, err)
		}
		if err := place(context.Background(), bucket, "again", []byte("other"), checksum([]byte("other"))); err == nil {
			t.Errorf("%s: other bytes were not noticed", url)
		}
		bucket.Close()
	}
}
