package bench

import (
	"slices"
	"time"
)

// Result is one measured figure. The JSON names are part of the command contract.
type Result struct {
	Name               string  `json:"name" yaml:"name"`                                                             // what was measured, stable: produce_throughput, quic_bulk_2, ...
	Value              float64 `json:"value" yaml:"value"`                                                           // the figure, in Unit: the median of the rounds
	Unit               string  `json:"unit" yaml:"unit"`                                                             // records/s
	Least              float64 `json:"least,omitempty" yaml:"least,omitempty"`                                       // of the rounds
	Most               float64 `json:"most,omitempty" yaml:"most,omitempty"`                                         // of the rounds
	Rounds             int     `json:"rounds,omitempty" yaml:"rounds,omitempty"`                                     // how many
	Bound              string  `json:"bound,omitempty" yaml:"bound,omitempty"`                                       // name of the bound that it is divided by, empty for a bound itself
	BoundValue         float64 `json:"bound_value,omitempty" yaml:"bound_value,omitempty"`                           // the bound, in Unit
	Ratio              float64 `json:"ratio,omitempty" yaml:"ratio,omitempty"`                                       // Value / BoundValue
	P50                float64 `json:"p50_us,omitempty" yaml:"p50_us,omitempty"`                                     // median latency, microseconds
	P99                float64 `json:"p99_us,omitempty" yaml:"p99_us,omitempty"`                                     // 99th percentile latency, microseconds
	P50Ratio           float64 `json:"p50_ratio,omitempty" yaml:"p50_ratio,omitempty"`                               // P50 / the bound's
	P99Ratio           float64 `json:"p99_ratio,omitempty" yaml:"p99_ratio,omitempty"`                               // P99 / the bound's
	CPUPerRecord       float64 `json:"cpu_us_per_record,omitempty" yaml:"cpu_us_per_record,omitempty"`               // CPU of this process per record, microseconds
	ServerCPUPerRecord float64 `json:"server_cpu_us_per_record,omitempty" yaml:"server_cpu_us_per_record,omitempty"` // CPU of the server, or of the far end of a bound
	SourceRatio        float64 `json:"source_ratio,omitempty" yaml:"source_ratio,omitempty"`                         // part of what was consumed that came from where it was to come from
	Records            int64   `json:"records,omitempty" yaml:"records,omitempty"`                                   // of all rounds
	RecordSizeBytes    int     `json:"record_size_bytes,omitempty" yaml:"record_size_bytes,omitempty"`
}

const unitRecords = "records/s"

// BytesPerSecond is the figure in bytes of records' values.
func (r Result) BytesPerSecond() float64 { return r.Value * float64(r.RecordSizeBytes) }

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

// summary is the median of rounds of one measurement, figure by figure.
func summary(rounds []Result) Result {
	r := rounds[0]
	over := func(f func(Result) float64) []float64 {
		values := make([]float64, len(rounds))
		for i, round := range rounds {
			values[i] = f(round)
		}
		slices.Sort(values)
		return values
	}
	values := over(func(r Result) float64 { return r.Value })
	r.Value, r.Least, r.Most, r.Rounds = median(values), values[0], values[len(values)-1], len(values)
	r.P50 = median(over(func(r Result) float64 { return r.P50 }))
	r.P99 = median(over(func(r Result) float64 { return r.P99 }))
	r.CPUPerRecord = median(over(func(r Result) float64 { return r.CPUPerRecord }))
	r.ServerCPUPerRecord = median(over(func(r Result) float64 { return r.ServerCPUPerRecord }))
	r.SourceRatio = over(func(r Result) float64 { return r.SourceRatio })[0]
	r.Records = 0
	for _, round := range rounds {
		r.Records += round.Records
	}
	return r
}

// median is that of sorted values.
func median(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
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
