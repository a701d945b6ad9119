package tier

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/iotest"

	"gocloud.dev/blob"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/tier/faultstore"
)

// TestStoresConform holds the stores that are always there to what all stores
// have in common. Those of the clouds are held to it by the tests of the tag outside.
func TestStoresConform(t *testing.T) {
	t.Run("file", func(t *testing.T) {
		url := "file://" + t.TempDir()
		conform(t, 64<<10, func(prefix string, limits Limits) *Store {
			return must[*Store](t)(OpenStore(t.Context(), url+"?prefix="+prefix, limits))
		})
	})
	t.Run("mem", func(t *testing.T) {
		conform(t, 64<<10, func(prefix string, limits Limits) *Store {
			return must[*Store](t)(OpenStore(t.Context(), "mem://?prefix="+prefix, limits))
		})
	})
	t.Run("faultstore", func(t *testing.T) {
		conform(t, 64<<10, func(_ string, limits Limits) *Store { return NewStore(faultstore.New().Bucket(), limits) })
	})
}

// behaviours are what a store has to do, each tried below a prefix of its own.
var behaviours = []struct {
	name string
	try  func(t *testing.T, s *Store)
}{
	{"an object reads as it was written", testReadsAsWritten},
	{"a write creates and never overwrites", testNeverOverwrites},
	{"of writers at once one wins", testOneWriterWins},
	{"listing is in order and by pages", testListing},
	{"what is not there is absent", testAbsence},
	{"a large object goes in parts", testParts},
	{"an upload that breaks off is never visible", testBrokenUpload},
	{"an upload that is given up is never visible", testGivenUp},
	{"a probe finds nothing wrong", func(t *testing.T, s *Store) {
		if report := s.Probe(t.Context(), "c/"); report.Err() != nil || len(report.Steps) != 5 {
			t.Errorf("%+v", report)
		}
	}},
}

// conform tries all behaviours. partBytes is what the store takes for a part, as little as possible.
func conform(t *testing.T, partBytes int64, open func(prefix string, limits Limits) *Store) {
	for i, b := range behaviours {
		t.Run(b.name, func(t *testing.T) {
			s := open(fmt.Sprintf("conform/%d/", i), Limits{PartBytes: partBytes})
			defer func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}()
			b.try(t, s)
		})
	}
}

// testParted is what goes in parts.
func testParted(s *Store) []byte { return testData(wholeParts*int(s.limits.PartBytes) + 13) }

// testData is n bytes that are the same each time.
func testData(n int) []byte {
	data := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{1})
	_, _ = rng.Read(data)
	return data
}

func mustPut(t *testing.T, s *Store, key string, data []byte) {
	t.Helper()
	if err := s.Put(t.Context(), key, data, checksum(data)); err != nil {
		t.Fatal(err)
	}
}

func testReadsAsWritten(t *testing.T, s *Store) {
	data := testData(100_000)
	mustPut(t, s, "a/object", data)
	mustPut(t, s, "a/empty", nil)
	for _, r := range []struct{ at, n int64 }{{0, 100_000}, {0, -1}, {0, 1}, {99_999, 1}, {12_345, 54_321}, {50_000, -1}} {
		body, err := s.Open(t.Context(), "a/object", r.at, r.n)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(body)
		want := data[r.at:]
		if r.n >= 0 {
			want = want[:r.n]
		}
		if err != nil || !bytes.Equal(got, want) || body.ObjectSize() != int64(len(data)) {
			t.Errorf("%d bytes from %d: %d bytes of %d, %v", r.n, r.at, len(got), body.ObjectSize(), err)
		}
		if err := body.Close(); err != nil {
			t.Error(err)
		}
	}
	if got, err := readObject(t.Context(), s, "a/empty"); err != nil || len(got) != 0 {
		t.Errorf("an empty object: %d bytes, %v", len(got), err)
	}
	if info, err := s.Stat(t.Context(), "a/object"); err != nil || info.Size != int64(len(data)) || info.ModTime.IsZero() {
		t.Errorf("%+v, %v", info, err)
	}
	if attrs, err := s.bucket.Attributes(t.Context(), "a/object"); err != nil || attrs.ContentType != ContentType {
		t.Errorf("%+v, %v", attrs, err)
	}
}

func testNeverOverwrites(t *testing.T, s *Store) {
	first, other := testData(1000), testData(1001)[1:]
	mustPut(t, s, "k", first)
	mustPut(t, s, "k", first) // the same again is no trouble
	for _, data := range [][]byte{other, other[:999], nil} {
		if err := s.Put(t.Context(), "k", data, checksum(data)); !errors.Is(err, ErrOther) {
			t.Errorf("other bytes: %v", err)
		}
	}
	if got, err := readObject(t.Context(), s, "k"); err != nil || !bytes.Equal(got, first) {
		t.Errorf("it has %d bytes, not its own, %v", len(got), err)
	}
}

