package nodetest

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/node"
)

// Controllers are lost together with the knowledge which objects hold most of a topic, of which the brokers' logs have let go. The one that is left is made the only
// one, and the leaders find that in the objects again: everything that was acknowledged is read, and is uploaded and led on.
func TestWhatLostControllersHadCommittedIsFoundInTheObjects(t *testing.T) {
	for name, then := range map[string]func(*regainRun){
		"brokers that ran on":     func(*regainRun) {},
		"brokers that were down":  func(r *regainRun) { r.first.Kill(); r.second.Kill() },
		"a broker that lacks all": func(r *regainRun) { r.first.Kill(); must(r.t, r.first.Wipe()) },
	} {
		t.Run(name, func(t *testing.T) {
			if raceEnabled && testing.Short() && name != "brokers that were down" { // which goes the longest way
				t.Skip("the lines are the same")
			}
			t.Parallel()
			r := newRegainRun(t)
			r.loseControllers(name == "a broker that lacks all", func() { then(r) })
			r.check()
		})
	}
}

// regainRun is a cluster of three controllers and two brokers, and what was produced to it.
type regainRun struct {
	t             *testing.T
	c             *Cluster
	ctx           context.Context
	first, second *Member // the brokers
	l             *Ledger
	cl            *client.Client
}

func newRegainRun(t *testing.T) *regainRun {
	c, ctx := newCluster(t, 5, func(cfg *node.Config) {
		cfg.Node.Roles = []string{node.RoleBroker}
		if cfg.Node.ID <= 3 {
			cfg.Node.Roles = []string{node.RoleController}
		}
		cfg.Node.Controllers = cfg.Node.Controllers[:3]
		cfg.ObjectStore.FlushAge, cfg.ObjectStore.FlushSize = 100*time.Millisecond, 256*node.KiB
	})
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	awaitBrokers(t, c, 2)
	r := &regainRun{t: t, c: c, ctx: ctx, first: c.Nodes[3], second: c.Nodes[4]}
	r.l, r.cl = smallLedger(ctx, t, c, 2)
	r.awaitTiered(0)
	return r
}

// loseControllers has the third controller miss what is committed then, and be the only one that is left. then happens before it comes back, while no controller runs. alone
// has the second broker miss it, too.
func (r *regainRun) loseControllers(alone bool, then func()) {
	r.t.Helper()
	third := r.c.Nodes[2]
	third.Kill()
	if alone {
		r.second.Kill()
	}
	tiered := r.awaitTiered(0)
	r.l.Produce(r.ctx, r.cl, 6000, 1000)
	if err := r.l.allAcked(); err != nil {
		r.t.Fatal(err)
	}
	r.awaitTiered(tiered)
	for _, m := range []*Member{r.first, r.second} {
		if m.Live != nil {
			until(r.t, "a log that has let go of that", func() bool { return sampleOf(r.ctx, r.t, m, `rustmq_wal_freed_segments_total{log="data"}`) >= 3 })
		}
	}
	for _, m := range r.c.Nodes[:2] {
		m.Kill()
		must(r.t, m.Wipe())
	}
	then()
	if _, err := third.Recover(); err != nil {
		r.t.Fatal(err)
	}
	start := r.c.Nodes
	if alone {
		start = append(start[:3:3], r.second)
	}
	if err := r.c.Start(r.ctx, start...); err != nil {
		r.t.Fatal(err)
	}
}

// awaitTiered waits until the object store has more than before, and all that was acknowledged.
func (r *regainRun) awaitTiered(before int64) (tiered int64) {
	r.t.Helper()
	until(r.t, "all in the object store", func() bool {
		resp, err := tryOperate(r.ctx, r.cl, &adminpb.Request{Kind: &adminpb.Request_ListPartitions{}})
		if err != nil {
			return false
		}
		tiered = 0
		for _, p := range resp.GetListPartitions().GetPartitions() {
			tiered += p.GetTieredEnd()
		}
		acked, _, _ := r.l.Acked()
		return tiered > before && tiered >= int64(acked)
	})
	return tiered
}

func (r *regainRun) check() {
	r.t.Helper()
	acked, _, _ := r.l.Acked()
	r.awaitTiered(int64(acked) - 1)
	if err := r.l.Check(r.ctx, r.cl); err != nil {
		r.t.Fatal(err)
	}
	r.l.Produce(r.ctx, r.cl, 300, 100)
	if err := r.l.allAcked(); err != nil {
		r.t.Fatal(err)
	}
	r.awaitTiered(int64(acked))
	if err := r.l.Check(r.ctx, r.cl); err != nil {
		r.t.Fatal(err)
	}
	regained := 0.0
	for _, m := range []*Member{r.first, r.second} {
		if m.Live == nil {
			continue
		}
		regained += sampleOf(r.ctx, r.t, m, "rustmq_tier_regained_ranges_total")
		if n := sampleOf(r.ctx, r.t, m, "rustmq_partitions_incomplete"); n != 0 {
			r.t.Errorf("node %d has %v partitions that lack something", m.id, n)
		}
	}
	if regained == 0 {
		r.t.Error("nothing was committed again")
	}
	r.salvage()
}

// salvage reads a partition out of a broker that is stopped, and out of the bucket: it has every record, in order.
func (r *regainRun) salvage() {
	r.t.Helper()
	topic, err := r.cl.DescribeTopic(r.ctx, r.l.Topic)
	must(r.t, err)
	ends := partitionsOf(r.ctx, r.t, r.cl)
	must(r.t, r.second.Stop(r.ctx))
	next := mq.Offset(0)
	must(r.t, r.second.Salvage(r.ctx, mq.PartitionID{Topic: topic.ID, Index: 0}, func(b mq.Batch) error {
		if b.BaseOffset() != next {
			return fmt.Errorf("%v where %d belongs", b, next)
		}
		next = b.NextOffset()
		return nil
	}))
	if next < 1000 || int64(next) < ends[0].GetTieredEnd() {
		r.t.Errorf("records up to %d of %v were salvaged", next, ends[0])
	}
	must(r.t, r.c.Start(r.ctx, r.second))
	until(r.t, "it serves again", func() bool { return inSyncOf(r.ctx, r.t, r.cl, r.l.Topic, len(ends[0].GetInSync())) })
}

// sampleOf is the value of one of a node's metrics, with its labels.
func sampleOf(ctx context.Context, t *testing.T, m *Member, name string) float64 {
	t.Helper()
	status, body, err := m.Get(ctx, "/metrics")
	if err != nil || status != http.StatusOK {
		t.Fatalf("metrics: %d, %v", status, err)
	}
	for line := range strings.Lines(body) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			value, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			must(t, err)
			return value
		}
	}
	t.Fatal(fmt.Errorf("no metric %s", name))
	return 0
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
