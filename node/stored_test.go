package node

import (
	"math"
	"testing"

	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/tier"
)

func TestCostsAreComputedByThePriceTable(t *testing.T) {
	p := PriceConfig{Writes: 0.005, Reads: 0.0004, Storage: 0.023, Transfer: 0.01}
	got := p.requestPrice(tier.Billed{Writes: 3_000_000, Reads: 10_000_000, Deletes: 1_000_000}, 5<<30)
	for kind, want := range map[string]float64{"write": 15, "read": 4, "transfer": 0.05} {
		if math.Abs(got[kind]-want) > 1e-9 {
			t.Errorf("%s: %v, want %v", kind, got[kind], want)
		}
	}
	if len(got) != 3 {
		t.Errorf("%v", got)
	}
	if cost := p.storagePrice(1000 << 30); math.Abs(cost-23) > 1e-9 {
		t.Errorf("1,000 GiB for a month: %v", cost)
	}
	var h holding
	h.add([]metadata.Object{{Size: 100, Ranges: 3}, {Size: 1 << 40}})
	if h != (holding{objects: 2, bytes: 100 + 1<<40, ranges: 3}) {
		t.Errorf("%+v", h)
	}
}
