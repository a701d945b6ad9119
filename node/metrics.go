package node

import (
	"fmt"
	"io"
	"math"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/rustmq/rustmq/gateway"
	"github.com/rustmq/rustmq/kafkaproto"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
	"github.com/rustmq/rustmq/quicproto/server"
	"github.com/rustmq/rustmq/raft"
	"github.com/rustmq/rustmq/tier"
	"github.com/rustmq/rustmq/wal"
)

// sample is what all metrics of one scrape are read from.
type sample struct {
	data, raftLog wal.Stats
	raft          *raft.Status
	uploader      tier.UploaderStats
	compactor     tier.CompactorStats
	reader        tier.ReaderStats
	store         tier.StoreStats
	server        server.Stats
	tailBytes     int64
	counters      *partition.Counters
	topics        int
	states        map[partition.State]int
	incomplete    int
	setAside      int
	regained      int64
	now           time.Time
	cluster       clusterSample
	keeper        *keeperCounts
	stored        stored
	price         PriceConfig
	mount         mountSample
	groups        groupSample
	gateway       gateway.Stats
	kafka         kafkaproto.Stats
}

func (n *Node) sample() *sample {
	s := &sample{
		raft: new(raft.Status), counters: new(partition.Counters),
		states: make(map[partition.State]int), now: time.Now(), keeper: new(keeperCounts), price: n.cfg.Price,
	}
	if k := n.keeper.Load(); k != nil {
		s.keeper = &k.counts
		if held := s.keeper.stored.Load(); held != nil {
			s.stored = *held
		}
		if k.objects != nil {
			s.store = k.objects.Stats()
		}
	}
	img := n.cluster.Image()
	s.topics, s.cluster = img.TopicCount(), n.clusterSample(img)
	if n.raft != nil {
		s.raftLog, s.raft = n.raftLog.Stats(), n.raft.Status()
	}
	if n.server != nil {
		s.server = n.server.Stats()
	}
	s.gateway, s.kafka = n.gatewaySample(), n.kafkaSample()
	if n.reader != nil {
		s.reader, s.store = n.reader.Stats(), n.objects.Stats()
	}
	if n.mounted() {
		s.mount = n.mount.sample()
	}
	if n.partitions == nil {
		return s
	}
	s.data, s.uploader = n.dataLog.Stats(), n.uploader.Stats()
	s.groups = n.groupSample(s.now)
	s.tailBytes, s.counters = n.partitions.tail.Used(), n.partitions.counters
	if n.compactor != nil {
		s.compactor = n.compactor.Stats()
	}
	s.setAside = len(n.partitions.setAsides())
	s.incomplete, s.regained = len(n.partitions.regain.gaps()), n.partitions.regain.regained.Load()
	for _, p := range n.partitions.Table().All() {
		state, _ := p.State()
		s.states[state]++
	}
	return s
}

// metric is one row of the catalogue: docs/metrics.md is generated from it.
type metric struct {
	name, help string
	kind       prometheus.ValueType
	value      func(*sample) float64
	histogram  func(*sample) wal.Histogram      // instead of value
	each       func(*sample) map[string]float64 // instead of value: by the value of the label, or those of several with labelSeparator between them
	label      string                           // with value: its name and value, "log=data"; with each: its name, or those of several, as in "procedure,code"
}

// labelSeparator is between the values of several labels.
const labelSeparator = "\x00"

const (
	counter = prometheus.CounterValue
	gauge   = prometheus.GaugeValue
)

