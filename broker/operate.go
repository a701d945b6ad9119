package broker

import (
	"context"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto/server"
)

// Operations are what operators ask of that the metadata alone can not answer. Errors are *mq.Error.
type Operations interface {
	// AskController has the leading controller do what it alone can: the status of raft, changes of its members, and a look at the object store. Each may be asked again.
	AskController(ctx context.Context, req *adminpb.Request) (*adminpb.Response, error)
	// TierNode says what this node does with the object store.
	TierNode(req *adminpb.TierNodeRequest) (*adminpb.TierNodeResponse, error)
}

// Operate implements server.Broker.
func (b *Broker) Operate(ctx context.Context, s *server.Session, message []byte) ([]byte, error) {
	return adminpb.Answer(message, func(req *adminpb.Request) (*adminpb.Response, error) {
		op := OpDescribe
		switch req.GetKind().(type) {
		case *adminpb.Request_AlterClusterConfig, *adminpb.Request_MovePartitions, *adminpb.Request_DrainNode, *adminpb.Request_RemoveNode,
			*adminpb.Request_AddRaftMember, *adminpb.Request_RemoveRaftMember, *adminpb.Request_UpgradeCluster,
			*adminpb.Request_ElectLeaders, *adminpb.Request_ScrubObjects, *adminpb.Request_ReplicatePartitions, *adminpb.Request_AlterQuota:
			op = OpAlter
		}
		switch r := req.GetKind().(type) { // those that are of a topic or a group, not of the cluster
		case *adminpb.Request_TrimPartition:
			trimmed, err := b.trimPartition(ctx, s, r.TrimPartition)
			return &adminpb.Response{Kind: &adminpb.Response_TrimPartition{TrimPartition: trimmed}}, err
		case *adminpb.Request_GroupConfig:
			settings, err := b.groupConfig(s, r.GroupConfig)
			return &adminpb.Response{Kind: &adminpb.Response_GroupConfig{GroupConfig: settings}}, err
		case *adminpb.Request_AlterGroupConfig:
			err := b.alterGroupConfig(ctx, s, r.AlterGroupConfig)
			return &adminpb.Response{Kind: &adminpb.Response_AlterGroupConfig{AlterGroupConfig: &adminpb.AlterGroupConfigResponse{}}}, err
		case *adminpb.Request_ForkPoint:
			point, err := b.forkPoint(ctx, s, r.ForkPoint)
			return &adminpb.Response{Kind: &adminpb.Response_ForkPoint{ForkPoint: point}}, err
		case *adminpb.Request_ForkTopic:
			forked, err := b.forkTopic(ctx, s, r.ForkTopic)
			return &adminpb.Response{Kind: &adminpb.Response_ForkTopic{ForkTopic: forked}}, err
		}
		if err := b.authorise(s, op, Resource{}); err != nil {
			return nil, err
		}
		resp, err := b.operate(ctx, req)
		if op == OpDescribe && err == nil && req.GetRaftStatus() == nil {
			resp.Freshness = b.freshness()
		}
		return resp, err
	})
}

// cutOffAfter is the age from which on an image counts as one of a node that does not reach the controllers: longer than an election takes.
const cutOffAfter = 3 * time.Second

// freshness is that of what this node knows by itself.
func (b *Broker) freshness() *adminpb.Freshness {
	age := b.cfg.Controller.Stale()
	return &adminpb.Freshness{AnsweredBy: int32(b.cfg.Node), AgeMs: age.Milliseconds(), CutOff: age >= cutOffAfter}
}

