package nodetest

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/node"
	"github.com/rustmq/rustmq/tier/faultstore"
	"github.com/rustmq/rustmq/wal"
)

// mountOn makes a mount of the only cluster on an object store, which looks there every so often, and starts it.
func mountOn(ctx context.Context, t *testing.T, store *faultstore.Store, every time.Duration) (*Live, *client.Client) {
	t.Helper()
	cfg, seams := mountConfig(t, every), Seams{FS: wal.OS(), Bucket: store.Bucket(), Scratch: t.TempDir()}
	if _, err := mounted(ctx, cfg, seams); err != nil {
		t.Fatal(err)
	}
	n := liveIn(t, cfg, seams)
	return n, dial(t, n)
}

func mountConfig(t *testing.T, every time.Duration) node.Config {
	cfg := keepingConfig(filepath.Join(t.TempDir(), "view"))
	cfg.ObjectStore.MountInterval = every
	return cfg
}

func mounted(ctx context.Context, cfg node.Config, s Seams) (*node.MadeMount, error) {
	s.Metadata.Path, s.Metadata.NoSync = filepath.Join(s.Scratch, "metadata.db"), true
	cfg.PKI.Dir = ""
	return node.MountCluster(ctx, cfg, mq.ClusterID{}, node.Seams{FS: s.FS, Bucket: s.Bucket, Metadata: s.Metadata}, slog.New(slog.DiscardHandler))
}

// noneWrite has an object store refuse what changes it, and tell.
func noneWrite(t *testing.T, store *faultstore.Store) {
	t.Helper()
	store.SetHook(func(op faultstore.Op) (f faultstore.Fault) {
		switch op.Kind {
		case faultstore.Write, faultstore.Delete, faultstore.Copy:
			t.Errorf("a mount changes the bucket: %s %s", op.Kind, op.Key)
			f.Before = errors.New("a mount may only read")
		}
		return f
	})
}

