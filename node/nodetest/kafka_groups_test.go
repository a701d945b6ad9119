package nodetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/node"
)

// readers are Kafka clients in one group, and what they have read.
type readers struct {
	mu   sync.Mutex
	seen map[string]int
	by   map[int]int // how many each member has read
}

func newReaders() *readers { return &readers{seen: make(map[string]int), by: make(map[int]int)} }

// read is how many records the n-th member has read.
func (r *readers) read(n int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.by[n]
}

func (r *readers) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.seen)
}

// join has a client of the group read until it is told to leave. It gives up partitions only between polls, with what it has read committed.
func (r *readers) join(t *testing.T, n *Live, opts ...kgo.Opt) (leave func()) {
	t.Helper()
	cl := kafkaClient(t, n, append([]kgo.Opt{
		kgo.ConsumeTopics("orders"), kgo.BlockRebalanceOnPoll(), kgo.DisableAutoCommit(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.HeartbeatInterval(100 * time.Millisecond),
	}, opts...)...)
	ctx, cancel := context.WithCancel(t.Context())
	r.mu.Lock()
	number := len(r.by)
	r.by[number] = 0
	r.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			polled := cl.PollFetches(ctx)
			r.mu.Lock()
			polled.EachRecord(func(rec *kgo.Record) {
				r.seen[string(rec.Value)]++
				r.by[number]++
			})
			r.mu.Unlock()
			// By itself it commits the last poll's records with the next poll, and there may be none. A commit in an epoch that was over before it came is made again in the next one.
			err := cl.CommitUncommittedOffsets(t.Context())
			for tries := 0; errors.Is(err, kerr.RebalanceInProgress) && tries < 100; tries++ {
				time.Sleep(10 * time.Millisecond)
				err = cl.CommitUncommittedOffsets(t.Context())
			}
			if err != nil {
				t.Errorf("member %d commits: %v", number, err)
			}
			cl.AllowRebalance()
		}
	}()
	return sync.OnceFunc(func() {
		cancel()
		<-done
		cl.CloseAllowingRebalance()
	})
}

// quickGroups has members of the consumer protocol speak often.
func quickGroups(c *node.Config) {
	c.Groups.OffsetsPartitions = 3
	c.Groups.HeartbeatInterval, c.Groups.ConsumerMinHeartbeatInterval = 100*time.Millisecond, 100*time.Millisecond
	c.Groups.InitialRebalanceDelay = 0
}

// Members come and go, and every record is read exactly once, whichever protocol they speak; what they have committed native clients see, and who comes later goes on from it.
func TestKafkaGroupsReadEachRecordOnce(t *testing.T) {
	n, ctx := startKafka(t, quickGroups)
	native, err := n.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = native.Close() }()
	if _, err := native.CreateTopic(ctx, client.NewTopic{Name: "orders", Partitions: 6, Replicas: 1}); err != nil {
		t.Fatal(err)
	}
	producer := kafkaClient(t, n, kgo.DefaultProduceTopic("orders"))
	sent := 0
	produce := func(count int) {
		for range count {
			producer.Produce(ctx, &kgo.Record{Key: fmt.Append(nil, sent), Value: fmt.Append(nil, sent)}, func(_ *kgo.Record, err error) {
				if err != nil {
					t.Error(err)
				}
			})
			sent++
		}
		if err := producer.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for name, opts := range map[string][]kgo.Opt{
		"eager":       {kgo.Balancers(kgo.RangeBalancer())},
		"cooperative": {kgo.Balancers(kgo.CooperativeStickyBalancer())},
		"consumer":    {kgo.ServerSideBalancer(), kgo.Balancers(kgo.RangeBalancer())},
	} {
		t.Run(name, func(t *testing.T) {
			opts := append(opts, kgo.ConsumerGroup(name))
			r := newReaders()
			var leaves []func()
			for i := range 3 {
				leaves = append(leaves, r.join(t, n, opts...))
				until(t, fmt.Sprint("member ", i, " reads"), func() bool { produce(10); return r.read(i) > 0 })
			}
			leaves[0]()
			for range 10 {
				produce(10)
			}
			until(t, "every record read", func() bool { return r.count() == sent })
			for _, leave := range leaves {
				leave()
			}
			r.mu.Lock()
			for value, times := range r.seen {
				if times != 1 {
					t.Errorf("record %s was read %d times", value, times)
				}
			}
			r.mu.Unlock()
			found, err := native.CommittedOffsets(ctx, name, "orders", 0, 1, 2, 3, 4, 5)
			if err != nil {
				t.Fatal(err)
			}
			total := 0
			for _, at := range found {
				total += int(max(0, at))
			}
			if total != sent {
				t.Errorf("%d of %d records are committed: %v", total, sent, found)
			}
			before := sent
			produce(10)
			r = newReaders()
			leave := r.join(t, n, opts...)
			until(t, "the new records read", func() bool { return r.count() >= sent-before })
			leave()
			if r.count() != sent-before {
				t.Errorf("who came later read %d records, %d were new", r.count(), sent-before)
			}
		})
	}
}

