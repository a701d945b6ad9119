package node

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/broker"
	"github.com/rustmq/rustmq/control"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
)

// addressesOf are where a node may be found now: as the configuration says, as it registered, or as a controller. A majority of the controllers may have moved: then what is
// registered is of before, for they cannot register before they found each other. One may have moved, too, of which only the configuration does not know.
func (n *Node) addressesOf(node mq.NodeID) (all []string) {
	add := func(address string) {
		if address != "" && !slices.Contains(all, address) {
			all = append(all, address)
		}
	}
	for _, c := range n.controllers {
		if c.Node == node {
			add(c.Address)
		}
	}
	if img := n.image(); img != nil {
		if b := img.Broker(node); b != nil {
			if e, ok := b.Endpoint(listenerRPC); ok {
				add(hostPortOf(e))
			}
		}
		for _, c := range slices.Backward(img.Controllers()) {
			if c.Node == node {
				add(hostPortOf(c.Endpoint))
			}
		}
	}
	if n.group != nil {
		for _, m := range n.group.view.Members {
			if m.Node == node {
				add(m.Address)
			}
		}
	}
	return all
}

// compareAddresses says where the configuration has other addresses of controllers than are recorded.
func (n *Node) compareAddresses() {
	img := n.store.Image()
	for _, c := range n.controllers {
		recorded := ""
		for _, r := range img.Controllers() {
			if r.Node == c.Node {
				recorded = hostPortOf(r.Endpoint) // they are by raft id: the latest is the last
			}
		}
		if recorded != "" && recorded != c.Address {
			n.logger.Info("the configuration has another address of a controller than is recorded: it is tried first", "node", c.Node, "configured", c.Address, "recorded", recorded)
		}
	}
}

// controllerAt is the controller with an RPC address, mq.NoNode for one that is not known.
func (n *Node) controllerAt(address string) mq.NodeID {
	if img := n.image(); img != nil {
		for _, c := range img.Controllers() {
			if hostPortOf(c.Endpoint) == address {
				return c.Node
			}
		}
	}
	for _, c := range n.controllers {
		if c.Address == address {
			return c.Node
		}
	}
	if n.group != nil {
		for _, m := range n.group.view.Members {
			if m.Address == address {
				return m.Node
			}
		}
	}
	return mq.NoNode
}

// image is what this node knows of the cluster, nil before it knows anything.
func (n *Node) image() *metadata.Image {
	if own := n.ownImage(); own != nil {
		return own
	}
	if client := n.client.Load(); client != nil {
		return client.Image()
	}
	return nil
}

// connect is how control finds a controller by its address; no URL: nobody is known to be there.
func (n *Node) connect(address string) (connect.HTTPClient, string) {
	node := n.controllerAt(address)
	if node == mq.NoNode {
		return nil, ""
	}
	return byNode{n.dialer, trafficControl}, baseURL(node)
}

// openClient connects this node with the controllers.
func (n *Node) openClient(ctx context.Context) error {
	cfg := control.ClientConfig{Node: n.id.Node, Connect: n.connect, Now: n.seams.Now, Logger: n.logger}
	for _, c := range n.controllers {
		cfg.Seeds = append(cfg.Seeds, c.Address)
	}
	if n.hasRole(RoleController) {
		cfg.Local = &control.Local{Store: n.store, Propose: n.raft.Propose}
	}
	if n.hasRole(RoleBroker) {
		cfg.Unfit = n.stalled
		registration, err := n.registration()
		if err != nil {
			return err
		}
		cfg.Registration = registration
	}
	client, err := control.NewClient(cfg)
	if err != nil {
		return err
	}
	n.client.Store(client)
	if n.putOut.Load() { // before there was a client
		n.detach(client)
	}
	n.onClose(func(context.Context) error {
		client.Close()
		return nil
	})
	m := &member{client: client, nodeAt: n.controllerAt, settled: func(context.Context, uint64) error { return nil }}
	if n.partitions != nil {
		m.settled = n.partitions.wait
	}
	n.cluster = m
	if !n.hasRole(RoleBroker) {
		return nil
	}
	n.partitions.cluster = m
	n.partitions.lease = leaseOf(n.id.Node, client, n.partitions.rolesAt.Load)
	epoch, err := client.Registered(ctx)
	if err != nil {
		return err
	}
	if err := client.AwaitIndex(ctx, epoch); err != nil {
		return err
	}
	return client.AwaitLease(ctx)
}

// stalled says that the disk of the data log hangs: it has owed a sync for longer than a lease. Such a node answers nobody and looks alive to all, so it does not
// heartbeat, and others lead instead.
func (n *Node) stalled() error {
	if pending := n.dataLog.OldestPending(); pending > control.DefaultLease {
		return mq.Errorf(mq.KafkaStorageError, "the disk of node %d has not answered for %v", n.id.Node, pending.Round(time.Millisecond))
	}
	return nil
}

// leases is what a broker may act by: a [control.Client].
type leases interface {
	Leased() bool
	Epoch() uint64
}

// leaseOf says why this node may not acknowledge anything now. rolesAt is the index of the image that its partitions have their roles of: a broker that
// was fenced and is back has a lease again as soon as it is registered, and may still be the leader of what was given to others meanwhile.
func leaseOf(node mq.NodeID, client leases, rolesAt func() uint64) func() error {
	over := mq.Errorf(mq.NotLeaderOrFollower, "node %d does not reach the controllers: it may have been replaced as the leader", node)
	early := mq.Errorf(mq.NotLeaderOrFollower, "node %d is registered anew, and its partitions have not heard yet who leads them", node)
	return func() error {
		switch {
		case !client.Leased():
			return over
		case rolesAt() < client.Epoch():
			return early
		}
		return nil
	}
}

// registration is what this run of the node registers as. What its recovery did not find is told the first time: the controllers
// remember who left an in-sync set.
func (n *Node) registration() (func() *metadatapb.RegisterBroker, error) {
	first, err := n.registerCommand()
	if err != nil {
		return nil, err
	}
	var registered atomic.Bool
	var generation atomic.Uint64
	again := &metadatapb.RegisterBroker{
		ClusterId: first.GetClusterId(), NodeId: first.GetNodeId(), Incarnation: first.GetIncarnation(), DirId: first.GetDirId(),
		Endpoints: first.GetEndpoints(), Rack: first.GetRack(), MaxFeatureLevel: first.GetMaxFeatureLevel(),
	}
	return func() *metadatapb.RegisterBroker {
		img := n.image()
		if img != nil && generation.Swap(img.Generation()) != img.Generation() {
			registered.Store(false) // who is asked may know nothing of it: the cluster was recovered from the loss of those that did
		}
		if registered.Load() || img != nil && knows(img.Broker(n.id.Node), first.GetIncarnation()) {
			registered.Store(true)
			return again
		}
		return first
	}, nil
}

func knows(b *metadata.Broker, incarnation uint64) bool {
	return b != nil && b.Incarnation == incarnation
}

func (n *Node) hasRole(role string) bool {
	return !n.mounted() && slices.Contains(n.cfg.Node.Roles, role)
}

var _ broker.Controller = (*member)(nil)
