package broker_test

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	"github.com/rustmq/rustmq/broker"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/server"
)

// operation is one way into the broker.
type operation struct {
	do    func(ctx context.Context, f *fixture, s *server.Session, topic string) error
	op    broker.Operation
	topic bool // it is about a topic, else about the cluster
}

// operations is every method of server.Broker by which a client gets at something. The name is the method's.
func operations() map[string]operation {
	return map[string]operation{
		"OpenProduce": {func(ctx context.Context, f *fixture, s *server.Session, topic string) error {
			_, err := f.OpenProduce(ctx, s, topic)
			return err
		}, broker.OpWrite, true},
		"OpenFetch": {func(ctx context.Context, f *fixture, s *server.Session, topic string) error {
			_, err := f.OpenFetch(ctx, s, topic, 0, mq.NoEpoch, mq.IsolationCommitted)
			return err
		}, broker.OpRead, true},
		"OpenTiered": {func(ctx context.Context, f *fixture, s *server.Session, topic string) error {
			_, err := f.OpenTiered(ctx, s, topic, 0, mq.NoEpoch)
			return err
		}, broker.OpRead, true},
		"Metadata": {func(ctx context.Context, f *fixture, s *server.Session, topic string) error {
			resp, err := f.Metadata(ctx, s, &quicproto.MetadataRequest{Topics: []string{topic}})
			if err == nil {
				err = resp.Topics[0].Err()
			}
			return err
		}, broker.OpDescribe, true},
		"DescribeCluster": {func(ctx context.Context, f *fixture, s *server.Session, _ string) error {
			_, err := f.DescribeCluster(ctx, s)
			return err
		}, broker.OpDescribe, false},
		"Operate": {func(ctx context.Context, f *fixture, s *server.Session, _ string) error {
			_, err := f.operate(ctx, s, &adminpb.Request{Kind: &adminpb.Request_AlterClusterConfig{
				AlterClusterConfig: &adminpb.AlterClusterConfigRequest{Set: map[string]string{"num.partitions": "3"}},
			}})
			return err
		}, broker.OpAlter, false},
		"CreateTopic": {func(ctx context.Context, f *fixture, s *server.Session, topic string) error {
			_, err := f.CreateTopic(ctx, s, &quicproto.CreateTopicRequest{Name: topic, Partitions: 1, Replicas: 1})
			return err
		}, broker.OpCreate, true},
		"DeleteTopic": {func(ctx context.Context, f *fixture, s *server.Session, topic string) error {
			return f.DeleteTopic(ctx, s, topic)
		}, broker.OpDelete, true},
		"DescribeTopic": {func(ctx context.Context, f *fixture, s *server.Session, topic string) error {
			_, err := f.DescribeTopic(ctx, s, topic)
			return err
		}, broker.OpDescribe, true},
		"AlterTopic": {func(ctx context.Context, f *fixture, s *server.Session, topic string) error {
			return f.AlterTopic(ctx, s, &quicproto.AlterTopicRequest{Name: topic, Partitions: 2})
		}, broker.OpAlter, true},
		"ListOffsets": {func(ctx context.Context, f *fixture, s *server.Session, topic string) error {
			_, err := f.ListOffsets(ctx, s, &quicproto.ListOffsetsRequest{Topic: topic})
			return err
		}, broker.OpDescribe, true},
		"InitProducerID": {func(ctx context.Context, f *fixture, s *server.Session, _ string) error {
			_, err := f.InitProducerID(ctx, s, &quicproto.InitProducerIDRequest{ProducerID: 7, ProducerEpoch: 0})
			return err
		}, broker.OpIdempotentWrite, false},
	}
}