func (b *Broker) operate(ctx context.Context, req *adminpb.Request) (*adminpb.Response, error) {
	img := b.cfg.Controller.Image()
	switch r := req.GetKind().(type) {
	case *adminpb.Request_ClusterStatus:
		return &adminpb.Response{Kind: &adminpb.Response_ClusterStatus{ClusterStatus: b.clusterStatus(img)}}, nil
	case *adminpb.Request_ListNodes:
		return &adminpb.Response{Kind: &adminpb.Response_ListNodes{ListNodes: listNodes(img)}}, nil
	case *adminpb.Request_ListPartitions:
		list, err := listPartitions(img, r.ListPartitions)
		return &adminpb.Response{Kind: &adminpb.Response_ListPartitions{ListPartitions: list}}, err
	case *adminpb.Request_RaftStatus, *adminpb.Request_AddRaftMember, *adminpb.Request_RemoveRaftMember, *adminpb.Request_ScrubObjects,
		*adminpb.Request_TierStatus:
		return b.cfg.Operations.AskController(ctx, req)
	case *adminpb.Request_TierNode:
		done, err := b.cfg.Operations.TierNode(r.TierNode)
		return &adminpb.Response{Kind: &adminpb.Response_TierNode{TierNode: done}}, err
	case *adminpb.Request_ClusterConfig:
		return &adminpb.Response{Kind: &adminpb.Response_ClusterConfig{ClusterConfig: clusterConfig(img)}}, nil
	case *adminpb.Request_AlterClusterConfig:
		err := b.alterClusterConfig(ctx, r.AlterClusterConfig)
		return &adminpb.Response{Kind: &adminpb.Response_AlterClusterConfig{AlterClusterConfig: &adminpb.AlterClusterConfigResponse{}}}, err
	case *adminpb.Request_ListQuotas:
		listed, err := listQuotas(img, r.ListQuotas)
		return &adminpb.Response{Kind: &adminpb.Response_ListQuotas{ListQuotas: listed}}, err
	case *adminpb.Request_AlterQuota:
		err := b.setQuota(ctx, r.AlterQuota)
		return &adminpb.Response{Kind: &adminpb.Response_AlterQuota{AlterQuota: &adminpb.AlterQuotaResponse{}}}, err
	case *adminpb.Request_MovePartitions:
		moved, err := b.movePartitions(ctx, r.MovePartitions)
		return &adminpb.Response{Kind: &adminpb.Response_MovePartitions{MovePartitions: moved}}, err
	case *adminpb.Request_ReplicatePartitions:
		replicated, err := b.replicatePartitions(ctx, img, r.ReplicatePartitions)
		return &adminpb.Response{Kind: &adminpb.Response_ReplicatePartitions{ReplicatePartitions: replicated}}, err
	case *adminpb.Request_DrainNode:
		drain, err := b.drainNode(ctx, r.DrainNode)
		return &adminpb.Response{Kind: &adminpb.Response_DrainNode{DrainNode: drain}}, err
	case *adminpb.Request_ElectLeaders:
		elected, err := b.electLeaders(ctx, img, r.ElectLeaders)
		return &adminpb.Response{Kind: &adminpb.Response_ElectLeaders{ElectLeaders: elected}}, err
	case *adminpb.Request_UpgradeCluster:
		upgraded, err := b.upgradeCluster(ctx, img, r.UpgradeCluster)
		return &adminpb.Response{Kind: &adminpb.Response_UpgradeCluster{UpgradeCluster: upgraded}}, err
	case *adminpb.Request_RemoveNode:
		err := b.removeNode(ctx, r.RemoveNode)
		return &adminpb.Response{Kind: &adminpb.Response_RemoveNode{RemoveNode: &adminpb.RemoveNodeResponse{}}}, err
	}
	return nil, mq.Errorf(mq.UnsupportedVersion, "this node does not know the operation: it is of a newer version")
}

func (b *Broker) clusterStatus(img *metadata.Image) *adminpb.ClusterStatusResponse {
	status := &adminpb.ClusterStatusResponse{
		ClusterId: img.ClusterID[:], FeatureLevel: img.FeatureLevel, AnsweredBy: int32(b.cfg.Node),
		Controller: int32(mq.NoNode), MetadataIndex: img.Index, Topics: int32(img.TopicCount()),
		SupportedFeatureLevel: img.SupportedLevel(),
	}
	if !b.freshness().GetCutOff() {
		status.Controller = int32(b.cfg.Controller.Leader())
	}
	if b.cfg.Mount != nil {
		status.Mount = mountStatus(b.cfg.Mount.Mounted())
	}
	for _, broker := range img.Brokers() {
		status.Brokers++
		if broker.Fenced {
			status.FencedBrokers++
		}
	}
	for t := range img.Topics() {
		for _, p := range t.All() {
			status.Partitions++
			if len(p.ISR) < len(p.Replicas) {
				status.UnderReplicatedPartitions++
			}
			if len(p.ISR) < t.Config.MinInSync(len(p.Replicas)) {
				status.UnderMinIsrPartitions++
			}
			if p.Leader == mq.NoNode {
				status.LeaderlessPartitions++
			}
		}
	}
	return status
}

