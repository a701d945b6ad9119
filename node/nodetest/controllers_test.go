package nodetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/node"
)

func raftStatusOf(ctx context.Context, t *testing.T, cl *client.Client) *adminpb.RaftStatusResponse {
	t.Helper()
	return operate(ctx, t, cl, &adminpb.Request{Kind: &adminpb.Request_RaftStatus{}}).GetRaftStatus()
}

func removeMember(raftID uint64) *adminpb.Request {
	return &adminpb.Request{Kind: &adminpb.Request_RemoveRaftMember{RemoveRaftMember: &adminpb.RemoveRaftMemberRequest{RaftId: raftID}}}
}

func voters(s *adminpb.RaftStatusResponse) (ids []uint64) {
	for _, m := range s.GetMembers() {
		if m.GetRole() == "voter" {
			ids = append(ids, m.GetRaftId())
		}
	}
	return ids
}

// A controller whose disk is gone comes back under a new raft id, learns, votes instead of the one before, and is as good: the group bears the loss of another one, the
// leader itself.
func TestControllerWithAnEmptyDiskTakesAPlaceAnew(t *testing.T) {
	t.Parallel()
	c, ctx := startCluster(t, 3)
	l, cl := smallLedger(ctx, t, c, 3)
	c.Nodes[2].Kill()
	if err := c.Nodes[2].Wipe(); err != nil {
		t.Fatal(err)
	}
	l.Produce(ctx, cl, 100, 100)
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	until(t, "another third voter and nobody else", func() bool {
		status := raftStatusOf(ctx, t, cl)
		return len(status.GetMembers()) == 3 && len(voters(status)) == 3 && voters(status)[2] > 3
	})
	added := raftStatusOf(ctx, t, cl).GetMembers()[2]
	if added.GetNodeId() != 3 || added.GetAddress() == "" {
		t.Fatalf("%v", added)
	}
	until(t, "the other one follows", func() bool { // who is active is counted anew now and then
		added = raftStatusOf(ctx, t, cl).GetMembers()[2]
		return added.GetMatch() > 0 && added.GetActive()
	})
	until(t, "the old one forgotten", func() bool {
		_, err := tryOperate(ctx, cl, removeMember(3))
		return err != nil
	})
	until(t, "three replicas in sync", func() bool { return inSync(ctx, t, cl, 3) })
	for _, m := range c.Nodes { // until all know that the change is over, the majority is one of the members of before, too, of whom one is lost
		until(t, "the change of members over", func() bool {
			return m.metric(t, `rustmq_raft_members{role="learner"}`)+m.metric(t, `rustmq_raft_members{role="leaving"}`) == 0
		})
	}
	leader := c.Nodes[0]
	if raftStatusOf(ctx, t, cl).GetLeader() == 2 {
		leader = c.Nodes[1]
	}
	leader.Kill()
	l.Produce(ctx, cl, 100, 100)
	if err := l.allAcked(); err != nil {
		t.Fatal(err)
	}
	makeTopic(ctx, t, cl, client.NewTopic{Name: "more", Partitions: 1, Replicas: 2})
	if err := c.Start(ctx); err != nil { // which does not take the place of another
		t.Fatal(err)
	}
	if got := voters(raftStatusOf(ctx, t, cl)); len(got) != 3 {
		t.Errorf("voters %v", got)
	}
	if err := l.Check(ctx, cl); err != nil {
		t.Fatal(err)
	}
}

// The leader is removed by whoever leads after it. Whichever node is asked, the leader answers.
func TestLeadingControllerIsRemoved(t *testing.T) {
	t.Parallel()
	c, ctx := startCluster(t, 3)
	_, cl := smallLedger(ctx, t, c, 3)
	status := raftStatusOf(ctx, t, cl)
	operate(ctx, t, cl, removeMember(status.GetLeader()))
	for _, m := range c.Nodes {
		if uint64(m.id) == status.GetLeader() {
			continue // what it knows of the cluster ends here
		}
		one, err := m.Client()
		if err != nil {
			t.Fatal(err)
		}
		defer one.Close()
		now := raftStatusOf(ctx, t, one)
		if got := voters(now); len(got) != 2 || now.GetLeader() == status.GetLeader() || now.GetMembers()[0].GetMatch() == 0 {
			t.Errorf("node %d: %v", m.id, now)
		}
	}
}