// A mount shows what a cluster has in its bucket, at the same offsets and by the same times, with nothing written there. Whatever would change something is refused, with the name of the cluster where it can be
// done; and that cluster goes on as if nothing had been.
func TestMountShowsAClusterAndChangesNothing(t *testing.T) {
	t.Parallel()
	store := faultstore.New()
	sourceSeams := Seams{FS: wal.OS(), Bucket: store.Bucket(), Scratch: t.TempDir()}
	sourceConfig := keepingConfig(filepath.Join(t.TempDir(), "data"))
	source := liveIn(t, sourceConfig, sourceSeams)
	cl, ctx := dial(t, source), soon(t)
	createTopic(ctx, t, cl, "orders", map[string]string{"retention.ms": "-1"})
	at := time.UnixMilli(1_700_000_000_000)
	for i, v := range []string{"one", "two", "three"} {
		rec := &client.Record{Topic: "orders", Value: []byte(v), Timestamp: at.Add(time.Duration(i) * time.Second), Acks: client.AcksObject}
		if err := cl.ProduceSync(ctx, rec).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := cl.DeleteRecords(ctx, "orders", 0, 1); err != nil {
		t.Fatal(err)
	}
	copied(ctx, t, source, cl, "orders")
	from := source.ClusterID()
	cl.Close()
	if err := source.Close(ctx); err != nil {
		t.Fatal(err)
	}
	before := store.Keys()

	noneWrite(t, store)
	n, view := mountOn(ctx, t, store, 10*time.Millisecond)
	if n.ClusterID() == from {
		t.Error("the mount passes for the cluster itself")
	}
	if got := valuesOf(ctx, t, view, "orders", 2); !slices.Equal(got, []string{"two", "three"}) {
		t.Errorf("got %v", got)
	}
	for _, iso := range []mq.Isolation{mq.IsolationCommitted, mq.IsolationObject} {
		for want, place := range map[mq.Offset]client.Position{1: client.Start(), 3: client.End(), 2: client.AtTime(at.Add(1500 * time.Millisecond))} {
			if found, err := view.ListOffsets(ctx, "orders", place, iso); err != nil || found[0].Err != nil || found[0].Offset != want {
				t.Errorf("%v with isolation %v: %v, %v; want %d", place, iso, found, err, want)
			}
		}
	}
	if topic, err := view.DescribeTopic(ctx, "orders"); err != nil || topic.Partitions[0].LogStart != 1 || topic.Partitions[0].HighWatermark != 3 {
		t.Errorf("%+v, %v", topic, err)
	}
	checkRefusals(ctx, t, view, from)
	checkServices(ctx, t, n, from)
	status := operate(ctx, t, view, &adminpb.Request{Kind: &adminpb.Request_ClusterStatus{}}).GetClusterStatus()
	if m := status.GetMount(); m == nil || mq.ClusterID(m.GetClusterId()) != from || m.GetError() != "" || m.GetAgeMs() < 0 || m.GetCopiedMs() == 0 || status.GetLeaderlessPartitions() != 0 {
		t.Errorf("status %v", status)
	}
	if code, text, err := n.Get(ctx, "/readyz"); err != nil || code != 200 || !strings.Contains(text, "read-only mount of cluster "+from.String()) {
		t.Errorf("readyz: %d %s %v", code, text, err)
	}
	looks := n.metric(t, "rustmq_mount_looks_total")
	until(t, "it has looked a few times", func() bool { return n.metric(t, "rustmq_mount_looks_total") > looks+3 })
	if now := store.Keys(); !slices.Equal(now, before) || n.metric(t, "rustmq_mount_failures_total") != 0 {
		t.Errorf("the bucket has %v, it had %v", now, before)
	}
	view.Close()
	if err := n.Close(ctx); err != nil {
		t.Fatal(err)
	}

	store.SetHook(nil)
	again := liveIn(t, sourceConfig, sourceSeams)
	cl = dial(t, again)
	say(ctx, t, cl, "orders", "four")
	if got := valuesOf(ctx, t, cl, "orders", 3); again.ClusterID() != from || !slices.Equal(got, []string{"two", "three", "four"}) {
		t.Errorf("cluster %s has %v", again.ClusterID(), got)
	}
}

// checkRefusals tries all that changes something.
func checkRefusals(ctx context.Context, t *testing.T, cl *client.Client, source mq.ClusterID) {
	t.Helper()
	operation := func(req *adminpb.Request) error {
		_, err := tryOperate(ctx, cl, req)
		return err
	}
	_, created := cl.CreateTopic(ctx, client.NewTopic{Name: "new", Partitions: 1})
	_, trimmed := cl.DeleteRecords(ctx, "orders", 0, 2)
	_, forked := cl.ForkTopic(ctx, "orders", "copy", nil)
	for what, err := range map[string]error{
		"produce":          cl.ProduceSync(ctx, &client.Record{Topic: "orders", Value: []byte("no")}).FirstErr(),
		"create topic":     created,
		"delete topic":     cl.DeleteTopic(ctx, "orders"),
		"alter topic":      cl.AlterTopicConfigs(ctx, "orders", client.ConfigChanges{Set: map[string]string{"retention.ms": "1"}}),
		"add partitions":   cl.CreatePartitions(ctx, "orders", 3),
		"delete records":   trimmed,
		"fork":             forked,
		"settings":         operation(&adminpb.Request{Kind: &adminpb.Request_AlterClusterConfig{AlterClusterConfig: &adminpb.AlterClusterConfigRequest{Set: map[string]string{"num.partitions": "4"}}}}),
		"move":             operation(&adminpb.Request{Kind: &adminpb.Request_MovePartitions{MovePartitions: &adminpb.MovePartitionsRequest{}}}),
		"drain":            operation(&adminpb.Request{Kind: &adminpb.Request_DrainNode{DrainNode: &adminpb.DrainNodeRequest{NodeId: 1}}}),
		"elect":            operation(&adminpb.Request{Kind: &adminpb.Request_ElectLeaders{ElectLeaders: &adminpb.ElectLeadersRequest{}}}),
		"upgrade":          operation(&adminpb.Request{Kind: &adminpb.Request_UpgradeCluster{UpgradeCluster: &adminpb.UpgradeClusterRequest{}}}),
		"add a controller": operation(&adminpb.Request{Kind: &adminpb.Request_AddRaftMember{AddRaftMember: &adminpb.AddRaftMemberRequest{NodeId: 1}}}),
		"scrub":            operation(&adminpb.Request{Kind: &adminpb.Request_ScrubObjects{ScrubObjects: &adminpb.ScrubObjectsRequest{Delete: true}}}),
		"tier status":      operation(&adminpb.Request{Kind: &adminpb.Request_TierStatus{TierStatus: &adminpb.TierStatusRequest{}}}),
		"tier node":        operation(&adminpb.Request{Kind: &adminpb.Request_TierNode{TierNode: &adminpb.TierNodeRequest{}}}),
		"raft":             operation(&adminpb.Request{Kind: &adminpb.Request_RaftStatus{}}),
	} {
		if mq.CodeOf(err) != mq.ReadOnly || !strings.Contains(err.Error(), source.String()) {
			t.Errorf("%s: %v, want READ_ONLY that names cluster %s", what, err, source)
		}
	}
}

// checkServices has rustmq.v1 of a mount read what the client reads, and refuse what it refuses.
func checkServices(ctx context.Context, t *testing.T, n *Live, source mq.ClusterID) {
	t.Helper()
	for _, c := range []struct {
		procedure, body string
		code            int
		has             []string
	}{
		{"ConsumeService/Fetch", `{"topic": "orders", "text": true}`, http.StatusOK, []string{`"two"`, `"three"`, `"endOffset":"3"`}},
		{"TopicService/ListTopics", `{}`, http.StatusOK, []string{`"orders"`}},
		{"ProduceService/Produce", `{"topic": "orders", "records": [{"valueText": "no"}]}`, http.StatusOK, []string{`"failed":1`, "ERROR_CODE_READ_ONLY", source.String()}},
		{"TopicService/CreateTopic", `{"topic": "new", "partitions": 1}`, 0, []string{"READ_ONLY", source.String()}},
	} {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+n.AdminAddr().String()+"/rustmq.v1."+c.procedure, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || c.code != 0 && resp.StatusCode != c.code || c.code == 0 && resp.StatusCode == http.StatusOK {
			t.Errorf("%s: %s %s, %v", c.procedure, resp.Status, text, err)
		}
		for _, want := range c.has {
			if !strings.Contains(strings.ReplaceAll(string(text), ": ", ":"), want) {
				t.Errorf("%s: %s, which has no %s", c.procedure, text, want)
			}
		}
	}
}

// following consumes a topic of one partition from the start, and gives its values as they come.
func following(t *testing.T, cl *client.Client, topic string) (next func(ctx context.Context, want ...string)) {
	t.Helper()
	consumer, err := cl.NewConsumer(client.Assign(topic, 0, client.Start()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { consumer.Close() })
	return func(ctx context.Context, want ...string) {
		t.Helper()
		var got []string
		for len(got) < len(want) {
			recs, err := consumer.Poll(ctx)
			if err != nil {
				t.Fatalf("after %v: %v", got, err)
			}
			for _, r := range recs {
				got = append(got, string(r.Value))
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}

// A mount follows a cluster that lives: what it writes, topics that come and go, log starts that move. Who waits at the end gets what comes.
func TestMountFollowsAClusterThatLives(t *testing.T) {
	t.Parallel()
	store := faultstore.New()
	source, cl := keepingOn(t, store)
	ctx := soon(t)
	createTopic(ctx, t, cl, "orders", nil)
	createTopic(ctx, t, cl, "deleted", nil)
	say(ctx, t, cl, "orders", "one")
	copied(ctx, t, source, cl, "orders")
	_, view := mountOn(ctx, t, store, 10*time.Millisecond)
	next := following(t, view, "orders")
	next(ctx, "one")
	say(ctx, t, cl, "orders", "two", "three")
	next(ctx, "two", "three")
	say(ctx, t, cl, "orders", "four")
	next(ctx, "four")

	createTopic(ctx, t, cl, "later", nil)
	say(ctx, t, cl, "later", "there")
	if err := cl.DeleteTopic(ctx, "deleted"); err != nil {
		t.Fatal(err)
	}
	if _, err := cl.DeleteRecords(ctx, "orders", 0, 3); err != nil {
		t.Fatal(err)
	}
	until(t, "the view has the same topics", func() bool {
		topics, err := view.ListTopics(ctx)
		if err != nil {
			t.Fatal(err)
		}
		names := make([]string, len(topics))
		for i := range topics {
			names[i] = topics[i].Name
		}
		return slices.Equal(names, []string{"later", "orders"})
	})
	following(t, view, "later")(ctx, "there")
	until(t, "the log start has moved", func() bool { return startOf(ctx, t, view, "orders") == 3 })
	following(t, view, "orders")(ctx, "four")
}

// A mount that has not looked for long reads an object that the cluster has merged into another and deleted: it looks again by itself, and reads on.
func TestMountReadsOnWhenObjectsAreGone(t *testing.T) {
	t.Parallel()
	store := faultstore.New()
	cfg := keepingConfig(filepath.Join(t.TempDir(), "data"))
	cfg.ObjectStore.CompactSize = 0
	seams := Seams{FS: wal.OS(), Bucket: store.Bucket(), Scratch: t.TempDir()}
	source := liveIn(t, cfg, seams)
	cl, ctx := dial(t, source), soon(t)
	createTopic(ctx, t, cl, "orders", nil)
	values := []string{"one", "two", "three", "four", "five", "six"}
	say(ctx, t, cl, "orders", values...)
	copied(ctx, t, source, cl, "orders")
	before := objectsIn(store)
	cl.Close()
	if err := source.Close(ctx); err != nil {
		t.Fatal(err)
	}
	n, view := mountOn(ctx, t, store, time.Hour)

	cfg.ObjectStore.CompactSize, cfg.ObjectStore.CompactRanges, cfg.ObjectStore.CompactInterval = 64<<10, 2, 10*time.Millisecond
	source = liveIn(t, cfg, seams)
	until(t, "all that the view names is merged and deleted", func() bool {
		return !slices.ContainsFunc(objectsIn(store), func(key string) bool { return slices.Contains(before, key) })
	})
	looks := n.metric(t, "rustmq_mount_looks_total")
	following(t, view, "orders")(ctx, values...)
	if n.metric(t, "rustmq_mount_looks_total") == looks {
		t.Error("it read what is gone without a look")
	}
	if found, err := view.ListOffsets(ctx, "orders", client.AtTime(time.UnixMilli(1)), mq.IsolationCommitted); err != nil || found[0].Offset != 0 {
		t.Errorf("%v, %v", found, err)
	}
	_ = source
}

// While the bucket is away a mount shows what it saw last, and says so, also after a start; then it goes on.
func TestMountOutlivesItsBucketBeingAway(t *testing.T) {
	t.Parallel()
	store := faultstore.New()
	source, cl := keepingOn(t, store)
	ctx := soon(t)
	createTopic(ctx, t, cl, "orders", nil)
	say(ctx, t, cl, "orders", "one")
	copied(ctx, t, source, cl, "orders")
	cfg, seams := mountConfig(t, 10*time.Millisecond), Seams{FS: wal.OS(), Bucket: store.Bucket(), Scratch: t.TempDir()}
	if _, err := mounted(ctx, cfg, seams); err != nil {
		t.Fatal(err)
	}
	if _, err := mounted(ctx, cfg, seams); mq.CodeOf(err) != mq.WrongDataDir {
		t.Errorf("made where one is: %v", err)
	}
	store.SetHook(func(op faultstore.Op) (f faultstore.Fault) {
		if op.Kind == faultstore.List {
			f.Before = errors.New("the store is on holiday")
		}
		return f
	})
	n := liveIn(t, cfg, seams)
	view := dial(t, n)
	if topics, err := view.ListTopics(ctx); err != nil || len(topics) != 1 {
		t.Errorf("%v, %v", topics, err)
	}
	if code, text, err := n.Get(ctx, "/readyz"); err != nil || code != 200 || !strings.Contains(text, "not been reached since the start") {
		t.Errorf("readyz: %d %s %v", code, text, err)
	}
	store.SetHook(nil)
	say(ctx, t, cl, "orders", "two")
	following(t, view, "orders")(ctx, "one", "two")
}

// writtenAndGone has a cluster write a topic with some records, each in an object of its own, into an object store, copy its metadata there, and end.
func writtenAndGone(ctx context.Context, t *testing.T, store *faultstore.Store, values ...string) {
	t.Helper()
	source, cl := keepingOn(t, store)
	createTopic(ctx, t, cl, "orders", nil)
	say(ctx, t, cl, "orders", values...)
	copied(ctx, t, source, cl, "orders")
	cl.Close()
	if err := source.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

// A damaged part of the newest copy of the metadata makes a mount of the one before, as a damaged manifest does.
func TestMountPassesOverACopyWithADamagedPart(t *testing.T) {
	t.Parallel()
	store := faultstore.New()
	ctx := soon(t)
	writtenAndGone(ctx, t, store, "one")
	parts := keysOf(store, ".part")
	store.Flip(parts[len(parts)-1], 8*1000)
	_, view := mountOn(ctx, t, store, 10*time.Millisecond)
	if topics, err := view.ListTopics(ctx); err != nil || len(topics) != 1 {
		t.Errorf("%v, %v", topics, err)
	}
}

// A bucket in which nothing is found any more is not fresh: what was seen last is shown, and that it is old.
func TestMountOfABucketThatListsNothingSaysSo(t *testing.T) {
	t.Parallel()
	store := faultstore.New()
	ctx := soon(t)
	writtenAndGone(ctx, t, store)
	n, view := mountOn(ctx, t, store, 10*time.Millisecond)
	for _, key := range store.Keys() {
		store.Remove(key)
	}
	until(t, "a look failed", func() bool { return n.metric(t, "rustmq_mount_failures_total") > 0 })
	status := operate(ctx, t, view, &adminpb.Request{Kind: &adminpb.Request_ClusterStatus{}}).GetClusterStatus()
	if said := status.GetMount().GetError(); !strings.Contains(said, "any more") {
		t.Errorf("the status says %q", said)
	}
	if topics, err := view.ListTopics(ctx); err != nil || len(topics) != 1 {
		t.Errorf("%v, %v", topics, err)
	}
}

// A mount that starts again shows no older copy than it did, when the newest is damaged meanwhile.
func TestMountDoesNotGoBackWhenItStartsAgain(t *testing.T) {
	t.Parallel()
	store := faultstore.New()
	source, cl := keepingOn(t, store)
	ctx := soon(t)
	createTopic(ctx, t, cl, "orders", nil)
	copied(ctx, t, source, cl, "orders")
	cfg, seams := mountConfig(t, 10*time.Millisecond), Seams{FS: wal.OS(), Bucket: store.Bucket(), Scratch: t.TempDir()}
	if _, err := mounted(ctx, cfg, seams); err != nil {
		t.Fatal(err)
	}
	n := liveIn(t, cfg, seams)
	view := dial(t, n)
	store.SetHook(func(op faultstore.Op) (f faultstore.Fault) { // older copies stay
		if op.Kind == faultstore.Delete {
			f.Before = faultstore.Denied()
		}
		return f
	})
	old := keysOf(store, "/manifest")
	createTopic(ctx, t, cl, "later", nil)
	until(t, "both topics", func() bool {
		topics, _ := view.ListTopics(ctx)
		return len(topics) == 2
	})
	cl.Close()
	view.Close()
	if err := errors.Join(source.Close(ctx), n.Close(ctx)); err != nil {
		t.Fatal(err)
	}
	for _, key := range keysOf(store, "/manifest") {
		if !slices.Contains(old, key) {
			store.Flip(key, 8*40)
		}
	}
	if topics, err := dial(t, liveIn(t, cfg, seams)).ListTopics(ctx); err != nil || len(topics) != 2 {
		t.Errorf("%v, %v: what was shown before is gone", topics, err)
	}
}

// While no newer copy of the metadata can be read, what objects have is shown all the same. An object that goes with no newer copy to say so, as one that nobody refers to, goes from the view too.
func TestMountGoesByObjectsWhileCopiesAreOutOfReach(t *testing.T) {
	t.Parallel()
	store := faultstore.New()
	source, cl := keepingOn(t, store)
	ctx := soon(t)
	createTopic(ctx, t, cl, "orders", nil)
	say(ctx, t, cl, "orders", "one")
	copied(ctx, t, source, cl, "orders")
	n, view := mountOn(ctx, t, store, 10*time.Millisecond)
	ends := func(at mq.Offset) {
		t.Helper()
		until(t, "the view ends there", func() bool {
			found, err := view.ListOffsets(ctx, "orders", client.End(), mq.IsolationCommitted)
			return err == nil && found[0].Err == nil && found[0].Offset == at
		})
	}
	ends(1)

	old, before := store.Keys(), objectsIn(store)
	store.SetHook(func(op faultstore.Op) (f faultstore.Fault) {
		copies := strings.Contains(op.Key, "/meta/") && !slices.Contains(old, op.Key)
		if op.Kind == faultstore.Delete || op.Kind == faultstore.Read && copies { // and the old ones stay
			f.Before = faultstore.Denied()
		}
		return f
	})
	copied(ctx, t, source, cl, "orders")
	until(t, "a look failed", func() bool { return n.metric(t, "rustmq_mount_failures_total") > 0 })
	say(ctx, t, cl, "orders", "two")
	ends(2)
	cl.Close()
	if err := source.Close(ctx); err != nil {
		t.Fatal(err)
	}
	for _, key := range store.Keys() {
		if strings.Contains(key, "/meta/") && !slices.Contains(old, key) {
			store.Remove(key)
		}
	}
	store.SetHook(nil)
	for _, key := range objectsIn(store) {
		if !slices.Contains(before, key) {
			store.Remove(key)
		}
	}
	ends(1)
}

// keysOf are the keys of an object store that end like this, in order.
func keysOf(store *faultstore.Store, end string) []string {
	keys := slices.DeleteFunc(store.Keys(), func(key string) bool { return !strings.HasSuffix(key, end) })
	slices.Sort(keys)
	return keys
}