func mountStatus(m Mounted) *adminpb.MountStatus {
	s := &adminpb.MountStatus{ClusterId: m.Source[:], AgeMs: -1}
	if !m.Seen.IsZero() {
		s.AgeMs = m.Age.Milliseconds()
	}
	if !m.Copied.IsZero() {
		s.CopiedMs = m.Copied.UnixMilli()
	}
	if m.Err != nil {
		s.Error = m.Err.Error()
	}
	return s
}

// upgradeCluster raises the feature level. Asking for the one that it is at changes nothing.
func (b *Broker) upgradeCluster(ctx context.Context, img *metadata.Image, req *adminpb.UpgradeClusterRequest) (*adminpb.UpgradeClusterResponse, error) {
	level := req.GetFeatureLevel()
	if level == 0 {
		level = max(img.SupportedLevel(), img.FeatureLevel)
	}
	out := &adminpb.UpgradeClusterResponse{Before: img.FeatureLevel, After: level}
	if req.GetDryRun() {
		if most := img.SupportedLevel(); level > most {
			return nil, mq.Errorf(mq.UnsupportedVersion, "feature level %d: not all nodes speak it, the highest that all do is %d", level, most)
		}
		return out, nil
	}
	_, err := b.cfg.Controller.Propose(ctx, &metadatapb.Command{Kind: &metadatapb.Command_SetFeatureLevel{
		SetFeatureLevel: &metadatapb.SetFeatureLevel{FeatureLevel: level},
	}})
	return out, mq.Wrapf(err, "raise the cluster from feature level %d", img.FeatureLevel)
}

func listNodes(img *metadata.Image) *adminpb.ListNodesResponse {
	out := &adminpb.ListNodesResponse{}
	byID := make(map[mq.NodeID]*adminpb.Node)
	for _, broker := range img.Brokers() {
		n := &adminpb.Node{
			NodeId: int32(broker.ID), State: StateOf(broker), Rack: broker.Rack, BrokerEpoch: broker.Epoch, DirId: broker.Dir[:],
			MaxFeatureLevel: broker.MaxFeatureLevel, Draining: broker.Draining,
		}
		for _, e := range broker.Endpoints {
			n.Endpoints = append(n.Endpoints, &adminpb.Endpoint{Listener: e.Listener, Address: net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port)))})
		}
		byID[broker.ID] = n
		out.Nodes = append(out.Nodes, n)
	}
	for t := range img.Topics() {
		for _, p := range t.All() {
			if n := byID[p.Leader]; n != nil {
				n.Leaders++
			}
			for _, id := range p.Replicas {
				if n := byID[id]; n != nil {
					n.Replicas++
					if !slices.Contains(p.ISR, id) {
						n.OutOfSyncReplicas++
					}
				}
			}
		}
	}
	return out
}

// The states of a node, as operators see them.
const (
	nodeAlive        = "alive"
	nodeFenced       = "fenced"
	nodeShuttingDown = "shutting down"
)

// StateOf is a broker's state, as operators see it.
func StateOf(b *metadata.Broker) string {
	switch {
	case b.Fenced:
		return nodeFenced
	case b.ShuttingDown:
		return nodeShuttingDown
	}
	return nodeAlive
}

// partitionsPerPage is the most partitions in one answer.
const partitionsPerPage = 1000

