package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
)

// pause waits before the cluster is asked again, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// operate asks for one operation. repeatable says that it may be asked again when its answer was lost. Of an answer by one who is cut off it says so, once.
func (a *app) operate(ctx context.Context, cl *client.Client, req *adminpb.Request, repeatable bool) (*adminpb.Response, error) {
	resp, err := adminpb.Ask(req, func(message []byte) ([]byte, error) { return cl.Operate(ctx, message, repeatable) })
	a.warnOfAge(resp.GetFreshness())
	return resp, err
}

// warnOfAge says, once, that an answer comes from a node that is cut off.
func (a *app) warnOfAge(f *adminpb.Freshness) {
	if !f.GetCutOff() || a.saidCutOff {
		return
	}
	a.saidCutOff = true
	fmt.Fprintf(a.stderr, "rustmq: node %d has reached no leading controller for %s: what it says is as old as that, and others may know better\n", f.GetAnsweredBy(),
		ageOf(f).Round(time.Second))
}

func ageOf(f *adminpb.Freshness) time.Duration { return time.Duration(f.GetAgeMs()) * time.Millisecond }

// query is a command without arguments that asks for one thing and shows it.
func (a *app) query(c *cli.Context, req *adminpb.Request, show func(*adminpb.Response) error) error {
	if err := checkOutput(c); err != nil {
		return err
	}
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	return a.withClient(c, func(ctx context.Context, cl *client.Client) error {
		resp, err := a.operate(ctx, cl, req, true)
		if err != nil {
			return err
		}
		return show(resp)
	})
}

func (a *app) ctlClusterCommand() *cli.Command {
	return &cli.Command{
		Name: "cluster", Usage: "the cluster as a whole",
		Subcommands: []*cli.Command{{
			Name: "status", Usage: "show whether all is well", Action: a.clusterStatus,
			Description: "Example: rustmq ctl cluster status -o json",
			Flags:       append([]cli.Flag{outputFlag()}, connectFlags("key", "key-file")...),
		}, {
			Name: "upgrade", Usage: "raise the feature level, when all nodes run a newer program", Action: a.clusterUpgrade,
			Description: "What a newer version persists or says in another way it does from its feature level on. The level rises by this command only and never falls:\n" +
				"until then nodes can go back to the older program, afterwards that is refused to start.\n\nExample: rustmq ctl cluster upgrade",
			Flags: append([]cli.Flag{
				&cli.UintFlag{Name: "feature-level", Usage: "`LEVEL` to raise it to (default: the highest that all nodes speak)"},
				&cli.BoolFlag{Name: "dry-run", Usage: "change nothing, only say what would be"},
				outputFlag(),
			}, connectFlags("key", "key-file")...),
		}, a.clusterRestoreCommand(), a.clusterMountCommand()},
	}
}

type clusterStatus struct {
	ClusterID       string `json:"cluster_id"`
	FeatureLevel    uint32 `json:"feature_level"`
	SupportedLevel  uint32 `json:"supported_feature_level"`
	AnsweredBy      int32  `json:"answered_by"`
	Controller      int32  `json:"controller"`
	MetadataIndex   uint64 `json:"metadata_index"`
	MetadataAge     int64  `json:"metadata_age_ms"`
	CutOff          bool   `json:"cut_off"`
	Brokers         int32  `json:"brokers"`
	FencedBrokers   int32  `json:"fenced_brokers"`
	Topics          int32  `json:"topics"`
	Partitions      int32  `json:"partitions"`
	UnderReplicated int32  `json:"under_replicated_partitions"`
	UnderMinISR     int32  `json:"under_min_isr_partitions"`
	Leaderless      int32  `json:"leaderless_partitions"`
	// Null where this is no mount.
	Mount *mountStatus `json:"mount"`
}

// mountStatus is what a read-only mount shows.
type mountStatus struct {
	Source string     `json:"mount_of"`
	AgeMs  *int64     `json:"age_ms"`
	Copied *time.Time `json:"metadata_written"`
	Error  string     `json:"error"`
}

func mountOf(s *adminpb.MountStatus) *mountStatus {
	if s == nil {
		return nil
	}
	var id mq.ClusterID
	copy(id[:], s.GetClusterId())
	m := &mountStatus{Source: id.String(), Error: s.GetError()}
	if s.GetAgeMs() >= 0 {
		m.AgeMs = new(s.GetAgeMs())
	}
	if s.GetCopiedMs() > 0 {
		m.Copied = whenMs(s.GetCopiedMs())
	}
	return m
}

