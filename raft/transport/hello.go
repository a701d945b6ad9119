package transport

import (
	"context"

	raftpb "github.com/rustmq/rustmq/api/raft/v1"
	"github.com/rustmq/rustmq/mq"
)

// maxURL bounds the URL of a hello, in bytes.
const maxURL = 1024

func (t *Transport) hello(to uint64) *raftpb.Hello {
	return &raftpb.Hello{
		ClusterId: t.cfg.Cluster[:], Group: t.cfg.Group[:], From: t.cfg.ID, To: to, NodeId: int32(t.cfg.Node), Url: t.cfg.URL,
	}
}

// welcome checks a hello against who the connection is from.
func (t *Transport) welcome(peer mq.NodeID, h *raftpb.Hello) error {
	from := h.GetFrom()
	switch {
	case string(h.GetClusterId()) != string(t.cfg.Cluster[:]):
		return mq.Errorf(mq.InconsistentClusterID, "raft: node %d speaks to cluster %x, this is %s", peer, h.GetClusterId(), t.cfg.Cluster)
	case string(h.GetGroup()) != string(t.cfg.Group[:]):
		return mq.Errorf(mq.InconsistentClusterID, "raft: node %d is of another group of controllers than this one: it was formed apart", peer)
	case h.GetTo() != t.cfg.ID:
		return mq.Errorf(mq.InvalidRequest, "raft: node %d speaks to raft id %d, this is %d", peer, h.GetTo(), t.cfg.ID)
	case from == 0 || from == t.cfg.ID:
		return mq.Errorf(mq.InvalidRequest, "raft: node %d speaks as raft id %d, this is %d", peer, from, t.cfg.ID)
	case mq.NodeID(h.GetNodeId()) != peer:
		return mq.Errorf(mq.ClusterAuthorizationFailed, "raft: node %d says that it is node %d", peer, h.GetNodeId())
	case len(h.GetUrl()) > maxURL:
		return mq.Errorf(mq.InvalidRequest, "raft: node %d has a URL of %d bytes", peer, len(h.GetUrl()))
	}
	if m, ok := t.cfg.Member(from); ok {
		if m.Node != peer {
			return mq.Errorf(mq.ClusterAuthorizationFailed, "raft: node %d speaks as raft id %d, which is node %d's", peer, from, m.Node)
		}
		return nil
	}
	// A member that was added after what this node knows: a controller that came back with an empty disk has a new id. If it is no member, raft's terms and logs say so.
	if !t.cfg.Controller(peer) {
		return mq.Errorf(mq.ClusterAuthorizationFailed, "raft: node %d speaks as raft id %d, and is no controller by what is known here", peer, from)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.learned[from]; !known && len(t.learned) == maxLearned {
		clear(t.learned)
	}
	t.learned[from] = Member{peer, h.GetUrl()}
	return nil
}

// greet is welcome of a request: it finds out who it is from.
func (h *handler) greet(ctx context.Context, hello *raftpb.Hello) (*Transport, error) {
	peer, ok := h.cfg.Peer(ctx)
	if !ok {
		return nil, mq.Errorf(mq.ClusterAuthorizationFailed, "raft: only a node of the cluster may speak here")
	}
	t := h.cfg.Transport()
	if t == nil || t.receiver.Load() == nil {
		return nil, mq.Errorf(mq.LeaderNotAvailable, "raft: this controller is not in a group yet")
	}
	return t, t.welcome(peer, hello)
}
