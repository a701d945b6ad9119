package node

import (
	"context"
	"net"
	"slices"
	"sync/atomic"
	"time"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/control"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/raft"
	"github.com/rustmq/rustmq/raft/form"
	"github.com/rustmq/rustmq/raft/transport"
)

// group is this node's part in the group of controllers, when it is one of them.
type group struct {
	answer    atomic.Pointer[form.Answer]
	transport atomic.Pointer[transport.Transport]
	view      form.View
}

const (
	// balancePause is how long brokers have to be quiet before leaderships go back to preferred leaders.
	balancePause = 10 * time.Second
)

// nameControllers notes which controllers the configuration names, this node alone if it names none, and where this node is told to be reached, which listens
// at bound.
func (n *Node) nameControllers(bound net.Addr) error {
	list, err := parseControllers(n.cfg.Node.Controllers)
	if err != nil {
		return mq.Errorf(mq.InvalidConfig, "%w", err)
	}
	n.rpcAddress = bound.String()
	for _, c := range list {
		if c.Node == n.id.Node {
			n.rpcAddress = c.Address
		}
	}
	if n.cfg.RPC.Advertise != "" {
		n.rpcAddress = n.cfg.RPC.Advertise
	}
	if len(list) == 0 {
		list = []form.Controller{{Node: n.id.Node, Address: n.rpcAddress}}
	}
	n.controllers = list
	return nil
}

// formGroup agrees with the other controllers on who founds the group, once. It waits for them.
func (n *Node) formGroup(ctx context.Context) error {
	g := &group{}
	path, handler := transport.NewHandler(transport.HandlerConfig{
		Peer: Peer, Transport: g.transport.Load,
		Form: func() (form.Answer, bool) {
			if a := g.answer.Load(); a != nil {
				return *a, true
			}
			return form.Answer{}, false
		},
	})
	n.mux.Handle(path, handler)
	n.group = g
	self := form.Answer{Cluster: n.id.Cluster, Node: n.id.Node, Dir: n.id.Dir, Controllers: n.controllers, State: n.id.state()}
	if self.State.Phase == form.Unformed && n.id.ran(RoleController) {
		// It ran alone until now: its group is itself.
		alone := form.Controller{Node: n.id.Node, Address: n.rpcAddress}
		self.State = form.State{Phase: form.Formed, View: form.View{Cluster: n.id.Cluster, Members: []form.Member{{Controller: alone, Dir: n.id.Dir}}}}
		// Those that join know the group by this view, its address included, whatever becomes of that.
		n.id.Founding = foundingOf(self.State)
		if err := n.id.write(n.seams.FS, n.cfg.Node.DataDir); err != nil {
			return err
		}
	}
	if n.id.Rejoins {
		// The group may know this directory, as that of the member that was removed. Of that nothing is left: it joins as another one would.
		var err error
		if self.Dir, err = mq.NewDirID(n.seams.Random); err != nil {
			return mq.Errorf(mq.Internal, "draw a directory id: %w", err)
		}
	}
	decision, err := form.Run(ctx, form.Config{
		Self: self, Logger: n.logger,
		Ask: func(ctx context.Context, c form.Controller) (form.Answer, error) {
			return transport.AskForm(ctx, n.dialer.client(c.Node, trafficRaft), baseURL(c.Node), n.id.Cluster, n.id.Node)
		},
		Save: func(s form.State) error {
			n.id.Founding = foundingOf(s)
			return n.id.write(n.seams.FS, n.cfg.Node.DataDir)
		},
		Publish: func(a form.Answer) { g.answer.Store(&a) },
	})
	if err != nil {
		return mq.Wrapf(err, "found the group of controllers")
	}
	g.view = decision.View
	if decision.Step == form.Rejoin {
		return n.rejoin(ctx, decision.View)
	}
	return nil
}

// rejoin gets a new raft id for a controller whose directory the group does not know: it never founds anything.
func (n *Node) rejoin(ctx context.Context, view form.View) error {
	if n.id.RaftID == 0 {
		client, err := control.NewClient(control.ClientConfig{
			Node: n.id.Node, Seeds: n.seeds(view), Connect: n.connect, Logger: n.logger,
		})
		if err != nil {
			return err
		}
		defer client.Close()
		e, err := endpoint(listenerRPC, "rpc.advertise", n.rpcAddress)
		if err != nil {
			return err
		}
		command := &metadatapb.Command{Kind: &metadatapb.Command_AddController{AddController: &metadatapb.AddController{
			NodeId: int32(n.id.Node), DirId: n.id.Dir[:], Endpoint: e, MaxFeatureLevel: metadata.FeatureLevel,
		}}}
		result, err := client.ProposeAgain(ctx, command) // the same directory gets the same place, however often it asks
		if err != nil {
			return mq.Wrapf(err, "ask for a place among the controllers")
		}
		n.id.RaftID = result.GetAddController().GetRaftId()
		n.logger.Info("this controller joins as a learner", "raft_id", n.id.RaftID)
	}
	n.id.Founding, n.id.Rejoins = foundingOf(form.State{Phase: form.Formed, View: view}), false
	return n.id.write(n.seams.FS, n.cfg.Node.DataDir)
}