func catalogue() []metric {
	metrics := []metric{
		{name: "rustmq_sessions", help: "Client sessions that are open.", kind: gauge, value: func(s *sample) float64 { return float64(s.server.Sessions) }},
		{name: "rustmq_sessions_total", help: "Client sessions that were admitted.", kind: counter, value: func(s *sample) float64 { return float64(s.server.SessionsTotal) }},
		{name: "rustmq_sessions_refused_total", help: "Client sessions that a limit or their certificate refused.", kind: counter, value: func(s *sample) float64 { return float64(s.server.RefusedTotal) }},
		{name: "rustmq_handshakes_failed_total", help: "Handshakes that came to nothing.", kind: counter, value: func(s *sample) float64 { return float64(s.server.HandshakesFailedTotal) }},
		{name: "rustmq_protocol_violations_total", help: "Sessions closed because the client broke the protocol.", kind: counter, value: func(s *sample) float64 { return float64(s.server.ViolationsTotal) }},
		{name: "rustmq_streams", help: "Streams that are open in all sessions.", kind: gauge, value: func(s *sample) float64 { return float64(s.server.Streams) }},
		{name: "rustmq_requests_total", help: "Single requests that were answered.", kind: counter, value: func(s *sample) float64 { return float64(s.server.Requests) }},
		{name: "rustmq_produce_batches_total", help: "Record batches that clients sent.", kind: counter, value: func(s *sample) float64 { return float64(s.server.ProduceBatches) }},
		{name: "rustmq_produce_bytes_total", help: "Bytes of the record batches that clients sent.", kind: counter, value: func(s *sample) float64 { return float64(s.server.ProduceBytes) }},
		{name: "rustmq_produce_errors_total", help: "Record batches that were refused or failed.", kind: counter, value: func(s *sample) float64 { return float64(s.server.ProduceErrors) }},
		{name: "rustmq_produce_inflight_bytes", help: "Bytes of record batches that were received and are not acknowledged yet.", kind: gauge, value: func(s *sample) float64 { return float64(s.server.InFlightBytes) }},
		{name: "rustmq_fetch_referrals_total", help: "Partitions of subscriptions whose client was told that another node has what comes next: a broker of its rack, or again the leader.", kind: counter, value: func(s *sample) float64 { return float64(s.server.FetchReferrals) }},
		{name: "rustmq_fetch_bytes_total", help: "Bytes of record batches sent to consumers.", kind: counter, value: func(s *sample) float64 { return float64(s.server.FetchBytes) }},
		{name: "rustmq_topics", help: "Topics in the cluster.", kind: gauge, value: func(s *sample) float64 { return float64(s.topics) }},
		{name: "rustmq_tail_bytes", help: "Bytes of record batches in the hot tail.", kind: gauge, value: func(s *sample) float64 { return float64(s.tailBytes) }},

		{name: "rustmq_tier_objects_total", help: "Objects committed to the object store.", kind: counter, value: func(s *sample) float64 { return float64(s.uploader.Objects) }},
		{name: "rustmq_tier_ranges_total", help: "Partition ranges committed to the object store.", kind: counter, value: func(s *sample) float64 { return float64(s.uploader.Ranges) }},
		{name: "rustmq_tier_ranges_refused_total", help: "Partition ranges whose commit was refused.", kind: counter, value: func(s *sample) float64 { return float64(s.uploader.RangesRefused) }},
		{name: "rustmq_tier_uploaded_bytes_total", help: "Bytes committed to the object store.", kind: counter, value: func(s *sample) float64 { return float64(s.uploader.Bytes) }},
		{name: "rustmq_tier_orphans_total", help: "Objects that were uploaded and of which nothing was committed.", kind: counter, value: func(s *sample) float64 { return float64(s.uploader.Orphans) }},
		{name: "rustmq_tier_retries_total", help: "Tries of the object store or of a commit that failed.", kind: counter, value: func(s *sample) float64 { return float64(s.uploader.Retries) }},
		{name: "rustmq_tier_pending_bytes", help: "Bytes that wait to be uploaded.", kind: gauge, value: func(s *sample) float64 { return float64(s.uploader.PendingBytes) }},
		{name: "rustmq_tier_oldest_pending_seconds", help: "Age of the oldest record that waits to be uploaded.", kind: gauge, value: oldestPending},
		{name: "rustmq_tier_store_failing", help: "1 when the last try of the object store failed.", kind: gauge, value: func(s *sample) float64 { return boolean(s.uploader.StoreFailing) }},
		{name: "rustmq_tier_requests_total", help: "Requests to the object store.", kind: counter, label: "operation", each: storeRequests},
		{name: "rustmq_tier_requests_waiting", help: "Requests that wait for their turn at the object store.", kind: gauge, label: "class", each: ofClass(func(c *tier.ClassStats) float64 { return float64(c.Waiting) })},
		{name: "rustmq_tier_requests_waited_seconds_total", help: "Time that requests to the object store waited for their turn.", kind: counter, label: "class", each: ofClass(func(c *tier.ClassStats) float64 { return c.Waited.Seconds() })},
		{name: "rustmq_tier_sent_bytes_total", help: "Bytes of objects sent to the object store.", kind: counter, label: "class", each: ofClass(func(c *tier.ClassStats) float64 { return float64(c.Uploaded) })},
		{name: "rustmq_tier_received_bytes_total", help: "Bytes of objects read from the object store.", kind: counter, label: "class", each: ofClass(func(c *tier.ClassStats) float64 { return float64(c.Downloaded) })},
		{name: "rustmq_tier_request_failures_total", help: "Requests that the object store denied, that were too many for it, or that failed otherwise.", kind: counter, label: "reason", each: storeFailures},
		{name: "rustmq_tier_cache_hits_total", help: "Blocks of objects found in the cache.", kind: counter, value: func(s *sample) float64 { return float64(s.reader.BlockHits) }},
		{name: "rustmq_tier_cache_misses_total", help: "Blocks of objects read from the store.", kind: counter, value: func(s *sample) float64 { return float64(s.reader.BlockMisses) }},
		{name: "rustmq_tier_cache_hit_ratio", help: "Share of the blocks of objects that were in the cache when they were needed, since the process started; 0 before one was.", kind: gauge, value: hitRatio},
		{name: "rustmq_tier_read_ahead_blocks_total", help: "Blocks of objects fetched ahead of readers that go on in order.", kind: counter, value: func(s *sample) float64 { return float64(s.reader.ReadAheadBlocks) }},
		{name: "rustmq_tier_index_lookups_total", help: "Times that the controllers were asked where records lie in the object store.", kind: counter, value: func(s *sample) float64 { return float64(s.reader.CatalogLookups) }},
		{name: "rustmq_tier_cache_bytes", help: "Bytes of cached blocks.", kind: gauge, value: func(s *sample) float64 { return float64(s.reader.CachedBytes) }},
		{name: "rustmq_tier_fetched_bytes_total", help: "Bytes read from the object store.", kind: counter, value: func(s *sample) float64 { return float64(s.reader.FetchedBytes) }},
		{name: "rustmq_tier_fetch_errors_total", help: "Reads of the object store that failed.", kind: counter, value: func(s *sample) float64 { return float64(s.reader.FetchErrors) }},
		{name: "rustmq_tier_corruptions_total", help: "Damage found in stored bytes.", kind: counter, value: func(s *sample) float64 { return float64(s.reader.Corruptions) }},
		{name: "rustmq_tier_regained_ranges_total", help: "Partition ranges that only lost controllers had committed, and that this node found in the object store and committed again.", kind: counter, value: func(s *sample) float64 { return float64(s.regained) }},
		{name: "rustmq_partitions_set_aside", help: "Partitions in the log of this node that recovered controllers do not know of: they are kept, and do not run.", kind: gauge, value: func(s *sample) float64 { return float64(s.setAside) }},
		{name: "rustmq_partitions_incomplete", help: "Partitions led by this node of which lost controllers had committed records that nothing knows the place of: reads there wait and fail.", kind: gauge, value: func(s *sample) float64 { return float64(s.incomplete) }},

		{name: "rustmq_raft_term", help: "Term of the controllers' consensus.", kind: gauge, value: func(s *sample) float64 { return float64(s.raft.Term) }},
		{name: "rustmq_raft_leader", help: "Node id of the leading controller, 0 for none.", kind: gauge, value: func(s *sample) float64 { return float64(s.raft.Leader) }},
		{name: "rustmq_raft_applied_index", help: "Index of the last command that was applied.", kind: gauge, value: func(s *sample) float64 { return float64(s.raft.Applied) }},
	}
	for _, state := range []partition.State{
		partition.StateLeader, partition.StateFollower, partition.StateOffline, partition.StateQuarantined,
	} {
		metrics = append(metrics, metric{
			name: "rustmq_partitions", help: "Partitions that run on this node, by state.", kind: gauge, label: "state=" + state.String(),
			value: func(s *sample) float64 { return float64(s.states[state]) },
		})
	}
	metrics = append(metrics, compactionMetrics()...)
	metrics = append(metrics, clusterMetrics()...)
	metrics = append(metrics, groupMetrics()...)
	metrics = append(metrics, gatewayMetrics()...)
	metrics = append(metrics, kafkaMetrics()...)
	metrics = append(metrics, readMetrics()...)
	metrics = append(metrics, keeperMetrics()...)
	metrics = append(metrics, costMetrics()...)
	metrics = append(metrics, mountMetrics()...)
	metrics = append(metrics, logMetrics("data", func(s *sample) *wal.Stats { return &s.data })...)
	return append(metrics, logMetrics("raft", func(s *sample) *wal.Stats { return &s.raftLog })...)
}

