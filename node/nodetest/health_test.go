package nodetest

import (
	"net/http"
	"strings"
	"testing"
)

// A node of three whose two others are gone has no lease soon: it says so, and what it lacks is in its metrics. When they are back it is ready again.
func TestNodeThatDoesNotReachTheControllersIsNotReady(t *testing.T) {
	t.Parallel()
	c, ctx := startCluster(t, 3)
	l, cl := smallLedger(ctx, t, c, 3)
	first := c.Nodes[0]
	get := func(path string) (int, string) {
		status, body, err := first.Get(ctx, path)
		if err != nil {
			t.Fatal(err)
		}
		return status, body
	}
	ready := func() bool {
		status, _ := get("/readyz")
		return status == http.StatusOK
	}
	until(t, "ready", ready)
	if _, page := get("/"); strings.Count(page, "alive") != 3 {
		t.Errorf("the page lists not three nodes:\n%s", page)
	}
	for _, line := range []string{
		`rustmq_brokers{state="alive"} 3`, "rustmq_leaderless_partitions 0", `rustmq_replication_lag_records{peer="2"}`, `rustmq_replication_sent_bytes_total{peer="3"}`,
		`rustmq_raft_members{role="voter"} 3`, "rustmq_unclean_elections_total 0",
	} {
		until(t, "metrics to have "+line, func() bool {
			_, metrics := get("/metrics")
			return strings.Contains(metrics, "\n"+line)
		})
	}
	for _, m := range c.Nodes[1:] {
		m.Kill()
	}
	until(t, "not ready", func() bool { return !ready() })
	if _, metrics := get("/metrics"); !strings.Contains(metrics, "\nrustmq_lease_seconds 0\n") {
		t.Error("a lease without controllers")
	}
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	until(t, "ready again", ready)
	l.Produce(ctx, cl, 10, 100)
	if err := l.allAcked(); err != nil {
		t.Fatal(err)
	}
}