func (m *mountStatus) table(w io.Writer) {
	seen := "not looked at since the node began"
	if m.AgeMs != nil {
		seen = ms(*m.AgeMs) + " ago"
	}
	row(w, "READ-ONLY MOUNT OF", m.Source)
	row(w, "  bucket looked at", seen)
	row(w, "  metadata written", whenText(m.Copied))
	if m.Error != "" {
		row(w, "! look failed", m.Error)
	}
}

func (a *app) clusterStatus(c *cli.Context) error {
	return a.query(c, &adminpb.Request{Kind: &adminpb.Request_ClusterStatus{ClusterStatus: &adminpb.ClusterStatusRequest{}}}, func(resp *adminpb.Response) error {
		s := resp.GetClusterStatus()
		var id mq.ClusterID
		copy(id[:], s.GetClusterId())
		status := clusterStatus{
			ClusterID: id.String(), FeatureLevel: s.GetFeatureLevel(), SupportedLevel: s.GetSupportedFeatureLevel(), AnsweredBy: s.GetAnsweredBy(), Controller: s.GetController(),
			MetadataIndex: s.GetMetadataIndex(), MetadataAge: resp.GetFreshness().GetAgeMs(), CutOff: resp.GetFreshness().GetCutOff(),
			Brokers: s.GetBrokers(), FencedBrokers: s.GetFencedBrokers(), Topics: s.GetTopics(),
			Partitions: s.GetPartitions(), UnderReplicated: s.GetUnderReplicatedPartitions(), UnderMinISR: s.GetUnderMinIsrPartitions(),
			Leaderless: s.GetLeaderlessPartitions(), Mount: mountOf(s.GetMount()),
		}
		return a.show(c, status, status.table)
	})
}

func (s clusterStatus) table(w io.Writer) {
	row(w, "CLUSTER", s.ClusterID)
	if s.Mount != nil {
		s.Mount.table(w)
	}
	level := fmt.Sprint(s.FeatureLevel)
	if s.SupportedLevel > s.FeatureLevel {
		level = fmt.Sprintf("%d, all nodes speak %d: rustmq ctl cluster upgrade", s.FeatureLevel, s.SupportedLevel)
	}
	row(w, "FEATURE LEVEL", level)
	row(w, "CONTROLLER", nodeOrNone(s.Controller))
	asOf := ""
	if s.CutOff {
		asOf = fmt.Sprintf(", which was cut off %s ago", (time.Duration(s.MetadataAge) * time.Millisecond).Round(time.Second))
	}
	row(w, "METADATA", fmt.Sprintf("index %d, as node %d knows it%s", s.MetadataIndex, s.AnsweredBy, asOf))
	row(w, "BROKERS", fmt.Sprintf("%d, %d of them fenced", s.Brokers, s.FencedBrokers))
	row(w, "TOPICS", s.Topics)
	row(w, "PARTITIONS", s.Partitions)
	row(w, "  under-replicated", s.UnderReplicated)
	row(w, "  under min ISR", s.UnderMinISR)
	row(w, "  without a leader", s.Leaderless)
}

// upgradeReport is what the feature level was and is, or would be.
type upgradeReport struct {
	Before uint32 `json:"feature_level_before"`
	After  uint32 `json:"feature_level"`
}

func (a *app) clusterUpgrade(c *cli.Context) error {
	level := c.Uint("feature-level")
	if c.IsSet("feature-level") && (level == 0 || uint(uint32(level)) != level) {
		return usagef("upgrade: --feature-level is %d: it must be at least 1", level)
	}
	return a.query(c, &adminpb.Request{Kind: &adminpb.Request_UpgradeCluster{
		UpgradeCluster: &adminpb.UpgradeClusterRequest{FeatureLevel: uint32(level), DryRun: c.Bool("dry-run")},
	}}, func(resp *adminpb.Response) error {
		r := upgradeReport{resp.GetUpgradeCluster().GetBefore(), resp.GetUpgradeCluster().GetAfter()}
		return a.show(c, r, func(w io.Writer) {
			row(w, "BEFORE", r.Before)
			row(w, "FEATURE LEVEL", r.After)
		})
	})
}

func nodeOrNone(id int32) string {
	if id < 0 {
		return "none"
	}
	return fmt.Sprintf("node %d", id)
}