// Two of three controllers are lost with their disks. The third is made the only one, and the others come back with nothing, as members that it takes in.
func TestLostMajorityIsRecoveredFrom(t *testing.T) {
	t.Parallel()
	c, ctx := startCluster(t, 3)
	l, cl := smallLedger(ctx, t, c, 3)
	third := c.Nodes[2]
	if _, err := third.Inspect(); mq.CodeOf(err) != mq.WrongDataDir {
		t.Fatalf("it runs: %v", err)
	}
	for _, m := range c.Nodes {
		m.Kill()
	}
	for _, m := range c.Nodes[:2] {
		if err := m.Wipe(); err != nil {
			t.Fatal(err)
		}
	}
	last, err := third.Inspect()
	if err != nil || last.Node != 3 || last.RaftID != 3 || last.Index < last.Commit || last.Commit == 0 {
		t.Fatalf("%+v, %v", last, err)
	}
	recovery, err := third.Recover()
	if err != nil || recovery.Index != last.Index || recovery.Term != last.Term || len(recovery.Voters) != 3 {
		t.Fatalf("%+v, %v", recovery, err)
	}
	if _, err := third.Recover(); mq.CodeOf(err) != mq.InvalidRequest {
		t.Errorf("recovered twice: %v", err)
	}
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	until(t, "three voters and no others", func() bool {
		status := raftStatusOf(ctx, t, cl)
		return len(voters(status)) == 3 && len(status.GetMembers()) == 3
	})
	until(t, "three replicas in sync", func() bool { return inSync(ctx, t, cl, 3) })
	third.Kill()
	l.Produce(ctx, cl, 100, 100)
	if err := l.allAcked(); err != nil {
		t.Fatal(err)
	}
	if err := l.Check(ctx, cl); err != nil {
		t.Fatal(err)
	}
}

