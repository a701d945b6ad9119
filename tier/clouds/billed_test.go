package clouds

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rustmq/rustmq/tier"
)

// tinyS3 is as much of S3 as is needed here, and counts requests as Amazon bills them.
type tinyS3 struct {
	mu      sync.Mutex
	objects map[string][]byte
	sums    map[string]string // CRC-32C, as it was sent
	parts   map[string]int    // bytes of the parts of an upload, by key
	billed  tier.Billed
}

func (s *tinyS3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	key, query := strings.TrimPrefix(r.URL.Path, "/b/"), r.URL.Query()
	if err != nil {
		panic(err)
	}
	switch {
	case r.Method == http.MethodGet && query.Has("list-type"):
		s.billed.Writes++
		s.list(w, query.Get("prefix"))
	case r.Method == http.MethodGet, r.Method == http.MethodHead:
		s.billed.Reads++
		s.read(w, r, key)
	case r.Method == http.MethodPut, r.Method == http.MethodPost:
		s.billed.Writes++
		s.write(w, r, key, body)
	default:
		s.billed.Deletes++
		delete(s.objects, key)
		w.WriteHeader(http.StatusNoContent)
	}
}

// arrived is what did since it was asked the last time.
func (s *tinyS3) arrived() (billed tier.Billed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	billed, s.billed = s.billed, tier.Billed{}
	return billed
}

func (s *tinyS3) list(w http.ResponseWriter, prefix string) {
	var out struct {
		XMLName  xml.Name `xml:"ListBucketResult"`
		Contents []struct {
			Key          string
			Size         int
			LastModified time.Time
		}
	}
	for key, data := range s.objects {
		if strings.HasPrefix(key, prefix) {
			out.Contents = append(out.Contents, struct {
				Key          string
				Size         int
				LastModified time.Time
			}{key, len(data), time.Unix(1, 0).UTC()})
		}
	}
	_ = xml.NewEncoder(w).Encode(out)
}

func (s *tinyS3) read(w http.ResponseWriter, r *http.Request, key string) {
	data, ok := s.objects[key]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("ETag", `"tag"`)
	w.Header().Set("x-amz-checksum-crc32c", s.sums[key])
	w.Header().Set("x-amz-checksum-type", "FULL_OBJECT")
	http.ServeContent(w, r, "", time.Unix(1, 0), bytes.NewReader(data))
}

func (s *tinyS3) write(w http.ResponseWriter, r *http.Request, key string, body []byte) {
	query := r.URL.Query()
	w.Header().Set("ETag", `"tag"`)
	switch {
	case query.Has("uploads"):
		fmt.Fprintf(w, "<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>%s</Key><UploadId>u</UploadId></InitiateMultipartUploadResult>", key)
	case query.Has("partNumber"):
		size := len(body)
		if n, err := strconv.Atoi(r.Header.Get("X-Amz-Decoded-Content-Length")); err == nil {
			size = n
		}
		s.parts[key] += size
		w.Header().Set("x-amz-checksum-crc32c", r.Header.Get("x-amz-checksum-crc32c"))
	case s.objects[key] != nil:
		w.WriteHeader(http.StatusPreconditionFailed)
	case query.Has("uploadId"):
		s.objects[key], s.sums[key] = make([]byte, s.parts[key]), r.Header.Get("x-amz-checksum-crc32c")
		fmt.Fprintf(w, `<CompleteMultipartUploadResult><Bucket>b</Bucket><Key>%s</Key><ETag>"tag"</ETag></CompleteMultipartUploadResult>`, key)
	default:
		s.objects[key], s.sums[key] = body, r.Header.Get("x-amz-checksum-crc32c")
	}
}

// TestRequestsAreBilledAsTheyArrive does with S3 all that a store does, and compares what it counted with what arrived there.
func TestRequestsAreBilledAsTheyArrive(t *testing.T) {
	s3 := &tinyS3{objects: map[string][]byte{}, sums: map[string]string{}, parts: map[string]int{}}
	server := httptest.NewServer(s3)
	defer server.Close()
	const part = 5 << 20
	s, err := tier.OpenStore(t.Context(), cloudURLs(t, server.URL)["s3"], tier.Limits{PartBytes: part}, Schemes()...)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, table := t.Context(), crc32.MakeTable(crc32.Castagnoli)
	put := func(key string, size int, want error) {
		t.Helper()
		data := make([]byte, size)
		if err := s.Put(ctx, key, data, crc32.Checksum(data, table)); !errors.Is(err, want) {
			t.Fatalf("put %s: %v", key, err)
		}
	}
	for _, step := range []struct {
		name string
		do   func() error
		want tier.Billed
	}{
		{"an object is put and asked for", func() error { put("one", 1000, nil); return nil }, tier.Billed{Writes: 1, Reads: 1}},
		{"again", func() error { put("one", 1000, nil); return nil }, tier.Billed{Writes: 1, Reads: 1}},
		{"in parts: it is asked for before, too", func() error { put("large", 4*part+1, nil); return nil }, tier.Billed{Writes: 5 + 2, Reads: 2}},
		{"another under the same key", func() error { put("one", 1001, tier.ErrOther); return nil }, tier.Billed{Writes: 1, Reads: 1}},
		{"a range is read", func() error {
			body, err := s.Open(ctx, "one", 100, 200)
			if err != nil {
				return err
			}
			data, err := io.ReadAll(body)
			if len(data) != 200 {
				t.Errorf("%d bytes were read", len(data))
			}
			return errors.Join(err, body.Close())
		}, tier.Billed{Reads: 1}},
		{"an object is asked for", func() error { _, err := s.Stat(ctx, "one"); return err }, tier.Billed{Reads: 1}},
		{"one that is not there, so it is listed", func() error {
			if _, err := s.Stat(ctx, "none"); !errors.Is(err, tier.ErrAbsent) {
				return fmt.Errorf("it is there? %w", err)
			}
			return nil
		}, tier.Billed{Reads: 1, Writes: 1}},
		{"objects are listed", func() error { return s.List(ctx, "", func(tier.Info) error { return nil }) }, tier.Billed{Writes: 1}},
		{"an object is deleted: S3's driver asks for it before", func() error { return s.Delete(ctx, "one") }, tier.Billed{Reads: 1, Deletes: 1}},
	} {
		stats := s.Stats()
		before := stats.Billed()
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		stats = s.Stats()
		after := stats.Billed()
		counted := tier.Billed{Writes: after.Writes - before.Writes, Reads: after.Reads - before.Reads, Deletes: after.Deletes - before.Deletes}
		if arrived := s3.arrived(); counted != step.want || arrived != step.want {
			t.Errorf("%s: counted %+v, %+v arrived, want %+v", step.name, counted, arrived, step.want)
		}
	}
}
