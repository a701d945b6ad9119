package node

import (
	"github.com/rustmq/rustmq/kafkaproto"
)

func kafkaMetrics() []metric {
	return []metric{
		{name: "rustmq_kafka_connections", help: "Connections of Kafka clients that are open.", kind: gauge, value: func(s *sample) float64 { return float64(s.kafka.Connections) }},
		{name: "rustmq_kafka_connections_total", help: "Connections of Kafka clients that were served.", kind: counter, value: func(s *sample) float64 { return float64(s.kafka.Accepted) }},
		{name: "rustmq_kafka_connections_refused_total", help: "Connections of Kafka clients that a limit, their certificate or kafka.plaintext refused.", kind: counter, value: func(s *sample) float64 { return float64(s.kafka.Refused) }},
		{name: "rustmq_kafka_protocol_violations_total", help: "Connections of Kafka clients closed because the client broke the protocol or a limit.", kind: counter, value: func(s *sample) float64 { return float64(s.kafka.Faults) }},
		{name: "rustmq_kafka_requests_total", help: "Requests of Kafka clients, by API.", kind: counter, label: "api", each: kafkaCalls},
		{name: "rustmq_kafka_produce_bytes_total", help: "Bytes of the record batches that Kafka clients sent.", kind: counter, value: func(s *sample) float64 { return float64(s.kafka.Produced) }},
		{name: "rustmq_kafka_throttled_requests_total", help: "Requests of Kafka clients that were held back for their quotas.", kind: counter, value: func(s *sample) float64 { return float64(s.kafka.Throttled) }},
		{name: "rustmq_kafka_fetch_bytes_total", help: "Bytes of record batches sent to Kafka clients.", kind: counter, value: func(s *sample) float64 { return float64(s.kafka.Fetched) }},
	}
}

func kafkaCalls(s *sample) map[string]float64 {
	counts := make(map[string]float64, len(s.kafka.Calls))
	for api, n := range s.kafka.Calls {
		counts[api] = float64(n)
	}
	return counts
}

// kafkaSample is what the metrics of Kafka clients are read from.
func (n *Node) kafkaSample() (s kafkaproto.Stats) {
	if n.kafka != nil {
		s = n.kafka.Stats()
	}
	return s
}