// listPartitions is one page. A page's mark is the topic and the partition that it begins with, which need not be there any more.
func listPartitions(img *metadata.Image, req *adminpb.ListPartitionsRequest) (*adminpb.ListPartitionsResponse, error) {
	topics, err := topicsFrom(img, req)
	if err != nil {
		return nil, err
	}
	fromTopic, fromIndex, err := parsePage(req.GetPage())
	if err != nil {
		return nil, err
	}
	limit := partitionsPerPage
	if n := int(req.GetLimit()); n > 0 {
		limit = min(limit, n)
	}
	out := &adminpb.ListPartitionsResponse{}
	for _, t := range topics {
		if t.Name < fromTopic {
			continue
		}
		for i, p := range t.All() {
			if t.Name == fromTopic && i < fromIndex || req.GetUnderReplicated() && len(p.ISR) >= len(p.Replicas) {
				continue
			}
			if len(out.Partitions) == limit {
				out.NextPage = t.Name + "/" + strconv.Itoa(int(i))
				return out, nil
			}
			row := &adminpb.Partition{
				Topic: t.Name, Partition: i, Leader: int32(p.Leader), LeaderEpoch: int32(p.LeaderEpoch), PartitionEpoch: p.PartitionEpoch,
				Replicas: nodeNumbers(p.Replicas), InSync: nodeNumbers(p.ISR), LogStart: int64(p.LogStart), TieredEnd: int64(p.TieredEnd),
				Removing: nodeNumbers(p.Removing()), Eligible: nodeNumbers(p.Eligible),
			}
			if p.Reassignment != nil {
				row.Adding = nodeNumbers(p.Reassignment.Adding)
			}
			out.Partitions = append(out.Partitions, row)
		}
	}
	return out, nil
}

// topicsFrom are the topics to look at, by name.
func topicsFrom(img *metadata.Image, req *adminpb.ListPartitionsRequest) ([]*metadata.Topic, error) {
	if name := req.GetTopic(); name != "" {
		t := img.TopicByName(name)
		if t == nil {
			return nil, unknownTopic(name)
		}
		return []*metadata.Topic{t}, nil
	}
	return slices.SortedFunc(img.Topics(), func(a, b *metadata.Topic) int { return strings.Compare(a.Name, b.Name) }), nil
}

func parsePage(page string) (topic string, index int32, err error) {
	if page == "" {
		return "", 0, nil
	}
	topic, text, _ := strings.Cut(page, "/")
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return "", 0, mq.Errorf(mq.InvalidRequest, "page %.40q is not the next_page of an answer", page)
	}
	return topic, int32(n), nil
}

func nodeNumbers(ids []mq.NodeID) []int32 {
	out := make([]int32, len(ids))
	for i, id := range ids {
		out[i] = int32(id)
	}
	return out
}

func clusterConfig(img *metadata.Image) *adminpb.ClusterConfigResponse {
	docs := make(map[string]string)
	for _, k := range metadata.ClusterConfigKeys() {
		docs[k.Name] = k.Doc
	}
	out := &adminpb.ClusterConfigResponse{}
	for _, e := range img.Defaults.Entries() {
		set := slices.ContainsFunc(img.Defaults.Overrides, func(o metadata.ConfigEntry) bool { return o.Key == e.Key })
		out.Settings = append(out.Settings, &adminpb.Setting{Key: e.Key, Value: e.Value, Default: !set, Doc: docs[e.Key]})
	}
	return out
}

func (b *Broker) alterClusterConfig(ctx context.Context, req *adminpb.AlterClusterConfigRequest) error {
	changes, err := settingChanges(req.GetSet(), req.GetUnset())
	if err != nil {
		return err
	}
	command := &metadatapb.SetClusterConfigs{Changes: changes}
	_, err = b.cfg.Controller.Propose(ctx, &metadatapb.Command{Kind: &metadatapb.Command_SetClusterConfigs{SetClusterConfigs: command}})
	return mq.Wrapf(err, "change the cluster's settings")
}

// settingChanges are those that an operator asks for: at least one, and each setting once.
func settingChanges(set map[string]string, unset []string) (changes []*metadatapb.ConfigChange, err error) {
	for _, key := range slices.Sorted(maps.Keys(set)) {
		changes = append(changes, &metadatapb.ConfigChange{Key: key, Value: set[key]})
	}
	for _, key := range unset {
		if _, twice := set[key]; twice {
			return nil, mq.Errorf(mq.InvalidConfig, "setting %.60q is given twice", key)
		}
		changes = append(changes, &metadatapb.ConfigChange{Key: key, Delete: true})
	}
	if len(changes) == 0 {
		return nil, mq.Errorf(mq.InvalidRequest, "there is nothing to change")
	}
	return changes, nil
}
