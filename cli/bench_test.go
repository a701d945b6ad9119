package cli

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rustmq/rustmq/cli/bench"
)

// smallTail has the node keep next to nothing in memory and upload nothing by itself.
func smallTail() []string {
	return []string{"RUSTMQ_MEMORY_TAIL_SIZE=1MiB", "RUSTMQ_OBJECT_STORE_FLUSH_SIZE=4GiB", "RUSTMQ_OBJECT_STORE_FLUSH_AGE=1h"}
}

func TestBenchReadsFromWhereItSays(t *testing.T) {
	for from, settings := range map[string][]string{
		"tail": nil, "log": smallTail(),
		"store": {"RUSTMQ_MEMORY_TAIL_SIZE=1MiB", "RUSTMQ_MEMORY_CACHE_SIZE=1MiB", "RUSTMQ_WAL_SEGMENT_SIZE=1MiB", "RUSTMQ_OBJECT_STORE_FLUSH_SIZE=1MiB"},
	} {
		t.Run(from, func(t *testing.T) {
			n := startNode(t, settings...)
			out := n.must("", "bench", "consume", "--from", from, "--records", "4000", "--rounds", "2", "--admin", n.admin(), "-o", "json")
			var results []bench.Result
			if err := json.Unmarshal([]byte(out), &results); err != nil {
				t.Fatal(err, out)
			}
			if len(results) != 1 {
				t.Fatalf("got %d results, want 1: %s", len(results), out)
			}
			r := results[0]
			if r.Name != "consume_"+from || r.Value <= 0 || r.Rounds != 2 || r.Records != 4000 || r.SourceRatio < 0.95 || r.ServerCPUPerRecord <= 0 {
				t.Errorf("got %+v", r)
			}
		})
	}
}

// The reads of the object store are held against the smaller one of what the transport and what the store would give.
func TestBenchOfTheStoreHasTheStoreForABound(t *testing.T) {
	n := startNode(t, "RUSTMQ_MEMORY_TAIL_SIZE=1MiB", "RUSTMQ_MEMORY_CACHE_SIZE=1MiB", "RUSTMQ_WAL_SEGMENT_SIZE=1MiB", "RUSTMQ_OBJECT_STORE_FLUSH_SIZE=1MiB")
	args := []string{
		"bench", "consume", "--from", "store", "--limits", "--records", "4000", "--duration", "200ms", "--rounds", "1",
		"--dir", t.TempDir(), "--admin", n.admin(), "-o", "json", "--object-store",
	}
	out := n.must("", append(args, "file://"+filepath.Join(n.dir, "objects"))...)
	var results []bench.Result
	if err := json.Unmarshal([]byte(out), &results); err != nil {
		t.Fatal(err, out)
	}
	at := map[string]bench.Result{}
	for _, r := range results {
		at[r.Name] = r
	}
	figure, store, transport := at["consume_store"], at["store_get_8"], at["quic_bulk_2"]
	if store.Value <= 0 || transport.Value <= 0 || figure.BoundValue != min(store.Value, transport.Value) || figure.Ratio != figure.Value/figure.BoundValue {
		t.Errorf("got %s", out)
	}
	if status, _, stderr := n.run("", append(args, "file://"+t.TempDir())...); status != exitFailed || !strings.Contains(stderr, "no objects") {
		t.Errorf("status %d, %s: it is not the server's store", status, stderr)
	}
	if status, _, stderr := n.run("", "bench", "produce", "--limits", "--object-store", "file:///nowhere"); status != exitUsage || !strings.Contains(stderr, "--from store") {
		t.Errorf("status %d, %s: it is of no use", status, stderr)
	}
}

func TestBenchRefusesAFigureFromElsewhere(t *testing.T) {
	n := startNode(t, smallTail()...)
	status, out, stderr := n.run("", "bench", "consume", "--from", "tail", "--records", "8000", "--admin", n.admin())
	if status != exitFailed || out != "" || !strings.Contains(stderr, "memory.tail_size") {
		t.Errorf("status %d, %q, %s: the tail cannot hold it", status, out, stderr)
	}
}

func TestBenchPrintsRatiosToItsBounds(t *testing.T) {
	n := startNode(t)
	for kind, bounds := range map[string]map[string]string{
		"produce": {"produce_throughput": "quic_bulk_2"},
		"latency": {"produce_ack_3": "quic_floor_3", "wal_append_3": "group_commit_3"},
	} {
		out := n.must("", "bench", kind, "--limits", "--producers", "3", "--duration", "200ms", "--rounds", "1", "--dir", t.TempDir(), "--admin", n.admin(), "-o", "json")
		var results []bench.Result
		if err := json.Unmarshal([]byte(out), &results); err != nil {
			t.Fatal(err, out)
		}
		values := map[string]float64{}
		for _, r := range results {
			values[r.Name] = r.Value
		}
		for name, bound := range bounds {
			found := false
			for _, r := range results {
				if r.Name != name {
					continue
				}
				found = true
				if r.Bound != bound || r.BoundValue != values[bound] || r.BoundValue <= 0 || r.Ratio != r.Value/r.BoundValue {
					t.Errorf("%s: %+v, want a ratio to %s", kind, r, bound)
				}
			}
			if !found {
				t.Errorf("%s: no %s in %s", kind, name, out)
			}
		}
	}
	if table := n.must("", "bench", "produce", "--producers", "3", "--duration", "100ms", "--rounds", "1", "--admin", "none"); strings.Count(table, "\n") != 2 {
		t.Errorf("without --limits the table is %q, want one figure", table)
	}
}

// Kafka's protocol is measured beside TCP without TLS, with the server's share of the processors where there is a server of ours to ask.
func TestBenchDrivesKafkasProtocol(t *testing.T) {
	n := startNode(t)
	for kind, name := range map[string]string{"produce": "kafka_produce", "consume": "kafka_fetch"} {
		out := n.must("", "bench", kind, "--against", "kafka", "--limits", "--duration", "200ms", "--rounds", "1", "--dir", t.TempDir(), "--admin", n.admin(), "-o", "json")
		var results []bench.Result
		if err := json.Unmarshal([]byte(out), &results); err != nil {
			t.Fatal(err, out)
		}
		if len(results) != 2 || results[0].Name != "tcp_bulk" || results[1].Name != name {
			t.Fatalf("got %s", out)
		}
		if r := results[1]; r.Value <= 0 || r.Records <= 0 || r.Bound != "tcp_bulk" || r.Ratio <= 0 || r.ServerCPUPerRecord <= 0 {
			t.Errorf("got %+v", r)
		}
	}
	for _, args := range [][]string{{"produce", "--against", "pulsar"}, {"latency", "--against", "kafka"}} {
		if status, _, stderr := n.run("", append([]string{"bench"}, args...)...); status != exitUsage || !strings.Contains(stderr, "kafka") {
			t.Errorf("%q ended with status %d: %s", args, status, stderr)
		}
	}
}