func TestNoOperationIsLeftOutOfTheseTests(t *testing.T) {
	known := operations()
	maps.Copy(known, groupOperations())
	methods := reflect.TypeFor[server.Broker]()
	for i := range methods.NumMethod() {
		name := methods.Method(i).Name
		if name == "Identity" || name == "ListGroups" {
			// Identity is what Welcome says of the node, before anybody asks for anything. ListGroups refuses nobody, and leaves groups out: see TestGroupsNeedPermission.
			continue
		}
		if known[name].do == nil {
			t.Errorf("server.Broker has a method %s: the tests of authorisation do not know it", name)
		}
	}
	if got := methods.NumMethod() - 2; got != len(known) {
		t.Errorf("%d operations are known, server.Broker has %d", len(known), got)
	}
	// What a handle holds is decided again by the one method that does something, see TestHandlesAskAgainWhenThePolicyMoved.
	for handle, want := range map[reflect.Type][]string{
		reflect.TypeFor[server.Producer](): {"Append", "Topic"},
		reflect.TypeFor[server.Reader]():   {"Await", "Close", "Offsets", "Read", "Source"},
		reflect.TypeFor[server.Member]():   {"Detach", "Heartbeat", "Leave"}, // what it wants anew is asked for in Heartbeat
	} {
		var got []string
		for i := range handle.NumMethod() {
			got = append(got, handle.Method(i).Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%v has the methods %v, known are %v", handle, got, want)
		}
	}
}

// groupOperations is likewise every method that is about a group, whose name is in the place of a topic's.
func groupOperations() map[string]operation {
	return map[string]operation{
		"OpenGroup": {func(ctx context.Context, f *fixture, s *server.Session, group string) error {
			_, err := f.OpenGroup(ctx, s, &quicproto.OpenGroup{Group: group, Member: "m"}, nil)
			return err
		}, broker.OpRead, false},
		"FindCoordinator": {func(ctx context.Context, f *fixture, s *server.Session, group string) error {
			_, err := f.FindCoordinator(ctx, s, group)
			return err
		}, broker.OpDescribe, false},
		"CommitOffsets": {func(ctx context.Context, f *fixture, s *server.Session, group string) error {
			_, err := f.CommitOffsets(ctx, s, &quicproto.CommitOffsetsRequest{Group: group, Topics: []quicproto.TopicOffsets{{Topic: "orders"}}})
			return err
		}, broker.OpRead, false},
		"FetchOffsets": {func(ctx context.Context, f *fixture, s *server.Session, group string) error {
			_, err := f.FetchOffsets(ctx, s, &quicproto.FetchOffsetsRequest{Group: group})
			return err
		}, broker.OpDescribe, false},
		"DescribeGroup": {func(ctx context.Context, f *fixture, s *server.Session, group string) error {
			_, err := f.DescribeGroup(ctx, s, group)
			return err
		}, broker.OpDescribe, false},
		"DeleteGroup": {func(ctx context.Context, f *fixture, s *server.Session, group string) error {
			return f.DeleteGroup(ctx, s, group)
		}, broker.OpDelete, false},
		"DeleteOffsets": {func(ctx context.Context, f *fixture, s *server.Session, group string) error {
			_, err := f.DeleteOffsets(ctx, s, &quicproto.DeleteOffsetsRequest{Group: group, Topics: []quicproto.TopicPartitions{{Topic: "orders"}}})
			return err
		}, broker.OpDelete, false},
		"ResetOffsets": {func(ctx context.Context, f *fixture, s *server.Session, group string) error {
			return f.ResetOffsets(ctx, s, &quicproto.ResetOffsetsRequest{Group: group, Topics: []quicproto.TopicOffsets{{Topic: "orders"}}})
		}, broker.OpRead, false},
	}
}

func TestEveryOperationOnAGroupAsksThePolicyForTheSessionsPrincipal(t *testing.T) {
	for name, o := range groupOperations() {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 1)
			f.coordinate(1)
			f.create("orders", 1)
			f.policy.questions()
			f.policy.deny(true)
			err := o.do(t.Context(), f, &server.Session{Principal: "mallory"}, "billing")
			wantCode(t, name, err, mq.GroupAuthorizationFailed, "mallory", o.op.String(), "billing")
			if got, want := f.policy.questions(), []asked{{"mallory", o.op, "group billing"}}; !slices.Equal(got, want) {
				t.Errorf("the policy was asked %v, want %v", got, want)
			}
			if f.Image().TopicByName(mq.OffsetsTopic) != nil {
				t.Error("it was refused and did something all the same")
			}
		})
	}
}

