package transport

import (
	"reflect"
	"testing"
	"testing/synctest"

	"google.golang.org/protobuf/proto"

	raftpb "github.com/rustmq/rustmq/api/raft/v1"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/raft/form"
)

func sampleAnswer() form.Answer {
	named := []form.Controller{{Node: 1, Address: "one:9093"}, {Node: 2, Address: "two:9093"}}
	return form.Answer{
		Cluster: testCluster, Node: 2, Dir: mq.DirID{5}, Controllers: named,
		State: form.State{Phase: form.Prepared, View: form.View{
			Cluster: testCluster, Members: []form.Member{{Controller: named[0], Dir: mq.DirID{4}}, {Controller: named[1], Dir: mq.DirID{5}}},
		}},
	}
}

func TestControllerAnswersHowFarItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric()
		want, known := sampleAnswer(), false
		_, h := NewHandler(HandlerConfig{Peer: peerOf, Form: func() (form.Answer, bool) { return want, known }})
		f.serve(t, "n2", h)
		client := f.client(t, 1)
		ask := func(cluster mq.ClusterID, node mq.NodeID) (form.Answer, mq.Code) {
			a, err := AskForm(t.Context(), client, "http://n2", cluster, node)
			return a, mq.CodeOf(err)
		}
		if _, code := ask(testCluster, 1); code != mq.LeaderNotAvailable {
			t.Errorf("before it knows: %s", code)
		}
		known = true
		if got, code := ask(testCluster, 1); code != mq.None || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %s", got, code)
		}
		if _, code := ask(mq.ClusterID{9}, 1); code != mq.InconsistentClusterID {
			t.Errorf("another cluster: %s", code)
		}
		if _, code := ask(testCluster, 3); code != mq.ClusterAuthorizationFailed {
			t.Errorf("another's name: %s", code)
		}
		want.State = form.State{}
		if got, code := ask(testCluster, 1); code != mq.None || !reflect.DeepEqual(got, want) {
			t.Errorf("unformed: %+v, %s", got, code)
		}
	})
}

// FuzzAnswer: bytes are refused, or an answer that can be encoded to the same again.
func FuzzAnswer(f *testing.F) {
	b, err := proto.Marshal(encodeAnswer(sampleAnswer()))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:len(b)/2])
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &raftpb.FormResponse{}
		if proto.Unmarshal(b, r) != nil {
			return
		}
		a, err := decodeAnswer(r)
		if err != nil {
			if mq.CodeOf(err) != mq.ProtocolViolation {
				t.Error(err)
			}
			return
		}
		if again, err := decodeAnswer(encodeAnswer(a)); err != nil || !reflect.DeepEqual(a, again) {
			t.Errorf("%+v became %+v, %v", a, again, err)
		}
	})
}
