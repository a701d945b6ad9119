package bench

import (
	"slices"
	"time"
)

// Result is one measured figure. The JSON names are part of the command contract.
type Result struct {
	Name            string  `json:"name" yaml:"name"`                                               // what was measured, stable: produce_throughput, quic_bulk_1, ...
	Value           float64 `json:"value" yaml:"value"`                                             // the figure, in Unit
	Unit            string  `json:"unit" yaml:"unit"`                                               // records/s, bytes/s
	Bound           string  `json:"bound,omitempty" yaml:"bound,omitempty"`                         // name of the bound that it is divided by, empty for a bound itself
	BoundValue      float64 `json:"bound_value,omitempty" yaml:"bound_value,omitempty"`             // the bound, in Unit
	Ratio           float64 `json:"ratio,omitempty" yaml:"ratio,omitempty"`                         // Value / BoundValue
	P50             float64 `json:"p50_us,omitempty" yaml:"p50_us,omitempty"`                       // median latency, microseconds
	P99             float64 `json:"p99_us,omitempty" yaml:"p99_us,omitempty"`                       // 99th percentile latency, microseconds
	P50Ratio        float64 `json:"p50_ratio,omitempty" yaml:"p50_ratio,omitempty"`                 // P50 / the bound's
	P99Ratio        float64 `json:"p99_ratio,omitempty" yaml:"p99_ratio,omitempty"`                 // P99 / the bound's
	CPUPerRecord    float64 `json:"cpu_us_per_record,omitempty" yaml:"cpu_us_per_record,omitempty"` // CPU of this process per record, microseconds
	Records         int64   `json:"records,omitempty" yaml:"records,omitempty"`
	RecordSizeBytes int     `json:"record_size_bytes,omitempty" yaml:"record_size_bytes,omitempty"`
}

// Against returns r with its ratios to bound filled in.
func (r Result) Against(bound Result) Result {
	r.Bound, r.BoundValue = bound.Name, bound.Value
	r.Ratio = ratio(r.Value, bound.Value)
	r.P50Ratio, r.P99Ratio = ratio(r.P50, bound.P50), ratio(r.P99, bound.P99)
	return r
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// percentiles returns the median and the 99th percentile of samples in
// microseconds. It sorts samples in place.
func percentiles(samples []time.Duration) (p50, p99 float64) {
	if len(samples) == 0 {
		return 0, 0
	}
	slices.Sort(samples)
	at := func(q float64) float64 {
		return float64(samples[int(q*float64(len(samples)-1))]) / float64(time.Microsecond)
	}
	return at(0.50), at(0.99)
}
