package server_test

import (
	"context"
	"reflect"
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/server"
)

func TestEveryRequestReachesTheBroker(t *testing.T) {
	f := start(t, server.Limits{})
	c := f.dial(t)
	check := func(req quicproto.RequestBody, got, want quicproto.Body) {
		t.Helper()
		must(t, c.request(req, got))
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%T: got %+v, want %+v", req, got, want)
		}
	}
	check(&quicproto.CreateTopicRequest{Name: "t", Partitions: 2}, &quicproto.CreateTopicResponse{},
		&quicproto.CreateTopicResponse{ID: mq.TopicID{1, 't'}, Partitions: 2, Replicas: 1})
	check(&quicproto.MetadataRequest{Topics: []string{"t"}}, &quicproto.MetadataResponse{},
		&quicproto.MetadataResponse{Controller: 7, Topics: []quicproto.Topic{{Name: "t"}}})
	check(&quicproto.DescribeTopicRequest{Name: "t"}, &quicproto.DescribeTopicResponse{},
		&quicproto.DescribeTopicResponse{Name: "t", ID: mq.TopicID{1, 't'}})
	check(&quicproto.ListOffsetsRequest{Topic: "t", Queries: []quicproto.OffsetQuery{{Partition: 3}}}, &quicproto.ListOffsetsResponse{},
		&quicproto.ListOffsetsResponse{Answers: []quicproto.OffsetAnswer{{Partition: 3, Offset: 5}}})
	check(&quicproto.InitProducerIDRequest{ProducerID: -1, ProducerEpoch: -1}, &quicproto.InitProducerIDResponse{},
		&quicproto.InitProducerIDResponse{ProducerID: 4000, ProducerEpoch: 1})
	check(&quicproto.DescribeClusterRequest{}, &quicproto.DescribeClusterResponse{},
		&quicproto.DescribeClusterResponse{NodeID: 7, Software: "test"})
	check(&quicproto.OperateRequest{Message: []byte("it")}, &quicproto.OperateResponse{}, &quicproto.OperateResponse{Message: []byte("did it")})
	must(t, c.request(&quicproto.DeleteTopicRequest{Name: "t"}, nil))
	if err := c.request(&quicproto.AlterTopicRequest{Name: "t", Set: []quicproto.Config{{Key: "x"}}}, nil); mq.CodeOf(err) != mq.InvalidConfig {
		t.Errorf("alter: %v", err)
	}
	if err := c.request(&quicproto.DeleteTopicRequest{Name: "gone"}, nil); mq.CodeOf(err) != mq.UnknownTopicOrPartition {
		t.Errorf("delete: %v", err)
	}
	if n := f.Stats().Requests; n != 10 {
		t.Errorf("%d requests counted", n)
	}
}

func TestAnUnknownRequestIsAnsweredAndTheNextOneToo(t *testing.T) {
	f := start(t, server.Limits{})
	s := f.dial(t).open()
	for _, r := range []struct {
		req  *quicproto.Request
		code mq.Code
	}{
		{&quicproto.Request{API: 999}, mq.UnsupportedVersion},
		{&quicproto.Request{API: quicproto.APIMetadata, Version: 9}, mq.UnsupportedVersion},
		{&quicproto.Request{API: quicproto.APIMetadata, Body: []byte{0, 9, 9}}, mq.ProtocolViolation},
		{quicproto.NewRequest(&quicproto.DescribeClusterRequest{}, 0), mq.None},
	} {
		s.send(r.req)
		if got := recv[*quicproto.Response](s); got.Code != r.code {
			t.Errorf("%+v: %+v", r.req, got)
		}
	}
}

func TestARequestEndsWithItsTimeout(t *testing.T) {
	f := start(t, server.Limits{})
	f.broker.metadata = func(ctx context.Context, _ *quicproto.MetadataRequest) (*quicproto.MetadataResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	s := f.dial(t).open(quicproto.NewRequest(&quicproto.MetadataRequest{}, 30*time.Millisecond))
	if r := recv[*quicproto.Response](s); r.Code != mq.RequestTimedOut {
		t.Errorf("got %+v", r)
	}
}

func TestARefusalNamesItsCode(t *testing.T) {
	f := start(t, server.Limits{})
	f.broker.deny = func(s *server.Session) error {
		return mq.Errorf(mq.ClusterAuthorizationFailed, "%s may not", s.Principal)
	}
	err := f.dial(t).request(&quicproto.DescribeClusterRequest{}, nil)
	if mq.CodeOf(err) != mq.ClusterAuthorizationFailed || err.Error() != "CLUSTER_AUTHORIZATION_FAILED: anonymous may not" {
		t.Errorf("got %v", err)
	}
}
