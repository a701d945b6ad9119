package bench

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// server reads the metrics of the server that is measured.
type server struct {
	addr string // host:port of its admin listener
	http http.Client
}

func newServer(addr string) *server {
	return &server{addr: addr, http: http.Client{Timeout: time.Minute}}
}

// metrics are values by name, with the labels as they are written: `rustmq_read_bytes_total{source="log"}`.
type metrics map[string]float64

func (s *server) metrics(ctx context.Context) (metrics, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addr+"/metrics", nil)
	if err != nil {
		return nil, mq.Errorf(mq.InvalidRequest, "the admin address %q: %w", s.addr, err)
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return nil, mq.Errorf(mq.InvalidRequest, "ask for the server's metrics, is this its admin listener? %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, mq.Errorf(mq.InvalidRequest, "ask %s for the server's metrics: HTTP status %s", s.addr, resp.Status)
	}
	m := metrics{}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		line := lines.Text()
		at := strings.LastIndexByte(line, ' ')
		if at < 0 || line[0] == '#' {
			continue
		}
		value, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			return nil, mq.Errorf(mq.InvalidRequest, "the server's metrics: %s is none: %w", strconv.Quote(line), err)
		}
		m[line[:at]] = value
	}
	return m, lines.Err()
}

func (m metrics) minus(before metrics) metrics {
	d := make(metrics, len(m))
	for name, value := range m {
		d[name] = value - before[name]
	}
	return d
}

// read is how much was read for consumers from one of the places.
func (m metrics) read(from Source) float64 {
	return m[fmt.Sprintf("rustmq_read_bytes_total{source=%q}", string(from))]
}

// cpu is the time that the server's process used.
func (m metrics) cpu() time.Duration {
	return time.Duration(m["process_cpu_seconds_total"] * float64(time.Second))
}

const (
	quietPoll = 100 * time.Millisecond
	// quietFor is how long the uploads must have stood still to count as done.
	quietFor = 500 * time.Millisecond
	// quietAtMost is how long they are waited for.
	quietAtMost = time.Minute
)

// quiet waits until the server uploads nothing to the object store, so that
// this is not measured with what comes next.
func (s *server) quiet(ctx context.Context) error {
	var last metrics
	since := time.Now()
	for deadline := since.Add(quietAtMost); time.Now().Before(deadline); {
		m, err := s.metrics(ctx)
		if err != nil {
			return err
		}
		const done, queued = "rustmq_tier_uploaded_bytes_total", "rustmq_tier_pending_bytes"
		if last == nil || m[done] != last[done] || m[queued] != last[queued] {
			last, since = m, time.Now()
		}
		if m[queued] == 0 || time.Since(since) > quietFor {
			return nil
		}
		select {
		case <-time.After(quietPoll):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
