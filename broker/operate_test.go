package broker_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/server"
)

// operate is Operate with messages instead of bytes.
func (f *fixture) operate(ctx context.Context, s *server.Session, req *adminpb.Request) (*adminpb.Response, error) {
	message, err := proto.Marshal(req)
	f.must(err)
	answer, err := f.Operate(ctx, s, message)
	if err != nil {
		return nil, err
	}
	resp := new(adminpb.Response)
	f.must(proto.Unmarshal(answer, resp))
	return resp, nil
}

// AskController implements broker.Operations.
func (f *fixture) AskController(context.Context, *adminpb.Request) (*adminpb.Response, error) {
	if f.raft != nil {
		return &adminpb.Response{Kind: &adminpb.Response_RaftStatus{RaftStatus: f.raft}}, nil
	}
	return &adminpb.Response{Kind: &adminpb.Response_RaftStatus{RaftStatus: &adminpb.RaftStatusResponse{Term: 5}}}, nil
}

// TierNode implements broker.Operations.
func (f *fixture) TierNode(*adminpb.TierNodeRequest) (*adminpb.TierNodeResponse, error) {
	return &adminpb.TierNodeResponse{NodeId: 7}, nil
}

func (f *fixture) ask(req *adminpb.Request) *adminpb.Response {
	f.t.Helper()
	resp, err := f.operate(f.t.Context(), &server.Session{}, req)
	f.must(err)
	return resp
}

// fenced is a cluster of two brokers, one of which is fenced after topics were made.
func fenced(t *testing.T) *fixture { return fencedAt(t, 1) }

func fencedAt(t *testing.T, level uint32) *fixture {
	f := newFixtureAt(t, level, 2)
	for _, name := range []string{"b", "a", "c"} {
		_, err := f.CreateTopic(t.Context(), &server.Session{}, &quicproto.CreateTopicRequest{Name: name, Partitions: 3, Replicas: 2})
		f.must(err)
	}
	_, err := f.CreateTopic(t.Context(), &server.Session{}, &quicproto.CreateTopicRequest{Name: "single", Partitions: 1, Replicas: 1})
	f.must(err)
	f.decide(&metadatapb.Command{Kind: &metadatapb.Command_FenceBroker{FenceBroker: &metadatapb.FenceBroker{
		NodeId: int32(other), BrokerEpoch: f.store.Image().Broker(other).Epoch,
	}}})
	return f
}

func TestClusterStatusCountsWhatIsNotWell(t *testing.T) {
	f := fenced(t)
	got := f.ask(&adminpb.Request{Kind: &adminpb.Request_ClusterStatus{ClusterStatus: &adminpb.ClusterStatusRequest{}}}).GetClusterStatus()
	want := &adminpb.ClusterStatusResponse{
		ClusterId: clusterID[:], FeatureLevel: 1, AnsweredBy: int32(self), Controller: got.GetController(), MetadataIndex: f.store.Image().Index,
		SupportedFeatureLevel: 1,
		Brokers:               2, FencedBrokers: 1, Topics: 4, Partitions: 10, UnderReplicatedPartitions: 9, LeaderlessPartitions: 1,
	}
	if !proto.Equal(got, want) {
		t.Fatalf("got  %v\nwant %v", got, want)
	}
}

func TestNodesAreListedWithWhatTheyHave(t *testing.T) {
	f := fenced(t)
	nodes := f.ask(&adminpb.Request{Kind: &adminpb.Request_ListNodes{ListNodes: &adminpb.ListNodesRequest{}}}).GetListNodes().GetNodes()
	var got []string
	for _, n := range nodes {
		got = append(got, fmt.Sprintf("%d %s leads %d has %d, %d out of sync, at %s", n.GetNodeId(), n.GetState(), n.GetLeaders(), n.GetReplicas(),
			n.GetOutOfSyncReplicas(), n.GetEndpoints()[0].GetAddress()))
	}
	want := []string{"1 alive leads 9 has 9, 0 out of sync, at [::1]:9001", "2 fenced leads 0 has 10, 9 out of sync, at [::1]:9002"}
	if !slices.Equal(got, want) {
		t.Fatalf("got %q", got)
	}
}

