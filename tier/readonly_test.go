package tier

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gocloud.dev/blob/memblob"

	"github.com/rustmq/rustmq/mq"
)

// A store that is opened for reading only makes no request that changes something, whoever asks for it; it reads and lists.
func TestReadOnlyStoreChangesNothing(t *testing.T) {
	bucket := memblob.OpenBucket(nil)
	defer bucket.Close()
	if err := bucket.WriteAll(t.Context(), "there", []byte("data"), nil); err != nil {
		t.Fatal(err)
	}
	s := NewStore(bucket, Limits{ReadOnly: true})
	for class := range Class(classes) {
		s := s.For(class)
		for what, err := range map[string]error{
			"put":         s.Put(t.Context(), "new", []byte("x"), checksum([]byte("x"))),
			"delete":      s.Delete(t.Context(), "there"),
			"delete many": DeleteObjects(t.Context(), s, []string{"there"})[0],
			"checkpoint":  WriteCheckpoint(t.Context(), s, "p/", &Checkpoint{Index: 1}, strings.NewReader("x")),
		} {
			if mq.CodeOf(err) != mq.ReadOnly {
				t.Errorf("%s as %s: %v", what, class, err)
			}
		}
	}
	if report := s.Probe(t.Context(), "p/"); report.Err() == nil {
		t.Error("a probe writes")
	}
	if info, err := s.Stat(t.Context(), "there"); err != nil || info.Size != 4 {
		t.Errorf("%v, %v", info, err)
	}
	found := 0
	if err := s.List(t.Context(), "", func(Info) error { found++; return nil }); err != nil || found != 1 {
		t.Errorf("%d, %v", found, err)
	}
}

// A directory is opened as it is: nothing is made, and what crashed writers left in it stays.
func TestReadOnlyDirectoryIsLeftAsItIs(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing")
	if _, err := OpenStore(t.Context(), "file://"+missing, Limits{ReadOnly: true}); err == nil {
		t.Error("a directory that is not there was opened")
	}
	if _, err := os.Stat(missing); !os.IsNotExist(err) {
		t.Errorf("it was made: %v", err)
	}
	s, err := OpenStore(t.Context(), "file://"+dir, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "a/b", []byte("x"), checksum([]byte("x"))); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil || len(names) == 0 {
		t.Fatalf("there is no directory for what is being written: %v, %v", names, err)
	}
	left := filepath.Join(names[0], "left")
	if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-1000 * time.Hour)
	if err := os.Chtimes(left, old, old); err != nil {
		t.Fatal(err)
	}
	if s, err = OpenStore(t.Context(), "file://"+dir, Limits{ReadOnly: true}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := os.Stat(left); err != nil {
		t.Errorf("it was cleaned up: %v", err)
	}
	if info, err := s.Stat(t.Context(), "a/b"); err != nil || info.Size != 1 {
		t.Errorf("%v, %v", info, err)
	}
}