// A static member that comes back within its session has its partitions again without another generation.
func TestKafkaStaticMemberComesBack(t *testing.T) {
	n, ctx := startKafka(t, quickGroups)
	admin := kafkaClient(t, n)
	var events sync.Mutex
	var assigned []string
	member := func(instance string) *kgo.Client {
		return kafkaClient(t, n, kgo.ConsumerGroup("g"), kgo.ConsumeTopics("orders"), kgo.InstanceID(instance), kgo.HeartbeatInterval(100*time.Millisecond), kgo.Balancers(kgo.RangeBalancer()),
			kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, got map[string][]int32) {
				events.Lock()
				defer events.Unlock()
				assigned = append(assigned, fmt.Sprint(instance, got["orders"]))
			}))
	}
	native, err := n.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = native.Close() }()
	if _, err := native.CreateTopic(ctx, client.NewTopic{Name: "orders", Partitions: 4, Replicas: 1}); err != nil {
		t.Fatal(err)
	}
	member("one")
	stable := func(members int) kmsg.DescribeGroupsResponseGroup {
		var g kmsg.DescribeGroupsResponseGroup
		until(t, fmt.Sprint(members, " members in a stable group"), func() bool {
			g = describeGroup(ctx, t, admin, "g")
			return g.State == "Stable" && len(g.Members) == members
		})
		return g
	}
	stable(1)
	two := member("two")
	until(t, "both assigned", func() bool {
		events.Lock()
		defer events.Unlock()
		return slices.ContainsFunc(assigned, func(s string) bool { return len(s) > 5 && s[:4] == "two[" })
	})
	before := stable(2)
	two.Close() // as a static member: it does not leave
	events.Lock()
	was := len(assigned)
	events.Unlock()
	member("two")
	until(t, "it assigned again", func() bool {
		events.Lock()
		defer events.Unlock()
		return len(assigned) > was
	})
	time.Sleep(300 * time.Millisecond) // three heartbeats, by which the other member would join again
	after := stable(2)
	events.Lock()
	defer events.Unlock()
	if got := assigned[was:]; len(got) != 1 || got[0][:4] != "two[" {
		t.Errorf("after it came back %q were assigned", got)
	}
	for i := range before.Members {
		if !slices.ContainsFunc(after.Members, func(m kmsg.DescribeGroupsResponseGroupMember) bool {
			return *m.InstanceID == *before.Members[i].InstanceID && string(m.MemberAssignment) == string(before.Members[i].MemberAssignment)
		}) {
			t.Errorf("%s has another assignment than before", *before.Members[i].InstanceID)
		}
	}
}

func describeGroup(ctx context.Context, t *testing.T, cl *kgo.Client, name string) kmsg.DescribeGroupsResponseGroup {
	t.Helper()
	q := kmsg.NewPtrDescribeGroupsRequest()
	q.Groups = []string{name}
	r, err := q.RequestWith(ctx, cl)
	if err != nil {
		t.Fatal(err)
	}
	return r.Groups[0]
}

