package node

import (
	"context"
	"slices"
	"time"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/raft"
)

// Who the controllers are stands in two places: the metadata say which node a raft id is, and raft who votes. A member is recorded before raft takes it in, and
// forgotten after raft has put it out, so that raft has nobody whom messages cannot be sent to. The leading controller brings both together.

const (
	// tendEvery is how often a controller looks at the members: as fine as that, a learner votes soon after it has caught up.
	tendEvery = 250 * time.Millisecond
	// tendTimeout is how long it waits for one change of them.
	tendTimeout = 5 * time.Second
	// registerEvery is how often a controller tries to have its own address and feature level recorded.
	registerEvery = 10 * time.Second
)

// tendMembers looks after the members of the group until ctx ends.
func (n *Node) tendMembers(ctx context.Context) {
	ticker := time.NewTicker(tendEvery)
	defer ticker.Stop()
	var tried time.Time
	led := time.Now() // when somebody was last known to lead
	for {
		switch status := n.raft.Status(); {
		case status.Leading:
			n.tend(ctx)
			fallthrough
		case status.Leader != 0 && roleIn(status, status.ID) != "": // who knows that it was put out may keep the last leader for ever
			led = time.Now()
		case time.Since(led) >= lonelyAfter:
			if n.wasRemoved(ctx) {
				n.leaveGroup()
				return
			}
			led = time.Now()
		}
		if now := time.Now(); now.Sub(tried) >= registerEvery && n.registerSelf(ctx) {
			tried = now
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// tend takes in who was recorded, gives a vote to who has caught up, and forgets whom raft has put out.
func (n *Node) tend(ctx context.Context) {
	for _, c := range n.store.Image().Controllers() {
		if roleIn(n.raft.Status(), c.RaftID) != "" {
			continue
		}
		err := n.addLearner(ctx, c)
		switch {
		case err == nil:
		case mq.CodeOf(err) == mq.InvalidRequest && roleIn(n.raft.Status(), c.RaftID) == "": // its id was used: it was put out
			if err := n.forget(ctx, c.RaftID); err != nil {
				n.logger.Warn("a removed controller is still recorded", "node", c.Node, "raft_id", c.RaftID, "error", err)
			}
		default:
			n.logger.Warn("a controller cannot be taken in yet", "node", c.Node, "raft_id", c.RaftID, "error", err)
			return // ids are taken in order, or the lower one never is
		}
	}
	for _, id := range n.raft.Status().Learners {
		n.promote(ctx, id)
	}
}

// promote gives a learner a vote when it has caught up, and takes it from who was this node's controller before, with another directory: that one never comes back, and until it
// is out it would count for the majority.
func (n *Node) promote(ctx context.Context, id uint64) {
	ctx, cancel := context.WithTimeout(ctx, tendTimeout)
	defer cancel()
	voters, newer := n.sameNode(id)
	var err error
	switch {
	case newer: // its directory is gone, too
		if err = n.raft.Remove(ctx, id); err == nil {
			n.logger.Info("a controller has gone that was learning: its node has begun with another directory since", "raft_id", id)
		}
		return
	case len(voters) > 0:
		err = n.raft.Replace(ctx, id, voters...)
	default:
		err = n.raft.Promote(ctx, id)
	}
	if err == nil {
		n.logger.Info("a controller has caught up: it votes", "raft_id", id, "instead_of", voters)
	}
}

// sameNode are the voters that were the same node's controller before a member, and whether there is a later one. Raft ids grow.
func (n *Node) sameNode(id uint64) (voters []uint64, newer bool) {
	img, status := n.store.Image(), n.raft.Status()
	self := img.Controller(id)
	if self == nil {
		return nil, false
	}
	for _, c := range img.Controllers() {
		switch {
		case c.Node != self.Node:
		case c.RaftID > id:
			newer = newer || roleIn(status, c.RaftID) != ""
		case slices.Contains(status.Voters, c.RaftID):
			voters = append(voters, c.RaftID)
		}
	}
	return voters, newer
}

func (n *Node) addLearner(ctx context.Context, c *metadata.Controller) error {
	ctx, cancel := context.WithTimeout(ctx, tendTimeout)
	defer cancel()
	err := n.raft.AddLearner(ctx, c.RaftID)
	if err == nil {
		n.logger.Info("a controller is taken in as a learner", "node", c.Node, "raft_id", c.RaftID)
	}
	return err
}

// forget removes a member from the metadata, after raft has put it out.
func (n *Node) forget(ctx context.Context, raftID uint64) error {
	ctx, cancel := context.WithTimeout(ctx, tendTimeout)
	defer cancel()
	own := &controller{raft: n.raft, store: n.store}
	_, err := own.decide(ctx, &metadatapb.Command{Kind: &metadatapb.Command_RemoveController{
		RemoveController: &metadatapb.RemoveController{RaftId: raftID},
	}})
	return err
}

// registerSelf has this controller's own record corrected when its address or the feature level of its program is another one now. It says whether there
// was anything to do.
func (n *Node) registerSelf(ctx context.Context) bool {
	client, there := n.client.Load(), n.store.Image().Controller(n.raftID())
	switch {
	case client == nil, n.store.Image().ClusterID.IsZero():
		return false
	case there == nil && (n.id.RaftID != 0 || len(n.group.view.Members) > 1 || roleIn(n.raft.Status(), n.raftID()) != roleVoter):
		return false // it was removed; one that ran alone before is not recorded yet
	case there != nil && there.Dir != n.id.Dir:
		return false
	case there != nil && hostPortOf(there.Endpoint) == n.rpcAddress && there.MaxFeatureLevel == metadata.FeatureLevel:
		return false
	}
	e, err := endpoint(listenerRPC, "rpc.advertise", n.rpcAddress)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, tendTimeout)
		defer cancel()
		_, err = client.Propose(ctx, &metadatapb.Command{Kind: &metadatapb.Command_RegisterController{
			RegisterController: &metadatapb.RegisterController{Controller: &metadatapb.Controller{
				RaftId: n.raftID(), NodeId: int32(n.id.Node), DirId: n.id.Dir[:], Endpoint: e, MaxFeatureLevel: metadata.FeatureLevel,
			}},
		}})
	}
	if err != nil {
		n.logger.Warn("the controllers do not have this one's address and feature level yet", "address", n.rpcAddress, "error", err)
	}
	return true
}

// What a controller is in raft.
const (
	roleVoter   = "voter"
	roleLearner = "learner"
)

// roleIn is what a member is, "" for who is none.
func roleIn(s *raft.Status, id uint64) string {
	switch {
	case slices.Contains(s.Voters, id), slices.Contains(s.Leaving, id):
		return roleVoter
	case slices.Contains(s.Learners, id):
		return roleLearner
	}
	return ""
}

// raftStatus is raft as this node's controller sees it: how far the members are only the leading one knows.
func (n *Node) raftStatus(ctx context.Context) (*adminpb.RaftStatusResponse, error) {
	status := n.raft.Status()
	peers, err := n.raft.Peers(ctx)
	if err != nil {
		return nil, mq.Wrapf(err, "ask raft how far its members are")
	}
	out := &adminpb.RaftStatusResponse{AnsweredBy: int32(n.id.Node), Term: status.Term, Leader: status.Leader, Commit: status.Last, Applied: status.Applied}
	for _, id := range slices.Concat(status.Voters, status.Learners) {
		out.Members = append(out.Members, n.raftMember(status, peers, id))
	}
	return out, nil
}

func (n *Node) raftMember(status *raft.Status, peers []raft.Peer, id uint64) *adminpb.RaftMember {
	m := &adminpb.RaftMember{RaftId: id, NodeId: int32(n.id.Node), Role: roleIn(status, id)}
	if n.group != nil {
		node, address := n.memberOf(id)
		m.NodeId, m.Address = int32(node), address
	}
	for _, p := range peers {
		if p.ID == id {
			m.Match, m.Active = p.Match, p.Active
		}
	}
	return m
}

// operateAsLeader does what an operator asks of the leading controller, which this node's is.
func (n *Node) operateAsLeader(ctx context.Context, request []byte) ([]byte, error) {
	return adminpb.Answer(request, func(req *adminpb.Request) (*adminpb.Response, error) { return n.askOwnController(ctx, req) })
}

func (n *Node) askOwnController(ctx context.Context, req *adminpb.Request) (*adminpb.Response, error) {
	switch r := req.GetKind().(type) {
	case *adminpb.Request_RaftStatus:
		status, err := n.raftStatus(ctx)
		return &adminpb.Response{Kind: &adminpb.Response_RaftStatus{RaftStatus: status}}, err
	case *adminpb.Request_AddRaftMember:
		member, err := n.addMember(ctx, mq.NodeID(r.AddRaftMember.GetNodeId()))
		return &adminpb.Response{Kind: &adminpb.Response_AddRaftMember{AddRaftMember: &adminpb.AddRaftMemberResponse{Member: member}}}, err
	case *adminpb.Request_RemoveRaftMember:
		err := n.removeMember(ctx, r.RemoveRaftMember.GetRaftId())
		return &adminpb.Response{Kind: &adminpb.Response_RemoveRaftMember{RemoveRaftMember: &adminpb.RemoveRaftMemberResponse{}}}, err
	}
	return n.askKeeper(ctx, req)
}

// askKeeper does what an operator asks of the housekeeping.
func (n *Node) askKeeper(ctx context.Context, req *adminpb.Request) (*adminpb.Response, error) {
	keeper := n.keeper.Load()
	if keeper == nil {
		return nil, mq.Errorf(mq.NotController, "the controller of node %d has just begun", n.id.Node)
	}
	switch r := req.GetKind().(type) {
	case *adminpb.Request_ScrubObjects:
		found, err := keeper.scrub(ctx, r.ScrubObjects)
		return &adminpb.Response{Kind: &adminpb.Response_ScrubObjects{ScrubObjects: found}}, err
	case *adminpb.Request_TierStatus:
		status, err := keeper.tierStatus(ctx, r.TierStatus)
		return &adminpb.Response{Kind: &adminpb.Response_TierStatus{TierStatus: status}}, err
	}
	return nil, mq.Errorf(mq.UnsupportedVersion, "controller %d does not know the operation: it is of a newer version", n.id.Node)
}

// addMember takes in the controller of a node that has asked for a place. It is no error that it is a member already.
func (n *Node) addMember(ctx context.Context, node mq.NodeID) (*adminpb.RaftMember, error) {
	var latest *metadata.Controller
	for _, c := range n.store.Image().Controllers() {
		if c.Node == node {
			latest = c // they are by raft id, which grows
		}
	}
	if latest == nil {
		return nil, mq.Errorf(mq.InvalidRequest, "node %d has not asked for a place among the controllers: start it with the role controller, and with --controllers "+
			"that names it and the others", node)
	}
	if roleIn(n.raft.Status(), latest.RaftID) == "" {
		if err := n.addLearner(ctx, latest); err != nil {
			return nil, mq.Wrapf(err, "take in controller %d", node)
		}
	}
	peers, err := n.raft.Peers(ctx)
	if err != nil {
		return nil, mq.Wrapf(err, "ask raft how far controller %d is", node)
	}
	return n.raftMember(n.raft.Status(), peers, latest.RaftID), nil
}

// removeMember puts a member out, and then forgets it. One that leads hands its leadership over first, and the next leader is to be asked.
func (n *Node) removeMember(ctx context.Context, raftID uint64) error {
	status := n.raft.Status()
	recorded := n.store.Image().Controller(raftID) != nil
	switch role := roleIn(status, raftID); {
	case role == "" && !recorded:
		return mq.Errorf(mq.InvalidRequest, "raft id %d is no member: `ctl raft status` lists who is", raftID)
	case role == roleVoter && raftID == status.ID && len(status.Voters) > 1:
		return n.handOver(ctx)
	case role != "":
		if err := n.raft.Remove(ctx, raftID); err != nil {
			return mq.Wrapf(err, "remove the controller with raft id %d", raftID)
		}
	}
	if !recorded {
		return nil
	}
	return mq.Wrapf(n.forget(ctx, raftID), "forget the controller with raft id %d", raftID)
}

// handOver has another voter lead. It always ends with an error: NotController when one does.
func (n *Node) handOver(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, tendTimeout)
	defer cancel()
	peers, err := n.raft.Peers(ctx)
	if err != nil {
		return mq.Wrapf(err, "hand the leadership over")
	}
	var heir raft.Peer
	for _, p := range peers {
		if p.Active && !p.Learner && p.ID != n.raftID() && p.Match >= heir.Match {
			heir = p
		}
	}
	if heir.ID == 0 {
		return mq.Errorf(mq.NotEnoughReplicas, "controller %d leads, and no other voter can be reached that could", n.id.Node)
	}
	n.raft.TransferLeadership(heir.ID)
	for {
		s := n.raft.Status()
		if s.Leader != 0 && s.Leader != s.ID {
			return mq.Errorf(mq.NotController, "controller %d leads no more", n.id.Node)
		}
		select {
		case <-s.Changed():
		case <-ctx.Done():
			return mq.Wrapf(ctx.Err(), "wait for another controller to lead")
		}
	}
}
