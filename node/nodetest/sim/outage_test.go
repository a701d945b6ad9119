package sim

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/rustmq/rustmq/cli/verify"
	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/node"
)

const (
	outageAfter = 30 * time.Second
	outageFor   = 10 * time.Minute
	// outageRate is in records a second of a KiB: what a log of outageLog holds comes in some seven of the ten minutes.
	outageRate = 6
	outageLog  = 3 * node.MiB
)

// TestObjectStoreIsAwayForTenMinutes has three nodes under load without their object store for ten minutes: producing goes on until the logs are full, and is then refused with an error that says so
// and may be tried again; nothing that was acknowledged is lost, and when the store is back all is as before.
func TestObjectStoreIsAwayForTenMinutes(t *testing.T) {
	if testing.Short() {
		t.Skip("twelve minutes of a cluster")
	}
	var away, back time.Time
	var refused error
	result, err := simulate(t, Config{
		Seed: 1, Calm: true, Level: slog.LevelInfo, Duration: outageAfter + outageFor + time.Minute, walMax: outageLog,
		work: func(v *verify.Config) {
			v.Rate, v.Burst, v.Size, v.Mix = outageRate, 1, 1024, nil
			v.Acks = mq.DurabilityAll
		},
		beside: func(ctx context.Context, c *cluster) {
			sleep(ctx, outageAfter)
			away = time.Now()
			c.setAway(true)
			sleep(ctx, outageFor-20*time.Second)
			refused = c.tryOnce(ctx)
			sleep(ctx, time.Until(away.Add(outageFor)))
			c.setAway(false)
			back = time.Now()
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range result.Anomalies {
		t.Error(a)
	}
	if mq.CodeOf(refused) != mq.RequestTimedOut || !strings.Contains(refused.Error(), mq.StorageFull.String()) {
		t.Errorf("with full logs producing fails with %v", refused)
	}
	changes := 0
	for _, log := range result.Logs {
		changes += strings.Count(log, "in-sync set proposed")
	}
	if changes > 4*partitions {
		t.Errorf("in-sync sets were changed %d times: those whose logs are full go out once and come in once", changes)
	}
	full, again := time.Time{}, time.Time{}
	for _, g := range result.Gaps {
		if g.MS < 1000 {
			continue // a partition gets two records a second
		}
		if full.IsZero() || g.Begin.Before(full) {
			full = g.Begin
		}
		if end := g.Begin.Add(time.Duration(g.MS) * time.Millisecond); end.After(again) {
			again = end
		}
	}
	t.Logf("%d records, %d acknowledged, %d changes of in-sync sets; the logs were full after %v, and %v after the store was back all were acknowledged again", result.Sent, result.Acked, changes, full.Sub(away), again.Sub(back))
	if full.Sub(away) < outageFor/4 || full.After(back) { // which of a node's segments are in use then is chance
		t.Errorf("producing was held back %v after the store went away", full.Sub(away))
	}
	if again.Sub(back) > 30*time.Second {
		t.Errorf("it took %v to heal", again.Sub(back))
	}
}

func (c *cluster) setAway(away bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away = away
}

// tryOnce produces a record with little patience.
func (c *cluster) tryOnce(ctx context.Context) error {
	cl, err := c.client(client.DeliveryTimeout(5 * time.Second))
	if err != nil {
		return err
	}
	defer cl.Close()
	return cl.ProduceSync(ctx, &client.Record{Topic: topic, Value: make([]byte, 1024)}).FirstErr()
}
