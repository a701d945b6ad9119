package nodetest

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/tier/faultstore"
	"github.com/rustmq/rustmq/wal"
)

// wantValues reads topics of one partition, each whole.
func wantValues(t *testing.T, cl *client.Client, want map[string]string) {
	t.Helper()
	for topic, values := range want {
		if got := strings.Join(valuesOf(soon(t), t, cl, topic, len(strings.Fields(values))), " "); got != values {
			t.Errorf("%s has %q, want %q", topic, got, values)
		}
	}
}

// TestForksLiveOnTheirOwn forks a topic at its end and before it. Source and forks are produced to, and read, before and after a restart and while everything is merged; the
// source is deleted and what only it had goes; a cluster that is restored has the forks; and with the last of them the bucket is empty.
func TestForksLiveOnTheirOwn(t *testing.T) {
	t.Parallel()
	store := faultstore.New()
	cfg := keepingConfig(filepath.Join(t.TempDir(), "data"))
	cfg.ObjectStore.CompactRanges, cfg.ObjectStore.CompactInterval = 3, 10*time.Millisecond
	cfg.ObjectStore.FlushAge = time.Minute // only who waits for it has it flushed
	seams := Seams{FS: wal.OS(), Bucket: store.Bucket(), Scratch: t.TempDir()}
	n := liveIn(t, cfg, seams)
	cl, ctx := dial(t, n), soon(t)
	createTopic(ctx, t, cl, "orders", map[string]string{"max.message.bytes": "65536"})
	say(ctx, t, cl, "orders", "a", "b", "c")
	for _, v := range []string{"d", "e"} { // are in the log only
		if err := cl.ProduceSync(ctx, &client.Record{Topic: "orders", Value: []byte(v)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	whole, err := cl.ForkTopic(ctx, "orders", "whole", nil)
	if err != nil || len(whole.Points) != 1 || whole.Points[0] != 5 || whole.ID.IsZero() {
		t.Fatalf("%+v, %v", whole, err)
	}
	if early, err := cl.ForkTopic(ctx, "orders", "early", []mq.Offset{4}); err != nil || early.Points[0] != 4 {
		t.Fatalf("%+v, %v", early, err)
	}
	if _, err := cl.ForkTopic(ctx, "orders", "whole", nil); mq.CodeOf(err) != mq.TopicAlreadyExists {
		t.Errorf("under a name that is taken: %v", err)
	}
	if _, err := cl.ForkTopic(ctx, "orders", "late", []mq.Offset{6}); mq.CodeOf(err) != mq.OffsetOutOfRange {
		t.Errorf("beyond the end: %v", err)
	}
	want := map[string]string{"orders": "a b c d e s1", "whole": "a b c d e w1", "early": "a b c d e1"}
	for topic, values := range want { // one producer, whose sequences begin anew in each
		say(ctx, t, cl, topic, values[strings.LastIndex(values, " ")+1:])
	}
	wantValues(t, cl, want)
	if d, err := cl.DescribeTopic(ctx, "whole"); err != nil || d.ID != whole.ID || d.Partitions[0].LeaderEpoch < 1 {
		t.Errorf("%+v, %v", d, err)
	}

	cl.Close()
	if err := n.Close(ctx); err != nil {
		t.Fatal(err)
	}
	n = liveIn(t, cfg, seams)
	cl = dial(t, n)
	wantValues(t, cl, want)
	for round := range 3 {
		for topic, values := range want {
			next := topic[:1] + "r" + string(rune('0'+round))
			say(ctx, t, cl, topic, next)
			want[topic] = values + " " + next
		}
	}
	until(t, "all three are merged", func() bool { return n.metric(t, "rustmq_compaction_ranges_total") >= 3 })
	wantValues(t, cl, want)
	checkScrub(t, cl, false, 0, 0)

	if err := cl.DeleteTopic(ctx, "orders"); err != nil {
		t.Fatal(err)
	}
	delete(want, "orders")
	deleted := n.metric(t, "rustmq_tier_deleted_objects_total")
	until(t, "what only the source had is gone", func() bool { return n.metric(t, "rustmq_tier_deleted_objects_total") > deleted })
	wantValues(t, cl, want)
	checkScrub(t, cl, false, 0, 0)

	copied(ctx, t, n, cl, "whole")
	cl.Close()
	if err := n.Close(ctx); err != nil {
		t.Fatal(err)
	}
	again := keepingConfig(filepath.Join(t.TempDir(), "data"))
	again.PKI.Dir = filepath.Join(t.TempDir(), "pki")
	elsewhere := Seams{FS: wal.OS(), Bucket: store.Bucket(), Scratch: t.TempDir()}
	if found, err := restored(ctx, t, again, elsewhere); err != nil || found.Topics != 2 || found.Left+len(found.Missing)+len(found.Damaged)+len(found.Lowered) != 0 {
		t.Fatalf("%+v, %v", found, err)
	}
	copyOf := liveIn(t, again, elsewhere)
	wantValues(t, dial(t, copyOf), want)

	n = liveIn(t, cfg, seams)
	cl = dial(t, n)
	wantValues(t, cl, want)
	for topic := range want {
		if err := cl.DeleteTopic(ctx, topic); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "no object is left", func() bool { return len(objectsIn(store)) == 0 })
}

// TestForkIsReplicatedLikeAnyTopic forks a topic of three replicas while it is produced to, and has each node lose its power while both are.
func TestForkIsReplicatedLikeAnyTopic(t *testing.T) {
	t.Parallel()
	c, ctx := startCluster(t, 3)
	l, cl := smallLedger(ctx, t, c, 3)
	forked, err := cl.ForkTopic(ctx, l.Topic, "fork", nil)
	if err != nil || len(forked.Points) != 3 {
		t.Fatalf("%+v, %v", forked, err)
	}
	fork := &Ledger{Topic: "fork", Partitions: l.Partitions, fates: slices.Clone(l.fates)}
	for _, victim := range c.Nodes {
		l.Produce(ctx, cl, 50, 100)
		fork.Produce(ctx, cl, 50, 100)
		victim.Kill()
		l.Produce(ctx, cl, 50, 100)
		fork.Produce(ctx, cl, 50, 100)
		if err := c.Start(ctx, victim); err != nil {
			t.Fatal(err)
		}
		for _, ledger := range []*Ledger{l, fork} {
			if err := errors.Join(ledger.allAcked(), ledger.Check(ctx, cl)); err != nil {
				t.Fatal(ledger.Topic, err)
			}
		}
	}
}