func TestEveryOperationAsksThePolicyForTheSessionsPrincipal(t *testing.T) {
	for name, o := range operations() {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 1)
			f.create("orders", 1)
			code, about := mq.TopicAuthorizationFailed, "orders"
			if !o.topic {
				code, about = mq.ClusterAuthorizationFailed, ""
			}
			want := []asked{{"mallory", o.op, about}}
			f.policy.questions()
			f.policy.deny(true)
			before, version := f.proposals(), f.Image().Index
			for _, topic := range []string{"orders", "nowhere"} { // whether a topic exists is not for everyone to know
				if o.topic {
					want[0].topic = topic
				}
				err := o.do(t.Context(), f, &server.Session{Principal: "mallory"}, topic)
				wantCode(t, name, err, code, "mallory", o.op.String())
				if got := f.policy.questions(); !slices.Equal(got, want) {
					t.Errorf("the policy was asked %v, want %v", got, want)
				}
			}
			if f.proposals() != before || f.Image().Index != version {
				t.Error("it was refused and did something all the same")
			}
			f.policy.deny(false)
			topic := "orders"
			if name == "CreateTopic" {
				topic = "payments"
			}
			f.must(o.do(t.Context(), f, alice, topic))
			if o.topic {
				about = topic
			}
			if got := f.policy.questions(); !slices.Equal(got, []asked{{"alice", o.op, about}}) {
				t.Errorf("the policy was asked %v", got)
			}
		})
	}
}

func TestListOfAllTopicsLeavesOutWhatMayNotBeSeen(t *testing.T) {
	f := newFixture(t, 1)
	f.create("orders", 1)
	f.policy.deny(true)
	resp, err := f.Metadata(t.Context(), alice, &quicproto.MetadataRequest{All: true})
	if err != nil || len(resp.Topics) != 0 {
		t.Errorf("got %+v, %v", resp, err)
	}
	// Where the brokers are is what every session has to know.
	if len(resp.Brokers) != 1 || resp.Brokers[0].Addr != "[::1]:9001" || resp.ClusterID != clusterID {
		t.Errorf("got %+v", resp)
	}
}

func TestHandlesAskAgainWhenThePolicyMoved(t *testing.T) {
	f := newFixture(t, 1)
	f.create("orders", 1)
	p, err := f.OpenProduce(t.Context(), alice, "orders")
	f.must(err)
	r, err := f.OpenFetch(t.Context(), alice, "orders", 0, mq.NoEpoch, mq.IsolationCommitted)
	f.must(err)
	defer r.Close()
	produce := func() error {
		return send(t.Context(), p, 0, batch(t, 1, 1), mq.DurabilityAll).answer(t).Err
	}
	read := func() error {
		_, err := r.Read(t.Context(), 0, 1000, nil)
		return err
	}
	for _, h := range []struct {
		name string
		do   func() error
		op   broker.Operation
	}{{"produce", produce, broker.OpWrite}, {"read", read, broker.OpRead}} {
		f.policy.deny(false)
		f.must(h.do())
		f.policy.questions()
		f.must(h.do())
		if got := f.policy.questions(); len(got) != 0 {
			t.Errorf("%s: asked %v, though nothing had changed", h.name, got)
		}
		f.policy.deny(true)
		f.policy.epoch.Add(1)
		for range 2 { // the refusal is not forgotten
			wantCode(t, h.name, h.do(), mq.TopicAuthorizationFailed, "alice", "orders", h.op.String())
		}
		if got := f.policy.questions(); !slices.Equal(got, []asked{{"alice", h.op, "orders"}, {"alice", h.op, "orders"}}) {
			t.Errorf("%s: asked %v", h.name, got)
		}
		f.policy.deny(false)
		f.policy.epoch.Add(1)
		if err := h.do(); err != nil {
			t.Errorf("%s: allowed again: %v", h.name, err)
		}
	}
	if got := f.room.asked.Load(); got != 3 {
		t.Errorf("room was asked for %d times, for the 3 batches that were allowed", got)
	}
}

func TestEveryOperationHasAName(t *testing.T) {
	seen := map[string]bool{}
	for o := broker.OpRead; o <= broker.OpIdempotentWrite; o++ {
		if name := o.String(); name == fmt.Sprintf("Operation(%d)", o) || seen[name] {
			t.Errorf("operation %d is called %q", o, name)
		}
		seen[o.String()] = true
	}
	if got := (broker.OpIdempotentWrite + 1).String(); got != "Operation(8)" {
		t.Errorf("an operation that does not exist is called %q", got)
	}
	if (broker.AllowAll{}).Epoch() != 1 || !(broker.AllowAll{}).Allow("anyone", broker.OpDelete, broker.Resource{}) {
		t.Error("AllowAll does not")
	}
}