func TestPartitionsAreListedPageByPage(t *testing.T) {
	f := fenced(t)
	for _, underReplicated := range []bool{false, true} {
		var got []string
		req := &adminpb.ListPartitionsRequest{UnderReplicated: underReplicated, Limit: 2}
		for pages := 0; ; pages++ {
			list := f.ask(&adminpb.Request{Kind: &adminpb.Request_ListPartitions{ListPartitions: req}}).GetListPartitions()
			if len(list.GetPartitions()) > 2 || pages > 10 {
				t.Fatalf("page %d has %d partitions", pages, len(list.GetPartitions()))
			}
			for _, p := range list.GetPartitions() {
				got = append(got, fmt.Sprintf("%s/%d", p.GetTopic(), p.GetPartition()))
			}
			if req.Page = list.GetNextPage(); req.Page == "" {
				break
			}
		}
		want := []string{"a/0", "a/1", "a/2", "b/0", "b/1", "b/2", "c/0", "c/1", "c/2"}
		if !underReplicated {
			want = append(want, "single/0")
		}
		if !slices.Equal(got, want) {
			t.Fatalf("under-replicated %t: got %v", underReplicated, got)
		}
	}
	for _, bad := range []*adminpb.ListPartitionsRequest{{Topic: "nowhere"}, {Page: "a"}} {
		_, err := f.operate(t.Context(), &server.Session{}, &adminpb.Request{Kind: &adminpb.Request_ListPartitions{ListPartitions: bad}})
		if code := mq.CodeOf(err); code != mq.UnknownTopicOrPartition && code != mq.InvalidRequest {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

func TestClusterSettingsAreChangedAllOrNone(t *testing.T) {
	f := newFixture(t, 1)
	alter := func(set map[string]string, unset ...string) error {
		_, err := f.operate(t.Context(), &server.Session{}, &adminpb.Request{Kind: &adminpb.Request_AlterClusterConfig{
			AlterClusterConfig: &adminpb.AlterClusterConfigRequest{Set: set, Unset: unset},
		}})
		return err
	}
	value := func(key string) (string, bool) {
		for _, s := range f.ask(&adminpb.Request{Kind: &adminpb.Request_ClusterConfig{}}).GetClusterConfig().GetSettings() {
			if s.GetKey() == key {
				return s.GetValue(), s.GetDefault()
			}
		}
		t.Fatalf("there is no setting %s", key)
		return "", false
	}
	f.must(alter(map[string]string{"num.partitions": "5"}))
	if v, isDefault := value("num.partitions"); v != "5" || isDefault {
		t.Fatalf("num.partitions is %s, default %t", v, isDefault)
	}
	for name, err := range map[string]error{
		"unknown":       alter(map[string]string{"num.partitions": "6", "num.portions": "1"}),
		"invalid":       alter(map[string]string{"num.partitions": "many"}),
		"nothing":       alter(nil),
		"set and unset": alter(map[string]string{"num.partitions": "6"}, "num.partitions"),
	} {
		if code := mq.CodeOf(err); code != mq.InvalidConfig && code != mq.InvalidRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
	if v, _ := value("num.partitions"); v != "5" {
		t.Fatalf("num.partitions is %s after refusals", v)
	}
	f.must(alter(nil, "num.partitions"))
	if _, isDefault := value("num.partitions"); !isDefault {
		t.Fatal("num.partitions is not at its default again")
	}
}

func TestRaftStatusComesFromTheController(t *testing.T) {
	f := newFixture(t, 1)
	if got := f.ask(&adminpb.Request{Kind: &adminpb.Request_RaftStatus{}}).GetRaftStatus().GetTerm(); got != 5 {
		t.Fatalf("term %d", got)
	}
}

func TestOperationThatIsNotKnownIsSaidToBeNewer(t *testing.T) {
	f := newFixture(t, 1)
	for message, want := range map[string]mq.Code{"": mq.UnsupportedVersion, "\xff": mq.InvalidRequest, "\xf2\x06\x00": mq.UnsupportedVersion} {
		if _, err := f.Operate(t.Context(), &server.Session{}, []byte(message)); mq.CodeOf(err) != want {
			t.Errorf("%q: %v", message, err)
		}
	}
}

func TestAnswersSayHowOldTheyAre(t *testing.T) {
	f := newFixture(t, 1)
	for stale, cutOff := range map[time.Duration]bool{400 * time.Millisecond: false, time.Minute: true} {
		f.stale = stale
		for _, req := range []*adminpb.Request{
			{Kind: &adminpb.Request_ClusterStatus{}},
			{Kind: &adminpb.Request_ListNodes{}},
			{Kind: &adminpb.Request_ListPartitions{}},
			{Kind: &adminpb.Request_ClusterConfig{}},
		} {
			resp := f.ask(req)
			if got := resp.GetFreshness(); got.GetAnsweredBy() != int32(self) || got.GetAgeMs() != stale.Milliseconds() || got.GetCutOff() != cutOff {
				t.Errorf("%v of one who is %v behind: %v", req, stale, got)
			}
			if s := resp.GetClusterStatus(); s != nil && (s.GetController() < 0) != cutOff {
				t.Errorf("one who is %v behind says that %d leads", stale, s.GetController())
			}
		}
	}
}

func FuzzOperate(f *testing.F) {
	f.Add([]byte{10, 0})
	fx := newFixture(f, 1)
	f.Fuzz(func(t *testing.T, message []byte) {
		if _, err := fx.Operate(t.Context(), &server.Session{}, message); err != nil && mq.CodeOf(err) == mq.Internal {
			t.Fatal(err)
		}
	})
}

func TestPartitionsAreMovedEachByItself(t *testing.T) {
	f := newFixture(t, 2)
	_, err := f.CreateTopic(t.Context(), &server.Session{}, &quicproto.CreateTopicRequest{Name: "t", Partitions: 1, Replicas: 1})
	f.must(err)
	move := func(topic string, partition int32, replicas ...int32) *adminpb.PartitionMove {
		return &adminpb.PartitionMove{Topic: topic, Partition: partition, Replicas: replicas}
	}
	codes := func(moves ...*adminpb.PartitionMove) (codes []mq.Code) {
		for _, o := range f.ask(&adminpb.Request{Kind: &adminpb.Request_MovePartitions{
			MovePartitions: &adminpb.MovePartitionsRequest{Moves: moves},
		}}).GetMovePartitions().GetOutcomes() {
			codes = append(codes, mq.Code(o.GetCode()))
		}
		return codes
	}
	list := func() *adminpb.Partition {
		return f.ask(&adminpb.Request{Kind: &adminpb.Request_ListPartitions{}}).GetListPartitions().GetPartitions()[0]
	}
	leader := list().GetLeader()
	to := int32(self+other) - leader
	got := codes(move("nowhere", 0, to), move("t", 0, to), move("t", 1, to), move("t", 0, 9))
	want := []mq.Code{mq.UnknownTopicOrPartition, mq.None, mq.UnknownTopicOrPartition, mq.InvalidReplicationFactor}
	if !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	if p := list(); !slices.Equal(p.GetAdding(), []int32{to}) || !slices.Equal(p.GetRemoving(), []int32{leader}) {
		t.Fatalf("%v", p)
	}
	if got := codes(move("t", 0)); got[0] != mq.None {
		t.Fatalf("cancelled: %v", got)
	}
	if p := list(); len(p.GetAdding())+len(p.GetRemoving()) > 0 || !slices.Equal(p.GetReplicas(), []int32{leader}) {
		t.Fatalf("cancelled: %v", p)
	}
	if _, err := f.operate(t.Context(), &server.Session{}, &adminpb.Request{Kind: &adminpb.Request_MovePartitions{}}); mq.CodeOf(err) != mq.InvalidRequest {
		t.Errorf("nothing to move: %v", err)
	}
}

func TestNodeIsDrainedThenRemoved(t *testing.T) {
	f := fenced(t)
	drain := func(node mq.NodeID, cancel bool) (*adminpb.DrainNodeResponse, error) {
		resp, err := f.operate(t.Context(), &server.Session{}, &adminpb.Request{Kind: &adminpb.Request_DrainNode{
			DrainNode: &adminpb.DrainNodeRequest{NodeId: int32(node), Cancel: cancel},
		}})
		return resp.GetDrainNode(), err
	}
	draining := func() bool {
		return f.ask(&adminpb.Request{Kind: &adminpb.Request_ListNodes{}}).GetListNodes().GetNodes()[1].GetDraining()
	}
	remove := func() error {
		_, err := f.operate(t.Context(), &server.Session{}, &adminpb.Request{Kind: &adminpb.Request_RemoveNode{
			RemoveNode: &adminpb.RemoveNodeRequest{NodeId: int32(other)},
		}})
		return err
	}
	for range 2 {
		// The topic that only it holds can go to the other broker; of the rest that has replicas already.
		if got, err := drain(other, false); got.GetReplicas() != 10 || got.GetStuck() != 9 || !draining() {
			t.Fatalf("%v, %v", got, err)
		}
	}
	if got, err := drain(other, true); got.GetReplicas() != 10 || draining() {
		t.Fatalf("%v, %v", got, err)
	}
	if _, err := drain(9, false); mq.CodeOf(err) != mq.InvalidRequest {
		t.Errorf("a node that nobody knows: %v", err)
	}
	if err := remove(); mq.CodeOf(err) != mq.InvalidRequest {
		t.Errorf("removed with replicas: %v", err)
	}
	for _, name := range []string{"a", "b", "c", "single"} {
		f.must(f.DeleteTopic(t.Context(), &server.Session{}, name))
	}
	for range 2 { // the answer to the first one may be lost
		f.must(remove())
	}
	if n := f.store.Image().Broker(other); n != nil {
		t.Errorf("it is still there: %+v", n)
	}
}

func TestUpgradeRaisesTheLevelToWhatAllSpeak(t *testing.T) {
	f := newFixture(t, 2)
	upgrade := func(level uint32, dry bool) (*adminpb.UpgradeClusterResponse, error) {
		resp, err := f.operate(t.Context(), &server.Session{}, &adminpb.Request{Kind: &adminpb.Request_UpgradeCluster{
			UpgradeCluster: &adminpb.UpgradeClusterRequest{FeatureLevel: level, DryRun: dry},
		}})
		return resp.GetUpgradeCluster(), err
	}
	register := func(node mq.NodeID) {
		f.decide(&metadatapb.Command{Kind: &metadatapb.Command_RegisterBroker{RegisterBroker: &metadatapb.RegisterBroker{
			ClusterId: clusterID[:], NodeId: int32(node), Incarnation: 2, DirId: bytes.Repeat([]byte{byte(node)}, 16), MaxFeatureLevel: 2,
		}}})
	}
	register(self)
	for _, dry := range []bool{true, false} {
		if _, err := upgrade(2, dry); mq.CodeOf(err) != mq.UnsupportedVersion {
			t.Errorf("dry %v: while one is too old: %v", dry, err)
		}
		if got, err := upgrade(0, dry); err != nil || got.GetBefore() != 1 || got.GetAfter() != 1 {
			t.Errorf("dry %v: what all speak: %v, %v", dry, got, err)
		}
	}
	register(other)
	if got, err := upgrade(0, true); err != nil || got.GetBefore() != 1 || got.GetAfter() != 2 || f.store.Image().FeatureLevel != 1 {
		t.Errorf("a dry run: %v, %v, level %d", got, err, f.store.Image().FeatureLevel)
	}
	if got, err := upgrade(0, false); err != nil || got.GetBefore() != 1 || got.GetAfter() != 2 || f.store.Image().FeatureLevel != 2 {
		t.Errorf("%v, %v, level %d", got, err, f.store.Image().FeatureLevel)
	}
	if _, err := upgrade(1, false); mq.CodeOf(err) != mq.InvalidRequest {
		t.Errorf("back: %v", err)
	}
}

func (f *fixture) elect(req *adminpb.ElectLeadersRequest) ([]string, error) {
	resp, err := f.operate(f.t.Context(), &server.Session{}, &adminpb.Request{Kind: &adminpb.Request_ElectLeaders{ElectLeaders: req}})
	var out []string
	for _, o := range resp.GetElectLeaders().GetOutcomes() {
		out = append(out, fmt.Sprintf("%s %d: %d then %d %v", o.GetTopic(), o.GetPartition(), o.GetBefore(), o.GetAfter(), mq.Code(o.GetCode())))
	}
	return out, err
}

func TestPreferredLeadersAreElected(t *testing.T) {
	f := fenced(t) // node 1 leads what node 2 is preferred for
	want := func(req *adminpb.ElectLeadersRequest, want ...string) {
		t.Helper()
		if got, err := f.elect(req); err != nil || !slices.Equal(got, want) {
			t.Errorf("%v: got %q, %v", req, got, err)
		}
	}
	var preferred []int32
	a := f.store.Image().TopicByName("a")
	for i, p := range a.All() {
		if p.Replicas[0] == other {
			preferred = append(preferred, i)
		}
	}
	if len(preferred) == 0 || len(preferred) == int(a.Partitions()) {
		t.Fatal(preferred)
	}
	first, own := preferred[0], int32(0)
	for slices.Contains(preferred, own) {
		own++
	}
	want(&adminpb.ElectLeadersRequest{})
	want(&adminpb.ElectLeadersRequest{Topic: "a", Partitions: []int32{first, own, 9}},
		fmt.Sprintf("a %d: 1 then 1 LEADER_NOT_AVAILABLE", first), fmt.Sprintf("a %d: 1 then 1 NONE", own), "a 9: -1 then -1 UNKNOWN_TOPIC_OR_PARTITION")
	f.decide(&metadatapb.Command{Kind: &metadatapb.Command_RegisterBroker{RegisterBroker: &metadatapb.RegisterBroker{
		ClusterId: clusterID[:], NodeId: int32(other), Incarnation: 2, DirId: bytes.Repeat([]byte{byte(other)}, 16), MaxFeatureLevel: 1,
	}}})
	want(&adminpb.ElectLeadersRequest{Topic: "a", Partitions: []int32{first}}, fmt.Sprintf("a %d: 1 then 1 LEADER_NOT_AVAILABLE", first)) // it lags
	for topic := range f.store.Image().Topics() {
		for i, p := range topic.All() {
			if len(p.Replicas) == 2 {
				f.decide(&metadatapb.Command{Kind: &metadatapb.Command_ChangePartitions{ChangePartitions: &metadatapb.ChangePartitions{
					Changes: []*metadatapb.PartitionChange{{
						Partition: metadata.PartitionRecord(mq.PartitionID{Topic: topic.ID, Index: i}), PartitionEpoch: p.PartitionEpoch,
						LeaderEpoch: int32(mq.NoEpoch), Isr: []*metadatapb.ISRMember{{NodeId: int32(self)}, {NodeId: int32(other)}},
					}},
				}}})
			}
		}
	}
	elected := fmt.Sprintf("a %d: 1 then 2 NONE", first)
	want(&adminpb.ElectLeadersRequest{Topic: "a", Partitions: []int32{first}, DryRun: true}, elected)
	want(&adminpb.ElectLeadersRequest{Topic: "a", Partitions: []int32{first}}, elected)
	want(&adminpb.ElectLeadersRequest{Topic: "a", Partitions: []int32{first}}, fmt.Sprintf("a %d: 2 then 2 NONE", first))
	if got, err := f.elect(&adminpb.ElectLeadersRequest{}); err != nil || len(got) == 0 {
		t.Errorf("all others: %q, %v", got, err)
	}
	for topic := range f.store.Image().Topics() {
		for i, p := range topic.All() {
			if p.Leader != p.Replicas[0] {
				t.Errorf("%s %d: %+v", topic.Name, i, *p)
			}
		}
	}
	want(&adminpb.ElectLeadersRequest{})
	if _, err := f.elect(&adminpb.ElectLeadersRequest{Topic: "none"}); mq.CodeOf(err) != mq.UnknownTopicOrPartition {
		t.Error(err)
	}
}

func TestUncleanElectionIsOfOnePartition(t *testing.T) {
	f := fenced(t)
	for name, req := range map[string]*adminpb.ElectLeadersRequest{
		"all":            {Unclean: true},
		"all of a topic": {Unclean: true, Topic: "a"},
		"two":            {Unclean: true, Topic: "a", Partitions: []int32{0, 1}},
		"for a try":      {Unclean: true, Topic: "a", Partitions: []int32{0}, DryRun: true},
	} {
		if _, err := f.elect(req); mq.CodeOf(err) != mq.InvalidRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The cluster is at a level that does not have the command.
	if _, err := f.elect(&adminpb.ElectLeadersRequest{Unclean: true, Topic: "a", Partitions: []int32{0}}); mq.CodeOf(err) != mq.UnsupportedVersion {
		t.Error(err)
	}
	for _, node := range []mq.NodeID{self, other} {
		f.decide(&metadatapb.Command{Kind: &metadatapb.Command_RegisterBroker{RegisterBroker: &metadatapb.RegisterBroker{
			ClusterId: clusterID[:], NodeId: int32(node), Incarnation: 3, DirId: bytes.Repeat([]byte{byte(node)}, 16), MaxFeatureLevel: metadata.FeatureLevel,
		}}})
	}
	f.decide(&metadatapb.Command{Kind: &metadatapb.Command_SetFeatureLevel{SetFeatureLevel: &metadatapb.SetFeatureLevel{FeatureLevel: 2}}})
	if _, err := f.elect(&adminpb.ElectLeadersRequest{Unclean: true, Topic: "a", Partitions: []int32{0}}); mq.CodeOf(err) != mq.InvalidRequest { // it has a leader
		t.Error(err)
	}
	f.decide(&metadatapb.Command{Kind: &metadatapb.Command_FenceBroker{FenceBroker: &metadatapb.FenceBroker{
		NodeId: int32(self), BrokerEpoch: f.store.Image().Broker(self).Epoch,
	}}})
	// Node 1 was the last in sync, and is away; node 2 is not in sync.
	got, err := f.elect(&adminpb.ElectLeadersRequest{Unclean: true, Topic: "a", Partitions: []int32{0}})
	if err != nil || !slices.Equal(got, []string{"a 0: -1 then 2 NONE"}) || !f.store.Image().TopicByName("a").Partition(0).Unclean() {
		t.Errorf("%q, %v, %+v", got, err, *f.store.Image().TopicByName("a").Partition(0))
	}
}
