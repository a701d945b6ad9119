package node

import (
	"github.com/rustmq/rustmq/gateway"
)

func gatewayMetrics() []metric {
	return []metric{
		{name: "rustmq_api_calls_total", help: "Calls of rustmq.v1 over HTTP that ended, by procedure and by the code of how.", kind: counter, label: "procedure,code", each: apiCalls},
		{name: "rustmq_api_calls", help: "Calls of rustmq.v1 that are under way, streams included.", kind: gauge, value: func(s *sample) float64 { return float64(s.gateway.Active) }},
		{name: "rustmq_api_consumers", help: "Fetch and Consume calls of rustmq.v1 that are under way.", kind: gauge, value: func(s *sample) float64 { return float64(s.gateway.Consumers) }},
		{name: "rustmq_api_request_bytes", help: "Bytes of requests and answers of rustmq.v1 that are held.", kind: gauge, value: func(s *sample) float64 { return float64(s.gateway.RequestBytes) }},
		{name: "rustmq_api_prefetched_bytes", help: "Bytes that are read ahead for Fetch and Consume calls of rustmq.v1.", kind: gauge, value: func(s *sample) float64 { return float64(s.gateway.PrefetchedBytes) }},
		{name: "rustmq_api_buffered_bytes", help: "Bytes of records that are being produced over rustmq.v1.", kind: gauge, value: func(s *sample) float64 { return float64(s.gateway.BufferedBytes) }},
		{name: "rustmq_api_records_produced_total", help: "Records that were produced over rustmq.v1.", kind: counter, value: func(s *sample) float64 { return float64(s.gateway.RecordsProduced) }},
		{name: "rustmq_api_records_failed_total", help: "Records whose producing over rustmq.v1 failed.", kind: counter, value: func(s *sample) float64 { return float64(s.gateway.RecordsFailed) }},
	}
}

func apiCalls(s *sample) map[string]float64 {
	counts := make(map[string]float64, len(s.gateway.Calls))
	for o, n := range s.gateway.Calls {
		counts[o.Procedure+labelSeparator+o.Code] = float64(n)
	}
	return counts
}

// gatewaySample is what the metrics of rustmq.v1 are read from.
func (n *Node) gatewaySample() (s gateway.Stats) {
	if n.gateway != nil {
		s = n.gateway.Stats()
	}
	return s
}
