package metadata

import (
	"cmp"
	"slices"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

// The members of the raft group. raft itself keeps who votes; this keeps who they are. A raft id stands for one directory: a node that
// lost its directory forgot what it promised to vote for, so it comes back as another member. Ids of those that formed the
// cluster are their node ids, all later ones come from a counter that starts above any node id. A counter of 0 says that no member was
// ever recorded.
const (
	firstRaftID = 1 << 31
	// maxControllers bounds the list in every image: many more than vote, so that a few can come and go.
	maxControllers = 32
)

func (m *machine) addController(c *metadatapb.AddController) (*metadatapb.Result, error) {
	member, err := m.checkController(&metadatapb.Controller{
		NodeId: c.GetNodeId(), DirId: c.GetDirId(), Endpoint: c.GetEndpoint(), MaxFeatureLevel: c.GetMaxFeatureLevel(),
	})
	if err != nil {
		return nil, err
	}
	for _, there := range m.img.controllers {
		if there.Node == member.Node && there.Dir == member.Dir {
			return added(there.RaftID), nil // the answer to an earlier proposal was lost
		}
	}
	if len(m.img.controllers) >= maxControllers {
		return nil, mq.Errorf(mq.InvalidRequest, "add controller %d: there are %d, remove those that are gone first", member.Node, maxControllers)
	}
	member.RaftID = max(m.db.number(keyNextRaftID), firstRaftID)
	m.db.putNumber(keyNextRaftID, member.RaftID+1)
	m.putController(member)
	return added(member.RaftID), nil
}

func added(raftID uint64) *metadatapb.Result {
	return &metadatapb.Result{Value: &metadatapb.Result_AddController{AddController: &metadatapb.AddControllerResult{RaftId: raftID}}}
}

func (m *machine) registerController(c *metadatapb.RegisterController) error {
	member, err := m.checkController(c.GetController())
	if err != nil {
		return err
	}
	switch there := m.img.Controller(member.RaftID); {
	case there != nil && (there.Node != member.Node || there.Dir != member.Dir):
		return mq.Errorf(mq.InvalidRequest, "register controller %d: raft id %d belongs to node %d with directory %s", member.Node, member.RaftID,
			there.Node, there.Dir)
	case there == nil && !(member.founds() && m.founderIsMissing()):
		return mq.Errorf(mq.InvalidRequest, "register controller %d: raft id %d is not a member", member.Node, member.RaftID)
	case there == nil:
		m.db.putNumber(keyNextRaftID, max(m.db.number(keyNextRaftID), firstRaftID))
	case *there == *member:
		return nil
	}
	m.putController(member)
	return nil
}

// founderIsMissing says whether the cluster is one of a node that was alone, or of before members were recorded, and that one is not recorded yet: nobody who
// formed the cluster is, and nobody has been removed.
func (m *machine) founderIsMissing() bool {
	next := max(m.db.number(keyNextRaftID), firstRaftID)
	return next-firstRaftID == uint64(len(m.img.controllers)) && !slices.ContainsFunc(m.img.controllers, (*Controller).founds)
}

func (m *machine) removeController(c *metadatapb.RemoveController) error {
	there := m.img.Controller(c.GetRaftId())
	switch {
	case there == nil:
		return nil
	case len(m.img.controllers) == 1:
		return mq.Errorf(mq.InvalidRequest, "remove controller %d: it is the last one", there.Node)
	}
	if there.founds() { // one id less, by which founderIsMissing knows
		m.db.putNumber(keyNextRaftID, max(m.db.number(keyNextRaftID), firstRaftID)+1)
	}
	m.removeControllerRecord(there.RaftID)
	return nil
}

// checkController checks what a command says about a member, but for the raft id.
func (m *machine) checkController(c *metadatapb.Controller) (*Controller, error) {
	id, e := c.GetNodeId(), c.GetEndpoint()
	switch {
	case id < 1:
		return nil, mq.Errorf(mq.InvalidRequest, "controller %d: a node id of a controller is 1 or more", id)
	case len(c.GetDirId()) != len(mq.DirID{}) || mq.DirID(c.GetDirId()).IsZero():
		return nil, mq.Errorf(mq.InvalidRequest, "controller %d: a directory id has 16 bytes that are not all zero", id)
	case len(e.GetHost()) > maxEndpointBytes || len(e.GetListener()) > maxEndpointBytes || e.GetPort() > 1<<16-1:
		return nil, mq.Errorf(mq.InvalidRequest, "controller %d: endpoint %.40q is not one", id, e.GetHost())
	case c.GetMaxFeatureLevel() < m.img.FeatureLevel:
		return nil, mq.Errorf(mq.UnsupportedVersion, "controller %d: it speaks feature level %d, the cluster is at %d", id, c.GetMaxFeatureLevel(),
			m.img.FeatureLevel)
	}
	return controllerFrom(c), nil
}

// checkFounders checks the controllers that form a cluster of a level.
func (m *machine) checkFounders(records []*metadatapb.Controller, level uint32) ([]*Controller, error) {
	if len(records) > maxControllers {
		return nil, mq.Errorf(mq.InvalidRequest, "form a cluster: %d controllers, at most %d are allowed", len(records), maxControllers)
	}
	members := make([]*Controller, len(records))
	for i, r := range records {
		member, err := m.checkController(r)
		switch {
		case err != nil:
			return nil, mq.Wrapf(err, "form a cluster")
		case !member.founds():
			return nil, mq.Errorf(mq.InvalidRequest, "form a cluster: controller %d has raft id %d, not its node id", member.Node, member.RaftID)
		case member.MaxFeatureLevel < level:
			return nil, mq.Errorf(mq.UnsupportedVersion, "form a cluster of feature level %d: controller %d speaks %d at most", level, member.Node,
				member.MaxFeatureLevel)
		case slices.ContainsFunc(members[:i], func(o *Controller) bool { return o.Node == member.Node }):
			return nil, mq.Errorf(mq.InvalidRequest, "form a cluster: controller %d is named twice", member.Node)
		}
		members[i] = member
	}
	return members, nil
}

// founds says whether a member has the raft id of one that formed the cluster.
func (c *Controller) founds() bool { return c.RaftID == uint64(c.Node) }

func findController(controllers []*Controller, raftID uint64) (int, bool) {
	return slices.BinarySearchFunc(controllers, raftID, func(c *Controller, id uint64) int { return cmp.Compare(c.RaftID, id) })
}

func controllerFrom(r *metadatapb.Controller) *Controller {
	e := r.GetEndpoint()
	c := &Controller{
		RaftID: r.GetRaftId(), Node: mq.NodeID(r.GetNodeId()), MaxFeatureLevel: r.GetMaxFeatureLevel(),
		Endpoint: Endpoint{e.GetListener(), e.GetHost(), uint16(e.GetPort())},
	}
	copy(c.Dir[:], r.GetDirId())
	return c
}

func controllerRecord(c *Controller) *metadatapb.Controller {
	return &metadatapb.Controller{
		RaftId: c.RaftID, NodeId: int32(c.Node), DirId: c.Dir[:], MaxFeatureLevel: c.MaxFeatureLevel,
		Endpoint: &metadatapb.Endpoint{Listener: c.Endpoint.Listener, Host: c.Endpoint.Host, Port: uint32(c.Endpoint.Port)},
	}
}