func (a *app) ctlNodeCommand() *cli.Command {
	return &cli.Command{
		Name: "node", Usage: "the cluster's nodes",
		Subcommands: []*cli.Command{
			{
				Name: "list", Usage: "list brokers", Action: a.nodeList,
				Description: "Example: rustmq ctl node list",
				Flags:       append([]cli.Flag{outputFlag()}, connectFlags("key", "key-file")...),
			},
			a.nodeDrainCommand(),
			a.nodeRemoveCommand(),
		},
	}
}

type nodeLine struct {
	ID          int32          `json:"node_id"`
	State       string         `json:"state"`
	Rack        string         `json:"rack"`
	Endpoints   []endpointLine `json:"endpoints"`
	BrokerEpoch uint64         `json:"broker_epoch"`
	DirID       string         `json:"dir_id"`
	Feature     uint32         `json:"max_feature_level"`
	Leaders     int32          `json:"leaders"`
	Replicas    int32          `json:"replicas"`
	OutOfSync   int32          `json:"out_of_sync_replicas"`
	Draining    bool           `json:"draining"`
}

type endpointLine struct {
	Listener string `json:"listener"`
	Address  string `json:"address"`
}

func (a *app) nodeList(c *cli.Context) error {
	return a.query(c, &adminpb.Request{Kind: &adminpb.Request_ListNodes{ListNodes: &adminpb.ListNodesRequest{}}}, func(resp *adminpb.Response) error {
		lines := []nodeLine{}
		for _, n := range resp.GetListNodes().GetNodes() {
			var dir mq.DirID
			copy(dir[:], n.GetDirId())
			line := nodeLine{
				ID: n.GetNodeId(), State: n.GetState(), Rack: n.GetRack(), Endpoints: []endpointLine{}, BrokerEpoch: n.GetBrokerEpoch(),
				DirID: dir.String(), Feature: n.GetMaxFeatureLevel(), Leaders: n.GetLeaders(), Replicas: n.GetReplicas(), OutOfSync: n.GetOutOfSyncReplicas(),
				Draining: n.GetDraining(),
			}
			for _, e := range n.GetEndpoints() {
				line.Endpoints = append(line.Endpoints, endpointLine{e.GetListener(), e.GetAddress()})
			}
			lines = append(lines, line)
		}
		return a.show(c, lines, func(w io.Writer) {
			row(w, "NODE", "STATE", "RACK", "FEATURE LEVEL", "LEADERS", "REPLICAS", "OUT OF SYNC", "ADDRESSES")
			for _, l := range lines {
				addresses := make([]string, len(l.Endpoints))
				for i, e := range l.Endpoints {
					addresses[i] = e.Listener + " " + e.Address
				}
				state := l.State
				if l.Draining {
					state += ", draining"
				}
				row(w, l.ID, state, l.Rack, l.Feature, l.Leaders, l.Replicas, l.OutOfSync, strings.Join(addresses, ", "))
			}
		})
	})
}

func (a *app) ctlRaftCommand() *cli.Command {
	return &cli.Command{
		Name: "raft", Usage: "the controllers",
		Subcommands: []*cli.Command{
			{
				Name: "status", Usage: "show the controllers and how far they are", Action: a.raftStatus,
				Description: "Example: rustmq ctl raft status",
				Flags:       append([]cli.Flag{outputFlag()}, connectFlags("key", "key-file")...),
			},
			a.raftAddCommand(),
			a.raftRemoveCommand(),
			a.raftRecoverCommand(),
			a.raftRejoinCommand(),
		},
	}
}

type raftStatus struct {
	AnsweredBy int32        `json:"answered_by"`
	Term       uint64       `json:"term"`
	Leader     uint64       `json:"leader"`
	Commit     uint64       `json:"commit_index"`
	Applied    uint64       `json:"applied_index"`
	Members    []raftMember `json:"members"`
}

type raftMember struct {
	ID      uint64 `json:"raft_id"`
	Node    int32  `json:"node_id"`
	Address string `json:"address"`
	Role    string `json:"role"`
	Match   uint64 `json:"match_index"`
	Active  bool   `json:"active"`
}

func (a *app) raftStatus(c *cli.Context) error {
	return a.query(c, &adminpb.Request{Kind: &adminpb.Request_RaftStatus{RaftStatus: &adminpb.RaftStatusRequest{}}}, func(resp *adminpb.Response) error {
		r := resp.GetRaftStatus()
		status := raftStatus{
			AnsweredBy: r.GetAnsweredBy(), Term: r.GetTerm(), Leader: r.GetLeader(), Commit: r.GetCommit(), Applied: r.GetApplied(), Members: []raftMember{},
		}
		for _, m := range r.GetMembers() {
			status.Members = append(status.Members, raftMember{m.GetRaftId(), m.GetNodeId(), m.GetAddress(), m.GetRole(), m.GetMatch(), m.GetActive()})
		}
		return a.show(c, status, status.table)
	})
}

