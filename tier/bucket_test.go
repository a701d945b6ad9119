package tier

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rustmq/rustmq/mq"
)

func TestOpenStore(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, url := range []string{"mem://", "file://" + dir + "/a/b", "file://./rel", "file://" + dir + "/with%20space?md5=true", "file://./p?prefix=c/g1/", "mem://?prefix=x/"} {
		s, err := OpenStore(t.Context(), url, Limits{})
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if err := s.Put(t.Context(), "k", []byte("v"), checksum([]byte("v"))); err != nil {
			t.Errorf("%s: %v", url, err)
		}
		if got, err := readObject(t.Context(), s, "k"); err != nil || string(got) != "v" {
			t.Errorf("%s: %q, %v", url, got, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, file := range []string{"a/b/k", "rel/k", "with space/k", "p/c/g1/k"} {
		if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
			t.Error(err)
		}
	}
	for _, url := range []string{
		"", "rel", "/abs", "s4://bucket", "file://", "file://host/dir", "file:rel", "mem://?colour=red", "mem://bucket/dir", "mem://#part",
		"file://./x?prefix=/a/", "file://./x?prefix=a", "file://./x?prefix=a/../b/", "file://./x?prefix=a//b/", "file://./x?md5=perhaps", "mem://?prefix=a/&prefix=b/", "%",
	} {
		if _, err := OpenStore(t.Context(), url, Limits{}); mq.CodeOf(err) != mq.InvalidConfig {
			t.Errorf("%q: %v", url, err)
		}
	}
	if _, err := OpenStore(t.Context(), "file:///dev/null/x", Limits{}); mq.CodeOf(err) != mq.ObjectStoreUnavailable {
		t.Errorf("a directory that cannot be: %v", err)
	}
}

// TestURLErrorsShowNoSecret puts a secret wherever somebody might.
func TestURLErrorsShowNoSecret(t *testing.T) {
	for _, url := range []string{"mem://key:hush@bucket", "mem://bucket?secret_key=hush", "mem://bucket?secret=%zzhush", "mem://b\x7f?k=hush", "file://hush@/x", "zz://hush:hush@b?x=hush"} {
		err := CheckURL(url)
		if mq.CodeOf(err) != mq.InvalidConfig || strings.Contains(err.Error(), "hush") {
			t.Errorf("%q: %v", url, err)
		}
	}
	if err := CheckURL("mem://?colour=red"); !strings.Contains(err.Error(), "colour") || !strings.Contains(err.Error(), "prefix") {
		t.Errorf("%v does not name what is unknown and what is known", err)
	}
}

func readObject(ctx context.Context, s *Store, key string) ([]byte, error) {
	body, err := s.Open(ctx, key, 0, -1)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(body)
}

// TestUploadToEveryStore runs the whole way on the real drivers.
func TestUploadToEveryStore(t *testing.T) {
	for _, url := range []string{"mem://", "file://" + t.TempDir(), "file://" + t.TempDir() + "?md5=true&prefix=c/"} {
		store := must[*Store](t)(OpenStore(t.Context(), url, Limits{}))
		uploadAndRead(t, store)
		store.Close()
	}
}

func uploadAndRead(t *testing.T, store *Store) {
	t.Helper()
	r := newRig(t, 3)
	r.start(func(c *UploaderConfig) { c.Store = store })
	for i := range 300 {
		r.append(i%3, value(i))
	}
	if err := r.up.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.up.Close()
	reader := must[*Reader](t)(NewReader(ReaderConfig{Store: store, Catalog: r.catalog}))
	defer reader.Close()
	for _, s := range r.sources {
		if got, _ := readAll(t, reader, s.id, 0, s.end); string(got) != string(s.log) {
			t.Errorf("%s: %s reads %d bytes, its log has %d", store, s.id, len(got), len(s.log))
		}
	}
}
