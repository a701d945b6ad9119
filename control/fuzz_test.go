package control

import (
	"testing"

	"google.golang.org/protobuf/proto"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
)

// FuzzProposer: whatever a node proposes, it speaks for itself only.
func FuzzProposer(f *testing.F) {
	for _, c := range []*metadatapb.Command{
		{Kind: &metadatapb.Command_RegisterBroker{RegisterBroker: registrationOf(4, 1)}},
		{Kind: &metadatapb.Command_RegisterBroker{RegisterBroker: registrationOf(5, 1)}},
		{Kind: &metadatapb.Command_CommitObject{CommitObject: &metadatapb.CommitObject{NodeId: 5}}},
		{Kind: &metadatapb.Command_RegisterController{RegisterController: &metadatapb.RegisterController{Controller: &metadatapb.Controller{NodeId: 4}}}},
	} {
		data, err := metadata.EncodeCommand(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(append(data, data...)) // of one kind twice, what is said last counts
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		const peer = 4
		err := checkProposer(peer, data)
		switch mq.CodeOf(err) {
		case mq.None, mq.InvalidRequest, mq.ClusterAuthorizationFailed:
		default:
			t.Fatal(err)
		}
		c := &metadatapb.Command{}
		if proto.Unmarshal(data, c) != nil {
			if err == nil {
				t.Fatal("what is no command was let through")
			}
			return
		}
		if err == nil && (c.GetRegisterBroker() != nil && c.GetRegisterBroker().GetNodeId() != peer ||
			c.GetRegisterController() != nil && c.GetRegisterController().GetController().GetNodeId() != peer ||
			c.GetCommitObject() != nil && c.GetCommitObject().GetNodeId() != peer) {
			t.Fatalf("node %d spoke for another: %v", peer, c)
		}
		if metadata.DescribeCommand(data) == "" {
			t.Fatal("it has no description")
		}
	})
}
