package admin

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
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
	if code, _ := get(t, s, "/"); code != 404 {
		t.Errorf("/: got %d, want 404", code)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := http.Get("http://" + s.Addr().String() + "/livez"); err == nil {
		t.Error("it answers after Close")
	}
}