// seeds are where the other controllers may be: as the configuration says, and as a view has it.
func (n *Node) seeds(view form.View) (all []string) {
	for _, c := range n.controllers {
		if c.Node != n.id.Node {
			all = append(all, c.Address)
		}
	}
	for _, m := range view.Members {
		if m.Node != n.id.Node && !slices.Contains(all, m.Address) {
			all = append(all, m.Address)
		}
	}
	return all
}

// raftID is this controller's.
func (n *Node) raftID() uint64 {
	if n.id.RaftID != 0 {
		return n.id.RaftID
	}
	return form.RaftID(n.id.Node)
}

// openTransport is how this controller's raft reaches the others; nil for one that is alone in a cluster without a listener for nodes.
func (n *Node) openTransport() (*transport.Transport, []uint64, error) {
	if n.group == nil {
		return nil, []uint64{n.raftID()}, nil
	}
	var peers []uint64
	if n.id.RaftID == 0 {
		peers = n.group.view.Peers()
	}
	t, err := transport.Open(transport.Config{
		Cluster: n.id.Cluster, Group: n.group.view.Group(), ID: n.raftID(), Node: n.id.Node, URL: baseURL(n.id.Node),
		Member: func(id uint64) (transport.Member, bool) {
			node, _ := n.memberOf(id)
			return transport.Member{Node: node, URL: baseURL(node)}, node != mq.NoNode
		},
		Controller: n.isController,
		Dial:       func(ctx context.Context, node mq.NodeID) error { return n.knock(ctx, n.dialer.at(node)) },
		Messages:   byNode{n.dialer, trafficRaft}, Snapshots: byNode{n.dialer, trafficSnapshot}, Logger: n.logger, Rand: n.seams.Random,
	})
	return t, peers, err
}

// memberOf is the node with a raft id and where it is reached, mq.NoNode for one that nobody has.
func (n *Node) memberOf(id uint64) (mq.NodeID, string) {
	if n.store != nil {
		if c := n.store.Image().Controller(id); c != nil {
			return c.Node, hostPortOf(c.Endpoint)
		}
	}
	for _, m := range n.group.view.Members {
		if form.RaftID(m.Node) == id {
			return m.Node, m.Address
		}
	}
	return mq.NoNode, ""
}

// isController says whether a node is one of the controllers, by the metadata, by who founded the group, or by the configuration.
func (n *Node) isController(node mq.NodeID) bool {
	if n.store != nil && slices.ContainsFunc(n.store.Image().Controllers(), func(c *metadata.Controller) bool { return c.Node == node }) {
		return true
	}
	return slices.ContainsFunc(n.group.view.Members, func(m form.Member) bool { return m.Node == node }) ||
		slices.ContainsFunc(n.controllers, func(c form.Controller) bool { return c.Node == node })
}

func foundersOf(view form.View) map[mq.NodeID]string {
	out := make(map[mq.NodeID]string, len(view.Members))
	for _, m := range view.Members {
		out[m.Node] = m.Address
	}
	return out
}

// openLeader starts what a controller does for the cluster: it answers nodes and, while it leads, judges and plans.
func (n *Node) openLeader() error {
	c, err := control.NewController(control.ControllerConfig{
		Node: n.id.Node, Group: control.Raft(n.raft, n.store.Image, foundersOf(n.group.view)), Store: n.store, Peer: Peer,
		Dial: n.knock, Operate: n.operateAsLeader,
		Plans: n.plans(), Now: n.seams.Now, Logger: n.logger,
	})
	if err != nil {
		return err
	}
	n.mux.Handle(c.Handler())
	n.onClose(func(context.Context) error {
		c.Close()
		return nil
	})
	n.background(n.tendMembers)
	return nil
}

// knock connects to another node's listener and hangs up again. ECONNREFUSED: nothing listens there.
func (n *Node) knock(ctx context.Context, address string) error {
	conn, err := n.seams.Network.Dial(ctx, address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// plans are what the leading controller looks after.
func (n *Node) plans() []control.Plan {
	return append([]control.Plan{{Name: "founding", Commands: n.planFounding}}, control.Plans(balancePause)...)
}

// planFounding records the cluster and its controllers, once.
func (n *Node) planFounding(img *metadata.Image) ([]*metadatapb.Command, error) {
	if !img.ClusterID.IsZero() {
		return nil, nil
	}
	command := &metadatapb.FormCluster{ClusterId: n.id.Cluster[:], FeatureLevel: metadata.FeatureLevel}
	for _, m := range n.group.view.Members {
		e, err := endpoint(listenerRPC, "node.controllers", m.Address)
		if err != nil {
			return nil, err
		}
		command.Controllers = append(command.Controllers, &metadatapb.Controller{
			RaftId: form.RaftID(m.Node), NodeId: int32(m.Node), DirId: m.Dir[:], Endpoint: e, MaxFeatureLevel: metadata.FeatureLevel,
		})
	}
	return []*metadatapb.Command{{Kind: &metadatapb.Command_FormCluster{FormCluster: command}}}, nil
}

// raftConfig is what both kinds of controllers open raft with.
func (n *Node) raftConfig(peers []uint64, t raft.Transport) raft.Config {
	return raft.Config{
		ID: n.raftID(), Peers: peers, Log: n.raftLog, SM: n.store, Transport: t, Tick: n.cfg.Raft.Tick, Logger: n.logger, Rand: n.seams.Random,
		MaxProposal: maxProposal(n.cfg.Raft.SegmentSize), CompactBytes: int64(n.cfg.Raft.MaxSize) / raftCutFraction,
	}
}
