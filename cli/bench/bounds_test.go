package bench

import (
	"testing"
	"time"
)

func TestEveryBoundMeasuresSomething(t *testing.T) {
	const d = 100 * time.Millisecond
	ctx, dir := t.Context(), t.TempDir()
	for name, measure := range map[string]func() (Result, error){
		"group_commit_2": func() (Result, error) { return groupCommit(ctx, dir, 2, 1024, d) },
		"quic_bulk_2":    func() (Result, error) { return quicBulk(ctx, 2, d) },
		"tls_bulk":       func() (Result, error) { return tlsBulk(d) },
		"quic_floor_4":   func() (Result, error) { return quicFloor(ctx, dir, 4, 2, 1024, d) },
	} {
		t.Run(name, func(t *testing.T) {
			r, err := measure()
			if err != nil {
				t.Fatal(err)
			}
			if r.Name != name || r.Value <= 0 {
				t.Fatalf("got %+v, want a positive figure named %s", r, name)
			}
			t.Logf("%s: %.0f %s p50 %.0f us p99 %.0f us cpu %.1f us/record", r.Name, r.Value, r.Unit, r.P50, r.P99, r.CPUPerRecord)
		})
	}
}