func testOneWriterWins(t *testing.T, s *Store) {
	const writers = 8
	var wg sync.WaitGroup
	var errs [writers]error
	for i := range writers {
		wg.Go(func() {
			data := bytes.Repeat([]byte{byte(i)}, 1000)
			for range 5 { // a store may want a conflict to be tried again
				if errs[i] = s.Put(t.Context(), "k", data, checksum(data)); errs[i] == nil || errors.Is(errs[i], ErrOther) {
					return
				}
			}
		})
	}
	wg.Wait()
	got, err := readObject(t.Context(), s, "k")
	if err != nil || len(got) != 1000 {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	for i, err := range errs {
		if won := int(got[0]) == i; won != (err == nil) || !won && !errors.Is(err, ErrOther) {
			t.Errorf("writer %d: %v, and what is there is %d's", i, err, got[0])
		}
	}
}

func testListing(t *testing.T, s *Store) {
	var want []string
	for i := range 25 {
		want = append(want, objectKey("c/", uint64(i)<<9))
	}
	for _, i := range rand.Perm(len(want)) {
		mustPut(t, s, want[i], []byte(want[i]))
	}
	mustPut(t, s, "d", nil)
	var got []string
	token := blob.FirstPageToken
	for len(token) > 0 {
		page, next, err := s.page(t.Context(), "c/", token, 10)
		if err != nil || len(page) > 10 {
			t.Fatalf("a page of %d, %v", len(page), err)
		}
		for _, o := range page {
			got = append(got, o.Key)
			if o.Size != int64(len(o.Key)) || o.IsDir {
				t.Errorf("%+v", o)
			}
		}
		token = next
	}
	if !slices.Equal(got, want) {
		t.Errorf("listed %q", got)
	}
	n := 0
	if err := s.List(t.Context(), "", func(Info) error { n++; return nil }); err != nil || n != 26 {
		t.Errorf("%d objects in all, %v", n, err)
	}
	if err := s.List(t.Context(), "nothing/", func(o Info) error { return fmt.Errorf("%+v", o) }); err != nil {
		t.Error(err)
	}
}

func testAbsence(t *testing.T, s *Store) {
	mustPut(t, s, "k1", []byte("v"))
	for range 2 {
		if err := s.Delete(t.Context(), "k"); err != nil {
			t.Errorf("delete: %v", err)
		}
		_, statErr := s.Stat(t.Context(), "k")
		_, openErr := s.Open(t.Context(), "k", 0, 1)
		for _, err := range []error{statErr, openErr} {
			if !errors.Is(err, ErrAbsent) || mq.CodeOf(err) != mq.ObjectStoreUnavailable {
				t.Errorf("%v", err)
			}
		}
		mustPut(t, s, "k", []byte("v")) // and then it is deleted
		if err := s.Delete(t.Context(), "k"); err != nil {
			t.Errorf("delete: %v", err)
		}
	}
	if _, err := s.Stat(t.Context(), "k1"); err != nil {
		t.Errorf("another object: %v", err)
	}
}

func testParts(t *testing.T, s *Store) {
	data := testParted(s)
	mustPut(t, s, "large", data)
	before := s.Stats().Classes[s.class]
	mustPut(t, s, "large", data)
	if err := s.Put(t.Context(), "large", data[1:], checksum(data[1:])); !errors.Is(err, ErrOther) {
		t.Errorf("one byte less: %v", err)
	}
	if after := s.Stats().Classes[s.class]; after.Uploaded != before.Uploaded {
		t.Errorf("%d bytes were accepted once more", after.Uploaded-before.Uploaded)
	}
	if got, err := readObject(t.Context(), s, "large"); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes of %d, %v", len(got), len(data), err)
	}
	other := bytes.Clone(data)
	other[len(other)/2]++
	if err := s.Put(t.Context(), "large", other, checksum(other)); !errors.Is(err, ErrOther) {
		t.Errorf("one bit: %v", err)
	}
}

// broken is an upload in parts whose data ends early with an error.
func broken(s *Store, data []byte, err error) *Upload {
	half := bytes.NewReader(data[:len(data)/2])
	return &Upload{Key: "k", Data: data, CRC: checksum(data), PartBytes: s.limits.PartBytes, Parts: io.MultiReader(half, iotest.ErrReader(err))}
}

func testBrokenUpload(t *testing.T, s *Store) {
	data := testParted(s)
	for _, size := range []int{len(data), 1000} {
		failed := errors.New("the disk broke")
		if err := s.backend.Put(t.Context(), broken(s, data[:size], failed)); err == nil {
			t.Errorf("half of %d bytes were taken for all", size)
		}
		if _, err := s.Stat(t.Context(), "k"); !errors.Is(err, ErrAbsent) {
			t.Errorf("half of %d bytes: %v", size, err)
		}
	}
}

func testGivenUp(t *testing.T, s *Store) {
	data := testParted(s)
	ctx, cancel := context.WithCancel(t.Context())
	u := broken(s, data, io.EOF)
	u.Parts = io.MultiReader(bytes.NewReader(data[:len(data)*3/5]), &caller{cancel}, bytes.NewReader(data[len(data)*3/5:]))
	if err := s.backend.Put(ctx, u); err == nil {
		// A store that is faster than the cancellation has all of it.
		if got, err := readObject(t.Context(), s, "k"); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	} else if _, err := s.Stat(t.Context(), "k"); !errors.Is(err, ErrAbsent) {
		t.Errorf("part of it is there: %v", err)
	}
	if err := s.Put(ctx, "k2", data[:100], checksum(data[:100])); mq.CodeOf(err) != mq.Canceled {
		t.Errorf("with a context that ended: %v", err)
	}
	if _, err := s.Stat(t.Context(), "k2"); !errors.Is(err, ErrAbsent) {
		t.Error(err)
	}
}

// caller reads as nothing and calls.
type caller struct{ call func() }

func (c *caller) Read([]byte) (int, error) { c.call(); return 0, io.EOF }
