package node

import (
	"strconv"

	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/raft"
	"github.com/rustmq/rustmq/raft/transport"
	"github.com/rustmq/rustmq/replication"
)

// clusterSample is what a node knows of the others.
type clusterSample struct {
	alive, stopping, fenced                              int // brokers
	underReplicated, underMinISR, leaderless, reassigned int // partitions, of the whole cluster
	voters, learners, leaving                            int
	peers                                                []replication.Status
	lag                                                  map[string]float64 // records, by peer
	lease, stale                                         float64            // seconds
	changes                                              *changes
	snapshots                                            transport.Snapshots
	level, supported                                     uint32 // of features
}

func (n *Node) clusterSample(img *metadata.Image) (s clusterSample) {
	s.lag, s.changes = map[string]float64{}, new(changes)
	s.level, s.supported = img.FeatureLevel, img.SupportedLevel()
	for _, b := range img.Brokers() {
		switch {
		case b.Fenced:
			s.fenced++
		case b.ShuttingDown:
			s.stopping++
		default:
			s.alive++
		}
	}
	for t := range img.Topics() {
		for _, p := range t.All() {
			s.underReplicated += one(len(p.ISR) < len(p.Replicas))
			s.underMinISR += one(len(p.ISR) < t.MinInSync(p))
			s.leaderless += one(p.Leader == mq.NoNode)
			s.reassigned += one(p.Reassignment != nil)
		}
	}
	if client := n.client.Load(); client != nil {
		s.lease, s.stale = client.LeaseLeft().Seconds(), client.Stale().Seconds()
	}
	if n.raft != nil {
		status := n.raft.Status()
		s.voters, s.learners, s.leaving = len(status.Voters), len(status.Learners), len(status.Leaving)
	}
	if n.group != nil {
		if t := n.group.transport.Load(); t != nil {
			s.snapshots = t.Snapshots()
		}
	}
	if n.partitions == nil {
		return s
	}
	s.changes = &n.partitions.changes
	if n.replicator != nil {
		if peers := n.replicator.shown.Load(); peers != nil {
			s.peers = peers.Status()
		}
	}
	for _, p := range n.partitions.Table().All() {
		progress, leads := p.Progress()
		if !leads {
			continue
		}
		for _, f := range progress.Followers {
			if f.End >= 0 {
				s.lag[peerLabel(f.Node)] += float64(max(0, progress.LogEnd-f.End))
			}
		}
	}
	return s
}

// logEntries is how many entries a controller's log has; 0 where there is none.
func logEntries(s *raft.Status) uint64 {
	if s.First == 0 || s.Last < s.First {
		return 0
	}
	return s.Last - s.First + 1
}

func one(is bool) int {
	if is {
		return 1
	}
	return 0
}

func peerLabel(id mq.NodeID) string { return strconv.Itoa(int(id)) }

// perPeer is a metric with a value for each peer.
func perPeer(value func(replication.Status) float64) func(*sample) map[string]float64 {
	return func(s *sample) map[string]float64 {
		values := make(map[string]float64, len(s.cluster.peers))
		for _, p := range s.cluster.peers {
			values[peerLabel(p.Node)] = value(p)
		}
		return values
	}
}

