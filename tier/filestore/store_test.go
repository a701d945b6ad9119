package filestore

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
)

func openTest(t *testing.T, dir string, opts Options) *blob.Bucket {
	t.Helper()
	b, err := OpenBucket(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func put(b *blob.Bucket, key string, data []byte, ifNotExist bool) error {
	return b.Upload(context.Background(), key, bytes.NewReader(data), &blob.WriterOptions{ContentType: "x/y", IfNotExist: ifNotExist})
}

func TestIfNotExistHasExactlyOneWinner(t *testing.T) {
	dir := t.TempDir()
	const keys, writers = 60, 8
	// Several stores on one directory, as several processes would have.
	var stores []*blob.Bucket
	for range 3 {
		stores = append(stores, openTest(t, dir, Options{}))
	}
	for k := range keys {
		key := fmt.Sprintf("objects/%02d/raced", k)
		var wins atomic.Int32
		var winner atomic.Value
		var group sync.WaitGroup
		start := make(chan struct{})
		for w := range writers {
			group.Go(func() {
				content := fmt.Appendf(nil, "%d by %d", k, w)
				<-start
				err := put(stores[w%len(stores)], key, content, true)
				switch {
				case err == nil:
					wins.Add(1)
					winner.Store(content)
				case gcerrors.Code(err) != gcerrors.FailedPrecondition:
					t.Errorf("a loser got %v", err)
				}
			})
		}
		close(start)
		group.Wait()
		if wins.Load() != 1 {
			t.Fatalf("%d writers of %s won", wins.Load(), key)
		}
		if got, err := stores[0].ReadAll(t.Context(), key); err != nil || !bytes.Equal(got, winner.Load().([]byte)) {
			t.Fatalf("read %q, %v; the winner wrote %q", got, err, winner.Load())
		}
	}
	if left, err := os.ReadDir(filepath.Join(dir, tmpDir)); err != nil || len(left) != 0 {
		t.Errorf("temporary files left: %v, %v", left, err)
	}
}

func TestFailedUploadIsNotPublished(t *testing.T) {
	dir := t.TempDir()
	b := openTest(t, dir, Options{})
	broken := io.MultiReader(strings.NewReader("half of it"), brokenReader{})
	if err := b.Upload(t.Context(), "k", broken, &blob.WriterOptions{ContentType: "x/y"}); !errors.Is(err, errBroken) {
		t.Fatalf("upload of a broken reader: %v", err)
	}
	if exists, err := b.Exists(t.Context(), "k"); exists || err != nil {
		t.Fatalf("exists: %v, %v", exists, err)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, tmpDir)); len(left) != 0 {
		t.Errorf("temporary files left: %v", left)
	}
}

var errBroken = errors.New("broken")

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errBroken }

func TestSymlinkCannotLeadOut(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	b := openTest(t, dir, Options{})
	if data, err := b.ReadAll(t.Context(), "out/secret"); err == nil {
		t.Errorf("read %q from outside", data)
	}
	if err := put(b, "out/new", []byte("x"), false); err == nil {
		t.Error("wrote outside")
	}
	if err := b.Delete(t.Context(), "out/secret"); err == nil {
		t.Error("deleted outside")
	}
	if list, err := b.List(nil).Next(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("listed %v, %v", list, err)
	}
}

