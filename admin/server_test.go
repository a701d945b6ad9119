package admin

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func get(t *testing.T, s *Server, path string) (int, string) {
	t.Helper()
	resp, err := http.Get("http://" + s.Addr().String() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestHealthFollowsTheNode(t *testing.T) {
	var notReady error
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "rustmq_test", Help: "A test."}, func() float64 { return 42 }))
	s, err := Listen("127.0.0.1:0", Config{
		Live: func() error { return nil }, Ready: func() error { return notReady },
		Metrics: registry, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/livez", "/readyz"} {
		if code, body := get(t, s, path); code != 200 || body != "ok\n" {
			t.Errorf("%s: got %d %q, want 200 ok", path, code, body)
		}
	}
	notReady = errors.New("the disk failed")
	if code, body := get(t, s, "/readyz"); code != 503 || body != "the disk failed\n" {
		t.Errorf("/readyz: got %d %q, want 503 with the reason", code, body)
	}
	if code, body := get(t, s, "/metrics"); code != 200 || !strings.Contains(body, "rustmq_test 42") {
		t.Errorf("/metrics: got %d %q", code, body)
	}
	if code, _ := get(t, s, "/debug/pprof/"); code != 404 {
		t.Errorf("/debug/pprof/: got %d, want 404: nobody asked for profiles", code)
	}
	if code, _ := get(t, s, "/nonsense"); code != 404 {
		t.Errorf("/nonsense: got %d, want 404", code)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if resp, err := http.Get("http://" + s.Addr().String() + "/livez"); err == nil {
		_ = resp.Body.Close()
		t.Error("it answers after Close")
	}
}

func TestProfilesAreServedWhenAskedFor(t *testing.T) {
	s, err := Listen("127.0.0.1:0", Config{
		Live: func() error { return nil }, Ready: func() error { return nil },
		Metrics: prometheus.NewRegistry(), Profiles: true, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/debug/pprof/": "goroutine", "/debug/pprof/goroutine?debug=1": "TestProfilesAreServedWhenAskedFor",
		"/debug/pprof/profile?seconds=1": "\x1f\x8b", // pprof's files are compressed by gzip
	} {
		if code, body := get(t, s, path); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: got %d and %d bytes, want %q in them", path, code, len(body), want)
		}
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestPageSaysWhichNodeItIsAndHow: what the page shows, that it is text whatever is in it, and that all that it links to is there.
func TestPageSaysWhichNodeItIsAndHow(t *testing.T) {
	var notReady error
	h := Handler(Config{
		About: About{Node: "7", Cluster: "CoED_yCqSVqv2", Version: "1.2.3<b>", Clients: "127.0.0.1:9092"},
		Live:  func() error { return nil }, Ready: func() error { return notReady },
		Notes: func() []string { return []string{"orders-0 is quarantined"} }, Metrics: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler),
	})
	ask := func(method, path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, nil))
		return w
	}
	w := ask(http.MethodGet, "/")
	if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
		t.Errorf("got %d %q", w.Code, w.Header().Get("Content-Type"))
	}
	for _, want := range []string{"RustMQ node 7", "<dd>ready</dd>", "1.2.3&lt;b&gt;", "CoED_yCqSVqv2", "127.0.0.1:9092 (QUIC)", "orders-0 is quarantined"} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("%q is missing from\n%s", want, w.Body)
		}
	}
	links := regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(w.Body.String(), -1)
	if len(links) != 3 {
		t.Errorf("links: %v", links)
	}
	for _, link := range links {
		if got := ask(http.MethodGet, link[1]); got.Code != 200 {
			t.Errorf("%s: %d", link[1], got.Code)
		}
	}
	notReady = errors.New("the disk failed")
	if w := ask(http.MethodGet, "/"); !strings.Contains(w.Body.String(), "not ready: the disk failed") {
		t.Errorf("trouble is not shown:\n%s", w.Body)
	}
	if w := ask(http.MethodPost, "/"); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}
}