// clusterMetrics are about this node's part in a cluster. What is said of the whole cluster is the same on all nodes, but for how new it is.
func clusterMetrics() []metric {
	return []metric{
		{name: "rustmq_brokers", help: "Brokers of the cluster, by state.", kind: gauge, label: "state=alive", value: func(s *sample) float64 { return float64(s.cluster.alive) }},
		{name: "rustmq_brokers", help: "Brokers of the cluster, by state.", kind: gauge, label: "state=shutting_down", value: func(s *sample) float64 { return float64(s.cluster.stopping) }},
		{name: "rustmq_brokers", help: "Brokers of the cluster, by state.", kind: gauge, label: "state=fenced", value: func(s *sample) float64 { return float64(s.cluster.fenced) }},
		{name: "rustmq_under_replicated_partitions", help: "Partitions of the cluster with fewer replicas in sync than replicas.", kind: gauge, value: func(s *sample) float64 { return float64(s.cluster.underReplicated) }},
		{name: "rustmq_under_min_isr_partitions", help: "Partitions of the cluster with fewer replicas in sync than min.insync.replicas: acks=all waits.", kind: gauge, value: func(s *sample) float64 { return float64(s.cluster.underMinISR) }},
		{name: "rustmq_leaderless_partitions", help: "Partitions of the cluster that nobody leads.", kind: gauge, value: func(s *sample) float64 { return float64(s.cluster.leaderless) }},
		{name: "rustmq_reassigned_partitions", help: "Partitions of the cluster that are being moved.", kind: gauge, value: func(s *sample) float64 { return float64(s.cluster.reassigned) }},

		{name: "rustmq_isr_shrinks_total", help: "In-sync sets of partitions led here that became smaller.", kind: counter, value: func(s *sample) float64 { return float64(s.cluster.changes.shrinks.Load()) }},
		{name: "rustmq_isr_expands_total", help: "In-sync sets of partitions led here that became larger.", kind: counter, value: func(s *sample) float64 { return float64(s.cluster.changes.expands.Load()) }},
		{name: "rustmq_leader_elections_total", help: "Partitions that this node became the leader of after another one.", kind: counter, value: func(s *sample) float64 { return float64(s.cluster.changes.elections.Load()) }},
		{name: "rustmq_unclean_elections_total", help: "Of those, the ones that may have lost acknowledged records.", kind: counter, value: func(s *sample) float64 { return float64(s.cluster.changes.unclean.Load()) }},

		{name: "rustmq_replication_received_bytes_total", help: "Bytes of record batches taken from leaders.", kind: counter, value: func(s *sample) float64 { return float64(s.counters.ReplicatedBytes.Load()) }},
		{name: "rustmq_replication_received_batches_total", help: "Record batches taken from leaders.", kind: counter, value: func(s *sample) float64 { return float64(s.counters.ReplicatedBatches.Load()) }},
		{name: "rustmq_replication_truncations_total", help: "Times that a follower's log was cut because its leader's differs.", kind: counter, value: func(s *sample) float64 { return float64(s.counters.Truncations.Load()) }},
		{name: "rustmq_replication_sent_bytes_total", help: "Bytes of record batches sent to a follower.", kind: counter, label: "peer", each: perPeer(func(p replication.Status) float64 { return float64(p.SentBytes) })},
		{name: "rustmq_replication_streams_total", help: "Streams made to a follower: grows when they break.", kind: counter, label: "peer", each: perPeer(func(p replication.Status) float64 { return float64(p.Streams) })},
		{name: "rustmq_replication_connected", help: "1 while there is a stream to a follower.", kind: gauge, label: "peer", each: perPeer(func(p replication.Status) float64 { return boolean(p.Connected) })},
		{name: "rustmq_replication_inflight_bytes", help: "Bytes sent to a follower and not acknowledged.", kind: gauge, label: "peer", each: perPeer(func(p replication.Status) float64 { return float64(p.InFlight) })},
		{name: "rustmq_replication_lag_records", help: "Records of partitions led here that a follower has not on its disk yet.", kind: gauge, label: "peer", each: func(s *sample) map[string]float64 { return s.cluster.lag }},

		{name: "rustmq_lease_seconds", help: "For how long this broker may lead without hearing from the controllers; 0: it acknowledges nothing, or is alone.", kind: gauge, value: func(s *sample) float64 { return s.cluster.lease }},
		{name: "rustmq_image_staleness_seconds", help: "Since when a broker without a controller has heard nothing of the metadata.", kind: gauge, value: func(s *sample) float64 { return s.cluster.stale }},
		{name: "rustmq_raft_members", help: "Members of the controllers' group as this one knows it, by role. One that is leaving is needed for a majority until the change of members is over.", kind: gauge, label: "role", each: raftMembers},
		{name: "rustmq_raft_leading", help: "1 on the node whose controller leads.", kind: gauge, value: func(s *sample) float64 { return boolean(s.raft.Leading) }},
		{name: "rustmq_raft_leader_changes_total", help: "Times that this controller learned of another leading one.", kind: counter, value: func(s *sample) float64 { return float64(s.raft.LeaderChanges) }},
		{name: "rustmq_raft_snapshots_installed_total", help: "Snapshots that this controller took the place of its state from.", kind: counter, value: func(s *sample) float64 { return float64(s.raft.Snapshots) }},
		{name: "rustmq_raft_snapshots_sent_total", help: "Snapshots that another controller took from this one.", kind: counter, value: func(s *sample) float64 { return float64(s.cluster.snapshots.Sent) }},
		{name: "rustmq_raft_snapshots_received_total", help: "Snapshots that came to this controller whole.", kind: counter, value: func(s *sample) float64 { return float64(s.cluster.snapshots.Received) }},
		{name: "rustmq_raft_snapshots_failed_total", help: "Snapshots on their way from or to this controller that broke off or were refused: they are sent again.", kind: counter, value: func(s *sample) float64 { return float64(s.cluster.snapshots.Failed) }},
		{name: "rustmq_raft_snapshot_sent_bytes_total", help: "Bytes of snapshots sent to other controllers, those sent again included.", kind: counter, value: func(s *sample) float64 { return float64(s.cluster.snapshots.SentBytes) }},
		{name: "rustmq_raft_snapshot_received_bytes_total", help: "Bytes of snapshots received from other controllers.", kind: counter, value: func(s *sample) float64 { return float64(s.cluster.snapshots.ReceivedBytes) }},
		{name: "rustmq_raft_log_entries", help: "Entries in the controller's log that no snapshot has taken the place of.", kind: gauge, value: func(s *sample) float64 { return float64(logEntries(s.raft)) }},

		{name: "rustmq_feature_level", help: "Feature level of the cluster.", kind: gauge, value: func(s *sample) float64 { return float64(s.cluster.level) }},
		{name: "rustmq_supported_feature_level", help: "Highest feature level that all nodes speak: above rustmq_feature_level, `rustmq ctl cluster upgrade` is due.", kind: gauge, value: func(s *sample) float64 { return float64(s.cluster.supported) }},
	}
}

func raftMembers(s *sample) map[string]float64 {
	return map[string]float64{roleVoter: float64(s.cluster.voters), roleLearner: float64(s.cluster.learners), "leaving": float64(s.cluster.leaving)}
}