func TestOpenRemovesOldTemporaryFilesOnly(t *testing.T) {
	dir := t.TempDir()
	tmp := filepath.Join(dir, tmpDir)
	if err := os.Mkdir(tmp, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, age := range map[string]time.Duration{"old": 2 * time.Hour, "young": time.Minute} {
		file := filepath.Join(tmp, name)
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(-age)
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
	}
	openTest(t, dir, Options{})
	left, err := os.ReadDir(tmp)
	if err != nil || len(left) != 1 || left[0].Name() != "young" {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestDeleteOfADirectoryIsNotFound(t *testing.T) {
	dir := t.TempDir()
	b := openTest(t, dir, Options{})
	if err := os.MkdirAll(filepath.Join(dir, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := b.Delete(t.Context(), "empty"); gcerrors.Code(err) != gcerrors.NotFound {
		t.Errorf("delete of a directory: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "empty")); err != nil {
		t.Error(err)
	}
}

func TestWriterSurvivesRemovedDirectory(t *testing.T) {
	dir := t.TempDir()
	b := openTest(t, dir, Options{})
	if err := put(b, "a/b/1", []byte("1"), true); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "a")); err != nil {
		t.Fatal(err)
	}
	if err := put(b, "a/b/2", []byte("2"), true); err != nil {
		t.Fatal(err)
	}
}

func TestMD5IsKeptAsGivenOrComputed(t *testing.T) {
	data := []byte("some bytes")
	sum := md5.Sum(data)
	for _, c := range []struct {
		name string
		opts Options
		give []byte
		want []byte
	}{
		{"computed", Options{}, nil, sum[:]},
		{"given", Options{}, sum[:], sum[:]},
		{"skipped", Options{SkipMD5: true}, nil, nil},
		{"given, else skipped", Options{SkipMD5: true}, sum[:], sum[:]},
	} {
		b := openTest(t, t.TempDir(), c.opts)
		if err := b.Upload(t.Context(), "k", bytes.NewReader(data), &blob.WriterOptions{ContentType: "x/y", ContentMD5: c.give}); err != nil {
			t.Fatal(err)
		}
		got, err := b.Attributes(t.Context(), "k")
		if err != nil || !bytes.Equal(got.MD5, c.want) || got.Size != int64(len(data)) || got.ContentType != "x/y" {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
	b := openTest(t, t.TempDir(), Options{})
	if err := b.Upload(t.Context(), "k", bytes.NewReader(data[1:]), &blob.WriterOptions{ContentType: "x/y", ContentMD5: sum[:]}); err == nil {
		t.Error("other bytes than those of the MD5 were taken")
	}
	if exists, _ := b.Exists(t.Context(), "k"); exists {
		t.Error("other bytes than those of the MD5 were published")
	}
}

// TestListMatchesSortedKeys compares every page size, prefix and delimiter with
// a naive listing.
func TestListMatchesSortedKeys(t *testing.T) {
	keys := []string{
		"a-b", "a.b", "a/b", "a/b-c/d", "a/b-c/e", "a/c/d", "aa/b", "b", "c//d", "c/%/e", "d/e/f/g/h", "e", "f0/x", "f1/x", "f1/y", "☺/x", "A/b",
	}
	dir := t.TempDir()
	b := openTest(t, dir, Options{SkipMD5: true})
	for _, key := range keys {
		if err := put(b, key, []byte(key), true); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "a0", "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	slices.Sort(keys)
	for _, prefix := range []string{"", "a", "a/", "a/b", "a/b-c/", "c/", "zz", "f", "d/e/"} {
		for _, delimiter := range []string{"", "/", "-", "b"} {
			var want []string
			for _, key := range keys {
				if !strings.HasPrefix(key, prefix) {
					continue
				}
				if i := strings.Index(key[len(prefix):], delimiter); delimiter != "" && i >= 0 {
					key = key[:len(prefix)+i+len(delimiter)]
				}
				if len(want) == 0 || want[len(want)-1] != key {
					want = append(want, key)
				}
			}
			for _, size := range []int{1, 2, 3, 100} {
				var got []string
				token := blob.FirstPageToken
				for token != nil {
					page, next, err := b.ListPage(t.Context(), token, size, &blob.ListOptions{Prefix: prefix, Delimiter: delimiter})
					if err != nil {
						t.Fatal(err)
					}
					if len(page) > size {
						t.Fatalf("a page of %d has %d", size, len(page))
					}
					for _, o := range page {
						got = append(got, o.Key)
						if !o.IsDir && o.Size != int64(len(o.Key)) {
							t.Errorf("%s has size %d", o.Key, o.Size)
						}
					}
					token = next
				}
				if !slices.Equal(got, want) {
					t.Errorf("prefix %q delimiter %q pages of %d: %q, want %q", prefix, delimiter, size, got, want)
				}
			}
		}
	}
}

// Large pieces are read by a second open file, which is opened when the first of them is wanted: the key may hold another object by then.
func TestReaderGoesOnReadingWhatItOpened(t *testing.T) {
	b := openTest(t, t.TempDir(), Options{})
	const small, size = 4 << 10, 2 << 20
	first, second := bytes.Repeat([]byte{1}, size), bytes.Repeat([]byte{2}, size)
	if err := put(b, "k", first, false); err != nil {
		t.Fatal(err)
	}
	r, err := b.NewRangeReader(context.Background(), "k", 0, -1, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	n, err := io.ReadFull(r, make([]byte, small))
	if err != nil {
		t.Fatal(err)
	}
	if err := put(b, "k", second, false); err != nil {
		t.Fatal(err)
	}
	rest := make([]byte, size-n)
	if _, err := io.ReadFull(r, rest); err != nil || !bytes.Equal(rest, first[n:]) {
		t.Errorf("the rest of the object is another's: %v, %d", err, rest[:4])
	}
}