// readMetrics say which of the places that hold a record serves the consumers.
func readMetrics() (metrics []metric) {
	for _, source := range []struct {
		name  string
		bytes func(*partition.Counters) *atomic.Int64
	}{
		{"tail", func(c *partition.Counters) *atomic.Int64 { return &c.TailBytes }},
		{"log", func(c *partition.Counters) *atomic.Int64 { return &c.LogBytes }},
		{"store", func(c *partition.Counters) *atomic.Int64 { return &c.ColdBytes }},
		{"tiered", func(c *partition.Counters) *atomic.Int64 { return &c.TieredBytes }},
	} {
		metrics = append(metrics, metric{
			name: "rustmq_read_bytes_total", help: "Bytes of record batches read for consumers, by source: the hot tail, the log, the object store (or its cache); tiered: the object store, for clients that the leaders of partitions referred to this broker.",
			kind: counter, label: "source=" + source.name, value: func(s *sample) float64 { return float64(source.bytes(s.counters).Load()) },
		})
	}
	return metrics
}

// compactionMetrics say what merging objects costs and brings.
func compactionMetrics() []metric {
	return []metric{
		{name: "rustmq_compaction_objects_total", help: "Objects made of others, and committed.", kind: counter, value: func(s *sample) float64 { return float64(s.compactor.Objects) }},
		{name: "rustmq_compaction_ranges_total", help: "Partition ranges that were merged into fewer.", kind: counter, value: func(s *sample) float64 { return float64(s.compactor.Ranges) }},
		{name: "rustmq_compaction_merges_total", help: "Partition ranges that they became.", kind: counter, value: func(s *sample) float64 { return float64(s.compactor.Merges) }},
		{name: "rustmq_compaction_passes_total", help: "Passes over partitions that are compacted by key.", kind: counter, value: func(s *sample) float64 { return float64(s.compactor.Passes) }},
		{name: "rustmq_compaction_refused_total", help: "Merges that were for nothing, because what they were made of was not there any more.", kind: counter, value: func(s *sample) float64 { return float64(s.compactor.Refused) }},
		{name: "rustmq_compaction_failures_total", help: "Merges that failed; they are tried again.", kind: counter, value: func(s *sample) float64 { return float64(s.compactor.Failures) }},
		{name: "rustmq_compaction_read_bytes_total", help: "Bytes read from the object store to merge objects.", kind: counter, value: func(s *sample) float64 { return float64(s.compactor.ReadBytes) }},
		{name: "rustmq_compaction_written_bytes_total", help: "Bytes written to the object store by merging objects.", kind: counter, value: func(s *sample) float64 { return float64(s.compactor.WrittenBytes) }},
		{name: "rustmq_compaction_write_amplification", help: "Bytes that this process wrote to the object store for each that it committed there the first time; 0 before it did.", kind: gauge, value: writeAmplification},
	}
}