// Brokers run on while all controllers end, two of them with their disks. The third one has missed much, and is made the only one: what the brokers hold of it is void,
// though they have more than it has, and they go on without a restart. What they have of a topic that it does not know they keep, until somebody says otherwise.
func TestBrokersThatKeepRunningFollowARecoveredController(t *testing.T) {
	t.Parallel()
	c, ctx := newCluster(t, 5, func(cfg *node.Config) {
		cfg.Node.Roles = []string{node.RoleBroker}
		if cfg.Node.ID <= 3 {
			cfg.Node.Roles = []string{node.RoleController}
		}
		cfg.Node.Controllers = cfg.Node.Controllers[:3]
		cfg.ObjectStore.FlushAge = time.Hour // nothing is tiered by a commit that is lost
	})
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	awaitBrokers(t, c, 2)
	third := c.Nodes[2]
	l, cl := smallLedger(ctx, t, c, 2)
	third.Kill()
	if err := c.Nodes[4].Stop(ctx); err != nil { // what it led, the other leads
		t.Fatal(err)
	}
	if err := c.Start(ctx, c.Nodes[4]); err != nil {
		t.Fatal(err)
	}
	makeTopic(ctx, t, cl, client.NewTopic{Name: "lost", Partitions: 3, Replicas: 2})
	until(t, "two replicas in sync", func() bool { return inSync(ctx, t, cl, 2) })
	if err := cl.ProduceSync(ctx, &client.Record{Topic: "lost", Value: []byte("kept")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	for _, m := range c.Nodes[:2] {
		m.Kill()
		if err := m.Wipe(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := third.Recover(); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	until(t, "only what the recovered one knows, in epochs of its own", func() bool { // a lease of before may last a moment
		return !slices.ContainsFunc(partitionsOf(ctx, t, cl), func(p *adminpb.Partition) bool { return p.GetTopic() != l.Topic || p.GetLeaderEpoch() < 1<<20 })
	})
	l.Produce(ctx, cl, 100, 100)
	if err := l.allAcked(); err != nil {
		t.Fatal(err)
	}
	until(t, "two replicas in sync", func() bool { return inSync(ctx, t, cl, 2) })
	if err := l.Check(ctx, cl); err != nil {
		t.Fatal(err)
	}
	setAsideIsKept(ctx, t, c, c.Nodes[4])
}

// setAsideIsKept restarts a broker that has set three partitions aside, and lets one go.
func setAsideIsKept(ctx context.Context, t *testing.T, c *Cluster, m *Member) {
	t.Helper()
	aside := func(partitions float64) {
		t.Helper()
		until(t, fmt.Sprint(partitions, " partitions that are set aside"), func() bool { return sampleOf(ctx, t, m, "rustmq_partitions_set_aside") == partitions })
	}
	restart := func() {
		t.Helper()
		m.Kill()
		must(t, c.Start(ctx, m))
	}
	aside(3)
	if status, body, err := m.Get(ctx, "/readyz"); err != nil || status != http.StatusOK || !strings.Contains(body, `of topic "lost" is set aside`) {
		t.Errorf("it is not told: %d %v %s", status, err, body)
	}
	restart()
	aside(3)
	files, err := m.FS.ReadDir("/data/set-aside")
	if err != nil || len(files) != 4 {
		t.Fatalf("files %v, %v", files, err)
	}
	m.Kill()
	var salvaged []string
	for _, name := range files {
		topic, index, _ := strings.Cut(name, ".")
		id, err := mq.ParseTopicID(topic)
		if n, wrong := strconv.Atoi(index); err == nil && wrong == nil {
			must(t, m.Salvage(ctx, mq.PartitionID{Topic: id, Index: int32(n)}, func(b mq.Batch) error {
				for r, err := range b.Records(new(mq.DecodeBuffer)) {
					must(t, err)
					salvaged = append(salvaged, string(r.Value))
				}
				return nil
			}))
		}
	}
	if !slices.Equal(salvaged, []string{"kept"}) {
		t.Errorf("salvaged %q", salvaged)
	}
	must(t, c.Start(ctx, m))
	for _, name := range files {
		if name != "generation" {
			m.Kill()
			must(t, m.FS.Remove("/data/set-aside/"+name))
			must(t, m.FS.SyncDir("/data/set-aside"))
			break
		}
	}
	must(t, c.Start(ctx, m))
	aside(2)
}

// inSyncOf says whether all partitions of a topic have so many replicas in sync.
func inSyncOf(ctx context.Context, t *testing.T, cl *client.Client, topic string, replicas int) bool {
	t.Helper()
	return !slices.ContainsFunc(partitionsOf(ctx, t, cl), func(p *adminpb.Partition) bool { return p.GetTopic() == topic && len(p.GetInSync()) != replicas })
}

func inSync(ctx context.Context, t *testing.T, cl *client.Client, replicas int) bool {
	t.Helper()
	for _, p := range partitionsOf(ctx, t, cl) {
		if len(p.GetInSync()) != replicas {
			return false
		}
	}
	return true
}

// The nodes that could tell it better are gone: one that is left says how old its answers are, and names no controller that leads.
func TestNodeThatIsCutOffSaysHowOldItsAnswersAre(t *testing.T) {
	t.Parallel()
	c, ctx := startCluster(t, 3)
	cl, err := c.Nodes[2].Client()
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ask := func() *adminpb.Response {
		return operate(ctx, t, cl, &adminpb.Request{Kind: &adminpb.Request_ClusterStatus{}})
	}
	until(t, "an answer that is new", func() bool {
		resp := ask()
		return !resp.GetFreshness().GetCutOff() && resp.GetClusterStatus().GetController() > 0
	})
	for _, m := range c.Nodes[:2] {
		m.Kill()
	}
	until(t, "an answer that says that it is old", func() bool {
		resp := ask()
		return resp.GetFreshness().GetCutOff() && resp.GetFreshness().GetAnsweredBy() == 3 && resp.GetClusterStatus().GetController() < 0
	})
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	until(t, "an answer that is new again", func() bool { return !ask().GetFreshness().GetCutOff() })
}

// All controllers move at once, so that what is recorded of where they are helps none of them: they find each other by the configuration, and are recorded anew.
func TestControllersThatAllMoveFindEachOther(t *testing.T) {
	t.Parallel()
	c, ctx := startCluster(t, 3)
	l, _ := smallLedger(ctx, t, c, 3)
	killAll(c)
	if err := c.Move(c.Nodes...); err != nil {
		t.Fatal(err)
	}
	awaitMoved(ctx, t, c, l)
}

// One moves, and the configuration of the others does not know: it finds them, and is recorded where it is.
func TestControllerThatMovesAloneIsFound(t *testing.T) {
	t.Parallel()
	c, ctx := startCluster(t, 3)
	l, _ := smallLedger(ctx, t, c, 3)
	second := c.Nodes[1]
	first, third := c.Nodes[0].cfg.Node.Controllers, c.Nodes[2].cfg.Node.Controllers
	second.Kill()
	if err := c.Move(second); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(ctx, second); err != nil {
		t.Fatal(err)
	}
	awaitMoved(ctx, t, c, l)
	killAll(c)
	c.Nodes[0].cfg.Node.Controllers, c.Nodes[2].cfg.Node.Controllers = first, third
	awaitMoved(ctx, t, c, l)
}

// A node that ran alone founds a group by what it is, with an address, which does not change with where it is: they find each other when all have moved.
func TestNodeThatRanAloneStaysInItsGroupWhereverItIs(t *testing.T) {
	t.Parallel()
	ctx := soon(t)
	c, err := NewCluster(3, t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil {
			t.Logf("close the cluster: %v", err)
		}
	})
	first := c.Nodes[0]
	seams := first.stopped()
	seams.Headless, seams.Bucket, seams.Random = true, c.bucket, io.MultiReader(bytes.NewReader([]byte{0: 0xc1, 15: 3}), rand.Reader)
	cfg := first.cfg
	cfg.Node.Controllers = nil
	alone, err := node.StartWith(ctx, cfg, slog.New(slog.DiscardHandler), seams)
	if err != nil {
		t.Fatal(err)
	}
	if err := alone.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(ctx, first); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	l, cl := smallLedger(ctx, t, c, 3)
	until(t, "three voters", func() bool { return len(voters(raftStatusOf(ctx, t, cl))) == 3 })
	killAll(c)
	if err := c.Move(c.Nodes...); err != nil {
		t.Fatal(err)
	}
	awaitMoved(ctx, t, c, l)
}

func killAll(c *Cluster) {
	for _, m := range c.Nodes {
		m.Kill()
	}
}

// awaitMoved starts nodes and waits until all are recorded where they are, and records are acknowledged.
func awaitMoved(ctx context.Context, t *testing.T, c *Cluster, l *Ledger) {
	t.Helper()
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	cl, err := c.Client(client.DeliveryTimeout(2 * time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	until(t, "all recorded where they are", func() bool {
		status := raftStatusOf(ctx, t, cl)
		for _, m := range status.GetMembers() {
			if m.GetAddress() != c.Nodes[m.GetNodeId()-1].cfg.RPC.Listen {
				return false
			}
		}
		return len(voters(status)) == len(c.Nodes)
	})
	l.Produce(ctx, cl, 50, 100)
	if err := l.allAcked(); err != nil {
		t.Fatal(err)
	}
	if err := l.Check(ctx, cl); err != nil {
		t.Fatal(err)
	}
}

// A controller that is removed while it runs finds out, says so once, and its node goes on as a broker that knows what happens, over a restart, too. It has a controller again when it
// is told to ask for one, with what it has as a broker, and with an empty disk.
func TestControllerThatIsRemovedEndsAndItsBrokerGoesOn(t *testing.T) {
	t.Parallel()
	c, ctx := startCluster(t, 3)
	l, cl := smallLedger(ctx, t, c, 3)
	gone := c.Nodes[2]
	if raftStatusOf(ctx, t, cl).GetLeader() == 3 {
		gone = c.Nodes[1]
	}
	one, err := gone.Client(client.DeliveryTimeout(2 * time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	operate(ctx, t, cl, removeMember(uint64(gone.id)))
	const said = "was removed from the group"
	goesOn := func(topic string) {
		t.Helper()
		until(t, "the removed one says so", func() bool { return strings.Contains(gone.Log.String(), said) })
		makeTopic(ctx, t, cl, client.NewTopic{Name: topic, Partitions: 1, Replicas: 2})
		until(t, "it knows what happens", func() bool {
			resp := operate(ctx, t, one, &adminpb.Request{Kind: &adminpb.Request_ClusterStatus{}})
			all := operate(ctx, t, cl, &adminpb.Request{Kind: &adminpb.Request_ClusterStatus{}})
			return !resp.GetFreshness().GetCutOff() && resp.GetClusterStatus().GetTopics() == all.GetClusterStatus().GetTopics()
		})
		until(t, "three replicas in sync", func() bool { return inSyncOf(ctx, t, cl, l.Topic, 3) })
		l.Produce(ctx, one, 50, 100)
		if err := l.allAcked(); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(gone.Log.String(), said); n != 1 {
			t.Errorf("it says so %d times", n)
		}
	}
	goesOn("first")
	gone.Kill()
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	goesOn("second")
	if err := gone.Rejoin(); mq.CodeOf(err) != mq.WrongDataDir {
		t.Errorf("it runs: %v", err)
	}
	gone.Kill()
	must(t, gone.Rejoin())
	if err := gone.Rejoin(); mq.CodeOf(err) != mq.InvalidRequest {
		t.Errorf("a second time: %v", err)
	}
	must(t, c.Start(ctx))
	until(t, "three voters", func() bool { return len(voters(raftStatusOf(ctx, t, cl))) == 3 })
	members := raftStatusOf(ctx, t, cl).GetMembers()
	if again := members[len(members)-1]; int(again.GetNodeId()) != gone.id || again.GetRaftId() < 1<<31 {
		t.Errorf("it is %v", again)
	}
	until(t, "three replicas in sync", func() bool { return inSyncOf(ctx, t, cl, l.Topic, 3) })
	if strings.Contains(gone.Log.String(), "reset to the tiered end") {
		t.Error("what it had as a broker is gone")
	}
	operate(ctx, t, cl, removeMember(members[len(members)-1].GetRaftId()))
	until(t, "two voters", func() bool { return len(voters(raftStatusOf(ctx, t, cl))) == 2 })
	gone.Kill()
	if err := gone.Wipe(); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	until(t, "three voters", func() bool { return len(voters(raftStatusOf(ctx, t, cl))) == 3 })
	if err := l.Check(ctx, cl); err != nil {
		t.Fatal(err)
	}
}
