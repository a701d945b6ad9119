package transport

import (
	"context"

	"connectrpc.com/connect"

	raftpb "github.com/rustmq/rustmq/api/raft/v1"
	"github.com/rustmq/rustmq/api/raft/v1/raftpbconnect"
	"github.com/rustmq/rustmq/api/rpcerr"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/raft/form"
)

// maxFormBytes bounds an answer about forming, which names at most twice form.MaxControllers.
const maxFormBytes = 64 << 10

// AskForm asks the controller at a URL how far it is, for [form.Config.Ask]. The client sees to it that it is a node of the cluster which answers.
// InconsistentClusterID when that is of another cluster.
func AskForm(ctx context.Context, client connect.HTTPClient, url string, cluster mq.ClusterID, node mq.NodeID) (form.Answer, error) {
	c := raftpbconnect.NewRaftServiceClient(client, url, connect.WithReadMaxBytes(maxFormBytes))
	response, err := c.Form(ctx, connect.NewRequest(&raftpb.FormRequest{ClusterId: cluster[:], NodeId: int32(node)}))
	if err != nil {
		return form.Answer{}, mq.Wrapf(rpcerr.FromConnect(err), "ask the controller at %s", url)
	}
	return decodeAnswer(response.Msg)
}

// Form implements the service.
func (h *handler) Form(ctx context.Context, r *connect.Request[raftpb.FormRequest]) (*connect.Response[raftpb.FormResponse], error) {
	peer, ok := h.cfg.Peer(ctx)
	answer, known := h.cfg.Form()
	var err error
	switch {
	case !ok || peer != mq.NodeID(r.Msg.GetNodeId()):
		err = mq.Errorf(mq.ClusterAuthorizationFailed, "form: node %d asks as node %d", peer, r.Msg.GetNodeId())
	case !known:
		err = mq.Errorf(mq.LeaderNotAvailable, "form: this controller does not know yet")
	case string(r.Msg.GetClusterId()) != string(answer.Cluster[:]):
		err = mq.Errorf(mq.InconsistentClusterID, "form: node %d is of cluster %x, this controller of %s", peer, r.Msg.GetClusterId(), answer.Cluster)
	}
	if err != nil {
		return nil, rpcerr.ToConnect(err)
	}
	return connect.NewResponse(encodeAnswer(answer)), nil
}

func encodeAnswer(a form.Answer) *raftpb.FormResponse {
	r := &raftpb.FormResponse{ClusterId: a.Cluster[:], NodeId: int32(a.Node), DirId: a.Dir[:], Phase: uint32(a.State.Phase)}
	for _, c := range a.Controllers {
		r.Controllers = append(r.Controllers, &raftpb.Controller{NodeId: int32(c.Node), Address: c.Address})
	}
	if a.State.Phase != form.Unformed {
		r.View = &raftpb.View{ClusterId: a.State.View.Cluster[:]}
		for _, m := range a.State.View.Members {
			r.View.Members = append(r.View.Members, &raftpb.Controller{NodeId: int32(m.Node), Address: m.Address, DirId: m.Dir[:]})
		}
	}
	return r
}

// decodeAnswer also checks: what it gives has passed [form.Answer.Check].
func decodeAnswer(r *raftpb.FormResponse) (a form.Answer, err error) {
	if r.GetPhase() > uint32(form.Formed) || len(r.GetControllers()) > form.MaxControllers || len(r.GetView().GetMembers()) > form.MaxControllers {
		return a, mq.Errorf(mq.ProtocolViolation, "form: an answer in phase %d with %d controllers and %d members", r.GetPhase(), len(r.GetControllers()),
			len(r.GetView().GetMembers()))
	}
	ok := take(a.Cluster[:], r.GetClusterId()) && take(a.Dir[:], r.GetDirId())
	a.Node, a.State.Phase = mq.NodeID(r.GetNodeId()), form.Phase(r.GetPhase())
	for _, c := range r.GetControllers() {
		a.Controllers = append(a.Controllers, form.Controller{Node: mq.NodeID(c.GetNodeId()), Address: c.GetAddress()})
	}
	if r.GetView() != nil {
		ok = ok && take(a.State.View.Cluster[:], r.GetView().GetClusterId())
		for _, c := range r.GetView().GetMembers() {
			m := form.Member{Controller: form.Controller{Node: mq.NodeID(c.GetNodeId()), Address: c.GetAddress()}}
			ok = ok && take(m.Dir[:], c.GetDirId())
			a.State.View.Members = append(a.State.View.Members, m)
		}
	}
	if !ok {
		return form.Answer{}, mq.Errorf(mq.ProtocolViolation, "form: an id that has not 16 bytes")
	}
	if err := a.Check(); err != nil {
		return form.Answer{}, mq.Errorf(mq.ProtocolViolation, "%w", err)
	}
	return a, nil
}

// take copies an id, if it has the right length.
func take(to, from []byte) bool { return copy(to, from) == len(from) && len(from) == len(to) }