func writeAmplification(s *sample) float64 {
	if s.uploader.Bytes == 0 {
		return 0
	}
	return float64(s.uploader.Bytes+s.compactor.WrittenBytes) / float64(s.uploader.Bytes)
}

func hitRatio(s *sample) float64 {
	if s.reader.BlockHits+s.reader.BlockMisses == 0 {
		return 0
	}
	return float64(s.reader.BlockHits) / float64(s.reader.BlockHits+s.reader.BlockMisses)
}

func oldestPending(s *sample) float64 {
	if s.uploader.OldestPending.IsZero() {
		return 0
	}
	return s.now.Sub(s.uploader.OldestPending).Seconds()
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// logMetrics are those of one of the two logs.
func logMetrics(log string, of func(*sample) *wal.Stats) []metric {
	label := "log=" + log
	return []metric{
		{name: "rustmq_wal_file_bytes", help: "Bytes of a log's segment files.", kind: gauge, label: label, value: func(s *sample) float64 { return float64(of(s).FileBytes) }},
		{name: "rustmq_wal_live_bytes", help: "Bytes in a log's segment files that are still needed.", kind: gauge, label: label, value: func(s *sample) float64 { return float64(of(s).LiveBytes) }},
		{name: "rustmq_wal_segments", help: "Segment files of a log in use.", kind: gauge, label: label, value: func(s *sample) float64 { return float64(of(s).Segments) }},
		{name: "rustmq_wal_queued_bytes", help: "Bytes that wait for a log's disk.", kind: gauge, label: label, value: func(s *sample) float64 { return float64(of(s).QueuedBytes) }},
		{name: "rustmq_wal_oldest_pending_seconds", help: "Age of the oldest entry of a log that is not durable.", kind: gauge, label: label, value: func(s *sample) float64 { return of(s).OldestPending.Seconds() }},
		{name: "rustmq_wal_full", help: "1 while a log has no room: producing is refused.", kind: gauge, label: label, value: func(s *sample) float64 { return boolean(of(s).Full) }},
		{name: "rustmq_wal_entries_total", help: "Entries of a log made durable.", kind: counter, label: label, value: func(s *sample) float64 { return float64(of(s).EntriesTotal) }},
		{name: "rustmq_wal_written_bytes_total", help: "Bytes written to a log.", kind: counter, label: label, value: func(s *sample) float64 { return float64(of(s).WrittenBytesTotal) }},
		{name: "rustmq_wal_copied_bytes_total", help: "Bytes of a log copied forward to free a segment.", kind: counter, label: label, value: func(s *sample) float64 { return float64(of(s).CopiedBytesTotal) }},
		{name: "rustmq_wal_freed_segments_total", help: "Segments of a log that were freed.", kind: counter, label: label, value: func(s *sample) float64 { return float64(of(s).FreedTotal) }},
		{name: "rustmq_wal_late_segments_total", help: "Segments of a log that the writer had to wait for.", kind: counter, label: label, value: func(s *sample) float64 { return float64(of(s).LateTotal) }},
		{name: "rustmq_wal_sync_seconds", help: "Time of one sync of a log.", label: label, histogram: func(s *sample) wal.Histogram { return of(s).SyncSeconds }},
		{name: "rustmq_wal_group_entries", help: "Entries made durable by one sync of a log.", label: label, histogram: func(s *sample) wal.Histogram { return of(s).GroupEntries }},
	}
}

// collector reads a sample per scrape and gives every metric of the catalogue.
type collector struct {
	node    *Node
	metrics []metric
	descs   []*prometheus.Desc
}

// metrics makes the node's registry.
func (n *Node) metrics() (*prometheus.Registry, error) {
	c := &collector{node: n, metrics: catalogue()}
	for _, m := range c.metrics {
		c.descs = append(c.descs, prometheus.NewDesc(m.name, m.help, m.variable(), m.labels()))
	}
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "rustmq_build_info", Help: "1; the label says which version runs.", ConstLabels: prometheus.Labels{"version": Version()},
	}, func() float64 { return 1 })
	registry := prometheus.NewRegistry()
	for _, r := range []prometheus.Collector{c, build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
		if err := registry.Register(r); err != nil {
			return nil, mq.Errorf(mq.Internal, "register metrics: %w", err)
		}
	}
	return registry, nil
}