// What tools do with groups: list, see lags, set offsets, forget them.
func TestKafkaGroupsAreAdministered(t *testing.T) {
	n, ctx := startKafka(t, quickGroups)
	cl := kafkaClient(t, n, kgo.MaxVersions(kversion.V3_8_0())) // topics go by name
	if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "orders", Value: []byte("v")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	fetch := func() string {
		q := kmsg.NewPtrOffsetFetchRequest()
		g := kmsg.NewOffsetFetchRequestGroup()
		g.Group = "g"
		q.Groups, q.Group = append(q.Groups, g), "g"
		r, err := q.RequestWith(ctx, cl)
		if err != nil {
			t.Fatal(err)
		}
		text := ""
		for _, g := range r.Groups {
			for _, topic := range g.Topics {
				for _, p := range topic.Partitions {
					text += fmt.Sprintf("%d: %d %q", p.Partition, p.Offset, *p.Metadata)
				}
			}
		}
		return text
	}
	commit := func(offset int64) error {
		q := kmsg.NewPtrOffsetCommitRequest()
		q.Group, q.Generation, q.RetentionTimeMillis = "g", -1, -1
		p := kmsg.NewOffsetCommitRequestTopicPartition()
		p.Offset, p.Metadata = offset, kmsg.StringPtr("by a tool")
		topic := kmsg.NewOffsetCommitRequestTopic()
		topic.Topic, topic.Partitions = "orders", append(topic.Partitions, p)
		q.Topics = append(q.Topics, topic)
		r, err := q.RequestWith(ctx, cl)
		if err != nil {
			t.Fatal(err)
		}
		return kerr.ErrorForCode(r.Topics[0].Partitions[0].ErrorCode)
	}
	if got := fetch(); got != "" {
		t.Errorf("a group that is not there has committed %s", got)
	}
	if err := commit(1); err != nil {
		t.Fatal(err)
	}
	if got, want := fetch(), `0: 1 "by a tool"`; got != want {
		t.Errorf("committed %s, want %s", got, want)
	}
	leave := newReaders().join(t, n, kgo.ConsumerGroup("g"))
	until(t, "a member", func() bool { return describeGroup(ctx, t, cl, "g").State == "Stable" })
	if err := commit(0); mq.CodeOf(mqError(err)) != mq.UnknownMemberID {
		t.Errorf("a commit of nobody to a group with members: %v", err)
	}
	del := kmsg.NewPtrDeleteGroupsRequest()
	del.Groups = []string{"g"}
	deleted := func() error {
		r, err := del.RequestWith(ctx, cl)
		if err != nil {
			t.Fatal(err)
		}
		return kerr.ErrorForCode(r.Groups[0].ErrorCode)
	}
	if err := deleted(); mq.CodeOf(mqError(err)) != mq.NonEmptyGroup {
		t.Errorf("a group with members is deleted: %v", err)
	}
	leave()
	list := func() (names []string) {
		r, err := kmsg.NewPtrListGroupsRequest().RequestWith(ctx, cl)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range r.Groups {
			names = append(names, g.Group+" "+g.GroupState)
		}
		return names
	}
	if got := list(); !slices.Equal(got, []string{"g Empty"}) {
		t.Errorf("listed %q", got)
	}
	if err := deleted(); err != nil {
		t.Fatal(err)
	}
	if got := list(); len(got) > 0 {
		t.Errorf("listed after all %q", got)
	}
	_, metrics, err := n.Get(ctx, "/metrics")
	if err != nil || !strings.Contains(metrics, `rustmq_kafka_requests_total{api="DeleteGroups"} 2`) || strings.Contains(metrics, "rustmq_kafka_produce_bytes_total 0\n") {
		t.Errorf("two requests to delete groups are not in the metrics, or no bytes are (%v)", err)
	}
}

// mqError is a Kafka client's error as one of ours.
func mqError(err error) error {
	var k *kerr.Error
	if k, _ = err.(*kerr.Error); k == nil { //nolint:errorlint // as kerr.ErrorForCode gives it
		return err
	}
	return &mq.Error{Code: mq.Code(k.Code), Msg: k.Message}
}