func (s raftStatus) table(w io.Writer) {
	fmt.Fprintf(w, "Term %d, committed up to %d, applied up to %d on node %d\n\n", s.Term, s.Commit, s.Applied, s.AnsweredBy)
	row(w, "RAFT ID", "NODE", "ROLE", "LEADS", "HAS UP TO", "ACTIVE", "ADDRESS")
	for _, m := range s.Members {
		leads := ""
		if m.ID == s.Leader {
			leads = "yes"
		}
		row(w, m.ID, m.Node, m.Role, leads, m.Match, m.Active, m.Address)
	}
}

func (a *app) ctlConfigCommand() *cli.Command {
	return &cli.Command{
		Name: "config", Usage: "the cluster's settings",
		Subcommands: []*cli.Command{
			{
				Name: "get", ArgsUsage: "[KEY ...]", Usage: "show settings of the cluster", Action: a.clusterConfigGet,
				Description: "Example: rustmq ctl config get default.replication.factor",
				Flags:       append([]cli.Flag{outputFlag()}, connectFlags("key", "key-file")...),
			},
			{
				Name: "set", ArgsUsage: "KEY=VALUE ...", Usage: "change settings of the cluster, all or none", Action: a.clusterConfigSet,
				Description: "Example: rustmq ctl config set num.partitions=6 --unset retention.ms",
				Flags: append([]cli.Flag{
					&cli.StringSliceFlag{Name: "unset", Usage: "`KEY` to put back to its default; may be repeated"},
				}, connectFlags("key", "key-file")...),
			},
		},
	}
}

func (a *app) clusterConfigGet(c *cli.Context) error {
	if err := checkOutput(c); err != nil {
		return err
	}
	wanted := c.Args().Slice()
	return a.withClient(c, func(ctx context.Context, cl *client.Client) error {
		resp, err := a.operate(ctx, cl, &adminpb.Request{Kind: &adminpb.Request_ClusterConfig{ClusterConfig: &adminpb.ClusterConfigRequest{}}}, true)
		if err != nil {
			return err
		}
		lines, names := []configLine{}, []string{}
		for _, s := range resp.GetClusterConfig().GetSettings() {
			names = append(names, s.GetKey())
			if len(wanted) == 0 || slices.Contains(wanted, s.GetKey()) {
				lines = append(lines, configLine{Key: s.GetKey(), Value: s.GetValue(), Default: s.GetDefault()})
			}
		}
		for _, key := range wanted {
			if !slices.Contains(names, key) {
				return mq.Errorf(mq.InvalidConfig, "the cluster has no setting %.60q; did you mean %s?", key, mq.Nearest(key, names))
			}
		}
		return a.show(c, lines, func(w io.Writer) {
			row(w, "SETTING", "VALUE", "")
			for _, l := range lines {
				note := ""
				if l.Default {
					note = "default"
				}
				row(w, l.Key, l.Value, note)
			}
		})
	})
}

// assignments are the arguments of a command, each of which gives another key a value; form says how they are written.
func assignments(c *cli.Context, form string) (map[string]string, error) {
	set := map[string]string{}
	for _, text := range c.Args().Slice() {
		key, value, ok := strings.Cut(text, "=")
		if _, twice := set[key]; !ok || key == "" || twice {
			return nil, usagef("%s: %q: write %s", c.Command.Name, text, form)
		}
		set[key] = value
	}
	return set, nil
}

func (a *app) clusterConfigSet(c *cli.Context) error {
	set, err := assignments(c, "KEY=VALUE, each key once")
	if err != nil {
		return err
	}
	unset := c.StringSlice("unset")
	if len(set) == 0 && len(unset) == 0 {
		return usagef("set: nothing to change: give KEY=VALUE or --unset")
	}
	return a.withClient(c, func(ctx context.Context, cl *client.Client) error {
		_, err := a.operate(ctx, cl, &adminpb.Request{Kind: &adminpb.Request_AlterClusterConfig{
			AlterClusterConfig: &adminpb.AlterClusterConfigRequest{Set: set, Unset: unset},
		}}, true)
		return err
	})
}