// variable is the label whose values are found at a scrape.
func (m *metric) variable() []string {
	if m.each == nil {
		return nil
	}
	return strings.Split(m.label, ",")
}

func (m *metric) labels() prometheus.Labels {
	if m.label == "" || m.each != nil {
		return nil
	}
	name, value, _ := strings.Cut(m.label, "=")
	return prometheus.Labels{name: value}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	s := c.node.sample()
	for i, m := range c.metrics {
		if m.each != nil {
			for label, value := range m.each(s) {
				out <- prometheus.MustNewConstMetric(c.descs[i], m.kind, value, strings.SplitN(label, labelSeparator, len(m.variable()))...)
			}
			continue
		}
		if m.histogram == nil {
			out <- prometheus.MustNewConstMetric(c.descs[i], m.kind, m.value(s))
			continue
		}
		h := m.histogram(s)
		buckets, count := make(map[float64]uint64, len(h.Bounds)), uint64(0)
		for j, n := range h.Counts {
			count += n
			if j < len(h.Bounds) && !math.IsInf(h.Bounds[j], 1) {
				buckets[h.Bounds[j]] = count
			}
		}
		out <- prometheus.MustNewConstHistogram(c.descs[i], count, h.Sum, buckets)
	}
}

// WriteMetricsDoc writes the catalogue as the page docs/metrics.md.
func WriteMetricsDoc(w io.Writer) error {
	if _, err := fmt.Fprint(w, "# Metrics\n\nGenerated from the code. `GET /metrics` on the admin listener also has the Go runtime's and the process's own.\n\n"+
		"| Metric | Type | Label | Meaning |\n|---|---|---|---|\n"); err != nil {
		return err
	}
	seen := make(map[string]bool)
	for _, m := range catalogue() {
		if seen[m.name] {
			continue
		}
		seen[m.name] = true
		label, _, _ := strings.Cut(m.label, "=")
		if _, err := fmt.Fprintf(w, "| `%s` | %s | %s | %s |\n", m.name, m.typeName(), label, m.help); err != nil {
			return err
		}
	}
	return nil
}

func (m *metric) typeName() string {
	switch {
	case m.histogram != nil:
		return "histogram"
	case m.kind == counter:
		return "counter"
	default:
		return "gauge"
	}
}

// storeRequests counts by operation.
func storeRequests(s *sample) map[string]float64 {
	counts := map[string]float64{}
	for i := range s.store.Classes {
		for operation, n := range s.store.Classes[i].Requests {
			counts[operation] += float64(n)
		}
	}
	return counts
}

// ofClass is a value of each class of requests to the object store.
func ofClass(value func(*tier.ClassStats) float64) func(*sample) map[string]float64 {
	return func(s *sample) map[string]float64 {
		values := map[string]float64{}
		for i := range s.store.Classes {
			values[tier.Class(i).String()] = value(&s.store.Classes[i])
		}
		return values
	}
}

func storeFailures(s *sample) map[string]float64 {
	return map[string]float64{"denied": float64(s.store.Denied), "throttled": float64(s.store.Throttled), "other": float64(s.store.Failed)}
}
